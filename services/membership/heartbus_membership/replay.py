"""Tells news from copies and from replays, by incarnation and sequence.

Sans-I/O. A director sends one sequence on all its links: the first copy is news, a copy on another
link shows that this link works, and anything else was recorded and sent again.

What is remembered across restarts is a mark for each peer: the highest incarnation, and a sequence
reserved ahead of the newest one. After our restart nothing at or below the mark is believed, unless
it proves that it is fresh: a heartbeat that echoes one of ours, sent after we last heard this
director, was made after that. So a director that lost its state, with a clock that is behind, comes
back with a lower incarnation, and no recording can. (The echoed heartbeat must be of our present
incarnation; whoever calls tests that.)
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

RESERVE_S: Final = 1.0
RESERVE_BEATS_MIN: Final = 4
WINDOW_BEATS: Final = 64
"""A copy on a slow link may be this many heartbeats old and still tell that the link works."""


class Novelty(enum.Enum):
    """``news``: believe it. ``copy``: counts for its link only. ``replayed``: drop it."""

    NEWS = "news"
    COPY = "copy"
    REPLAYED = "replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Up to here heartbeats of a director are old: the highest incarnation, and its sequence."""

    incarnation: int
    sequence: int


@dataclass(slots=True)
class _Sender:
    incarnation: int
    newest: int
    highest: Mark
    own_sequence: int
    by_link: dict[str, int] = field(default_factory=dict)


def reserve_beats(keepalive_s: float) -> int:
    """Return how many heartbeats to reserve ahead: about a second's, a few where they are slow.

    After our restart we are deaf to a peer that did not restart for that many at most, and for
    one round trip where it echoes us.
    """
    return max(RESERVE_BEATS_MIN, math.ceil(RESERVE_S / keepalive_s))


class ReplayGuard:
    """Remembers the newest incarnation and sequence of each known director.

    Call ``judge`` only with genuine heartbeats of configured directors over configured links: its
    memory is bounded by their number.
    """

    def __init__(self, remembered: Mapping[str, Mark] | None = None) -> None:
        self._remembered = dict(remembered or {})
        self._senders: dict[str, _Sender] = {}

    def echo_is_fresh(self, node: str, echoed_sequence: int) -> bool:
        """Return whether an echo of a heartbeat of our present incarnation proves freshness.

        It does when we sent what is echoed after we last heard news of this director.
        """
        sender = self._senders.get(node)
        return sender is None or echoed_sequence > sender.own_sequence

    def judge(
        self,
        node: str,
        *,
        link: str,
        incarnation: int,
        sequence: int,
        echoes_us: bool = False,
        own_sequence: int = 0,
    ) -> Novelty:
        """Return what a heartbeat is worth, and remember it.

        ``echoes_us``: it carries an echo for which ``echo_is_fresh``. ``own_sequence``: of the
        newest heartbeat that we sent.
        """
        sender = self._senders.get(node)
        if sender is not None and incarnation == sender.incarnation:
            return self._of_known(sender, link, sequence, own_sequence)
        old = self._mark(node)
        if old is not None and not echoes_us:
            fresh = sender is None and sequence > old.sequence
            if incarnation < old.incarnation or (incarnation == old.incarnation and not fresh):
                return Novelty.REPLAYED
        highest = Mark(incarnation=incarnation, sequence=sequence)
        if old is not None and incarnation < old.incarnation:
            highest = old
        self._senders[node] = _Sender(
            incarnation, sequence, highest, own_sequence, {link: sequence}
        )
        return Novelty.NEWS

    def marks(self, *, reserve: int) -> dict[str, Mark]:
        """Return what to write down now, with ``reserve`` heartbeats ahead; all known nodes."""
        marks = dict(self._remembered)
        for node, sender in self._senders.items():
            mark, ahead = sender.highest, reserve
            if sender.incarnation != mark.incarnation:
                ahead = 0
            marks[node] = Mark(incarnation=mark.incarnation, sequence=mark.sequence + ahead)
        return marks

    def written(self, marks: Mapping[str, Mark]) -> None:
        """Note that these marks are on the disk."""
        self._remembered = dict(marks)

    def unwritten(self, *, reserve: int) -> bool:
        """Return whether a peer has used up half of what is reserved for it, or is new."""
        for node, sender in self._senders.items():
            mark = self._remembered.get(node)
            if mark is None or sender.highest.incarnation != mark.incarnation:
                return True
            if sender.highest.sequence > mark.sequence - reserve // 2 and (
                sender.incarnation == sender.highest.incarnation
            ):
                return True
        return False

    def _mark(self, node: str) -> Mark | None:
        sender = self._senders.get(node)
        return self._remembered.get(node) if sender is None else sender.highest

    @staticmethod
    def _of_known(sender: _Sender, link: str, sequence: int, own_sequence: int) -> Novelty:
        if sequence <= sender.by_link.get(link, -1):
            return Novelty.REPLAYED
        if sequence <= sender.newest - WINDOW_BEATS:
            return Novelty.REPLAYED
        sender.by_link[link] = sequence
        if sequence <= sender.newest:
            return Novelty.COPY
        sender.newest = sequence
        sender.own_sequence = own_sequence
        if sender.incarnation == sender.highest.incarnation:
            sender.highest = Mark(incarnation=sender.incarnation, sequence=sequence)
        return Novelty.NEWS
