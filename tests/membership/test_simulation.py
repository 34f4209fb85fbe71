"""Cores of two and three directors under random faults on one virtual clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from heartbus_membership.readiness import HOLD_DOWN_S
from tests.membership.cluster import (
    GRACE_S,
    LEASE_S,
    LIFETIME_S,
    REFRESH_S,
    TIMERS,
    Host,
    SimulatedCluster,
)

SCENARIOS = 200
BATCHES = 10
DUAL_AFTER_S = LIFETIME_S + REFRESH_S + 0.1
"""Two holders are allowed while the network is cut or lossy, and so long after it healed or after
a host was paused or woke: that is when the kernel has withdrawn an address that nobody renews."""

SETTLE_S = max(TIMERS.initdead_s, LEASE_S + TIMERS.deadtime_s) + TIMERS.deadtime_s + GRACE_S
"""So long after the last fault there is one holder, on every seed."""


@dataclass(slots=True)
class Watch:
    """Checks the invariants after each step."""

    cluster: SimulatedCluster
    seed: int
    network_bad: bool = False
    excused_until_s: float = 0.0

    def excuse(self) -> None:
        self.excused_until_s = self.cluster.now_s + DUAL_AFTER_S

    def prolong(self) -> None:
        """A membership that dies in the middle of a conflict leaves its lease behind."""
        if self.network_bad or self.cluster.now_s <= self.excused_until_s:
            self.excused_until_s = self.cluster.now_s + LEASE_S + REFRESH_S + 0.1

    def check(self) -> None:
        cluster = self.cluster
        holders = cluster.holders
        excused = self.network_bad or cluster.now_s <= self.excused_until_s
        if len(holders) > 1 and not excused:
            self.fail(f"{holders} hold the address at once")
        for host in cluster.hosts.values():
            if host.granted != sorted(set(host.granted)):
                self.fail(f"epochs of {host.name} do not grow: {host.granted}")

    def fail(self, what: str) -> None:
        story = "\n".join(self.cluster.story[-40:])
        pytest.fail(f"seed {self.seed}: at {self.cluster.now_s:.3f} {what}\n{story}")


Fault = tuple[str, Callable[[], None], Callable[[], None]]


def _faults(cluster: SimulatedCluster, watch: Watch, chance: random.Random) -> Iterator[Fault]:
    while True:
        name = chance.choice(list(cluster.hosts))
        other = chance.choice([n for n in cluster.hosts if n != name])
        host = cluster.hosts[name]

        def bad(begin: Callable[[], None]) -> Callable[[], None]:
            def run() -> None:
                watch.network_bad = True
                begin()

            return run

        def good(end: Callable[[], None]) -> Callable[[], None]:
            def run() -> None:
                watch.network_bad = False
                watch.excuse()
                end()

            return run

        def excused(action: Callable[[], None]) -> Callable[[], None]:
            def run() -> None:
                watch.excuse()
                action()

            return run

        def put(attribute: str, value: object, on: object) -> Callable[[], None]:
            return lambda: setattr(on, attribute, value)

        def start(host: Host = host) -> None:
            cluster.start_membership(host)

        lossy = chance.choice([0.05, 0.2])
        kind = chance.choice(_KINDS)
        begin, end = {
            "isolate": (
                bad(lambda n=name: cluster.isolate(n)),  # type: ignore[misc]  # bound now
                good(cluster.heal),
            ),
            "one way": (
                bad(lambda p=(name, other): cluster.cut(p)),  # type: ignore[misc]  # bound now
                good(cluster.heal),
            ),
            "loss": (bad(put("loss", lossy, cluster)), good(put("loss", 0.0, cluster))),
            "bus": (put("bus_up", False, cluster), put("bus_up", True, cluster)),
            "kill": (lambda n=name: cluster.kill_membership(n), start),  # type: ignore[misc]
            "stop": (put("membership_paused", True, host), put("membership_paused", False, host)),
            "pause": (excused(put("paused", True, host)), excused(put("paused", False, host))),
            "crash": (
                lambda n=name: cluster.crash(n),  # type: ignore[misc]  # bound now
                lambda n=name: cluster.boot(n),  # type: ignore[misc]  # bound now
            ),
            "vip": (put("vip_alive", False, host), put("vip_alive", True, host)),
        }[kind]
        yield f"{kind} {name} {other}", begin, end


_KINDS = ("isolate", "one way", "loss", "bus", "kill", "stop", "pause", "crash", "vip")


def _play(seed: int) -> None:
    chance = random.Random(seed)
    cluster = SimulatedCluster(
        seed=seed, directors=chance.choice([2, 2, 3]), failback=chance.random() < 0.5
    )
    watch = Watch(cluster, seed)
    cluster.after_step = watch.check
    cluster.run(chance.uniform(0.5, 6))
    faults = _faults(cluster, watch, chance)
    for _ in range(chance.randint(2, 4)):
        text, begin, end = next(faults)
        cluster.note(f"begin {text}")
        watch.prolong()
        begin()
        cluster.run(chance.choice([0.3, 1.0, 2.0, 4.0, 7.0]))
        cluster.note(f"end {text}")
        end()
        cluster.run(chance.choice([0.1, 0.5, 2.0]))
    cluster.run(SETTLE_S)
    if len(cluster.holders) != 1:
        watch.fail(f"holders {cluster.holders}, one is expected")
    owner = cluster.holders
    cluster.run(2.0)
    if cluster.holders != owner and not cluster.failback:
        watch.fail(f"the address moves from {owner} to {cluster.holders} without cause")


@pytest.mark.parametrize("batch", range(BATCHES))
def test_one_holder_through_random_faults(batch: int) -> None:
    for seed in range(batch, SCENARIOS, BATCHES):
        _play(seed)


def _settled(*, failback: bool = False, directors: int = 2) -> SimulatedCluster:
    cluster = SimulatedCluster(seed=1, failback=failback, directors=directors)
    cluster.run(3.0)
    assert cluster.holders == ["a"]
    return cluster


def test_crash_of_the_holder_is_taken_over_within_deadtime() -> None:
    cluster = _settled()
    cluster.crash("a")
    cluster.run(TIMERS.deadtime_s + 0.25)
    assert cluster.holders == ["b"]


def test_killed_membership_that_comes_back_in_time_moves_nothing() -> None:
    cluster = _settled()
    granted = {n: list(h.granted) for n, h in cluster.hosts.items()}
    cluster.kill_membership("a")
    cluster.run(3.0)
    cluster.start_membership(cluster.hosts["a"])
    cluster.run(10.0)
    assert cluster.holders == ["a"]
    assert {n: h.granted for n, h in cluster.hosts.items()} == granted


def test_killed_membership_that_stays_away_is_replaced_after_its_lease() -> None:
    cluster = _settled()
    seen: set[int] = set()
    cluster.after_step = lambda: seen.add(len(cluster.holders))
    cluster.kill_membership("a")
    cluster.run(TIMERS.deadtime_s + GRACE_S + 0.5)
    assert cluster.holders == ["b"]
    assert max(seen) == 1


def test_healed_partition_leaves_the_one_with_the_higher_epoch() -> None:
    cluster = _settled()
    cluster.isolate("a")
    cluster.run(4.0)
    assert cluster.holders == ["a", "b"]
    cluster.heal()
    cluster.run(0.5)
    assert cluster.holders == ["b"]


def test_failback_returns_the_group_to_its_preferred_director() -> None:
    cluster = _settled(failback=True)
    cluster.crash("a")
    cluster.run(2.0)
    assert cluster.holders == ["b"]
    cluster.boot("a")
    cluster.run(4.0)
    assert cluster.holders == ["a"]


def test_without_failback_the_group_stays_where_it_is() -> None:
    cluster = _settled()
    cluster.crash("a")
    cluster.run(2.0)
    cluster.boot("a")
    cluster.run(8.0)
    assert cluster.holders == ["b"]


def test_losing_the_bus_for_an_hour_of_nothing_else_changes_nothing() -> None:
    cluster = _settled()
    cluster.bus_up = False
    cluster.run(60.0)
    cluster.bus_up = True
    cluster.run(10.0)
    assert cluster.holders == ["a"]
    assert [h.granted for h in cluster.hosts.values()] == [[1], []]


def test_a_lone_director_whose_start_failed_tries_again() -> None:
    cluster = SimulatedCluster(seed=1)
    cluster.hosts["a"].starts_fail = True
    cluster.crash("b")
    cluster.run(TIMERS.initdead_s + 1.0)
    assert cluster.hosts["a"].granted == [1]
    cluster.run(HOLD_DOWN_S + 2 * HOLD_DOWN_S + 2.0)
    assert cluster.hosts["a"].granted == [1, 2, 3], "after a while, and after twice that"
    cluster.hosts["a"].starts_fail = False
    cluster.run(4 * HOLD_DOWN_S + 1.0)
    assert cluster.holders == ["a"]
    cluster.run(8 * HOLD_DOWN_S)
    assert cluster.hosts["a"].granted == [1, 2, 3, 4], "what is held is left alone"
