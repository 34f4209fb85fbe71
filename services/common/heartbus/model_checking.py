"""How the checkers of all directors work together, and how fast each of them asks.

Sans-I/O. ``heartbus.model`` names all of this too; import it from there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

CONCURRENT_MAX: Final = 256
"""Default of ``CheckingSettings.concurrent``."""

BACKOFF_MAX: Final = 100
"""Intervals; of longer ones nobody would know when a server is asked again."""


class DecidedBy(enum.StrEnum):
    """Whose word says that a real server is down.

    ``own``: that of the director's own checker, a peer's where that is silent. ``majority``: more
    than half of the checkers that know this server.
    """

    OWN = "own"
    MAJORITY = "majority"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckingSettings:
    """What [checks] says, for all checks together.

    ``probers``: so many directors check each real server, 0: all do. ``concurrent``: checks under
    way at once on one director, ``rate``: begun in a second, 0: any number. ``backoff``: a server
    that is down for long is asked at least every ``backoff`` intervals: 2 after
    ``backoff_after_s``, 4 after twice that, and so on; 1: every interval.
    """

    decided_by: DecidedBy = DecidedBy.OWN
    probers: int = 0
    concurrent: int = CONCURRENT_MAX
    rate: int = 0
    backoff: int = 1
    backoff_after_s: float = 300.0
