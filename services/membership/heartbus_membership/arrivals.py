"""Decides what is recorded of the gaps between heartbeats: bounded, whatever happens.

Sans-I/O; times are seconds on our monotonic clock. A gap is the time between two heartbeats of one
process of a peer, on whatever link the first copy came. Of each peer and period a histogram is kept
(bounds a quarter apart) and the LONGEST_KEPT longest of those above two keepalives.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from heartbus.recorded_gaps import LONGEST_KEPT, Gap, HeartbeatGaps

PERIOD_S: Final = 900.0
STEP: Final = 1.25
LEAST_S: Final = 0.005


@dataclass(slots=True)
class _Heard:
    incarnation: int | None = None
    last_s: float = 0.0
    stalled_s: float = float("-inf")
    heartbeats: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    longest: list[tuple[float, float, bool]] = field(default_factory=list)
    """A heap of (length, end, stalled)."""


class Arrivals:
    """What one director has heard of its peers since it told last."""

    def __init__(self, peers: Iterable[str], *, keepalive_s: float, started_s: float) -> None:
        self._keepalive_s = keepalive_s
        self._since_s = started_s
        self._peers = {name: _Heard() for name in peers}

    def heard(self, peer: str, *, incarnation: int, now_s: float) -> None:
        """Take in a heartbeat that was news."""
        known = self._peers[peer]
        known.heartbeats += 1
        if known.incarnation == incarnation:
            self._gap(known, now_s)
        known.incarnation, known.last_s = incarnation, now_s

    def left(self, peer: str) -> None:
        """Take in that a peer leaves: its silence from now on is no gap."""
        self._peers[peer].incarnation = None

    def stalled(self, *, now_s: float) -> None:
        """Take in that we did not run until now."""
        for known in self._peers.values():
            known.stalled_s = now_s

    def due(self, *, now_s: float) -> bool:
        """Whether a period is over."""
        return now_s - self._since_s >= PERIOD_S

    def take(self, *, now_s: float) -> list[HeartbeatGaps]:
        """Return what was heard since the last time, of peers that were heard, and begin anew."""
        over_s = now_s - self._since_s
        self._since_s = now_s
        found = []
        for name, known in self._peers.items():
            if not known.heartbeats:
                continue
            longest = sorted(known.longest, key=lambda gap: gap[1])
            found.append(
                HeartbeatGaps(
                    director=name,
                    over_s=round(over_s, 3),
                    heartbeats=known.heartbeats,
                    kept_above_s=self._kept_above_s(known),
                    counts=dict(known.counts),
                    longest=tuple(
                        Gap(
                            before_s=round(now_s - end_s, 3),
                            length_s=round(length_s, 4),
                            stalled=stalled,
                        )
                        for length_s, end_s, stalled in longest
                    ),
                )
            )
            known.heartbeats, known.counts, known.longest = 0, Counter(), []
        return found

    def _gap(self, known: _Heard, now_s: float) -> None:
        length_s = now_s - known.last_s
        known.counts[bound_ms(length_s)] += 1
        if length_s > 2 * self._keepalive_s:
            gap = (length_s, now_s, known.stalled_s >= known.last_s)
            if len(known.longest) < LONGEST_KEPT:
                heapq.heappush(known.longest, gap)
            else:
                heapq.heappushpop(known.longest, gap)

    def _kept_above_s(self, known: _Heard) -> float:
        full = len(known.longest) >= LONGEST_KEPT
        return round(known.longest[0][0] if full else 2 * self._keepalive_s, 4)


def bound_ms(length_s: float) -> str:
    """Return the upper bound of the class of a gap, in whole milliseconds or more exactly."""
    step = math.ceil(math.log(max(length_s, LEAST_S) / LEAST_S) / math.log(STEP) - 1e-9)
    return f"{LEAST_S * STEP**step * 1000:.4g}"
