"""What is told of another machine that answers for a virtual IP: the event and the view.

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
class ConflictView:
    """A conflict that stands, as the sender sees it; fields as in ``VipConflict``."""

    group: str
    address: str
    mac: str
    interface: str
    director: str
    held: bool
