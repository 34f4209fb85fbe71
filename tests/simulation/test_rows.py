"""One fault at a time: each row of the table in docs/decisions/0004, and what has no row.

The invariants watch as in every scenario; a test says in addition who holds the address, and when.
"""

from __future__ import annotations

import pytest

from heartbus_membership.readiness import HOLD_DOWN_S
from heartbus_simulator.cluster import Cluster
from heartbus_simulator.faults import Fault, Kind
from tests.simulation import bounds
from tests.simulation.invariants import Invariants
from tests.simulation.setup import PACES, parse_setup

GROUP = "vip"
LOOK_S = 0.01


class Bench:
    """Two directors that have settled; a holds the address. ``seen``: all sets of holders."""

    def __init__(self, pace: str = "usual", *words: str) -> None:
        self.setup = parse_setup(f"pair-fast {pace} groups=1 links=1 {' '.join(words)}")
        self.cluster = Cluster(self.setup, seed="1")
        self.invariants = Invariants(self.cluster)
        self.times, self.timers = self.setup.times, self.setup.times.timers
        self.seen: set[tuple[str, ...]] = set()
        self.cluster.timeline.after_step = self._look
        self.run(3.0)
        assert self.holders == ["a"]
        self.seen.clear()

    @property
    def holders(self) -> list[str]:
        return self.cluster.holders(GROUP)

    @property
    def now_s(self) -> float:
        return self.cluster.timeline.now_s

    def run(self, seconds: float) -> None:
        self.cluster.timeline.run_until(self.now_s + seconds)
        self._look()

    def _look(self) -> None:
        self.invariants.after_step()
        self.seen.add(tuple(self.holders))

    def begin(self, kind: Kind, target: str, amount: float = 0.0) -> Fault:
        fault = Fault(kind, target, self.now_s, self.now_s, amount)
        self.cluster.begin(fault)
        return fault

    def during(self, kind: Kind, target: str, seconds: float, amount: float = 0.0) -> None:
        fault = self.begin(kind, target, amount)
        self.run(seconds)
        self.cluster.end(fault)

    def until(self, *holders: str, at_most_s: float) -> float:
        """Return how long it takes until exactly these hold the address."""
        begun_s = self.now_s
        while tuple(self.holders) != holders:
            assert self.now_s - begun_s <= at_most_s, f"{self.holders}, not {holders}"
            self.run(LOOK_S)
        return self.now_s - begun_s

    def granted(self, host: str) -> list[int]:
        return self.cluster.hosts[host].granted.get(GROUP, [])


@pytest.fixture(params=sorted(PACES))
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


# --- the rows ------------------------------------------------------------------------------------


def test_a_host_that_dies_is_replaced_within_deadtime_and_a_keepalive(bench: Bench) -> None:
    bench.begin(Kind.CRASH, "a")
    bench.until("b", at_most_s=bounds.takeover_s(bench.setup))
    assert ("a", "b") not in bench.seen


def test_a_host_that_is_cut_off_is_replaced_within_deadtime_and_a_keepalive(bench: Bench) -> None:
    bench.begin(Kind.ISOLATE, "a")
    bench.until("a", "b", at_most_s=bounds.takeover_s(bench.setup))


def test_a_killed_vip_that_is_back_within_the_lifetime_is_not_missed(bench: Bench) -> None:
    bench.during(Kind.VIP_KILL, "a", bench.times.lifetime_s - 2 * bench.setup.vip.refresh_s)
    bench.run(5.0)
    assert bench.seen == {("a",)}


@pytest.mark.parametrize("kind", [Kind.VIP_KILL, Kind.VIP_PAUSE])
def test_a_vip_that_stays_away_is_replaced_after_its_silence(bench: Bench, kind: Kind) -> None:
    bench.begin(kind, "a")
    bench.until("b", at_most_s=bounds.gap_after_vip_s(bench.setup))
    assert ("a", "b") not in bench.seen


@pytest.mark.parametrize("kind", [Kind.MEMBERSHIP_KILL, Kind.MEMBERSHIP_PAUSE])
def test_a_membership_that_is_back_before_its_lease_ends_moves_nothing(
    bench: Bench, kind: Kind
) -> None:
    before = bench.granted("a"), bench.granted("b")
    bench.during(kind, "a", bench.times.lease_s - 1.0)
    bench.run(8.0)
    assert bench.seen == {("a",)}
    assert (bench.granted("a"), bench.granted("b")) == before


@pytest.mark.parametrize("kind", [Kind.MEMBERSHIP_KILL, Kind.MEMBERSHIP_PAUSE])
def test_a_membership_that_stays_away_is_replaced_after_its_lease_has_ended(
    bench: Bench, kind: Kind
) -> None:
    bench.begin(kind, "a")
    bench.until("b", at_most_s=bounds.takeover_after_membership_s(bench.setup))
    assert ("a", "b") not in bench.seen


def test_a_membership_whose_host_is_not_seen_shares_for_the_rest_of_its_lease() -> None:
    bench = Bench("usual")
    bench.begin(Kind.ROUTE_CUT, "a-b")
    bench.run(3.0)
    bench.begin(Kind.MEMBERSHIP_KILL, "a")
    bench.until("a", "b", at_most_s=bounds.takeover_s(bench.setup))
    shared_s = bench.until("b", at_most_s=bench.times.lease_s)
    rest_s = bench.times.lease_s - bench.timers.deadtime_s
    assert shared_s <= rest_s + bench.timers.keepalive_s + bounds.SLACK_S


