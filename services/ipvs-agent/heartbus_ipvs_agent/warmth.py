"""How many of the connections that this director serves its peers know, by what they tell.

Sans-I/O. The kernel's sync daemons tell no one what arrived, so agents count: the established
connections of each service, as the kernel has them with its entries, which costs nothing beyond the
look at the table. What a peer does not know dies when it takes over. So a peer is *cold* while it
knows less than ``percent`` of the connections of the services that are served here, or is not
heard, and for ``wait_s`` at most: short connections are never told to it, and an idle one is told
when its next packet comes. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

HEARD_S: Final = 15.0
"""Counts are told every second, those of large tables every five."""
COUNT_MAX: Final = 2**40
"""What comes from the network is bounded."""


@dataclass(slots=True)
class _Peer:
    counts: Mapping[str, int]
    heard_s: float


class Warmth:
    """The peers of one director. ``percent`` 0: none is ever cold."""

    def __init__(self, peers: Iterable[str], *, percent: int, wait_s: float, now_s: float) -> None:
        self._peers: dict[str, _Peer | None] = dict.fromkeys(sorted(peers))
        self._cold_since: dict[str, float] = dict.fromkeys(self._peers, now_s)
        self._percent = percent
        self._wait_s = wait_s
        self.known: dict[str, float] = {}
        self.cold: dict[str, str] = {}

    def limit(self, *, percent: int, wait_s: float) -> None:
        """Go on with other limits."""
        self._percent, self._wait_s = percent, wait_s

    def peer_told(self, node: str, counts: Mapping[str, int], *, now_s: float) -> None:
        """Take in the connections that a peer knows, by virtual service."""
        if node in self._peers:
            self._peers[node] = _Peer(counts, now_s)

    def looked(self, served: Mapping[str, int], *, now_s: float) -> bool:
        """Compare with the connections of the services that are served here, as they are now.

        Return whether who is cold is another than before.
        """
        ours = sum(served.values())
        before = set(self.cold)
        self.known, self.cold = {}, {}
        for node, peer in self._peers.items():
            heard = peer is not None and now_s - peer.heard_s <= HEARD_S
            if heard:
                assert peer is not None
                theirs = (min(count, _within(peer.counts.get(s, 0))) for s, count in served.items())
                percent = 100.0 * sum(theirs) / ours if ours else 100.0
                self.known[node] = percent
                reason = f"it knows {percent:.0f} % of {ours} connections"
                is_cold = percent < self._percent
            else:
                reason = "its ipvs-agent is not heard"
                is_cold = ours > 0 and self._percent > 0
            if not is_cold:
                self._cold_since.pop(node, None)
            elif now_s - self._cold_since.setdefault(node, now_s) < self._wait_s:
                self.cold[node] = reason
        return set(self.cold) != before


def _within(count: int) -> int:
    return min(max(count, 0), COUNT_MAX)
