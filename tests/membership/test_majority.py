"""Three or more voters: a majority grants each lease, and two leases never stand at once."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from heartbus.events import DirectorStatus, HeldGroup, HoldStatus, VipState
from heartbus.model import Timers
from heartbus_membership.ballot import Ballot, Candidate
from heartbus_membership.claims import (
    Claim,
    Effect,
    Grant,
    GroupRule,
    PeerReport,
    PersistVote,
    Phase,
    Revoke,
    StandingLease,
    Vote,
)
from heartbus_membership.ownership import Ownership
from heartbus_membership.votes import DRIFT, Support, Voter, promise_s

TIMERS = Timers(keepalive_s=0.1, warntime_s=0.2, deadtime_s=0.4, initdead_s=2.0)
LEASE_S = 1.0
T = 100.0
G = "vip"
HELD, ASKING, NONE = Phase.HELD, Phase.ASKING, Phase.NONE


def claim(phase: Phase, epoch: int = 1) -> Claim:
    return Claim(epoch=epoch, phase=phase, candidate=True)


# --- one voter -----------------------------------------------------------------------------------


def voter(remembered: dict[str, Vote] | None) -> Voter:
    return Voter(promise_s=LEASE_S, started_s=T, remembered=remembered)


EPOCHS = {"a": 1, "b": 2}


def hear(
    of: Voter,
    peer: str,
    phase: Phase,
    now_s: float,
    *,
    incarnation: int = 1,
    epoch: int | None = None,
) -> Vote | None:
    said = claim(phase, EPOCHS[peer] if epoch is None else epoch)
    return of.heard(G, peer, incarnation=incarnation, claim=said, now_s=now_s)


def vote(candidate: str, *, incarnation: int = 1, epoch: int | None = None) -> Vote:
    number = EPOCHS[candidate] if epoch is None else epoch
    return Vote(candidate=candidate, incarnation=incarnation, epoch=number)


def test_a_vote_binds_for_the_whole_promise() -> None:
    ours = voter({})
    assert hear(ours, "a", ASKING, T) == vote("a")
    assert hear(ours, "b", ASKING, T + 0.5) is None
    assert ours.supports(G, now_s=T + 0.5) == "a"
    assert hear(ours, "b", ASKING, T + LEASE_S - 0.001) is None
    assert hear(ours, "b", ASKING, T + LEASE_S) == vote("b")


def test_hearing_the_candidate_again_prolongs_the_promise() -> None:
    ours = voter({})
    hear(ours, "a", ASKING, T)
    assert hear(ours, "a", HELD, T + 0.9) is None, "no new vote"
    assert hear(ours, "b", ASKING, T + 1.5) is None
    assert ours.supports(G, now_s=T + 1.5) == "a"


def test_a_claim_taken_back_by_the_process_that_made_it_frees_the_vote() -> None:
    ours = voter({})
    hear(ours, "a", HELD, T)
    hear(ours, "a", NONE, T + 0.1, incarnation=2)
    assert ours.supports(G, now_s=T + 0.1) == "a", "its new process may not know what its vip holds"
    hear(ours, "a", NONE, T + 0.2)
    assert ours.supports(G, now_s=T + 0.2) is None
    assert hear(ours, "b", ASKING, T + 0.2) is not None


def test_a_voter_without_memory_supports_nobody_for_a_promise() -> None:
    ours = voter(None)
    assert hear(ours, "a", HELD, T + LEASE_S - 0.001) is None
    assert hear(ours, "a", HELD, T + LEASE_S) is not None


def test_a_voter_that_remembers_is_bound_to_the_same_candidate_only() -> None:
    ours = voter({G: vote("a")})
    assert hear(ours, "b", ASKING, T + 0.5) is None
    assert hear(ours, "a", HELD, T + 0.6, incarnation=2) == vote("a", incarnation=2)
    assert ours.heard("other", "b", incarnation=1, claim=claim(ASKING), now_s=T) is not None


def test_a_voter_supports_no_epoch_twice_and_none_below_what_it_supported() -> None:
    ours = voter({})
    hear(ours, "a", HELD, T, epoch=5)
    assert hear(ours, "b", ASKING, T + LEASE_S, epoch=4) is None
    assert hear(ours, "b", ASKING, T + LEASE_S, epoch=5) is None, "it may have been granted to a"
    assert hear(ours, "a", HELD, T + LEASE_S, epoch=4, incarnation=2) is None, "its disk was lost"
    assert ours.supports(G, now_s=T + LEASE_S) is None
    assert ours.highest_epoch(G) == 6, "who is refused asks again above this, b at 5 too"
    assert hear(ours, "a", HELD, T + LEASE_S, epoch=5, incarnation=2) is not None
    assert hear(ours, "b", ASKING, T + 3 * LEASE_S, epoch=7) == vote("b", epoch=7)
    assert ours.highest_epoch(G) == 7


def test_the_highest_epoch_is_remembered_over_a_restart() -> None:
    ours = voter({G: vote("a", epoch=5)})
    assert hear(ours, "b", ASKING, T + LEASE_S, epoch=5) is None
    assert hear(ours, "b", ASKING, T + LEASE_S, epoch=6) is not None


def test_a_higher_epoch_of_the_same_claim_is_a_new_vote() -> None:
    ours = voter({})
    hear(ours, "a", HELD, T, epoch=5)
    assert hear(ours, "a", HELD, T + 0.1, epoch=6) == vote("a", epoch=6)
    assert hear(ours, "a", HELD, T + 0.2, epoch=6) is None
    hear(ours, "a", NONE, T + 0.3, epoch=9)
    assert ours.supports(G, now_s=T + 0.3) is None, "whatever epoch it knows of by then"


def test_promises_outlast_leases_by_the_drift_of_clocks_and_the_tail_of_addresses() -> None:
    assert promise_s(2.0, tail_s=1.3) == pytest.approx(3.3 * (1 + DRIFT))


# --- what a candidate may count on ---------------------------------------------------------------


def test_a_lease_counts_from_the_sending_of_what_the_voter_echoes() -> None:
    support = Support(others=2, lease_s=LEASE_S)
    support.beat_sent(1, now_s=T)
    support.claim_begins(G)
    support.beat_sent(2, now_s=T + 0.1)
    support.beat_sent(3, now_s=T + 0.2)
    support.vote_heard(G, "b", echoed=1)
    assert support.until_s(G) == float("-inf"), "it had not heard the claim"
    support.vote_heard(G, "b", echoed=2)
    assert support.until_s(G) == T + 0.1 + LEASE_S
    support.vote_heard(G, "b", echoed=3)
    support.vote_heard(G, "b", echoed=2)
    assert support.until_s(G) == T + 0.2 + LEASE_S, "a late message takes nothing away"
    support.vote_heard(G, "b", echoed=99)
    assert support.until_s(G) == T + 0.2 + LEASE_S, "we never sent that"


@pytest.mark.parametrize(("others", "needed"), [(2, 1), (3, 2), (4, 2), (5, 3), (6, 3)])
def test_more_than_half_of_the_voters_must_be_sure(others: int, needed: int) -> None:
    support = Support(others=others, lease_s=LEASE_S)
    for number in range(1, others + 1):
        support.beat_sent(number, now_s=T + number)
        support.vote_heard(G, f"v{number}", echoed=number)
        assert (support.until_s(G) > 0) == (number >= needed)
    assert support.until_s(G) == T + others + 1 - needed + LEASE_S


def test_where_it_is_free_a_voter_supports_a_holder_before_one_who_asks() -> None:
    ballot = Ballot(
        node="c",
        incarnation=1,
        others=2,
        lease_s=LEASE_S,
        tail_s=0.0,
        started_s=T,
        remembered={},
    )
    asking = Candidate(name="a", incarnation=1, claim=claim(ASKING), rank=0)
    holding = Candidate(name="b", incarnation=1, claim=claim(HELD), rank=1)
    effects = ballot.consider(G, [asking, holding], now_s=T)
    assert effects[0] == PersistVote(group=G, vote=vote("b", epoch=1))
    assert ballot.consider(G, [asking], now_s=T + 0.5) == []
    assert ballot.votes([G], now_s=T + 0.5) == {G: "b"}


# --- whole parliaments ---------------------------------------------------------------------------


@dataclass(slots=True)
class Member:
    """One director or witness: the core, its vip as far as it matters, and its disk."""

    name: str
    core: Ownership
    incarnation: int
    sequence: int = 0
    on: bool = True
    heard: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    votes: dict[str, Vote] = field(default_factory=dict)
    story: list[Effect] = field(default_factory=list)


class Parliament:
    """Cores joined by a network that can be cut one way; time goes in steps of a keepalive."""

    def __init__(
        self, directors: str = "abc", witnesses: str = "", *, tail_s: float = 0.0, seed: int = 1
    ) -> None:
        self.now_s = T
        self.directors, self.witnesses, self.tail_s = directors, witnesses, tail_s
        self.cuts: set[tuple[str, str]] = set()
        self.dies_with_grant: set[str] = set()
        self.random = random.Random(seed)
        self.members = {name: self.make(name, 1, {}) for name in directors + witnesses}

    def make(
        self,
        name: str,
        incarnation: int,
        votes: dict[str, Vote] | None,
        standing: tuple[StandingLease, ...] = (),
    ) -> Member:
        core = Ownership(
            node=name,
            directors=tuple(self.directors),
            witnesses=tuple(self.witnesses),
            groups=[GroupRule(name=G, preferred="a")],
            failback=False,
            timers=TIMERS,
            lease_s=LEASE_S,
            lifetime_s=3.0,
            tail_s=self.tail_s,
            started_s=self.now_s,
            epochs={},
            standing=standing,
            incarnation=incarnation,
            votes=votes,
        )
        core.bus_changed(connected=True, now_s=self.now_s)
        return Member(name=name, core=core, incarnation=incarnation, votes=votes or {})

    def take(self, member: Member, effects: list[Effect]) -> None:
        member.story += effects
        for effect in effects:
            if isinstance(effect, PersistVote):
                member.votes[effect.group] = effect.vote
            elif isinstance(effect, Grant) and member.name in self.dies_with_grant:
                member.on = False

    def step(self) -> None:
        self.now_s += TIMERS.keepalive_s * self.random.uniform(0.5, 1.0)
        up = [m for m in self.members.values() if m.on]
        for member in up:
            self.silence(member)
            if member.name in self.directors:
                held = bool(member.core.leases)
                status = HoldStatus.HELD if held else HoldStatus.RELEASED
                epoch = member.core.claims(now_s=self.now_s)[G].epoch
                group = HeldGroup(name=G, status=status, epoch=epoch, addresses=())
                state = VipState(groups=(group,))
                member.core.vip_reported(state, now_s=self.now_s)
            self.take(member, member.core.tick(now_s=self.now_s))
        self.random.shuffle(up)
        for member in up:
            if member.on:
                self.send(member)
        self.check()

    def silence(self, member: Member) -> None:
        for name, peer in self.members.items():
            if name == member.name:
                continue
            heard_s = member.heard.get(name, (0, 0, T - 10.0))[2]
            if self.now_s - heard_s > TIMERS.deadtime_s and peer is not member:
                member.core.peer_silent(name, DirectorStatus.DEAD, cause=None, now_s=self.now_s)
                self.take(member, member.core.tick(now_s=self.now_s))

    def send(self, member: Member) -> None:
        member.sequence += 1
        now_s = self.now_s
        claims, votes = member.core.claims(now_s=now_s), member.core.votes(now_s=now_s)
        member.core.beat_sent(member.sequence, now_s=now_s)
        for name, peer in self.members.items():
            if name == member.name or not peer.on or (member.name, name) in self.cuts:
                continue
            echo = member.heard.get(name)
            report = PeerReport(
                incarnation=member.incarnation,
                settled=True,
                claims=claims,
                supports=frozenset(g for g, whom in votes.items() if whom == name),
                echoed=echo[1] if echo is not None and echo[0] == peer.incarnation else None,
            )
            peer.heard[member.name] = (member.incarnation, member.sequence, now_s)
            self.take(peer, peer.core.peer_heard(member.name, report, now_s=now_s))
            self.take(peer, peer.core.tick(now_s=now_s))

    def check(self) -> None:
        standing = [
            (m.name, lease.deadline_s)
            for m in self.members.values()
            if m.on
            for lease in m.core.leases
            if lease.deadline_s > self.now_s
        ]
        assert len(standing) <= 1, f"two leases at {self.now_s}: {standing}"

    def run(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.step()

    def isolate(self, *names: str) -> None:
        for name in names:
            for other in self.members:
                if other not in names:
                    self.cuts |= {(name, other), (other, name)}

    def restart(self, name: str, *, remembers: bool = True) -> None:
        old = self.members[name]
        standing = old.core.leases
        votes = old.votes if remembers else None
        self.members[name] = self.make(name, old.incarnation + 1, votes, standing)

    @property
    def holders(self) -> list[str]:
        return [m.name for m in self.members.values() if m.on and m.core.leases]

    def granted(self, name: str) -> list[Grant]:
        return [e for e in self.members[name].story if isinstance(e, Grant)]


@pytest.fixture(params=["abc", "ab+w", "abcd", "abcde", "abc+vw"])
def parliament(request: pytest.FixtureRequest) -> Parliament:
    directors, _, witnesses = str(request.param).partition("+")
    made = Parliament(directors, witnesses)
    made.run(3.0)
    assert made.holders == ["a"]
    return made


def test_the_majority_takes_over_when_the_holder_is_cut_off(parliament: Parliament) -> None:
    parliament.isolate("a")
    parliament.run(LEASE_S + TIMERS.deadtime_s + 3 * TIMERS.keepalive_s + 0.5)
    assert parliament.holders == ["b"]
    reasons = [e.reason for e in parliament.members["a"].story if isinstance(e, Revoke)]
    assert len(reasons) == 1
    assert "a majority did not renew it" in reasons[0]
    parliament.cuts.clear()
    parliament.run(3.0)
    assert parliament.holders == ["b"]


def test_a_majority_that_stays_whole_keeps_its_holder(parliament: Parliament) -> None:
    last = list(parliament.members)[-1]
    parliament.isolate(last)
    parliament.run(5.0)
    assert parliament.holders == ["a"]
    assert len(parliament.granted("a")) == 1


def test_without_any_majority_nobody_holds_and_then_somebody_does(parliament: Parliament) -> None:
    for name in parliament.members:
        parliament.isolate(name)
    parliament.run(LEASE_S + 0.2)
    assert parliament.holders == []
    parliament.run(5.0)
    assert parliament.holders == []
    assert parliament.members["a"].core.quorum is False
    parliament.cuts.clear()
    parliament.run(2 * LEASE_S + 2.0)
    assert len(parliament.holders) == 1
    assert parliament.members["a"].core.quorum is True


def test_one_that_sends_but_hears_nothing_gives_up(parliament: Parliament) -> None:
    parliament.cuts |= {(other, "a") for other in parliament.members if other != "a"}
    parliament.run(LEASE_S + 0.2)
    assert "a" not in parliament.holders
    parliament.run(3 * LEASE_S)
    assert parliament.holders == ["b"]


def test_a_witness_that_restarts_without_memory_lets_the_holder_go_on() -> None:
    parliament = Parliament("ab", "w")
    parliament.run(3.0)
    parliament.restart("w", remembers=False)
    parliament.run(5.0)
    assert parliament.holders == ["a"]
    assert len(parliament.granted("a")) == 1


def test_a_witness_that_restarts_with_memory_is_worth_a_vote_at_once() -> None:
    parliament = Parliament("ab", "w")
    parliament.run(3.0)
    parliament.members["b"].on = False
    parliament.run(0.5 * LEASE_S)
    parliament.restart("w")
    parliament.run(5.0)
    assert parliament.holders == ["a"]
    assert len(parliament.granted("a")) == 1


def test_a_holder_whose_membership_restarts_keeps_its_lease() -> None:
    parliament = Parliament("ab", "w")
    parliament.run(3.0)
    parliament.restart("a")
    assert parliament.holders == ["a"]
    parliament.run(5.0)
    assert parliament.holders == ["a"]
    assert parliament.granted("a") == []


def test_a_witness_holds_nothing_and_wants_nothing() -> None:
    parliament = Parliament("ab", "w")
    parliament.members["a"].on = parliament.members["b"].on = False
    parliament.run(10.0)
    assert parliament.holders == []
    assert not parliament.members["w"].core.claims(now_s=parliament.now_s)[G].candidate


def test_strict_waits_until_the_address_of_the_old_holder_is_gone_for_sure() -> None:
    tail_s = 1.3
    gaps = {}
    for strict in (False, True):
        parliament = Parliament("ab", "w", tail_s=tail_s if strict else 0.0)
        parliament.run(3.0)
        ended_s = parliament.members["a"].core.leases[0].deadline_s
        parliament.members["a"].on = False
        while not parliament.holders:
            parliament.step()
        gaps[strict] = parliament.now_s - ended_s
    assert 0 <= gaps[False] < tail_s
    assert gaps[True] >= tail_s


@pytest.mark.parametrize("seed", range(40))
def test_no_two_leases_under_random_cuts_and_restarts(seed: int) -> None:
    chance = random.Random(seed)
    directors, _, witnesses = chance.choice(["abc", "ab+w", "abcd", "abc+vw"]).partition("+")
    parliament = Parliament(directors, witnesses, seed=seed)
    names = list(parliament.members)
    for _ in range(12):
        match chance.randrange(4):
            case 0:
                one, other = chance.sample(names, 2)
                parliament.cuts.add((one, other))
            case 1:
                parliament.isolate(chance.choice(names))
            case 2:
                parliament.cuts.clear()
            case 3:
                parliament.restart(chance.choice(names), remembers=chance.random() < 0.5)
        parliament.run(chance.choice([0.1, 0.4, 1.1, 2.5]))
    parliament.cuts.clear()
    parliament.run(4 * (LEASE_S + TIMERS.initdead_s))
    assert len(parliament.holders) == 1


def test_strict_a_lapsed_claim_keeps_the_votes_until_the_address_is_gone() -> None:
    parliament = Parliament("ab", "w", tail_s=1.3)
    parliament.run(3.0)
    a = parliament.members["a"]
    ends_s = a.core.leases[0].deadline_s
    parliament.cuts |= {(other, "a") for other in "bw"}  # a sends on, and hears nothing
    while not parliament.members["b"].core.leases:
        parliament.step()
        assert a.core.leases or parliament.now_s >= ends_s
    assert parliament.now_s >= ends_s + 1.3


def test_a_grant_is_above_every_epoch_that_a_voter_knew() -> None:
    parliament = Parliament("ab", "w")
    parliament.run(3.0)
    parliament.members["a"].on = False
    parliament.members["w"].core._view.groups[G].highest = 9
    parliament.run(3 * LEASE_S)
    assert [grant.epoch for grant in parliament.granted("b")] > [9]


def test_who_restarts_with_its_own_vote_and_no_lease_does_not_ask_for_a_promise() -> None:
    parliament = Parliament("ab", "w")
    parliament.run(3.0)
    old = parliament.members["a"]
    parliament.members["a"] = parliament.make("a", 2, old.votes)  # its lease file is lost
    parliament.run(0.8 * LEASE_S)
    assert parliament.members["a"].core.claims(now_s=parliament.now_s)[G].phase is NONE
    parliament.run(4 * LEASE_S)
    assert len(parliament.holders) == 1


@pytest.mark.parametrize("seed", range(1, 11))
def test_an_epoch_is_granted_once_also_where_its_first_holder_dies_before_it_tells(
    seed: int,
) -> None:
    parliament = Parliament("ab", "w", seed=seed)
    parliament.members["w"].core._view.groups[G].highest = 9
    parliament.dies_with_grant.add("a")
    parliament.run(5 * LEASE_S)
    [first] = parliament.granted("a")
    [second] = parliament.granted("b")
    assert 9 < first.epoch < second.epoch


def test_a_holder_that_needs_a_higher_epoch_has_a_majority_support_it_first() -> None:
    parliament = Parliament("ab", "w")
    parliament.run(3.0)
    a = parliament.members["a"]
    [lease] = a.core.leases
    rival = PeerReport(incarnation=1, settled=True, claims={G: claim(HELD, lease.epoch - 1)})
    parliament.take(a, a.core.peer_heard("b", rival, now_s=parliament.now_s))
    parliament.take(a, a.core.tick(now_s=parliament.now_s))
    assert len(parliament.granted("a")) == 1
    assert [x.epoch for x in a.core.leases] == [lease.epoch]
    assert a.core.claims(now_s=parliament.now_s)[G].epoch == lease.epoch, "not sure of it yet"
    parliament.run(0.7)
    assert [grant.epoch for grant in parliament.granted("a")] == [lease.epoch, lease.epoch + 1]
    assert parliament.members["w"].votes[G].epoch == lease.epoch + 1
    assert parliament.holders == ["a"]


def test_a_vote_of_ours_that_cannot_be_written_does_not_count() -> None:
    parliament = Parliament("ab", "w")
    for name in "ab":
        parliament.members[name].core.votes_written({G})
    parliament.run(5.0)
    assert parliament.holders == []
    parliament.members["b"].core.votes_written(())
    parliament.run(5.0)
    assert parliament.holders == ["b"]
    reasons = {v.reason for v in parliament.members["a"].core.views()}
    assert reasons == {"b says so"}


def test_who_has_not_heard_this_process_of_ours_takes_no_claim_back() -> None:
    ballot = Ballot(
        node="c",
        incarnation=2,
        others=2,
        lease_s=LEASE_S,
        tail_s=0.0,
        started_s=T,
        remembered={},
    )

    def say(phase: Phase, echoed: int | None) -> None:
        report = PeerReport(incarnation=1, settled=True, claims={G: claim(phase)}, echoed=echoed)
        ballot.peer_heard("a", report, [G], now_s=T + 0.1)

    say(HELD, None)
    say(NONE, None)
    assert ballot.votes([G], now_s=T + 0.1) == {G: "a"}
    say(NONE, 1)
    assert ballot.votes([G], now_s=T + 0.1) == {}


def test_a_vote_is_freed_only_when_the_vip_of_an_adopted_lease_has_given_up() -> None:
    parliament = Parliament("ab", "w")
    parliament.run(3.0)
    old = parliament.members["a"]
    [lease] = old.core.leases
    stale = StandingLease(group=G, epoch=lease.epoch, deadline_s=lease.deadline_s, stale_s=0.25)
    parliament.members["a"] = a = parliament.make("a", 2, old.votes, (stale,))
    parliament.isolate("a")
    parliament.isolate("b")
    while a.core.leases:
        parliament.step()
    assert parliament.now_s < lease.deadline_s + 0.25
    assert a.core.votes(now_s=parliament.now_s) == {G: "a"}
    assert a.core.votes(now_s=lease.deadline_s + 0.25) == {}


def test_a_holder_that_is_none_any_more_announces_no_higher_epoch() -> None:
    parliament = Parliament("ab", "w")
    parliament.run(3.0)
    a = parliament.members["a"]
    heard = PeerReport(incarnation=1, settled=True, claims={G: claim(NONE, 9)}, echoed=None)
    for _ in range(10):  # w supports somebody else by now: our clock stood still with our host
        parliament.now_s += TIMERS.keepalive_s
        parliament.take(a, a.core.peer_heard("w", heard, now_s=parliament.now_s))
        parliament.take(a, a.core.tick(now_s=parliament.now_s))
        assert a.core.claims(now_s=parliament.now_s)[G].epoch < 9 or not a.core.leases
    assert len(parliament.granted("a")) == 1


def test_a_voter_that_asked_for_itself_supports_the_holder_again() -> None:
    parliament = Parliament("ab", "w")
    parliament.run(3.0)
    parliament.cuts |= {("a", "b"), ("w", "b")}
    parliament.run(LEASE_S + 1.0)
    b = parliament.members["b"]
    b.core._view.groups[G].highest += 5  # it asked, again and again
    parliament.cuts.clear()
    parliament.run(LEASE_S)
    parliament.members["w"].on = False
    parliament.run(2 * LEASE_S)
    assert parliament.holders == ["a"], "with the vote of b"
    assert b.votes[G].epoch == parliament.members["a"].core.leases[0].epoch


def test_who_hears_the_witness_first_after_a_cut_does_not_cost_the_holder_its_lease() -> None:
    """Did it ask at once, for it hears a majority, it could not support the holder for a while."""
    parliament = Parliament("ab", "w")
    parliament.run(3.0)
    parliament.isolate("b")
    parliament.run(LEASE_S + 1.0)
    parliament.cuts = {("a", "b"), ("b", "a")}
    parliament.step()
    parliament.cuts.clear()
    parliament.members["w"].on = False
    parliament.run(2 * LEASE_S)
    assert parliament.holders == ["a"]
    assert not [e for e in parliament.members["a"].story if isinstance(e, Revoke)]


def test_who_does_not_hear_the_holder_and_asks_on_makes_it_follow_twice_a_lease_at_most() -> None:
    parliament = Parliament("ab", "w")
    parliament.run(3.0)
    before = len(parliament.granted("a"))
    parliament.cuts.add(("a", "b"))
    parliament.run(10 * LEASE_S)
    assert parliament.holders == ["a"]
    assert len(parliament.granted("a")) - before <= 20
