"""Tests: vip."""
