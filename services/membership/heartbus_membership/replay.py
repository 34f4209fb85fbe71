"""Tells news from copies and from replays, by incarnation and sequence.

Sans-I/O. A director sends one sequence on all its links: the first copy is news, a copy on another
link shows that this link works, and anything else was recorded and sent again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

WINDOW_BEATS: Final = 64
"""A copy on a slow link may be this many heartbeats old and still tell that the link works."""


class Novelty(enum.Enum):
    """``news``: believe it. ``copy``: counts for its link only. ``replayed``: drop it."""

    NEWS = "news"
    COPY = "copy"
    REPLAYED = "replayed"


@dataclass(slots=True)
class _Sender:
    incarnation: int
    newest: int
    by_link: dict[str, int] = field(default_factory=dict)


class ReplayGuard:
    """Remembers the newest incarnation and sequence of each known director.

    Call ``judge`` only with genuine heartbeats of configured directors over configured links: its
    memory is bounded by their number.
    """

    def __init__(self) -> None:
        self._senders: dict[str, _Sender] = {}

    def judge(self, node: str, *, link: str, incarnation: int, sequence: int) -> Novelty:
        """Return what a heartbeat is worth, and remember it."""
        sender = self._senders.get(node)
        if sender is None or incarnation > sender.incarnation:
            self._senders[node] = _Sender(incarnation, sequence, {link: sequence})
            return Novelty.NEWS
        if incarnation < sender.incarnation or sequence <= sender.by_link.get(link, -1):
            return Novelty.REPLAYED
        if sequence <= sender.newest - WINDOW_BEATS:
            return Novelty.REPLAYED
        sender.by_link[link] = sequence
        if sequence <= sender.newest:
            return Novelty.COPY
        sender.newest = sequence
        return Novelty.NEWS
