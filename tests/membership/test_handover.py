"""A handover between two directors: the taker has the group before the giver lets go of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from heartbus.events import DirectorStatus, HeldGroup, HoldStatus, VipState
from heartbus.model import Timers
from heartbus_membership.claims import Claim, Effect, Grant, GroupRule, PeerReport, Phase, Revoke
from heartbus_membership.handover import HANDOVER_S
from heartbus_membership.ownership import Ownership

T = 100.0
G = "vip"
LEASE_S = 5.0
TIMERS = Timers(keepalive_s=0.1, warntime_s=0.2, deadtime_s=0.5, initdead_s=10.0)


class Bench:
    """Two directors on one clock; what one claims the other hears at every step, unless cut."""

    def __init__(self, *, may_overlap: bool = True, tail_s: float = 0.0) -> None:
        self.now_s = T
        self.cut = False
        self.sequence = 0
        self.follows = {"a": True, "b": True}
        self.effects: dict[str, list[Effect]] = {"a": [], "b": []}
        self.cores = {
            node: Ownership(
                node=node,
                directors=("a", "b"),
                groups=[GroupRule(name=G, preferred="a", may_overlap=may_overlap)],
                failback=False,
                timers=TIMERS,
                lease_s=LEASE_S,
                lifetime_s=3.0,
                started_s=T,
                epochs={},
                tail_s=tail_s,
            )
            for node in "ab"
        }
        self.held = dict.fromkeys("ab", False)
        for core in self.cores.values():
            core.bus_changed(connected=True, now_s=T)
        self.run(2.0)
        assert self.phases == (Phase.HELD, Phase.NONE)
        for effects in self.effects.values():
            effects.clear()

    @property
    def phases(self) -> tuple[Phase, Phase]:
        a, b = (core.claims(now_s=self.now_s)[G].phase for core in self.cores.values())
        return a, b

    def step(self) -> None:
        """Let each tell the other, and each vip follow its lease; then decide."""
        self.now_s += 0.05
        self.sequence += 1
        claims = {node: core.claims(now_s=self.now_s) for node, core in self.cores.items()}
        for core in self.cores.values():
            core.beat_sent(self.sequence, now_s=self.now_s)
        for node, core in self.cores.items():
            other = "b" if node == "a" else "a"
            if not self.cut:
                report = PeerReport(
                    incarnation=1, settled=True, claims=claims[other], echoed=self.sequence
                )
                self.take(node, core.peer_heard(other, report, now_s=self.now_s))
            self.report(node)
            self.take(node, core.tick(now_s=self.now_s))

    def report(self, node: str) -> None:
        core = self.cores[node]
        leases = core.leases
        if self.follows[node]:
            self.held[node] = bool(leases)
        status = HoldStatus.HELD if self.held[node] else HoldStatus.RELEASED
        epoch = leases[0].epoch if leases else core.claims(now_s=self.now_s)[G].epoch
        state = VipState(groups=(HeldGroup(name=G, status=status, epoch=epoch, addresses=()),))
        core.vip_reported(state, now_s=self.now_s)

    def take(self, node: str, effects: list[Effect]) -> None:
        self.effects[node] += effects

    def run(self, seconds: float, watch: Callable[[], None] = lambda: None) -> None:
        for _ in range(round(seconds / 0.05)):
            self.step()
            watch()

    def standby(self) -> None:
        self.take("a", self.cores["a"].standby([G], now_s=self.now_s))


def has_it(bench: Bench) -> None:
    assert any(bench.held.values()), "nobody has the addresses"


@pytest.mark.parametrize("order", ["standby", "takeover", "stop"])
def test_the_addresses_are_always_somewhere(order: str) -> None:
    bench = Bench()
    if order == "standby":
        bench.standby()
    elif order == "takeover":
        bench.take("b", bench.cores["b"].takeover([G], now_s=bench.now_s))
    else:
        bench.take("a", bench.cores["a"].stop(now_s=bench.now_s))
    bench.run(1.5, lambda: has_it(bench))
    assert bench.phases == (Phase.NONE, Phase.HELD)
    assert bench.held == {"a": False, "b": True}
    [revoke] = [e for e in bench.effects["a"] if isinstance(e, Revoke)]
    assert revoke.reason.endswith("b has it")


def test_a_handover_takes_one_epoch() -> None:
    """Its announcements are enough; another epoch would say that two claimed the group."""
    bench = Bench()
    bench.standby()
    bench.run(1.5, lambda: has_it(bench))
    assert bench.phases == (Phase.NONE, Phase.HELD)
    reasons = [e.reason for e in bench.effects["b"] if isinstance(e, Grant)]
    assert reasons == ["a hands it over"]


def test_the_giver_goes_on_until_the_vip_of_the_taker_holds_it() -> None:
    bench = Bench()
    bench.follows["b"] = False
    bench.standby()
    bench.run(HANDOVER_S / 2)
    assert bench.phases == (Phase.HANDING, Phase.TAKING)
    assert bench.held["a"]
    bench.follows["b"] = True
    bench.run(0.3, lambda: has_it(bench))
    assert bench.phases == (Phase.NONE, Phase.HELD)


def test_a_taker_that_does_not_get_done_is_called_off_and_the_giver_outbids_it() -> None:
    bench = Bench()
    bench.follows["b"] = False
    bench.standby()
    bench.run(HANDOVER_S + 0.5, lambda: has_it(bench))
    assert bench.phases == (Phase.HELD, Phase.NONE)
    [kept] = [e for e in bench.effects["a"] if isinstance(e, Grant)]
    [tried] = [e for e in bench.effects["b"] if isinstance(e, Grant)]
    assert kept.epoch > tried.epoch
    assert kept.reason == "kept: b did not take it over"
    bench.follows["b"] = True
    bench.run(2.0, lambda: has_it(bench))
    assert bench.phases == (Phase.HELD, Phase.NONE), "not again by itself"


def test_a_taker_that_dies_is_no_taker() -> None:
    bench = Bench()
    bench.follows["b"] = False
    bench.standby()
    bench.run(0.2)
    assert bench.phases == (Phase.HANDING, Phase.TAKING)
    a = bench.cores["a"]
    a.peer_silent("b", DirectorStatus.LATE, cause=None, now_s=bench.now_s)
    bench.take("a", a.tick(now_s=bench.now_s))
    assert bench.phases[0] is Phase.HELD


def test_a_giver_that_dies_leaves_the_group_to_the_taker() -> None:
    bench = Bench()
    bench.follows["b"] = False
    bench.standby()
    bench.run(0.2)
    b = bench.cores["b"]
    b.peer_silent("a", DirectorStatus.DEAD, cause=None, now_s=bench.now_s)
    bench.take("b", b.tick(now_s=bench.now_s))
    assert bench.phases[1] is Phase.HELD


def test_a_cut_in_the_middle_ends_with_one_holder_once_it_is_healed() -> None:
    bench = Bench()
    bench.standby()
    bench.step()
    bench.step()
    bench.cut = True
    bench.run(HANDOVER_S + 0.5)
    bench.cut = False
    bench.run(0.5, lambda: has_it(bench))
    assert sorted(bench.phases) == [Phase.NONE, Phase.HELD]


@pytest.mark.parametrize("how", ["scripts", "strict"])
def test_where_nothing_may_overlap_the_giver_releases_first(how: str) -> None:
    bench = Bench(may_overlap=how != "scripts", tail_s=1.0 if how == "strict" else 0.0)
    bench.standby()

    def one_at_most() -> None:
        assert not all(bench.held.values())

    bench.run(4.0, one_at_most)
    assert bench.phases == (Phase.NONE, Phase.HELD)


def test_a_claim_that_hands_over_is_still_a_claim() -> None:
    bench = Bench()
    bench.follows["b"] = False
    bench.standby()
    bench.run(0.2)
    claim = bench.cores["a"].claims(now_s=bench.now_s)[G]
    assert claim == Claim(epoch=claim.epoch, phase=Phase.HANDING, candidate=claim.candidate)
    assert bench.cores["a"].views()[0].holder == "a"
