"""Three voters, real processes: two directors and a witness. Who holds the VIP, whatever happens?

A majority grants leases, so that no cut gives two holders. And strict takeover of two directors,
which waits until an address is gone for sure. Seen from outside: the kernels' addresses, and ARP.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from heartbus.events import GroupGranted, QuorumLost
from tests.lab.network import Lab, set_links, wait_until
from tests.lab.pairs import VOTER, HeartbusPair
from tests.system.fault import SLACK_S, Fault, resume

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

LIFETIME_S = 3.0
DEADTIME_S = 0.3
LEASE_S = 2.0
"""Of a majority, by default; the promise of a voter is one per cent longer."""

TAKEN_S = LEASE_S * 1.01 + DEADTIME_S + 1.0
"""Lease, death, and the takeover itself."""

EXPIRY_TAIL_S = 1.3
"""How long a kernel may keep an address after its lease has ended, when nobody takes it away."""


@pytest.fixture(scope="module")
def trio() -> Iterator[HeartbusPair]:
    with Lab() as lab, HeartbusPair(lab, "m", echo_period_s=0.01, voter=True) as started:
        yield started


STRICT = 'takeover = "strict"\nlease = 2\nrestart_grace = 2\n'


@pytest.fixture(scope="module")
def strict(request: pytest.FixtureRequest) -> Iterator[HeartbusPair]:
    """Two directors that take over strictly; the parameter says whether a witness is with them."""
    with Lab() as lab:
        pair = HeartbusPair(
            lab, "s", echo_period_s=0.01, settings=STRICT, voter=bool(request.param)
        )
        with pair:
            yield pair


@pytest.fixture
def fault(trio: HeartbusPair) -> Iterator[Fault]:
    made = Fault(trio)
    yield made
    made.mend()


def taken_over(fault: Fault) -> None:
    """The standby alone has it within the bound, and nobody had it beside the other."""
    fault.wait_until_held_by(fault.standby, within_s=TAKEN_S)
    assert fault.on_two_s() == 0.0
    fault.wait_until_answered_by(fault.standby)


def test_a_cut_off_holder_gives_up_before_the_majority_grants_it_to_another(fault: Fault) -> None:
    """Its side of the cut has no majority: it learns so from silence, without being told."""
    fault.pair.links[fault.active].cut()
    taken_over(fault)
    healed_s = time.monotonic()
    fault.pair.links[fault.active].heal()
    fault.settles_on(fault.standby)
    fault.wait_until_answered_by(fault.standby)
    assert fault.on_two_s() == 0.0
    silence = fault.pair.client.silence(from_s=healed_s, until_s=time.monotonic())
    assert silence.unanswered <= 1, "the surviving owner was away"


def test_a_dead_holder_is_replaced_and_its_address_ends_with_its_lifetime(fault: Fault) -> None:
    fault.pair.signal_all(fault.active, signal.SIGKILL)
    fault.wait_until_held_by(fault.standby, within_s=LIFETIME_S + 1.0)
    assert fault.on_two_s() < EXPIRY_TAIL_S + 0.3
    fault.wait_until_answered_by(fault.standby)


def test_a_standby_that_is_cut_off_takes_nothing(fault: Fault) -> None:
    fault.pair.links[fault.standby].cut()
    observer = fault.pair.observers[fault.standby]
    observer.wait_for(
        lambda: bool(observer.said(QuorumLost, since=fault.heard[fault.standby])), "it is alone"
    )
    fault.stays(for_s=LEASE_S + DEADTIME_S)
    assert not observer.said(GroupGranted, since=fault.heard[fault.standby])


@pytest.mark.parametrize("how", ["stopped", "cut off"])
def test_without_the_witness_two_of_three_go_on(fault: Fault, how: str) -> None:
    if how == "stopped":
        fault.pair.signal_all(VOTER, signal.SIGSTOP)
    else:
        fault.pair.links[VOTER].cut()
    fault.stays(for_s=LEASE_S + DEADTIME_S)


def test_where_nobody_has_a_majority_nobody_holds_it_and_one_does_when_it_heals(
    fault: Fault,
) -> None:
    """All three are alone. Ends with one holder, whoever that is."""
    links = list(fault.pair.links.values())
    set_links(links, whole=False)
    fault.pair.witness.wait_for([], timeout_s=LEASE_S + 1.0 + SLACK_S)
    gone_s = time.monotonic()
    time.sleep(3 * DEADTIME_S)  # a while in which nobody may take it, and a death would be found
    assert fault.pair.witness.holds(since_s=gone_s) == []
    set_links(links, whole=True)
    wait_until(
        lambda: len(fault.pair.witness.holders()) == 1,
        timeout_s=2 * LEASE_S + 3.0 + SLACK_S,
        what="one of them holds it again",
    )
    fault.pair.settle()
    assert fault.on_two_s() == 0.0


@pytest.mark.parametrize("hears", [True, False], ids=["not heard", "deaf"])
def test_a_holder_cut_one_way_is_replaced_without_two_holders(fault: Fault, hears: bool) -> None:
    """Not heard: it sees that no echo of its heartbeats comes. Deaf: it sees nothing at all."""
    fault.pair.links[fault.active].cut_one_way(hears=hears)
    taken_over(fault)
    fault.pair.links[fault.active].heal()
    fault.settles_on(fault.standby)
    assert fault.on_two_s() == 0.0


@pytest.mark.parametrize("hears", [True, False], ids=["not heard", "deaf"])
def test_a_standby_cut_one_way_moves_nothing(fault: Fault, hears: bool) -> None:
    """With two directors a deaf standby takes the VIP; here it gets no votes for it."""
    fault.pair.links[fault.standby].cut_one_way(hears=hears)
    fault.stays(for_s=LEASE_S + DEADTIME_S)


def test_a_paused_holder_is_replaced_and_gives_up_when_it_wakes(fault: Fault) -> None:
    pids = fault.pair.signal_all(fault.active, signal.SIGSTOP)
    fault.wait_until_held_by(fault.standby, within_s=LIFETIME_S + 1.0)
    assert fault.on_two_s() < 1.0 + 0.3  # decision 13: min(lifetime, 1 s) + 0.3 s
    woken_s = time.monotonic()
    resume(pids)
    fault.settles_on(fault.standby)
    assert fault.pair.witness.holds(since_s=woken_s) == []


# --- strict --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strict", "process"),
    [(False, None), (False, "heartbus-vip"), (True, None)],
    ids=["two", "two, only vip", "majority"],
    indirect=["strict"],
)
def test_strict_takeover_of_a_paused_director_never_gives_two_holders(
    strict: HeartbusPair, process: str | None
) -> None:
    """The kernel of the paused director keeps the address for its lifetime."""
    fault = Fault(strict)
    pids = strict.signal_all(fault.active, signal.SIGSTOP, process)
    fault.wait_until_held_by(fault.standby, within_s=2.0 * LEASE_S + LIFETIME_S + EXPIRY_TAIL_S)
    assert fault.on_two_s() == 0.0
    fault.wait_until_answered_by(fault.standby)
    resume(pids)
    fault.settles_on(fault.standby)
    assert fault.on_two_s() == 0.0
    assert fault.moves() == [fault.host(fault.standby)]
