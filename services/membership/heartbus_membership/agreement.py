"""Tells when a live peer runs with another configuration, and when it agrees again.

Sans-I/O; times are seconds on our monotonic clock. Skew is an alarm and never a reason to take
over. A difference counts when it has stood for ``settle_s``, so that a rolling reload does not cry;
agreement counts at once.

Every heartbeat carries the digest of the whole; only who hears another one than its own says the
digests of its parts too, by which the other can tell in words what differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from heartbus.config.digest import config_digest, differing_parts, part_digests
from heartbus.events import ConfigDifference, ConfigSkew
from heartbus.model import Cluster

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
    parts: bytes
    told: bool = False


class Agreement:
    """Compares the digests in the heartbeats of the peers with ours, ``digest``."""

    def __init__(self, cluster: Cluster) -> None:
        self.use(cluster)
        self._settle_s = settle_s(cluster.membership.timers.keepalive_s)
        self._differences: dict[str, _Difference] = {}

    def use(self, cluster: Cluster) -> None:
        """Compare with this configuration from now on; what is told stands until it agrees."""
        self.digest = config_digest(cluster)
        self._parts = part_digests(cluster)

    def heard(self, peer: str, digest: bytes, parts: bytes, *, now_s: float) -> ConfigSkew | None:
        """Take in what a live, configured peer says of its configuration; return what is news.

        ``parts``: the digests of its parts, empty while it hears no other configuration.
        """
        theirs = digest.hex()
        before = self._differences.get(peer)
        if theirs == self.digest:
            self._differences.pop(peer, None)
            if before is None or not before.told:
                return None
            return ConfigSkew(director=peer, ours=self.digest, theirs=theirs, agreed=True)
        if before is None:
            self._differences[peer] = _Difference(theirs, now_s, parts)
            return None
        if before.theirs != theirs:
            # One alarm stands while they differ, whatever they differ in.
            before.theirs, before.parts = theirs, parts
            if not before.told:
                before.since_s = now_s
            return None
        before.parts = parts or before.parts
        if before.told or now_s - before.since_s < self._settle_s:
            return None
        before.told = True
        return ConfigSkew(
            director=peer, ours=self.digest, theirs=theirs, differs=self._words(before)
        )

    def silent(self, peer: str) -> None:
        """Note that a peer is dead or left: what it ran with says nothing any more."""
        self._differences.pop(peer, None)

    @property
    def parts(self) -> bytes:
        """What our heartbeats say of the parts of our configuration; nothing while all agree."""
        return self._parts if self._differences else b""

    @property
    def differences(self) -> tuple[ConfigDifference, ...]:
        """The live peers that were told to differ, and in what."""
        return tuple(
            ConfigDifference(director=name, theirs=found.theirs, differs=self._words(found))
            for name, found in self._differences.items()
            if found.told
        )

    def _words(self, found: _Difference) -> tuple[str, ...]:
        return differing_parts(self._parts, found.parts)
