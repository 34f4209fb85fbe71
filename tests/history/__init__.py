"""The history: kept, found again, filled, whatever happens to its file."""
