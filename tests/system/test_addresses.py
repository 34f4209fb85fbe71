"""Addresses of both families in one group: real directors, a real client of each family.

In network namespaces, without IPVS. That IPv4 behaves is shown by test_faults; here it is that IPv6
does as well, and that the two are never apart for long.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from heartbus.events import VipRepaired
from tests.lab import addresses
from tests.lab.classic import HEARTBUS
from tests.lab.client import Attempt, ContinuousClient, start_speaker
from tests.lab.network import Host, Lab, wait_until
from tests.lab.observe import Observer
from tests.lab.pairs import NAMES, VIP, HeartbusPair
from tests.system.fault import SLACK_S, Fault, resume

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

VIP6 = "2001:db8::100"
PORT = 80
LIFETIME_S = 3.0
DEADTIME_S = 0.3
KERNEL_LATE_S = 0.6
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
APART_S = 0.3
"""How long one family may be where the other is not: the kernel ends them one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The pair, and a client of each family that asks who answers."""

    pair: HeartbusPair
    clients: tuple[ContinuousClient, ContinuousClient]

    def answered_by(self, name: str, *, within_s: float = 10.0) -> None:
        """Wait until both clients are answered by this director."""
        for client in self.clients:
            since_s = time.monotonic()
            client.wait_for(5, since_s=since_s, timeout_s=within_s)
            assert set(client.pages(since_s=since_s)) == {name}

    def failed(self, *, since_s: float) -> list[str]:
        """Return why attempts failed that began since a time."""
        return [
            attempt.error or ""
            for client in self.clients
            for attempt in client.attempts(since_s=since_s)
            if attempt.started_s >= since_s and not attempt.ok
        ]

    def failed_of_move(self, to: str, *, since_s: float) -> list[Attempt]:
        """Return the attempts begun since then that failed, but for those found half-way."""
        found = []
        for client in self.clients:
            attempts = [a for a in client.attempts(since_s=since_s) if a.started_s >= since_s]
            turned_s = min(a.started_s for a in attempts if a.page == to)
            found += [
                a
                for a in attempts
                if not a.ok and not (a.error == "ECONNRESET" and a.started_s < turned_s)
            ]
        return found


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab())
        pair = HeartbusPair(lab, "d", echo_period_s=0.01, also=[f"{VIP6}/64"])
        for number, name in enumerate(NAMES, 1):
            host = pair.hosts[name]
            for interface in ("all", "eth0"):  # the lab's hosts look for no duplicates
                host.sysctl(f"net.ipv6.conf.{interface}.accept_dad", 1)
                host.sysctl(f"net.ipv6.conf.{interface}.keep_addr_on_down", 1)
            host.ip(f"addr add 2001:db8::{number}/64 dev eth0 nodad")
        client = pair.client_host
        client.ip("addr add 2001:db8::9/64 dev eth0 nodad")
        stack.enter_context(pair)
        for name in NAMES:
            start_speaker(pair.hosts[name], PORT, name)
        clients = [
            stack.enter_context(ContinuousClient(client, vip, PORT, timeout_s=2.0))
            for vip in (VIP, VIP6)
        ]
        yield Stage(pair=pair, clients=(clients[0], clients[1]))


@pytest.fixture
def fault(stage: Stage) -> Iterator[Fault]:
    made = Fault(stage.pair)
    stage.answered_by(made.active)
    yield made
    made.mend()


def said(observer: Observer, since: int) -> bool:
    return bool(observer.said(VipRepaired, since=since))


def holders(pair: HeartbusPair, vip: str) -> list[str]:
    return [name for name in NAMES if addresses.holds(pair.hosts[name], vip)]


def held_by(pair: HeartbusPair, *names: str) -> Callable[[], bool]:
    return lambda: holders(pair, VIP) == holders(pair, VIP6) == list(names)


def moves(pair: HeartbusPair, to: str, *, within_s: float) -> None:
    """Wait until both addresses are on this director alone; watch that IPv6 never was on two."""
    ends_s = time.monotonic() + within_s + SLACK_S
    while not held_by(pair, to)():
        assert time.monotonic() < ends_s, (holders(pair, VIP), holders(pair, VIP6))
        assert len(holders(pair, VIP6)) < 2
        time.sleep(0.005)  # the sampling period, bounded by ``within_s``


def test_a_director_that_dies_is_replaced_for_both_families(stage: Stage, fault: Fault) -> None:
    pair = fault.pair
    died_s = time.monotonic()
    pair.links[fault.active].cut()
    for client in stage.clients:
        client.wait_for(5, since_s=died_s + DEADTIME_S, timeout_s=10.0)
    stage.answered_by(fault.standby)
    for client in stage.clients:
        assert client.gap(died_s).length_s < DEADTIME_S + SLACK_S
    healed_s = time.monotonic()
    pair.links[fault.active].heal()
    wait_until(held_by(pair, fault.standby), timeout_s=1.0 + SLACK_S, what="the loser gives up")
    stage.answered_by(fault.standby)
    pair.settle()
    assert stage.failed(since_s=healed_s) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_both_leave_a_killed_or_paused_vip_and_are_taken_by_the_other_director(
    stage: Stage, fault: Fault, number: signal.Signals
) -> None:
    """The supervisor is stopped first, or it would bring back what was killed."""
    pair = fault.pair
    paused = pair.signal_all(fault.active, signal.SIGSTOP, "heartbus-up")
    hit_s = time.monotonic()
    paused += pair.signal_all(fault.active, number, "heartbus-vip")
    wait_until(
        lambda: fault.active not in holders(pair, VIP6),
        timeout_s=LIFETIME_S + KERNEL_LATE_S + SLACK_S,
        what="the address of IPv6 is gone",
    )
    assert time.monotonic() - hit_s < LIFETIME_S + KERNEL_LATE_S
    wait_until(
        lambda: fault.active not in holders(pair, VIP),
        timeout_s=APART_S + SLACK_S,
        what="that of IPv4 too",
    )
    moves(pair, fault.standby, within_s=12.0)
    stage.answered_by(fault.standby)
    resumed_s = time.monotonic()
    resume(paused)
    stage.answered_by(fault.standby)
    fault.settles_on(fault.standby)
    assert held_by(pair, fault.standby)()
    assert stage.failed(since_s=resumed_s) == []


def test_status_says_unknown_of_what_it_does_not_know(fault: Fault) -> None:
    """A vip that says nothing: who may hold the group is known, whether it is held is not."""
    assert status(fault) == (fault.active, "held", 0)
    paused = fault.pair.signal_all(fault.active, signal.SIGSTOP, "heartbus-vip")
    try:
        assert status(fault) == (fault.active, "unknown", 0)
        for name in NAMES:
            paused += fault.pair.signal_all(name, signal.SIGSTOP, "heartbus-member")
        assert status(fault) == (None, None, 1)  # nobody is left who would know a holder
    finally:
        resume(paused)


def status(fault: Fault) -> tuple[str | None, str | None, int]:
    """Return holder, state and exit code, as the other director tells them."""
    host = fault.pair.hosts[fault.standby]
    done = host.run([HEARTBUS, "status", "--json"], check=False)
    groups = json.loads(done.stdout)["groups"]
    if not groups:
        return None, None, done.returncode
    return groups[0]["holder"], groups[0]["held_as"]["status"], done.returncode


def test_a_planned_move_refuses_no_connection_of_either_family(stage: Stage, fault: Fault) -> None:
    """The program that answers runs on the directors themselves, so its connections cannot move.

    One that is half-way while the clients turn to the other director is reset by that one's kernel,
    which knows nothing of it. That is all that may happen: none is refused, none stays unanswered,
    and none that began after the new director answered one fails.
    """
    stage.answered_by(fault.active)  # whatever an earlier test did has ended for both families
    for name in (fault.standby, fault.active):
        begun_s = time.monotonic()
        done = fault.pair.hosts[name].run([HEARTBUS, "takeover", "--node", name, "--json"])
        assert json.loads(done.stdout)["took_s"] < 10.0
        wait_until(held_by(fault.pair, name), timeout_s=5.0, what=f"{name} holds both alone")
        stage.answered_by(name)
        fault.pair.settle()
        assert stage.failed_of_move(name, since_s=begun_s) == []


def test_an_address_deleted_by_hand_is_put_back_published_and_nothing_moves(
    stage: Stage, fault: Fault
) -> None:
    pair = fault.pair
    observer = pair.observers[fault.standby]  # the other director hears of it
    for vip, length in ((VIP6, 64), (VIP, 24)):
        heard = len(observer.events)
        pair.hosts[fault.active].ip(f"addr del {vip}/{length} dev eth0")
        gone_s = time.monotonic()
        wait_until(held_by(pair, fault.active), timeout_s=5.0, what=f"{vip} is back")
        assert time.monotonic() - gone_s < 0.25 + 0.2, "not before the next refresh"
        observer.wait_for(partial(said, observer, heard), "it is told")
        (told,) = observer.said(VipRepaired, since=heard)
        assert (told.group, told.address, told.times) == ("vip", f"{vip}/{length}", 1)
    stage.answered_by(fault.active)
    fault.settles_on(fault.active)


def test_an_interface_that_was_down_brings_nobody_back_who_was_replaced(
    stage: Stage, fault: Fault
) -> None:
    """It still believes to hold the addresses: announcing them would turn the clients to it."""
    pair = fault.pair
    pair.hosts[fault.active].ip("link set eth0 down")
    stage.clients[0].wait_for(5, since_s=time.monotonic() + DEADTIME_S, timeout_s=10.0)
    stage.answered_by(fault.standby)
    up_s = time.monotonic()
    with wire_of(pair.client_host) as wire:
        pair.hosts[fault.active].ip("link set eth0 up")
        wait_until(held_by(pair, fault.standby), timeout_s=5.0, what="the loser gives up")
        stage.answered_by(fault.standby)
        pair.settle()
        assert announcements(wire, sender=pair.links[fault.active].mac) == []
    assert stage.failed(since_s=up_s) == []


def wire_of(host: Host) -> socket.socket:
    """Return what gets every frame that comes to a host from now on."""
    wire = host.call(
        lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    )
    wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 * 1024 * 1024)
    wire.bind(("eth0", ETH_P_ALL))
    wire.setblocking(False)
    return wire


def announcements(wire: socket.socket, *, sender: str) -> list[str]:
    """Return the addresses that a host with this MAC told everybody about, of what came so far."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            frame = wire.recv(2048)
            if frame[6:12].hex(":") != sender:
                continue
            if frame[12:14] == b"\x08\x06" and frame[28:32] == frame[38:42]:
                found.append(socket.inet_ntoa(frame[28:32]))
            advertises = frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == 136
            if advertises and frame[38:54] == socket.inet_pton(socket.AF_INET6, "ff02::1"):
                found.append(socket.inet_ntop(socket.AF_INET6, frame[62:78]))
    return found
