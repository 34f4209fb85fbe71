"""What is told of others that have a virtual IP: machines that should not, and the next director.

Sans-I/O. ``heartbus.events`` and ``heartbus.states`` name them beside the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class VipConflict:
    """Another machine answers for an address of a group, at ``mac``; ``ended``: not any more.

    ``interface``: where the sender heard it. ``director``: which of ours it is, "" for a foreign
    machine. ``held``: whether the sender holds the address itself; else it stands by.
    """

    kind: ClassVar[str] = "vip.conflict"
    group: str
    address: str
    mac: str
    interface: str
    director: str
    held: bool
    reason: str
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VipMoved:
    """A group was handed over by the sender, ``director``; one of the two times is 0.

    ``gap_s``: how long nobody had its first address; ``overlap_s``: how long both had it. From the
    sender's removal to the taker's first frame, on the sender's clock: exact to the latency of the
    network, and to a few milliseconds where the processes are busy.
    """

    kind: ClassVar[str] = "vip.moved"
    group: str
    director: str
    to: str
    epoch: int
    gap_s: float
    overlap_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictView:
    """A conflict that stands, as the sender sees it; fields as in ``VipConflict``."""

    group: str
    address: str
    mac: str
    interface: str
    director: str
    held: bool
