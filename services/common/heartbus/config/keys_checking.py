"""The rows of [checks] in the table of every key; see ``keys``.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.keys import Form, Key
from heartbus.config.native_checking import CONCURRENT_LIMIT, PROBERS_MAX, RATE_MAX
from heartbus.model_checking import BACKOFF_MAX, CheckingSettings, DecidedBy

_DEFAULT: Final = CheckingSettings()


def _number(name: str, text: str, low: int, high: int) -> Key:
    default = str(getattr(_DEFAULT, name))
    return Key(
        path=f"checks.{name}", form=Form.INTEGER, text=text, default=default, low=low, high=high
    )


CHECKING_KEYS: Final = (
    Key(
        path="checks",
        form=Form.TABLE,
        text="What holds for all checks together.",
        default="as below",
    ),
    Key(
        path="checks.decided_by",
        form=Form.TEXT,
        text="Whose word says that a real server is down: that of the own checker (a peer's where"
        " it is silent), or of more than half of those that know it.",
        default=str(_DEFAULT.decided_by),
        words=tuple(map(str, DecidedBy)),
    ),
    _number("probers", "So many directors check each real server; 0: all do.", 0, PROBERS_MAX),
    _number(
        "concurrent", "Checks under way at once on one director, at most.", 1, CONCURRENT_LIMIT
    ),
    _number(
        "rate", "Checks begun in a second on one director, at most; 0: any number.", 0, RATE_MAX
    ),
    _number(
        "backoff",
        "A server that is down for long is asked every 2, 4, … intervals, at least every so many.",
        1,
        BACKOFF_MAX,
    ),
    Key(
        path="checks.backoff_after",
        form=Form.TIME,
        text="Down for so long is long; after twice that the intervals double again, and so on.",
        default="300 s",
    ),
)
