"""What may happen to a director while its host, or a part of it, lives on: who holds the VIP then?

Real processes in network namespaces, without IPVS. The holders are seen from outside: the kernels'
addresses, who answers ARP, and a client that asks every ten milliseconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from heartbus.events import GroupGranted, NodeDead, VipConflict
from tests.lab.network import Lab, wait_until
from tests.lab.pairs import HeartbusPair
from tests.lab.peers import WallClock
from tests.system.fault import SLACK_S, Fault, resume

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

LIFETIME_S = 3.0
LEASE_S = 5.0
GRACE_S = 5.0
DEADTIME_S = 0.3
KERNEL_LATE_S = 0.6
"""The kernel rounds the times at which it looks for ended addresses; up to 0.44 s were measured."""

PROCESSES = {
    "membership": "heartbus-member",
    "vip": "heartbus-vip",
    "checker": "heartbus-checke",
    "nats-server": "nats-server",
    "supervisor": "heartbus-up",
}


@pytest.fixture(scope="module")
def pair() -> Iterator[HeartbusPair]:
    with Lab() as lab, HeartbusPair(lab, "f", echo_period_s=0.01) as started:
        yield started


@pytest.fixture
def fault(pair: HeartbusPair) -> Iterator[Fault]:
    made = Fault(pair)
    yield made
    made.mend()
    cried = [
        message.body
        for name, observer in pair.observers.items()
        for message in list(observer.events)[made.heard[name] :]
        if isinstance(message.body, VipConflict)
    ]
    assert cried == [], f"a failover is no conflict:\n{made.story()}"


@pytest.fixture(scope="module")
def clocked_pair() -> Iterator[tuple[HeartbusPair, WallClock]]:
    with Lab() as lab:
        clock = WallClock(lab.directory)
        with HeartbusPair(lab, "c", echo_period_s=0.01, environment=clock.environment) as started:
            yield started, clock


@pytest.fixture
def clocked(clocked_pair: tuple[HeartbusPair, WallClock]) -> Iterator[tuple[Fault, WallClock]]:
    pair, clock = clocked_pair
    yield Fault(pair), clock
    clock.step(0)


# --- the network ---------------------------------------------------------------------------------


def test_a_dead_director_is_replaced_and_a_healed_one_gives_up_without_a_gap(fault: Fault) -> None:
    pair, link = fault.pair, fault.pair.links[fault.active]
    link.cut()
    wait_until(
        lambda: fault.host(fault.standby) in pair.witness.holders(),
        timeout_s=DEADTIME_S + SLACK_S,
        what="the standby has taken over",
    )
    fault.wait_until_answered_by(fault.standby)
    healed_s = time.monotonic()
    link.heal()
    fault.wait_until_held_by(fault.standby, within_s=1.0)
    fault.wait_until_answered_by(fault.standby)
    silence = pair.client.silence(from_s=healed_s, until_s=time.monotonic())
    assert silence.unanswered <= 1, "the surviving owner was away"


def test_a_director_that_is_not_heard_loses_the_vip_to_one_that_it_hears(fault: Fault) -> None:
    """It sees the claim of the other, which has the higher epoch, and gives up by itself."""
    fault.pair.links[fault.active].cut_one_way(hears=True)
    fault.wait_until_held_by(fault.standby, within_s=DEADTIME_S + 1.0)
    assert fault.on_two_s() < 1.0
    fault.pair.links[fault.active].heal()
    fault.wait_until_answered_by(fault.standby)
    assert fault.moves() == [fault.host(fault.standby)]


def test_a_director_that_hears_nothing_keeps_what_the_other_sees_it_hold(fault: Fault) -> None:
    """For the standby nothing has happened; the deaf one believes that it is alone."""
    fault.pair.links[fault.active].cut_one_way(hears=False)
    observer = fault.pair.observers[fault.active]
    observer.wait_for(
        lambda: bool(observer.said(NodeDead, since=fault.heard[fault.active])), "it is alone"
    )
    fault.pair.links[fault.active].heal()
    fault.wait_until_answered_by(fault.active)
    fault.pair.settle()
    assert fault.pair.holder() == fault.active
    assert fault.moves() == []


def test_a_standby_that_is_not_heard_moves_nothing(fault: Fault) -> None:
    fault.pair.links[fault.standby].cut_one_way(hears=True)
    fault.stays(for_s=3 * DEADTIME_S)


def test_a_standby_that_hears_nothing_takes_the_vip_and_the_other_yields(fault: Fault) -> None:
    """To the active one it looks as in the test before last: without a third party, neither of
    two can tell who is deaf. Never do both hold it for longer than it takes to hear the claim."""
    fault.pair.links[fault.standby].cut_one_way(hears=False)
    fault.wait_until_held_by(fault.standby, within_s=DEADTIME_S + 1.0)
    assert fault.on_two_s() < 1.0
    fault.pair.links[fault.standby].heal()
    fault.wait_until_answered_by(fault.standby)
    fault.pair.settle()
    assert fault.moves() == [fault.host(fault.standby)]


# --- processes that are killed -------------------------------------------------------------------


@pytest.mark.parametrize("process", ["membership", "vip", "checker", "nats-server"])
def test_a_killed_process_comes_back_and_nothing_moves(fault: Fault, process: str) -> None:
    command = PROCESSES[process]
    gone = fault.pair.signal_all(fault.active, signal.SIGKILL, command)
    wait_until(
        lambda: any(pid not in gone for pid in fault.pair.pids(fault.active, command)),
        timeout_s=GRACE_S,
        what=f"{process} is back",
    )
    fault.stays(for_s=LIFETIME_S + 0.5)


@pytest.mark.parametrize("process", ["supervisor", None], ids=["supervisor", "all"])
def test_a_director_without_processes_loses_the_vip_within_its_lifetime(
    fault: Fault, process: str | None
) -> None:
    """The supervisor takes its children along; the address is the kernel's to end."""
    command = None if process is None else PROCESSES[process]
    fault.pair.signal_all(fault.active, signal.SIGKILL, command)
    fault.wait_until_held_by(fault.standby, within_s=LIFETIME_S + KERNEL_LATE_S)
    assert fault.on_two_s() < LIFETIME_S + 0.3
    fault.wait_until_answered_by(fault.standby)


