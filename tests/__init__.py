"""Tests of heartbus; nothing here is installed."""
