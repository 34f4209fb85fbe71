"""The real process and a real second machine with the same address, on one network of the lab."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from tests.lab.network import Host, Lab, Link, Process
from tests.vip.test_process import GROUP, VIP, Director, lines, logged, wait_for

pytestmark = pytest.mark.netns

VIP6 = "2001:db8::110"
ASKED_EVERY_S = 1
TOLD_MAX_S = 5.0
"""A question is due, its answer makes a suspect, and the next answer a conflict; on a busy host."""


@pytest.fixture
def director(lab: Lab, tmp_path: Path) -> Director:
    created = Director(lab, tmp_path)
    created.host.ip("addr add 2001:db8::1/64 dev eth0 nodad")
    configure(created)
    return created


@pytest.fixture
def stranger(lab: Lab, director: Director) -> Link:
    """The cable of a host that is no director."""
    host = lab.host("stranger")
    return lab.attach(host, director.lan, "eth0", "192.168.7.9/24", "2001:db8::9/64")


def configure(director: Director, *resources: str, policy: str = "defend") -> None:
    settings = f'[vip.conflicts]\npolicy = "{policy}"\ninterval = {ASKED_EVERY_S}\n'
    director.configure(*(resources or (f'"{VIP}/24"',)), settings=settings)


def conflicts(process: Process) -> list[dict[str, object]]:
    found = []
    for line in lines(process, "vip.conflict"):
        assert isinstance(line["data"], dict)
        found.append(line["data"])
    return found


def told(process: Process) -> dict[str, object]:
    wait_for(lambda: bool(conflicts(process)), within_s=TOLD_MAX_S, of=process)
    return conflicts(process)[0]


def take(host: Host, address: str) -> None:
    """Set an address there, silently: duplicate address detection would keep it from two hosts."""
    nodad = " nodad" if ":" in address else ""
    host.ip(f"addr add {address} dev eth0{nodad}")


@pytest.mark.parametrize("address", [f"{VIP}/24", f"{VIP6}/64"])
def test_a_machine_that_takes_our_address_is_told_with_its_mac_and_we_keep_it(
    director: Director, stranger: Link, address: str
) -> None:
    configure(director, f'"{address}"')
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    take(stranger.host, address)
    conflict = told(process)
    plain = address.partition("/")[0]
    assert (conflict["address"], conflict["group"]) == (plain, GROUP)
    assert (conflict["mac"], conflict["interface"]) == (stranger.mac, "eth0")
    assert (conflict["director"], conflict["held"]) == ("", True)
    wait_for(logged(process, "address.defended"), within_s=10.0, of=process)
    assert len(conflicts(process)) == 1
    assert not lines(process, "vip.released")
    assert not lines(process, "vip.failed")


def test_a_machine_that_has_it_before_us_is_told_before_we_take_it(
    director: Director, stranger: Link
) -> None:
    take(stranger.host, f"{VIP}/24")
    director.lease(ask_first=True)
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    kinds = [line.get("kind") for line in map(_parsed, process.output().splitlines())]
    (conflict,) = conflicts(process)
    assert kinds.index("vip.conflict") < kinds.index("vip.acquired")
    assert (conflict["mac"], conflict["held"]) == (stranger.mac, False)
    assert director.holds()


def test_who_yields_does_not_take_a_used_address_and_lets_go_of_one_that_is_taken(
    director: Director, stranger: Link
) -> None:
    configure(director, policy="yield")
    take(stranger.host, f"{VIP}/24")
    director.lease(ask_first=True)
    process = director.start()
    wait_for(logged(process, "vip.failed"), of=process)
    assert stranger.mac in str(lines(process, "vip.failed")[0]["data"])
    assert not lines(process, "vip.acquired")
    assert not director.holds()
    director.lease(epoch=2)  # it is the only one that can have it, whatever the network says
    wait_for(director.holds, of=process)
    wait_for(lambda: not director.holds(), within_s=TOLD_MAX_S, of=process)


def test_who_stands_by_sees_a_foreign_machine_too(director: Director, stranger: Link) -> None:
    take(stranger.host, f"{VIP}/24")
    process = director.start()
    wait_for(logged(process, "service.ready"), of=process)
    conflict = told(process)
    assert (conflict["mac"], conflict["held"]) == (stranger.mac, False)


def test_a_real_server_that_answers_for_its_loopback_is_told_and_one_that_does_not_is_not(
    director: Director, stranger: Link
) -> None:
    """Direct routing needs the address there; without arp_ignore Linux answers for it."""
    stranger.host.sysctl("net.ipv4.conf.all.arp_ignore", 1)
    stranger.host.ip(f"addr add {VIP}/32 dev lo")
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    time.sleep(3 * ASKED_EVERY_S)  # nothing is to happen: there is nothing to wait for
    assert conflicts(process) == []
    stranger.host.sysctl("net.ipv4.conf.all.arp_ignore", 0)
    assert told(process)["mac"] == stranger.mac


def test_a_free_address_is_asked_for_and_taken_and_then_we_are_alone(
    director: Director, stranger: Link
) -> None:
    listening = stranger.host.call(
        lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    )
    listening.setblocking(False)
    process = director.start()
    wait_for(logged(process, "service.ready"), of=process)
    begun_s = time.monotonic()
    director.lease(ask_first=True)
    wait_for(director.holds, of=process)
    assert 0.5 < time.monotonic() - begun_s < 2.0
    frames = []
    while True:
        try:
            frames.append(listening.recv(2048))
        except BlockingIOError:
            break
    listening.close()
    about = [f for f in frames if f[38:42] == socket.inet_aton(VIP)]
    probes = [f for f in about if f[28:32] == bytes(4)]
    assert len(probes) >= 3
    assert {f[22:28].hex(":") for f in probes} == {director.link.mac}
    wait_for(logged(process, "address.alone"), within_s=5.0, of=process)
    assert conflicts(process) == []


def test_an_answer_from_another_interface_of_ours_is_no_conflict(director: Director) -> None:
    host = director.host
    host.ip(
        "link add veth-a type veth peer name veth-b",
        "link set veth-b up",
        "link set veth-a up",
        "link add br0 type bridge stp_state 0 forward_delay 0",
        "link set eth0 master br0",
        "link set veth-b master br0",
        "addr flush dev eth0",
        "addr add 192.168.7.1/24 dev br0",
        "link set br0 up",
    )
    director.lease()
    process = director.start()
    wait_for(logged(process, "address.alone"), of=process)
    host.ip(f"addr add {VIP}/32 dev veth-a")  # it answers on br0, from another interface of ours
    time.sleep(4 * ASKED_EVERY_S)  # nothing is to happen: there is nothing to wait for
    assert conflicts(process) == []


def _parsed(line: str) -> dict[str, object]:
    return dict(json.loads(line)) if line.startswith("{") else {}
