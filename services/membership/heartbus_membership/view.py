"""What one director knows of the others, of itself and of each resource group.

Sans-I/O. Plain records that ``ownership`` keeps up to date and ``rules`` reads.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from heartbus.events import DirectorStatus
from heartbus.model import Timers
from heartbus_membership.ballot import Ballot
from heartbus_membership.claims import Claim, Grant, GroupRule, PeerReport, Phase, Revoke
from heartbus_membership.readiness import Readiness, Ready

LIVE: Final = frozenset({DirectorStatus.ALIVE, DirectorStatus.LATE})
QUORUM_BEATS: Final = 2
"""For so many keepalives a majority is heard before it counts: each voter has said something."""

GONE: Final = frozenset({DirectorStatus.DEAD, DirectorStatus.LEFT})


class RaiseStep(enum.Enum):
    """How far a holder is with a higher epoch; with a majority only.

    ``sure``: it learns whether a majority supports it still. ``asked``: it has announced the epoch.
    """

    NONE = enum.auto()
    SURE = enum.auto()
    ASKED = enum.auto()


@dataclass(slots=True)
class KnownPeer:
    """One other voter; ``cause`` is the id of the event that told of its end.

    ``up_since_s``: when it was first heard after it was unknown or gone.
    """

    name: str
    witness: bool = False
    status: DirectorStatus = DirectorStatus.UNKNOWN
    report: PeerReport | None = None
    last_words: PeerReport | None = None
    heard_s: float = float("-inf")
    gone_since_s: float = float("inf")
    up_since_s: float = float("-inf")
    cause: str | None = None

    def knows(self, group: str) -> bool:
        """Whether a group is configured there, as far as it was heard."""
        return self.report is not None and group in self.report.claims

    def claim(self, group: str) -> Claim:
        """Return what a live peer says of a group; void unless it is live."""
        if self.status not in LIVE or self.report is None:
            return Claim()
        return self.report.claims.get(group, Claim())


@dataclass(slots=True)
class KnownGroup:
    """One resource group: our own claim on it, and what led here."""

    rule: GroupRule
    rank: Mapping[str, int]
    highest: int
    phase: Phase = Phase.NONE
    epoch: int = 0
    lease_until_s: float = 0.0
    revoked_s: float = 0.0
    hands_over: bool = False
    """We withdrew it for another director to take."""
    reason: str = "nobody holds it yet"
    cause: str | None = None
    vacated_by: str | None = None
    was_claimed: bool = False
    ask_first: bool = False
    """Nobody was ever heard to claim it before we did: its addresses may be in use."""
    handed_over_until_s: float = float("-inf")
    waiting_since_s: float | None = None
    preferred_yielded: bool = False
    wants_back: bool = False
    outbid: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By peer: incarnation and epoch of its claim that we have already raised ours above."""
    free_s: float = float("-inf")
    """Strict takeover: until then a director that died may have the address in its kernel still."""
    unsafe: set[str] = field(default_factory=set)
    """Dead directors that may hold it and must be fenced before we take it."""
    told_by: set[str] = field(default_factory=set)
    """Directors that held it when we found them dead: they may have told its clients since."""
    standby: bool = False
    """An operator moved it away from here: it comes back where nobody else can take it."""
    ordered_by: str | None = None
    """Id of the event that told of the command behind ``standby`` or ``wanted_until_s``."""
    wanted_until_s: float = float("-inf")
    """An operator wants it here; asked for until then."""
    raise_step: RaiseStep = RaiseStep.NONE
    raise_to: int = 0
    """An epoch that we ask a majority for while we hold the group with a lower one; 0: none."""
    raise_reason: str = ""
    raised_s: float = float("-inf")
    stale_s: float = 0.0
    """Our vip may believe in a lease that is longer by so much: an earlier process told it."""
    handover_ends_s: float = float("-inf")
    """When a handover that is under way, as giver or as taker, is called off."""
    kept_until_s: float = float("-inf")
    """A handover failed: no other one is tried before, except by a stop."""
    ask_until_s: float = float("-inf")
    asked_after: int = 0
    """Our heartbeats of a higher sequence say that we ask."""
    ask_again_s: float = float("-inf")
    since_s: float = float("-inf")
    """When it was configured, if that was after our start."""
    retired: bool = False
    """It is configured no more: let go of it, and forget it then."""


