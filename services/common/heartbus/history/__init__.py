"""The history: events of all directors, kept by each for itself; decision 32."""
