"""Reads the [checks] table of the TOML form: what holds for all checks together.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.toml_table import Table
from heartbus.model_checking import BACKOFF_MAX, CheckingSettings, DecidedBy

PROBERS_MAX: Final = 100
CONCURRENT_LIMIT: Final = 10_000
RATE_MAX: Final = 1_000_000


def read_checking(table: Table) -> CheckingSettings:
    """Return what [checks] says; what is wrong is told to the report."""
    default = CheckingSettings()
    settings = CheckingSettings(
        decided_by=table.choice("decided_by", DecidedBy) or default.decided_by,
        probers=table.integer("probers", 0, PROBERS_MAX) or default.probers,
        concurrent=table.integer("concurrent", 1, CONCURRENT_LIMIT) or default.concurrent,
        rate=table.integer("rate", 0, RATE_MAX) or default.rate,
        backoff=table.integer("backoff", 1, BACKOFF_MAX) or default.backoff,
        backoff_after_s=table.seconds("backoff_after") or default.backoff_after_s,
    )
    table.close()
    return settings
