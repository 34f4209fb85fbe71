"""Three voters that reload at any time, over links that fail: a group never has two leases."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from heartbus.events import DirectorStatus, HeldGroup, HoldStatus, VipState
from heartbus.model import Timers
from heartbus_membership.claims import Claim, GroupRule, PeerReport
from heartbus_membership.ownership import Ownership

TIMERS = Timers(keepalive_s=0.1, warntime_s=0.2, deadtime_s=0.4, initdead_s=2.0)
LEASE_S = 1.0
T = 100.0
NODES = ("a", "b", "c")
NAMES = ("x", "y", "z")
STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat says, as it was when it was sent."""

    claims: dict[str, Claim]
    votes: dict[str, str]
    heard: dict[str, int]


@dataclass(slots=True)
class Voter:
    """One director; its vip does at once as it is told. It remembers names as the shell does."""

    node: str
    core: Ownership
    sequence: int = 0
    heard: dict[str, int] = field(default_factory=dict)
    heard_s: dict[str, float] = field(default_factory=dict)
    names: set[str] = field(default_factory=lambda: {"x", "y"})
    epochs: dict[str, int] = field(default_factory=dict)

    def beat(self, now_s: float) -> Beat:
        self.sequence += 1
        claims = self.core.claims(now_s=now_s)
        for name, claim in claims.items():
            self.epochs[name] = max(self.epochs.get(name, 0), claim.epoch)
        beat = Beat(claims, self.core.votes(now_s=now_s), dict(self.heard))
        self.core.beat_sent(self.sequence, now_s=now_s)
        return beat

    def hear(self, peer: Voter, beat: Beat, now_s: float) -> None:
        self.heard[peer.node], self.heard_s[peer.node] = peer.sequence, now_s
        report = PeerReport(
            incarnation=1,
            settled=True,
            claims={name: claim for name, claim in beat.claims.items() if name in self.names},
            supports=frozenset(
                name
                for name, whom in beat.votes.items()
                if whom == self.node and name in self.names
            ),
            echoed=beat.heard.get(self.node),
        )
        self.core.peer_heard(peer.node, report, now_s=now_s)

    def turn(self, now_s: float) -> None:
        for peer in NODES:
            if peer != self.node and now_s - self.heard_s.get(peer, T) > TIMERS.deadtime_s:
                self.core.peer_silent(peer, DirectorStatus.DEAD, cause=None, now_s=now_s)
        held = {lease.group: lease.epoch for lease in self.core.leases}
        groups = tuple(
            HeldGroup(
                name=name,
                status=HoldStatus.HELD if name in held else HoldStatus.RELEASED,
                epoch=held.get(name, 0),
                addresses=(),
            )
            for name in sorted(self.names)
        )
        self.core.vip_reported(VipState(groups=groups), now_s=now_s)
        self.core.tick(now_s=now_s)

    def use(self, *names: str, now_s: float) -> None:
        self.names |= set(names)
        self.core.use_groups(rules(*names), epochs=self.epochs, now_s=now_s)

    def leases(self, now_s: float) -> set[str]:
        return {lease.group for lease in self.core.leases if lease.deadline_s > now_s}


def rules(*names: str) -> list[GroupRule]:
    return [GroupRule(name=n, preferred=NODES[NAMES.index(n)]) for n in names]


def voter(node: str) -> Voter:
    core = Ownership(
        node=node,
        directors=NODES,
        groups=rules("x", "y"),
        failback=False,
        timers=TIMERS,
        lease_s=LEASE_S,
        lifetime_s=1.0,
        started_s=T,
        epochs={},
        votes={},
    )
    core.bus_changed(connected=True, now_s=T)
    return Voter(node, core)


def play(voters: list[Voter], now_s: float, *, cut: frozenset[str] = frozenset()) -> None:
    """Let all speak once and decide; nothing passes between those in ``cut`` and the others."""
    beats = {v.node: v.beat(now_s) for v in voters}
    for listener in voters:
        for speaker in voters:
            apart = (speaker.node in cut) != (listener.node in cut)
            if speaker is not listener and not apart:
                listener.hear(speaker, beats[speaker.node], now_s)
        listener.turn(now_s)


def settled() -> tuple[list[Voter], float]:
    voters, now_s = [voter(node) for node in NODES], T
    for _ in range(40):
        now_s += STEP_S
        play(voters, now_s)
    assert [v.leases(now_s) for v in voters] == [{"x"}, {"y"}, set()]
    return voters, now_s


def test_a_new_group_is_granted_to_its_preferred_director_once_a_majority_knows_it() -> None:
    voters, now_s = settled()
    for v in voters:
        v.use("x", "y", "z", now_s=now_s)
    for _ in range(40):
        now_s += STEP_S
        play(voters, now_s)
    assert [v.leases(now_s) for v in voters] == [{"x"}, {"y"}, {"z"}]


def test_a_voter_that_forgot_a_group_and_knows_it_again_keeps_its_promise() -> None:
    voters, now_s = settled()
    third = voters[2]
    third.use("y", now_s=now_s)
    third.use("x", "y", now_s=now_s)
    # It alone hears the second one now, which takes the first for dead and asks for x.
    began_s = now_s
    while now_s < began_s + 3 * LEASE_S:
        now_s += STEP_S
        play(voters, now_s, cut=frozenset("a"))
        both = voters[0].leases(now_s) & voters[1].leases(now_s)
        assert not both
    assert "x" in voters[1].leases(now_s)


def test_a_group_that_goes_is_let_go_of_and_forgotten() -> None:
    voters, now_s = settled()
    for v in voters:
        v.use("y", now_s=now_s)
    for _ in range(40):
        now_s += STEP_S
        play(voters, now_s)
    assert [v.leases(now_s) for v in voters] == [set(), {"y"}, set()]
    assert all(v.core.claims(now_s=now_s).keys() == {"y"} for v in voters)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_reloaded_and_cut_a_group_never_has_two_leases(seed: int) -> None:
    rng = random.Random(seed)
    voters, now_s = settled()
    cut: frozenset[str] = frozenset()
    granted = 0
    for _ in range(400):
        now_s += STEP_S * rng.uniform(0.5, 1.2)
        if rng.random() < 0.03:
            cut = frozenset(rng.sample(NODES, rng.randrange(2)))
        for v in voters:
            if rng.random() < 0.04:
                v.use(*rng.sample(NAMES, rng.randrange(4)), now_s=now_s)
        play(voters, now_s, cut=cut)
        leases = [(name, v.node) for v in voters for name in v.leases(now_s)]
        granted += len(leases)
        assert len({name for name, _ in leases}) == len(leases), f"{now_s - T:.2f} s: {leases}"
    assert granted > 100, "it shows nothing if nobody ever holds anything"
