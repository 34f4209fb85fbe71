"""A group that could stay waits for a director that knows its connections; others move at once."""

from __future__ import annotations

import pytest

from heartbus.events import DirectorStatus, HeldGroup, HoldStatus, IpvsState, VipState
from heartbus_membership.claims import Phase
from heartbus_membership.readiness import COLD_SILENCE_S
from tests.membership.test_handover import Bench, G

COLD = {"b": "it knows 10 % of 1000 connections"}


def told(bench: Bench, cold: dict[str, str]) -> None:
    """The ipvs-agent of the holder speaks."""
    state = IpvsState(services=(), digest="", cold=cold)
    bench.cores["a"].readiness.ipvs_reported(state, now_s=bench.now_s)


def asked(bench: Bench, order: str) -> None:
    if order == "standby":
        bench.standby()
    else:
        bench.take("b", bench.cores["b"].takeover([G], now_s=bench.now_s))


@pytest.mark.parametrize("order", ["standby", "takeover"])
def test_a_move_that_was_asked_for_waits_until_the_other_one_is_warm(order: str) -> None:
    bench = Bench()
    told(bench, COLD)
    asked(bench, order)
    bench.run(2.0, lambda: told(bench, COLD))
    assert bench.phases[0] is Phase.HELD
    told(bench, {})
    bench.run(1.0)
    assert bench.phases == (Phase.NONE, Phase.HELD)


def test_an_agent_that_fell_silent_holds_nothing_up() -> None:
    bench = Bench()
    told(bench, COLD)
    bench.standby()
    bench.run(COLD_SILENCE_S - 1.0)
    assert bench.phases[0] is Phase.HELD
    bench.run(3.0)
    assert bench.phases == (Phase.NONE, Phase.HELD)


def test_a_director_that_stops_does_not_wait() -> None:
    bench = Bench()
    bench.take("a", bench.cores["a"].stop(now_s=bench.now_s))
    bench.run(1.5, lambda: told(bench, COLD))
    assert bench.phases == (Phase.NONE, Phase.HELD)


def test_a_group_that_cannot_be_held_does_not_wait() -> None:
    bench = Bench()
    told(bench, COLD)
    (lease,) = bench.cores["a"].leases
    failed = HeldGroup(
        name=G, status=HoldStatus.FAILED, epoch=lease.epoch, addresses=(), reason="no such device"
    )
    bench.cores["a"].vip_reported(VipState(groups=(failed,)), now_s=bench.now_s)
    bench.follows["a"] = bench.held["a"] = False
    bench.run(1.5, lambda: told(bench, COLD))
    assert bench.phases[1] is Phase.HELD


def test_a_dead_holder_is_followed_at_once() -> None:
    bench = Bench()
    told(bench, COLD)
    b = bench.cores["b"]
    b.peer_silent("a", DirectorStatus.DEAD, cause=None, now_s=bench.now_s)
    bench.take("b", b.tick(now_s=bench.now_s))
    assert bench.phases[1] is Phase.HELD
