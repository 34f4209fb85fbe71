"""Trials, statistics and rows of ``make bench-failover``."""
