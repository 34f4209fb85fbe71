"""Plays a cluster of the production cores on a virtual time: ``heartbus simulate``, tests."""