@dataclass(slots=True)
class View:
    """All that the rules look at, on one director or witness.

    ``tail_s``: how long an address may outlive its lease, 0 where takeover is fast. ``ballot``:
    None where two directors decide without a majority. ``bar``: why we should not take over now.
    ``yield_to``: a director that reaches more ping nodes. ``isolated``: none of our ping nodes
    answers. ``fences``: directors that can be fenced; ``fenced``: those that are.
    """

    node: str
    timers: Timers
    lease_s: float
    tail_s: float
    failback: bool
    started_s: float
    peers: dict[str, KnownPeer]
    groups: dict[str, KnownGroup]
    readiness: Readiness
    ballot: Ballot | None
    fences: frozenset[str] = frozenset()
    fenced: set[str] = field(default_factory=set)
    stopping: bool = False
    sequence: int = 0
    """Of our last heartbeat."""
    ready_since_s: float | None = None
    woke_s: float | None = None
    bar: str | None = None
    yield_to: str | None = None
    majority_since_s: float | None = None
    """Since when a majority is heard; None while none is."""
    isolated: bool = False
    unlike: frozenset[str] = frozenset()
    """Directors with another configuration or table than ours: nothing is shared with them."""

    @property
    def strict(self) -> bool:
        """Whether an address must be gone for sure before another director takes it."""
        return self.tail_s > 0

    @property
    def settled(self) -> bool:
        """Whether every other director was heard, or declared dead or gone, once."""
        return all(
            p.status is not DirectorStatus.UNKNOWN for p in self.peers.values() if not p.witness
        )

    @property
    def alone(self) -> bool:
        """Whether no other director is heard."""
        return not any(p.status in LIVE for p in self.peers.values() if not p.witness)

    @property
    def voters_heard(self) -> int:
        """Voters that are alive as far as we know, ourselves included."""
        return 1 + sum(p.status in LIVE for p in self.peers.values())

    def has_majority(self, *, now_s: float) -> bool:
        """Whether enough voters are heard, and for long enough that a holder would be among them.

        The first one heard after a cut may be a witness: who asks before it hears the holder votes
        for itself, and cannot support the holder until that has a higher epoch.
        """
        if self.ballot is None:
            return True
        if self.majority_since_s is None:
            return False
        return now_s >= self.majority_since_s + QUORUM_BEATS * self.timers.keepalive_s

    def notice_majority(self, *, now_s: float) -> None:
        """Note whether a majority is heard; call it before every decision."""
        if self.ballot is None or self.voters_heard < self.ballot.majority:
            self.majority_since_s = None
        elif self.majority_since_s is None:
            self.majority_since_s = now_s

    def is_ready(self, *, now_s: float) -> bool:
        """Whether the local vip can take groups."""
        return not self.stopping and self.readiness.verdict(now_s=now_s)[0] is Ready.YES

    def live_claims(self, group: KnownGroup) -> Iterator[tuple[KnownPeer, Claim]]:
        """Return what the directors that are alive say of a group."""
        for peer in self.peers.values():
            if peer.status in LIVE and not peer.witness:
                yield peer, peer.claim(group.rule.name)


def ranks(rule: GroupRule, directors: Sequence[str]) -> dict[str, int]:
    """Return whose turn it is: 0 for the preferred director, then by configuration."""
    ordered = sorted(directors, key=lambda name: name != rule.preferred)
    return {name: rank for rank, name in enumerate(ordered)}


def beats(group: KnownGroup, peer: KnownPeer, claim: Claim, node: str) -> bool:
    """Whether a claim of a peer wins over ours: higher epoch, then rank."""
    theirs, ours = (claim.epoch, -group.rank[peer.name]), (group.epoch, -group.rank[node])
    return theirs > ours


def granted(group: KnownGroup, reason: str, cause: str | None) -> Grant:
    """Return a grant with the next epoch."""
    group.highest += 1
    group.epoch = group.highest
    group.reason = reason
    group.was_claimed = True
    group.hands_over = False
    group.waiting_since_s = None
    return Grant(group=group.rule.name, epoch=group.epoch, reason=reason, cause=cause)


def revoked(group: KnownGroup, reason: str, cause: str | None = None) -> Revoke:
    """Return the withdrawal of a grant."""
    group.reason = reason
    group.outbid.clear()
    return Revoke(
        group=group.rule.name,
        epoch=group.epoch,
        reason=reason,
        cause=cause,
        handover=group.hands_over,
    )


def withdraw(group: KnownGroup, reason: str, now_s: float, cause: str | None = None) -> Revoke:
    """Withdraw the grant; the claim stands until vip has let go."""
    group.phase, group.revoked_s = Phase.RELEASING, now_s
    return revoked(group, reason, cause)


def ordered_here(group: KnownGroup, now_s: float) -> str | None:
    """Return the command of an operator who wants the group here, None where nobody does."""
    return group.ordered_by if now_s < group.wanted_until_s else None
