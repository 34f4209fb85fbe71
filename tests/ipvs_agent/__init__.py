"""Tests: ipvs_agent."""
