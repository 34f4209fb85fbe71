"""Which events other recorders have that we have not: compared by digests, hour by hour.

Sans-I/O; times are seconds on our monotonic clock, but for those of events. A digest is the XOR of
ids, so it does not depend on the order in which events came, and is brought up to date with each.
A peer is asked only while its digest differs from ours for longer than an event takes to arrive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heartbus.recording import BUCKET_S

DIFFERS_S: Final = 3.0
"""Events that are under way make digests differ for a moment."""

AGAIN_S: Final = 10.0
AGAIN_MAX_S: Final = 600.0
"""A peer that had nothing for us is asked again later and later, until a digest changes."""


class Digests:
    """The digest of each hour; ``add`` and ``remove`` are the same operation."""

    def __init__(self) -> None:
        self._by_bucket: dict[int, int] = {}
        self._total = 0

    def change(self, bucket: int | None, event_id: str) -> None:
        """Note that an event came, or was forgotten."""
        if bucket is None:
            return
        before = self._by_bucket.get(bucket, 0)
        value = before ^ _number(event_id)
        self._total ^= _mixed(bucket, before) ^ _mixed(bucket, value)
        if value:
            self._by_bucket[bucket] = value
        else:
            self._by_bucket.pop(bucket, None)

    @property
    def total(self) -> str:
        """One digest of all hours; an event in another hour makes another one."""
        return f"{self._total:032x}"

    def by_bucket(self) -> dict[int, str]:
        """Return the digest of each hour that has events."""
        return {bucket: f"{value:032x}" for bucket, value in self._by_bucket.items()}


_MASK: Final = (1 << 128) - 1


def _mixed(bucket: int, digest: int) -> int:
    """Return what one hour adds to the digest of all: nothing where it has no events."""
    if not digest:
        return 0
    told = f"{bucket}:{digest:x}".encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=16).digest(), "big")


def _number(event_id: str) -> int:
    # Ids are 128 random bits in hexadecimal; what is not, is folded into as many.
    try:
        return int(event_id, 16) & _MASK
    except ValueError:
        return int.from_bytes(event_id.encode().ljust(16, b"=")[:16], "big")


def differing(ours: Mapping[int, str], theirs: Mapping[int, str], *, since_s: float) -> list[int]:
    """Return the hours in which a peer has something else than we, the newest first.

    ``since_s``: what is older, one of us has forgotten.
    """
    first = int(since_s // BUCKET_S) + 1
    return sorted(
        (b for b, digest in theirs.items() if b >= first and ours.get(b) != digest), reverse=True
    )


@dataclass(slots=True)
class _Peer:
    digest: str
    heard_s: float
    differs_since_s: float | None = None
    asked_s: float = float("-inf")
    pause_s: float = AGAIN_S
    asked_with: tuple[str, str] | None = None


class Agreement:
    """When to ask which peer."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}

    def told(self, node: str, digest: str, *, now_s: float) -> None:
        """Take in the digest of a peer."""
        peer = self._peers.setdefault(node, _Peer(digest, now_s))
        peer.digest, peer.heard_s = digest, now_s

    def due(self, own: str, *, now_s: float) -> str | None:
        """Return a peer to compare with now, None if there is none."""
        for node, peer in self._peers.items():
            if now_s - peer.heard_s > DIFFERS_S or peer.digest == own:
                peer.differs_since_s = None
                continue
            if peer.differs_since_s is None:
                peer.differs_since_s = now_s
            if now_s - peer.differs_since_s < DIFFERS_S:
                continue
            known = peer.asked_with == (own, peer.digest)
            if now_s - peer.asked_s >= (peer.pause_s if known else AGAIN_S):
                return node
        return None

    def compared(self, node: str, own: str, *, gained: int, now_s: float) -> None:
        """Note what came of it: so many events that we had not."""
        peer = self._peers[node]
        peer.asked_s = now_s
        peer.asked_with = (own, peer.digest)
        peer.pause_s = AGAIN_S if gained else min(2 * peer.pause_s, AGAIN_MAX_S)