def test_what_hangs_altogether_keeps_its_address_for_a_lifetime(bench: Bench) -> None:
    bench.begin(Kind.HANG, "a")
    bench.run(bounds.address_without_vip_s(bench.setup))
    assert "a" not in bench.holders
    bench.until("b", at_most_s=bounds.takeover_after_membership_s(bench.setup))


def test_a_hand_over_waits_for_a_stop_script_that_hangs() -> None:
    setup = parse_setup("pair-fast usual groups=2 links=1")
    cluster = Cluster(setup, seed="1")
    Invariants(cluster)
    cluster.timeline.run_until(3.0)
    cluster.begin(Fault(Kind.STOP_HANGS, "a", 0.0, 0.0))
    cluster.begin(Fault(Kind.MEMBERSHIP_STOP, "a", 0.0, 0.0))
    cluster.timeline.run_until(4.0)
    assert (cluster.holders("vip"), cluster.holders("web")) == (["b"], ["a"])
    cluster.timeline.run_until(7.0)
    assert (cluster.holders("vip"), cluster.holders("web")) == (["b"], ["b"])


def test_cut_links_give_two_holders_and_healed_ones_the_higher_epoch(bench: Bench) -> None:
    cut = bench.begin(Kind.CUT, "a-b")
    bench.until("a", "b", at_most_s=bounds.takeover_s(bench.setup))
    bench.run(2.0)
    bench.cluster.end(cut)
    bench.until("b", at_most_s=bounds.healed_s(bench.setup))
    bench.run(5.0)
    assert bench.holders == ["b"]


# --- what moves nothing --------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "seconds"), [(Kind.BUS_OUT, 3600.0), (Kind.BUS_DOWN, 60.0)])
def test_losing_the_bus_for_an_hour_changes_nothing(kind: Kind, seconds: float) -> None:
    bench = Bench("classic")
    bench.during(kind, "*" if kind is Kind.BUS_OUT else "a", seconds)
    bench.run(10.0)
    assert bench.seen == {("a",)}
    assert (bench.granted("a"), bench.granted("b")) == ([1], [])


@pytest.mark.parametrize(
    ("kind", "amount"),
    [(Kind.CLOCK_STEP, 3600.0), (Kind.CLOCK_STEP, -3600.0), (Kind.DUPLICATE, 0.6)],
)
def test_clock_steps_and_replays_change_nothing(bench: Bench, kind: Kind, amount: float) -> None:
    bench.during(kind, "*" if kind is Kind.DUPLICATE else "a", 10.0, amount)
    bench.run(5.0)
    assert bench.seen == {("a",)}


def test_one_of_two_links_may_go() -> None:
    setup = parse_setup("pair-fast lan groups=1 links=2")
    cluster = Cluster(setup, seed="1")
    Invariants(cluster)
    cluster.timeline.run_until(3.0)
    cluster.begin(Fault(Kind.LINK, "*", 0.0, 0.0, 1.0))
    cluster.timeline.run_until(10.0)
    assert cluster.counts["node.late"] == 0
    assert cluster.counts["link.down"] == 2


def test_a_lost_state_file_repeats_no_epoch_while_a_peer_knows_it() -> None:
    bench = Bench("usual")
    bench.during(Kind.CRASH, "a", 3.0)
    bench.run(5.0)
    bench.during(Kind.DISK_LOST, "b", 1.0)
    bench.run(5.0)
    bench.begin(Kind.CRASH, "b")
    bench.until("a", at_most_s=bounds.takeover_s(bench.setup))
    assert bench.granted("a")[-1] > max(bench.granted("b"))


# --- failback, and starts that fail --------------------------------------------------------------


def test_failback_returns_the_group_to_its_preferred_director() -> None:
    bench = Bench("usual", "failback")
    bench.during(Kind.CRASH, "a", 3.0)
    assert bench.holders == ["b"]
    bench.seen.clear()
    bench.until("a", at_most_s=4.0)
    assert bench.seen <= {("b",), ("a", "b"), ("a",)}, "made before broken: never without a holder"


def test_without_failback_the_group_stays_where_it_is() -> None:
    bench = Bench("usual")
    bench.during(Kind.CRASH, "a", 3.0)
    bench.run(8.0)
    assert bench.holders == ["b"]


def test_a_lone_director_whose_start_failed_tries_again() -> None:
    cluster = Cluster(parse_setup("pair-fast usual groups=1 links=1"), seed="1")
    fails, gone = Fault(Kind.START_FAILS, "a", 0.0, 0.0), Fault(Kind.CRASH, "b", 0.0, 0.0)
    cluster.begin(fails)
    cluster.begin(gone)
    granted = cluster.hosts["a"].granted
    first_s = max(PACES["usual"].timers.initdead_s, 4.0) + 1.0
    cluster.timeline.run_until(first_s)
    assert granted["vip"] == [1]
    cluster.timeline.run_until(first_s + 3 * HOLD_DOWN_S + 2.0)
    assert granted["vip"] == [1, 2, 3], "after a while, and after twice that"
    cluster.end(fails)
    cluster.timeline.run_until(first_s + 7 * HOLD_DOWN_S + 3.0)
    assert cluster.holders("vip") == ["a"]
    cluster.timeline.run_until(first_s + 15 * HOLD_DOWN_S)
    assert granted["vip"] == [1, 2, 3, 4], "what is held is left alone"
