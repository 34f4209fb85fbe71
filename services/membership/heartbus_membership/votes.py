"""Decides whom we support as a voter, and how long the support of the others lets us hold a group.

Sans-I/O; times are seconds on our monotonic clock. With three or more voters (directors and
witnesses) a group is held by a lease of the majority:

- A voter supports one candidate at a time for each group. Its support is a promise: from the moment
  it heard the candidate, it supports nobody else for ``promise_s``, whatever happens.
- Each heartbeat says whom its sender supports, and which heartbeat of each peer it heard last.
- A candidate knows when it sent the heartbeat that a voter echoes. The voter heard it later than
  that, so the promise outlives this time plus ``lease_s`` (``promise_s`` is longer by the drift of
  clocks). Of the times at which a majority was sure of us, the oldest one counts.

Two majorities share a voter, and that voter has promised itself to one: so two leases of a group
never stand at once, however late, doubled or one-sided the messages, and whatever any wall clock
says. The argument needs clocks that run at nearly the same rate (``DRIFT``) and voters that keep
their promises over a restart: a vote is written before it is said, and a voter that has lost what
it wrote, or the machine's boot, supports nobody before ``promise_s`` has passed.

A voter supports no claim with an epoch below one that it supported before, nor the same epoch of
another candidate. So of two leases the later one has the higher epoch, also where a candidate died
between its grant and its next heartbeat. Who is refused asks again, above what the voter knows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heartbus_membership.claims import SUPPORTED, Claim, Vote

DRIFT: Final = 0.01
"""Monotonic clocks of two machines may differ in rate by so much; adjtimex(2) allows 0.0005."""

SENT_MAX: Final = 4096
"""Sent heartbeats remembered; a lease is at most some hundred keepalives long."""


def promise_s(lease_s: float, *, tail_s: float) -> float:
    """Return how long a vote binds; ``tail_s``: of addresses in the kernel beyond a lease."""
    return (lease_s + tail_s) * (1 + DRIFT)


@dataclass(slots=True)
class _Promise:
    vote: Vote
    until_s: float
    heard: bool = True


class Voter:
    """Our own votes, one for each group.

    ``remembered``: the votes that an earlier process of ours wrote in this boot; None if
    it left nothing, so that nobody knows what we had promised.
    """

    def __init__(
        self,
        *,
        promise_s: float,
        started_s: float,
        remembered: Mapping[str, Vote] | None,
    ) -> None:
        self._promise_s = promise_s
        self._bound_until_s = started_s + promise_s if remembered is None else started_s
        self._promises = {
            group: _Promise(vote, started_s + promise_s, heard=False)
            for group, vote in (remembered or {}).items()
        }
        self._highest = dict(remembered or {})
        self._contested: set[str] = set()

    def supports(self, group: str, *, now_s: float) -> str | None:
        """Return whom we support; None if nobody, no longer, or one not heard since our start."""
        promise = self._promises.get(group)
        if promise is None or not promise.heard or now_s >= promise.until_s:
            return None
        return promise.vote.candidate

    def highest_epoch(self, group: str) -> int:
        """Return the epoch above which a claim must be for us to support it whose ever it is.

        One more than the highest that we supported where two candidates claimed with that one.
        """
        vote = self._highest.get(group)
        return 0 if vote is None else vote.epoch + (group in self._contested)

    def may_support(self, group: str, candidate: str, *, now_s: float) -> bool:
        """Whether no promise to somebody else is in the way."""
        if now_s < self._bound_until_s:
            return False
        promise = self._promises.get(group)
        return promise is None or promise.vote.candidate == candidate or now_s >= promise.until_s

    def heard(
        self, group: str, peer: str, *, incarnation: int, claim: Claim, now_s: float
    ) -> Vote | None:
        """Take in news of a candidate; return our vote for it if that is a new one."""
        vote = Vote(candidate=peer, incarnation=incarnation, epoch=claim.epoch)
        if claim.phase in SUPPORTED:
            return self.support(group, vote, now_s=now_s)
        # Only the process that claimed can take its claim back: one that starts anew may not know
        # yet what its vip still holds.
        promise = self._promises.get(group)
        if promise is not None and _same_process(promise.vote, vote):
            promise.until_s = now_s
        return None

    def support(self, group: str, vote: Vote, *, now_s: float) -> Vote | None:
        """Promise ourselves to a candidate if we may; return the vote if it is a new one."""
        highest = self._highest.get(group)
        if highest is not None and not _follows(vote, highest):
            if vote.epoch == highest.epoch:
                self._contested.add(group)
            return None
        if not self.may_support(group, vote.candidate, now_s=now_s):
            return None
        return self.bind(group, vote, until_s=now_s + self._promise_s)

    def bind(self, group: str, vote: Vote, *, until_s: float) -> Vote | None:
        """Promise ourselves, to our own claim too, until a time; return the vote if it is new."""
        before = self._promises.get(group)
        self._promises[group] = _Promise(vote, until_s)
        highest = self._highest.get(group)
        if highest is None or vote.epoch >= highest.epoch:
            self._highest[group] = vote
        if highest is not None and vote.epoch > highest.epoch:
            self._contested.discard(group)
        return vote if before is None or before.vote != vote else None


def _same_process(one: Vote, other: Vote) -> bool:
    return (one.candidate, one.incarnation) == (other.candidate, other.incarnation)


def _follows(vote: Vote, highest: Vote) -> bool:
    """Whether a voter that supported ``highest`` may support this one."""
    if vote.epoch == highest.epoch:
        return vote.candidate == highest.candidate
    return vote.epoch > highest.epoch


class Support:
    """How long the votes that we hear let us hold each group.

    ``others``: how many other voters there are; with ours, more than half must support us.
    """

    def __init__(self, *, others: int, lease_s: float) -> None:
        self._needed = (others + 1) // 2  # and our own vote: more than half of others + 1
        self._lease_s = lease_s
        self._sent: deque[tuple[int, float]] = deque(maxlen=SENT_MAX)
        self._since: dict[str, int] = {}
        self._sure_s: dict[str, dict[str, float]] = {}
        self._raised_since: dict[str, int] = {}
        self._raised_by: dict[str, set[str]] = {}

    def beat_sent(self, sequence: int, *, now_s: float) -> None:
        """Note when a heartbeat of ours was sent."""
        while self._sent and self._sent[0][1] < now_s - self._lease_s:
            self._sent.popleft()
        self._sent.append((sequence, now_s))

    def claim_begins(self, group: str) -> None:
        """Count only votes for what we say from the next heartbeat on."""
        self._since[group] = self._next_sequence
        self._sure_s[group] = {}

    def raise_begins(self, group: str) -> None:
        """Count who supports what we say of a group we hold, from the next heartbeat on."""
        self._raised_since[group] = self._next_sequence
        self._raised_by[group] = set()

    def raised(self, group: str) -> bool:
        """Whether a majority does."""
        return len(self._raised_by.get(group, ())) >= self._needed

    @property
    def _next_sequence(self) -> int:
        return self._sent[-1][0] + 1 if self._sent else 0

    def vote_heard(self, group: str, voter: str, *, echoed: int) -> None:
        """Note that a voter supports us, and which heartbeat of ours it had heard."""
        if echoed < self._since.get(group, 0):
            return
        sent_s = next((s for number, s in reversed(self._sent) if number == echoed), None)
        if sent_s is not None:
            sure = self._sure_s.setdefault(group, {})
            sure[voter] = max(sent_s, sure.get(voter, sent_s))
            if group in self._raised_by and echoed >= self._raised_since[group]:
                self._raised_by[group].add(voter)

    def until_s(self, group: str) -> float:
        """Return when the support of a majority ends for sure; -inf while there is none."""
        times = sorted(self._sure_s.get(group, {}).values(), reverse=True)
        if len(times) < self._needed:
            return float("-inf")
        return times[self._needed - 1] + self._lease_s
