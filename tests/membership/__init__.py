"""Tests: membership."""
