"""Reads [vip.conflicts] of the TOML form: other machines that answer for a virtual IP.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.toml_table import Table
from heartbus.model import ConflictSettings, OnConflict

INTERVAL_MIN_S: Final = 1.0
"""Each question is a broadcast, and the directors ask for each address."""


def conflict_settings(table: Table) -> ConflictSettings:
    """Return what is written, with the defaults of what is not."""
    default = ConflictSettings()
    interval_s = table.seconds("interval", zero=True)
    if interval_s is not None and 0 < interval_s < INTERVAL_MIN_S:
        table.refuse("interval", interval_s, f"{INTERVAL_MIN_S:g} s or more, or 0 for never")
    settings = ConflictSettings(
        policy=table.choice("policy", OnConflict) or default.policy,
        interval_s=default.interval_s if interval_s is None else interval_s,
    )
    table.close()
    return settings
