"""Joins what a voter owes and what a candidate may count on; ownership asks it with three voters.

Sans-I/O. ``votes`` has the rules and says why they are safe.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from heartbus_membership.claims import (
    SUPPORTED,
    Claim,
    Effect,
    PeerReport,
    PersistVote,
    Phase,
    SendHeartbeat,
    Vote,
)
from heartbus_membership.votes import Support, Voter, promise_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A claim that we might support; ``rank``: 0 for the preferred director."""

    name: str
    incarnation: int
    claim: Claim
    rank: int


class Ballot:
    """Votes of one process of ours: given, and got.

    ``others``: how many other voters there are. ``remembered``: as for ``Voter``.
    """

    def __init__(
        self,
        *,
        node: str,
        incarnation: int,
        others: int,
        lease_s: float,
        tail_s: float,
        started_s: float,
        remembered: Mapping[str, Vote] | None,
    ) -> None:
        self._node = node
        self._incarnation = incarnation
        self._unwritten: frozenset[str] = frozenset()
        self._tail_s = tail_s
        self.majority = (others + 1) // 2 + 1
        self._voter = Voter(
            promise_s=promise_s(lease_s, tail_s=tail_s), started_s=started_s, remembered=remembered
        )
        # An earlier process of ours had the votes; what its vip holds yet, nobody knows.
        ends_s = started_s + promise_s(lease_s, tail_s=tail_s)
        self._unsure_until_s = {
            group: ends_s for group, vote in (remembered or {}).items() if vote.candidate == node
        }
        self._support = Support(others=others, lease_s=lease_s)

    # --- what happened ---------------------------------------------------------------------------

    def peer_heard(
        self, peer: str, report: PeerReport, groups: Iterable[str], *, now_s: float
    ) -> list[Effect]:
        """Take in news of a peer: its claims renew or end our promises, its votes support us."""
        effects: list[Effect] = []
        for group in groups:
            claim = report.claims.get(group)
            # Who has not heard this process of ours may speak of what was before.
            if claim is not None and (claim.phase in SUPPORTED or report.echoed is not None):
                vote = self._voter.heard(
                    group, peer, incarnation=report.incarnation, claim=claim, now_s=now_s
                )
                effects += _told(group, vote)
            if group in report.supports and report.echoed is not None:
                self._support.vote_heard(group, peer, echoed=report.echoed)
        return effects

    def beat_sent(self, sequence: int, *, now_s: float) -> None:
        """Note when a heartbeat of ours was sent, or a little earlier."""
        self._support.beat_sent(sequence, now_s=now_s)

    # --- as a candidate --------------------------------------------------------------------------

    def may_ask(self, group: str, *, now_s: float) -> bool:
        """Whether our own vote is free for our own claim."""
        if now_s < self._unsure_until_s.get(group, now_s):
            return False
        return self._voter.may_support(group, self._node, now_s=now_s)

    def claim_begins(self, group: str, epoch: int) -> list[Effect]:
        """Give our own vote to ourselves; only what is said from now on counts as support."""
        self._support.claim_begins(group)
        return self.claim_stands(group, epoch)

    def claim_stands(self, group: str, epoch: int) -> list[Effect]:
        """Keep our own vote while we ask, hold or release."""
        return _told(group, self._voter.bind(group, self._own(epoch), until_s=float("inf")))

    def raise_begins(self, group: str) -> None:
        """Ask whether a majority supports us still, see ``has_risen``."""
        self._support.raise_begins(group)

    def claim_rises(self, group: str, epoch: int) -> list[Effect]:
        """Ask the others to support a higher epoch of what we hold."""
        self._support.raise_begins(group)
        return self.claim_stands(group, epoch)

    def has_risen(self, group: str) -> bool:
        """Whether a majority supports what we have said since the last of the two above."""
        return group not in self._unwritten and self._support.raised(group)

    def claim_ends(self, group: str, epoch: int, *, gone_s: float) -> None:
        """Free our own vote when the addresses are gone for sure, which may be past."""
        self._voter.bind(group, self._own(epoch), until_s=gone_s)

    def lease_until_s(self, group: str) -> float:
        """Return until when a majority lets us hold a group; -inf if it does not."""
        return self._support.until_s(group)

    def own_vote_counts(self, group: str) -> bool:
        """Whether our next process would know of our vote."""
        return group not in self._unwritten

    def votes_written(self, unwritten: Collection[str]) -> None:
        """Note which groups have a new vote that cannot be written."""
        self._unwritten = frozenset(unwritten)

    def _own(self, epoch: int) -> Vote:
        return Vote(candidate=self._node, incarnation=self._incarnation, epoch=epoch)

    # --- as a voter ------------------------------------------------------------------------------

    def consider(
        self, group: str, candidates: Iterable[Candidate], *, now_s: float
    ) -> list[Effect]:
        """Support somebody where we are free: one who holds before one who asks, then by rank.

        Where news have not made us promise yet: our promise to another one ran out after them.
        """
        asking = [c for c in candidates if c.claim.phase in SUPPORTED]
        supported = self._voter.supports(group, now_s=now_s)
        if supported is not None or not asking:
            return []
        best = min(asking, key=lambda c: (c.claim.phase is Phase.ASKING, c.rank))
        vote = Vote(candidate=best.name, incarnation=best.incarnation, epoch=best.claim.epoch)
        return _told(group, self._voter.support(group, vote, now_s=now_s))

    def highest_epoch(self, group: str) -> int:
        """Return the highest epoch that we ever supported."""
        return self._voter.highest_epoch(group)

    def votes(self, groups: Iterable[str], *, now_s: float) -> dict[str, str]:
        """Return whom we support, by group, for our heartbeat."""
        found = {group: self._voter.supports(group, now_s=now_s) for group in groups}
        return {group: candidate for group, candidate in found.items() if candidate is not None}


def _told(group: str, vote: Vote | None) -> list[Effect]:
    return [] if vote is None else [PersistVote(group=group, vote=vote), SendHeartbeat()]
