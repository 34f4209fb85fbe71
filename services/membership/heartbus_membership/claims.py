"""What directors tell one another about resource groups, and what membership then does.

Sans-I/O. Values only; ``ownership`` is the state machine that reads and makes them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Phase(enum.IntEnum):
    """Where a director stands towards one group; the numbers are those on the wire.

    ``held``: it may hold the group. ``releasing``: it has withdrawn the grant from its own vip and
    waits until the addresses are gone; nobody else may claim yet. ``wanting``: it is ready and asks
    the holder to hand over (failback, or a takeover that an operator asked for). ``asking``: it
    claims the group once a majority of the voters supports it, or once the other one of two knows;
    until then it has no lease.
    ``handing``: it holds the group and waits for the other director to take it before it lets go.
    ``taking``: its vip takes what the other one hands over; ``held`` once that is done.
    """

    NONE = 0
    HELD = 1
    RELEASING = 2
    WANTING = 3
    ASKING = 4
    HANDING = 5
    TAKING = 6


LEASED = frozenset({Phase.HELD, Phase.HANDING, Phase.TAKING})
"""In these the own vip may hold the group."""
HOLDING = frozenset({Phase.HELD, Phase.HANDING})
"""In these the group is served here, as far as the claim says."""
CLAIMING = LEASED | {Phase.RELEASING}
SUPPORTED = CLAIMING | {Phase.ASKING}
"""Claims that a voter supports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One director's word about one group.

    ``epoch``: of its claim while held or releasing, else the highest that it knows of.
    ``candidate``: settled, its vip is ready, and its last start of this group did not fail: it
    would claim the group if it were its turn. ``score``: of its trackers; the higher one holds.
    """

    epoch: int = 0
    phase: Phase = Phase.NONE
    candidate: bool = False
    score: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerReport:
    """What the newest heartbeat of a director or witness says; ``claims`` by group name.

    ``supports``: groups in which its vote is for us. ``echoed``: the sequence of our newest
    heartbeat that it had heard, None if none of this process of ours.
    """

    incarnation: int
    settled: bool
    claims: Mapping[str, Claim] = field(default_factory=dict)
    supports: frozenset[str] = frozenset()
    echoed: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRule:
    """A resource group as ownership sees it; ``preferred`` is a director.

    ``stop_s``: how long its stop scripts may take in all, in seconds. ``may_overlap``: made of
    addresses alone, which two directors may have for a moment; a file system is another matter.
    """

    name: str
    preferred: str
    stop_s: float = 0.0
    may_overlap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingLease:
    """The right of this host to hold a group until ``deadline_s`` on its monotonic clock.

    ``stale_s``: vip may have heard of a deadline that is later by so much.
    ``releasing``: withdrawn; vip lets go of the group, and has done so by ``deadline_s``.
    ``ask_first``: nobody was known to have it before, so vip asks the network for its addresses.
    """

    group: str
    epoch: int
    deadline_s: float
    stale_s: float = 0.0
    releasing: bool = False
    ask_first: bool = False


# --- what ownership asks its shell to do, in this order ------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistEpoch:
    """Write the highest known epoch of a group to disk before anything that follows."""

    group: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """Our support of a candidate: of the claim that one process (``incarnation``) of it made.

    ``epoch``: of that claim; it is the highest that we ever supported.
    """

    candidate: str
    incarnation: int
    epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistVote:
    """Write down whom we support, before any heartbeat says so and before it counts."""

    group: str
    vote: Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistStandby:
    """Write down all groups that an operator moved away from here."""

    groups: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Let the local vip hold a group; ``cause``: id of the event that led here, if any."""

    group: str
    epoch: int
    reason: str
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoke:
    """Withdraw the grant of a group from the local vip at once; ``handover``: on purpose."""

    group: str
    epoch: int
    reason: str
    cause: str | None = None
    handover: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SendHeartbeat:
    """Tell the peers now, not with the next keepalive."""


Effect = PersistEpoch | PersistVote | PersistStandby | Grant | Revoke | SendHeartbeat