# --- processes that are paused -------------------------------------------------------------------


def paused(fault: Fault, command: str | None, meanwhile: Callable[[], None]) -> None:
    """Pause a process of the active director, or all of them, while something is done.

    The supervisor first: it would kill and restart who has not fed its watchdog for 15 s, and the
    last time may have been half of that before the pause.
    """
    pids = fault.pair.signal_all(fault.active, signal.SIGSTOP, PROCESSES["supervisor"])
    pids += fault.pair.signal_all(fault.active, signal.SIGSTOP, command)
    try:
        meanwhile()
    finally:
        resume(pids)


def test_a_paused_director_is_replaced_and_gives_up_when_it_wakes(fault: Fault) -> None:
    def taken_over() -> None:
        fault.wait_until_held_by(fault.standby, within_s=LIFETIME_S + KERNEL_LATE_S)

    paused(fault, None, taken_over)
    assert fault.on_two_s() < LIFETIME_S + 0.3
    woken_s = time.monotonic()
    fault.wait_until_answered_by(fault.standby)
    fault.pair.settle()
    assert [h.host for h in fault.pair.witness.holds(since_s=woken_s)] == []
    assert fault.pair.holder() == fault.standby


def test_a_director_that_wakes_while_its_address_stands_gives_it_up_at_once(fault: Fault) -> None:
    """Paused for longer than deadtime and shorter than the lifetime of its address."""

    def both() -> None:
        wait_until(
            lambda: len(fault.pair.witness.holders()) == 2,
            timeout_s=DEADTIME_S + SLACK_S,
            what="the standby has taken over",
        )

    paused(fault, None, both)
    fault.wait_until_held_by(fault.standby, within_s=0.5)
    fault.wait_until_answered_by(fault.standby)
    assert fault.moves() == [fault.host(fault.standby)]


@pytest.mark.parametrize("process", ["membership", "vip"])
def test_a_paused_process_hands_over_without_two_holders(fault: Fault, process: str) -> None:
    """Membership: when its lease has ended. Vip: when its addresses have."""

    def taken_over() -> None:
        fault.wait_until_held_by(fault.standby, within_s=LEASE_S + GRACE_S + DEADTIME_S)

    paused(fault, PROCESSES[process], taken_over)
    fault.wait_until_answered_by(fault.standby)
    assert fault.on_two_s() == 0.0
    fault.settles_on(fault.standby)
    assert fault.moves() == [fault.host(fault.standby)]


@pytest.mark.parametrize("process", ["checker", "nats-server"])
def test_a_paused_process_that_no_vip_depends_on_moves_nothing(fault: Fault, process: str) -> None:
    paused(fault, PROCESSES[process], lambda: fault.stays(for_s=LEASE_S + 1.0))
    fault.stays(for_s=1.0)


# --- the bus, and the machine --------------------------------------------------------------------


def test_all_nats_servers_stopped_for_longer_than_a_lease_move_nothing(fault: Fault) -> None:
    pids = [
        pid
        for name in (fault.active, fault.standby)
        for pid in fault.pair.signal_all(name, signal.SIGSTOP, PROCESSES["nats-server"])
    ]
    try:
        fault.stays(for_s=LEASE_S + 1.0)
    finally:
        resume(pids)
    fault.stays(for_s=1.0)


def test_a_director_dies_while_the_bus_is_gone_and_is_replaced_as_fast(fault: Fault) -> None:
    for name in (fault.active, fault.standby):
        fault.pair.signal_all(name, signal.SIGSTOP, PROCESSES["nats-server"])
    fault.pair.links[fault.active].cut()
    wait_until(
        lambda: fault.host(fault.standby) in fault.pair.witness.holders(),
        timeout_s=DEADTIME_S + SLACK_S,
        what="the standby has taken over",
    )
    fault.wait_until_answered_by(fault.standby)


@pytest.mark.parametrize("step_s", [-86_400.0, 86_400.0], ids=["a day back", "a day ahead"])
def test_a_step_of_the_wall_clock_moves_nothing(
    clocked: tuple[Fault, WallClock], step_s: float
) -> None:
    fault, clock = clocked
    clock.step(step_s)
    fault.stays(for_s=LEASE_S + 1.0)
    said = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env={**os.environ, **clock.environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert abs(float(said) - time.time() - step_s) < 60.0, "the step itself did not work"


def test_a_machine_with_far_too_much_to_do_moves_nothing(fault: Fault) -> None:
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(16)]
    try:
        fault.stays(for_s=12.0)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    granted = [o.said(GroupGranted, since=fault.heard[n]) for n, o in fault.pair.observers.items()]
    assert granted == [[], []]
