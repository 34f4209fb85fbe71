"""The [history] table of the TOML form: its rows in the table of every key, and its reader.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.keys import Form, Key
from heartbus.config.toml_table import Table
from heartbus.model_history import DAYS_MAX, MEGABYTES_MAX, MEGABYTES_MIN, HistorySettings

HISTORY_KEYS: Final = (
    Key(
        path="history",
        form=Form.TABLE,
        text="What `heartbus history` and `heartbus why` remember.",
        default="(see its keys)",
    ),
    Key(
        path="history.days",
        form=Form.INTEGER,
        text="Events are forgotten after so long.",
        default="400",
        low=1,
        high=DAYS_MAX,
    ),
    Key(
        path="history.megabytes",
        form=Form.INTEGER,
        text="Of the file; the oldest events are forgotten before it grows beyond.",
        default="128",
        low=MEGABYTES_MIN,
        high=MEGABYTES_MAX,
    ),
)


def read_history(table: Table) -> HistorySettings:
    """Return what [history] says; what is wrong is told to the report."""
    default = HistorySettings()
    settings = HistorySettings(
        days=table.integer("days", 1, DAYS_MAX) or default.days,
        megabytes=table.integer("megabytes", MEGABYTES_MIN, MEGABYTES_MAX) or default.megabytes,
    )
    table.close()
    return settings
