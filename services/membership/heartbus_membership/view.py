"""What one director knows of the others and of each resource group.

Sans-I/O. Plain records that ``ownership`` keeps; the rules are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from heartbus.events import DirectorStatus
from heartbus_membership.claims import Claim, GroupRule, PeerReport, Phase

LIVE: Final = frozenset({DirectorStatus.ALIVE, DirectorStatus.LATE})
GONE: Final = frozenset({DirectorStatus.DEAD, DirectorStatus.LEFT})


@dataclass(slots=True)
class KnownPeer:
    """One other director; ``cause`` is the id of the event that told of its end."""

    name: str
    status: DirectorStatus = DirectorStatus.UNKNOWN
    report: PeerReport | None = None
    heard_s: float = float("-inf")
    gone_since_s: float = float("inf")
    cause: str | None = None

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
    reason: str = "nobody holds it yet"
    cause: str | None = None
    vacated_by: str | None = None
    was_claimed: bool = False
    handed_over_until_s: float = float("-inf")
    waiting_since_s: float | None = None
    preferred_yielded: bool = False
    wants_back: bool = False
    outbid: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By peer: incarnation and epoch of its claim that we have already raised ours above."""


def ranks(rule: GroupRule, directors: Sequence[str]) -> dict[str, int]:
    """Return whose turn it is: 0 for the preferred director, then by configuration."""
    ordered = sorted(directors, key=lambda name: name != rule.preferred)
    return {name: rank for rank, name in enumerate(ordered)}


def beats(group: KnownGroup, peer: KnownPeer, claim: Claim, node: str) -> bool:
    """Whether a claim of a peer wins over ours: higher epoch, then rank."""
    theirs, ours = (claim.epoch, -group.rank[peer.name]), (group.epoch, -group.rank[node])
    return theirs > ours
