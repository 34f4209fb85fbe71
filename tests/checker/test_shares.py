"""Who probes what, where each target is probed by some directors."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbus.events import CheckerState, Health, Verdict
from heartbus_checker.peers import FRESH_S, Key, Peers
from heartbus_checker.shares import Moves, Shared, Shares, probers_of, shared
from heartbus_checker.targets import plan_checks

from .builders import connect_check, real_server, virtual_service

NODES = ("linuxha1", "linuxha2", "linuxha3", "linuxha4")
names = st.lists(st.sampled_from([f"lb{n}" for n in range(9)]), min_size=1, unique=True)
identities = [f"192.0.2.{n}:80 negotiate http" for n in range(60)]


@given(members=names, probers=st.integers(1, 9))
def test_every_target_has_as_many_probers_as_there_can_be(members: list[str], probers: int) -> None:
    for identity in identities:
        chosen = probers_of(identity, members, probers)
        assert len(set(chosen)) == len(chosen) == min(probers, len(members))
        assert set(chosen) <= set(members)
        assert chosen == probers_of(identity, sorted(members, reverse=True), probers)


@given(members=names, probers=st.integers(1, 9), data=st.data())
def test_one_that_dies_moves_its_own_targets_only_and_each_by_one_prober(
    members: list[str], probers: int, data: st.DataObject
) -> None:
    dead = data.draw(st.sampled_from(members))
    left = [member for member in members if member != dead]
    for identity in identities:
        before = probers_of(identity, members, probers)
        after = probers_of(identity, left, probers)
        stay = tuple(member for member in before if member != dead)
        assert after[: len(stay)] == stay
        assert len(after) - len(stay) <= (dead in before)


def test_targets_are_spread_evenly_and_so_are_those_of_a_dead_one() -> None:
    many = [f"192.0.{n // 250}.{n % 250}:80 connect none" for n in range(4000)]
    load = Counter(member for one in many for member in probers_of(one, NODES, 2))
    assert all(1900 <= load[node] <= 2100 for node in NODES)
    left = NODES[1:]
    heirs = Counter(
        (set(probers_of(one, left, 2)) - set(probers_of(one, NODES, 2))).pop()
        for one in many
        if NODES[0] in probers_of(one, NODES, 2)
    )
    assert all(560 <= heirs[node] <= 780 for node in left)


class Cluster:
    """The shares of several directors, who hear one another once a step of half a second."""

    def __init__(self, *nodes: str, targets: int, probers: int) -> None:
        self.targets = [
            Shared(identity=identities[n], keys=(key(n),), grace_s=FRESH_S + 3.0)
            for n in range(targets)
        ]
        self.probers = probers
        self.now_s = 0.0
        self.shares: dict[str, Shares] = {}
        self.peers: dict[str, Peers] = {}
        self.seen: dict[str, dict[int, Health]] = {}
        self.down: set[int] = set()
        self.blind: set[str] = set()
        self.suspect: set[str] = set()
        for node in nodes:
            self.starts(node)

    def starts(self, node: str) -> None:
        self.shares[node] = Shares(self.targets, node=node, probers=self.probers)
        self.peers[node] = Peers()
        self.seen[node] = {}

    def dies(self, node: str) -> None:
        del self.shares[node], self.peers[node], self.seen[node]

    def state(self, node: str) -> CheckerState:
        return CheckerState(
            verdicts=tuple(
                Verdict(
                    virtual_service=key(n)[0],
                    real_server=key(n)[1],
                    health=self.seen[node].get(n, Health.UNKNOWN),
                    reason="",
                    since_s=0.0,
                    elsewhere=n not in self.shares[node].ours,
                )
                for n in range(len(self.targets))
            ),
            suspect="alone" if node in self.suspect else None,
        )

    def step(self) -> dict[str, Moves]:
        """Tell, decide, and look at what is ours."""
        self.now_s += 0.5
        told = {node: self.state(node) for node in self.shares}
        moves = {}
        for node, peers in self.peers.items():
            for peer, state in told.items():
                if peer != node:
                    peers.heard(peer, state, now_s=self.now_s)
            seen = self.seen[node]
            moves[node] = self.shares[node].settled(
                peers.lately(now_s=self.now_s),
                partial(seen_by, seen),
                now_s=self.now_s,
            )
            for n in self.shares[node].ours:
                down = n in self.down or node in self.blind
                seen[n] = Health.DOWN if down else Health.UP
        return moves

    def probing(self, n: int) -> set[str]:
        return {node for node, shares in self.shares.items() if n in shares.ours}


def seen_by(seen: dict[int, Health], key: Key) -> Health:
    return seen.get(number(key), Health.UNKNOWN)


def key(n: int) -> Key:
    return "tcp:192.0.2.110:80", f"192.0.2.{n}:80"


def number(key: Key) -> int:
    return int(key[1].split(".")[3].partition(":")[0])


@settings(max_examples=40, deadline=None)
@given(data=st.data(), probers=st.integers(1, 4), count=st.integers(1, 4))
def test_whoever_comes_and_goes_each_target_is_always_probed_and_soon_by_the_right_ones(
    data: st.DataObject, probers: int, count: int
) -> None:
    cluster = Cluster(*NODES[:count], targets=20, probers=probers)
    for _ in range(6):
        cluster.step()
    for _change in range(3):
        alive = sorted(cluster.shares)
        node = data.draw(st.sampled_from(NODES))
        if node not in alive:
            cluster.starts(node)
        elif len(alive) > 1:
            cluster.dies(node)
        for _ in range(9):  # FRESH_S of silence, then decide, look, and let go
            cluster.step()
        members = sorted(cluster.shares)
        for n, target in enumerate(cluster.targets):
            assert cluster.probing(n) == set(probers_of(target.identity, members, probers))


def test_nothing_is_ever_probed_by_nobody_while_it_changes_hands() -> None:
    cluster = Cluster(*NODES[:2], targets=40, probers=1)
    for _ in range(4):
        cluster.step()
        assert all(cluster.probing(n) for n in range(40))
    cluster.starts(NODES[2])
    for _ in range(6):
        cluster.step()
        assert all(cluster.probing(n) for n in range(40))
    assert all(len(cluster.probing(n)) == 1 for n in range(40))


def test_the_targets_of_a_dead_one_are_taken_at_the_first_look_after_its_silence() -> None:
    cluster = Cluster(*NODES[:3], targets=40, probers=1)
    for _ in range(6):
        cluster.step()
    orphans = {n for n in range(40) if cluster.probing(n) == {NODES[0]}}
    cluster.dies(NODES[0])
    while cluster.now_s < 3.0 + FRESH_S:
        cluster.step()
        assert not any(cluster.probing(n) for n in orphans)
    cluster.step()
    assert orphans
    assert all(len(cluster.probing(n)) == 1 for n in range(40))


def test_what_is_down_is_not_let_go() -> None:
    cluster = Cluster(NODES[0], targets=10, probers=1)
    dead = next(
        n
        for n, target in enumerate(cluster.targets)
        if probers_of(target.identity, NODES[:2], 1) == (NODES[1],)
    )
    cluster.down = {dead}
    cluster.step()
    cluster.starts(NODES[1])
    for _ in range(6):
        cluster.step()
    assert cluster.probing(dead) == {NODES[0], NODES[1]}
    assert len(cluster.shares[NODES[0]].ours) < 10
    cluster.down = set()
    for _ in range(3):
        cluster.step()
    assert cluster.probing(dead) == {NODES[1]}


def test_the_targets_of_a_suspect_are_looked_at_by_others() -> None:
    cluster = Cluster(*NODES[:2], targets=20, probers=1)
    for _ in range(4):
        cluster.step()
    theirs = {n for n in range(20) if cluster.probing(n) == {NODES[1]}}
    cluster.suspect = {NODES[1]}
    cluster.step()
    assert theirs
    assert all(cluster.probing(n) == {NODES[0], NODES[1]} for n in theirs)


def test_a_target_that_nobody_decides_about_is_ours_after_a_while() -> None:
    """The other director has another file, without this real server."""
    target = Shared(identity=identities[0], keys=(key(0),), grace_s=6.0)
    node = next(n for n in NODES[:2] if probers_of(target.identity, NODES[:2], 1) != (n,))
    (other,) = {*NODES[:2]} - {node}
    shares = Shares([target], node=node, probers=1)
    knows = {other: {key(0): verdict(Health.UP)}}
    unknown = {other: {key(0): verdict(Health.UNKNOWN)}}
    assert shares.settled(knows, lambda _: Health.UP, now_s=0.0).let_go == (0,)
    empty: dict[str, dict[Key, Verdict]] = {other: {}}
    assert shares.settled(empty, lambda _: Health.UP, now_s=1.0) == Moves()
    assert shares.settled(unknown, lambda _: Health.UP, now_s=6.9) == Moves()
    assert shares.settled(empty, lambda _: Health.UP, now_s=7.0).taken == (0,)
    assert shares.settled(unknown, lambda _: Health.UP, now_s=8.0) == Moves()
    assert shares.settled(knows, lambda _: Health.UP, now_s=9.0).let_go == (0,)


def verdict(health: Health) -> Verdict:
    service, server = key(0)
    return Verdict(
        virtual_service=service, real_server=server, health=health, reason="", since_s=0.0
    )


def test_a_target_is_ranked_by_where_it_is_asked_and_waits_for_as_long_as_a_verdict_takes() -> None:
    check = connect_check(timeout_s=3.0, interval_s=2.0, fall=4)
    plan = plan_checks((virtual_service(real_server(), check=check),))
    (target,) = plan.targets
    told = shared(target, plan.listeners[target])
    assert told.identity == "192.0.2.11:80 connect none"
    assert told.keys == (("tcp:192.0.2.110:80", "192.0.2.11:80"),)
    assert told.grace_s == FRESH_S + 5 * 2.0 + 3.0


def test_at_least_one_director_probes() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Shares([], node=NODES[0], probers=0)
