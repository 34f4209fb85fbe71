"""What a director records of the heartbeats that it hears, for ``heartbus simulate set deadtime``.

Sans-I/O. ``heartbus.events`` names these too; import them from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final

LONGEST_KEPT: Final = 20
"""Gaps of each peer that are kept one by one in each period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time without a heartbeat. ``before_s``: how long before this message it ended.

    ``stalled``: we did not run ourselves for a part of it.
    """

    before_s: float
    length_s: float
    stalled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatGaps:
    """How the heartbeats of a director arrived at the sender, on whatever link came first.

    ``over_s``: for so long until now. ``counts``: gaps between two heartbeats, by the upper bound
    of their length in milliseconds (text); ``longest``: the longest of those that are longer than
    ``kept_above_s``, in the order of time. Gaps over a restart of the other one are not among them.
    """

    kind: ClassVar[str] = "node.gaps"
    director: str
    over_s: float
    heartbeats: int
    kept_above_s: float
    counts: dict[str, int] = field(default_factory=dict)
    longest: tuple[Gap, ...] = ()
