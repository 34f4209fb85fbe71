"""Which leases tell vip to ask the network first: those of groups that nobody was heard to have."""

from __future__ import annotations

from heartbus.events import DirectorStatus, HeldGroup, HoldStatus, VipState
from heartbus_membership.claims import Phase, StandingLease
from heartbus_membership.readiness import HOLD_DOWN_S, Readiness
from heartbus_membership.snapshot import lease_views
from tests.membership.test_handover import Bench as Pair
from tests.membership.test_ownership import Bench, G, T


def asks_first(bench: Bench) -> bool:
    (lease,) = bench.core.leases
    (view,) = lease_views([lease], causes={})
    assert view.ask_first is lease.ask_first
    return lease.ask_first


def test_at_a_cold_start_nobody_knows_who_has_the_addresses() -> None:
    bench = Bench()
    bench.hear()
    bench.wait(1.0, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is Phase.HELD
    assert asks_first(bench)


def test_what_a_dead_director_had_is_taken_at_once() -> None:
    bench = Bench()
    bench.hear(Phase.HELD, 7)
    bench.silent(DirectorStatus.DEAD)
    assert bench.claim.phase is Phase.HELD
    assert not asks_first(bench)


def test_a_lease_that_is_resumed_asks_for_nothing() -> None:
    bench = Bench(standing=(StandingLease(group=G, epoch=3, deadline_s=T + 5.0),))
    assert not asks_first(bench)


def test_what_is_handed_over_is_taken_at_once() -> None:
    pair = Pair()
    assert pair.cores["a"].leases[0].ask_first
    pair.standby()
    pair.run(1.0)
    (lease,) = pair.cores["b"].leases
    assert not lease.ask_first


def test_a_group_that_is_barred_is_not_tried_again_while_it_is() -> None:
    readiness = Readiness(initdead_s=1.0, lifetime_s=3.0, started_s=T)
    readiness.bus_changed(connected=True, now_s=T)

    def report(*, able: bool, now_s: float) -> None:
        held = HeldGroup(
            name=G, status=HoldStatus.FAILED, epoch=1, addresses=(), able=able, barred="x has it"
        )
        readiness.vip_reported(VipState(groups=(held,)), known_groups=[G], now_s=now_s)

    later_s = T + HOLD_DOWN_S + 1.0
    report(able=False, now_s=T)
    report(able=False, now_s=later_s)
    assert not readiness.may_try_again(G, epoch=1, now_s=later_s)
    report(able=True, now_s=later_s)
    assert readiness.may_try_again(G, epoch=1, now_s=later_s)
