"""Tells when a live peer runs with another configuration, and when it agrees again.

Sans-I/O; times are seconds on our monotonic clock. Skew is an alarm and never a reason to take
over. A difference counts when it has stood for ``settle_s``, so that a rolling reload does not cry;
agreement counts at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from heartbus.events import ConfigSkew

SETTLE_BEATS: Final = 5
SETTLE_S_MIN: Final = 5.0
"""Reloading all directors by hand, one after the other, takes a while even on a fast cluster."""


def settle_s(keepalive_s: float) -> float:
    """Return how long a difference must stand before it is told."""
    return max(SETTLE_BEATS * keepalive_s, SETTLE_S_MIN)


@dataclass(slots=True)
class _Difference:
    theirs: str
    since_s: float
    told: bool = False


class Agreement:
    """Compares the digests in the heartbeats of the peers with ours."""

    def __init__(self, *, digest: str, settle_s: float) -> None:
        self._digest = digest
        self._settle_s = settle_s
        self._differences: dict[str, _Difference] = {}

    def heard(self, peer: str, digest: str, *, now_s: float) -> ConfigSkew | None:
        """Take in the digest of a live, configured peer; return what became true by it."""
        before = self._differences.get(peer)
        if digest == self._digest:
            self._differences.pop(peer, None)
            if before is None or not before.told:
                return None
            return self._skew(peer, digest, agreed=True)
        if before is None:
            self._differences[peer] = _Difference(digest, now_s)
            return None
        if before.theirs != digest:
            # One alarm stands while they differ, whatever they differ in.
            before.theirs = digest
            if not before.told:
                before.since_s = now_s
            return None
        if before.told or now_s - before.since_s < self._settle_s:
            return None
        before.told = True
        return self._skew(peer, digest, agreed=False)

    def silent(self, peer: str) -> None:
        """Note that a peer is dead or left: what it ran with says nothing any more."""
        self._differences.pop(peer, None)

    @property
    def skewed(self) -> tuple[str, ...]:
        """The live peers that were told to differ."""
        return tuple(name for name, found in self._differences.items() if found.told)

    def _skew(self, peer: str, theirs: str, *, agreed: bool) -> ConfigSkew:
        return ConfigSkew(director=peer, ours=self._digest, theirs=theirs, agreed=agreed)
