"""Decides which heartbeats go on from one serial line to the others.

Sans-I/O. A line joins two directors. With more of them the lines make a chain or a ring, and each
director passes on what it hears, so that everybody is heard everywhere (Heartbeat did the same). A
heartbeat goes on once, when it comes over any line for the first time: that others have
brought it before says nothing about those at the far end of the lines.
"""

from __future__ import annotations

from typing import Final

from heartbus_membership.hearing import Heard
from heartbus_membership.replay import Novelty, ReplayGuard
from heartbus_membership.serial_frames import HOPS_MAX

PAIR: Final = 2
_LINES: Final = "lines"


def first_hops(*, directors: int, hopfudge: int) -> int:
    """Return how many lines a heartbeat of ours may pass; ha.cf ``hopfudge``."""
    return min(directors + hopfudge, HOPS_MAX)


class Relay:
    """Passes heartbeats on for one director."""

    def __init__(self, *, directors: int) -> None:
        self._has_others = directors > PAIR
        self._guard = ReplayGuard()

    def onward_hops(self, heard: Heard, *, hops: int) -> int:
        """Return how many lines a heartbeat may pass yet; 0: it does not go on.

        ``hops`` is what its frame said, 0 for what did not come over a line.
        """
        if not self._has_others or hops <= 1:
            return 0
        novelty = self._guard.judge(
            heard.peer, link=_LINES, incarnation=heard.incarnation, sequence=heard.sequence
        )
        return hops - 1 if novelty is Novelty.NEWS else 0
