"""Decides whether our own view of the real servers can be believed, beside those of our peers.

Sans-I/O. A checker that sees most real servers down has probably lost its own network. While a peer
sees up most of what we see down, and no peer agrees with us, our vantage is suspect: it says so in
its snapshot, and nobody removes anything on its word. With nobody to ask we are believed: the
servers may really be down. Times are monotonic seconds on this node's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from heartbus.events import CheckerState, Health

FRESH_S: Final = 3.0
"""A peer's snapshot counts for so long; it is republished every second."""
DOWN_MIN: Final = 2
"""One server that is down says nothing about us."""
DOWN_SHARE: Final = 0.5
"""More than this share down is most of the world."""

Key = tuple[str, str]


class Vantage:
    """What the peers' checkers see, and how that compares with us."""

    def __init__(self) -> None:
        self._heard_s: dict[str, float] = {}
        self._seen: dict[str, Mapping[Key, Health]] = {}

    def peer_heard(self, node: str, state: CheckerState, *, now_s: float) -> None:
        """Take in the snapshot of a peer; one that is suspect itself does not count."""
        if state.suspect is not None:
            self._heard_s.pop(node, None)
            self._seen.pop(node, None)
            return
        self._heard_s[node] = now_s
        self._seen[node] = {
            (verdict.virtual_service, verdict.real_server): verdict.health
            for verdict in state.verdicts
        }

    def suspicion(self, own: Iterable[tuple[Key, Health]], *, now_s: float) -> str | None:
        """Return in words why we are not to be believed; None while we are."""
        decided = [(key, health) for key, health in own if health is not Health.UNKNOWN]
        down = [key for key, health in decided if health is Health.DOWN]
        if len(down) < DOWN_MIN or len(down) <= DOWN_SHARE * len(decided):
            return None
        disagrees: list[str] = []
        for node, heard_s in self._heard_s.items():
            if now_s - heard_s > FRESH_S:
                continue
            seen = self._seen[node]
            known = [
                seen[key] for key in down if seen.get(key, Health.UNKNOWN) is not Health.UNKNOWN
            ]
            ups = known.count(Health.UP)
            if ups > DOWN_SHARE * len(down):
                disagrees.append(f"{node} sees {ups} of them up")
            elif known and ups <= DOWN_SHARE * len(known):
                return None  # it sees what we see
        if not disagrees:
            return None
        return f"{len(down)} of {len(decided)} real servers are down from here, but {disagrees[0]}"
