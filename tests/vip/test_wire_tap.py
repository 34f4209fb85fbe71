"""Real packet sockets and the kernels of real neighbours: who answers for an address, and where."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from heartbus.model import AddressResource
from heartbus_vip.neighbours import Said
from heartbus_vip.wire_tap import PACKETS_AT_ONCE_MAX, AskError, Heard, WireTap
from tests.lab.network import Host, Lab, Link, wait_until

pytestmark = pytest.mark.netns

VIP = AddressResource(address="192.168.7.110", prefix_len=24)
VIP6 = AddressResource(address="2001:db8::110", prefix_len=64)
BOTH = (VIP.address, VIP6.address)


@pytest.fixture
def asking(lab: Lab) -> Host:
    host = lab.host("asking")
    lab.attach(host, lab.switch("lan"), "eth0", "192.168.7.1/24", "2001:db8::1/64")
    return host


@pytest.fixture
def answering(lab: Lab, asking: Host) -> Link:
    host = lab.host("answering")
    switch = asking.links[0].switch
    return lab.attach(host, switch, "eth0", "192.168.7.9/24", "2001:db8::9/64")


@pytest.fixture
def tap(asking: Host) -> Iterator[WireTap]:
    opened = asking.call(lambda: WireTap(BOTH, interface=lambda _: "eth0"))
    yield opened
    opened.close()


def answers(tap: WireTap, resource: AddressResource) -> list[Heard]:
    """Ask until there is an answer: the address may not be up yet."""
    ends_s = time.monotonic() + 5.0
    while time.monotonic() < ends_s:
        tap.ask(resource)
        time.sleep(0.05)  # asks again; bounded by the loop's own limit
        if heard := tap.drain():
            return heard
    return []


def resolve(host: Host, address: str) -> None:
    """Make a host ask who has an address, by sending something there, and wait for the answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.call(lambda: socket.socket(family, socket.SOCK_DGRAM)) as sender:
        sender.sendto(b"", (address, 9))
    wait_until(
        lambda: "lladdr" in host.run(["ip", "neigh", "show", address]).stdout,
        timeout_s=5.0,
        what=f"{address} is resolved",
    )


@pytest.mark.parametrize("resource", [VIP, VIP6])
def test_whoever_has_an_address_answers_with_its_mac(
    asking: Host, answering: Link, tap: WireTap, resource: AddressResource
) -> None:
    nodad = " nodad" if resource is VIP6 else ""
    answering.host.ip(f"addr add {resource.name} dev eth0{nodad}")
    said = Said(address=resource.address, mac=answering.mac)
    assert {(h.said, h.interface) for h in answers(tap, resource)} == {(said, "eth0")}
    assert not tap.unread


def test_what_is_read_late_tells_when_it_came(asking: Host, answering: Link, tap: WireTap) -> None:
    answering.host.ip(f"addr add {VIP.name} dev eth0")
    assert answers(tap, VIP)
    asked_s = time.monotonic()
    tap.ask(VIP)
    time.sleep(0.5)  # as a process that was busy with something else
    (heard,) = tap.drain()
    assert asked_s <= heard.at_s < asked_s + 0.4


def test_what_is_about_other_addresses_is_not_heard(
    asking: Host, answering: Link, tap: WireTap
) -> None:
    for address in ("192.168.7.9", "2001:db8::9"):
        resolve(asking, address)
    assert tap.drain() == []
    assert not tap.unread
    answering.host.ip(f"addr add {VIP.name} dev eth0")
    assert answers(tap, VIP)


def test_other_addresses_are_heard_of_when_told_to_of_another_family_too(
    asking: Host, answering: Link
) -> None:
    tap = asking.call(lambda: WireTap({"192.168.7.120"}, interface=lambda _: "eth0"))
    answering.host.ip(f"addr add {VIP.name} dev eth0")
    answering.host.ip(f"addr add {VIP6.name} dev eth0 nodad")
    try:
        resolve(asking, "192.168.7.110")
        assert tap.drain() == []
        asking.call(lambda: tap.use_addresses(BOTH))
        assert answers(tap, VIP)
        assert answers(tap, VIP6)
        asking.call(lambda: tap.use_addresses({VIP6.address}))
        tap.drain()
        asking.ip("neigh flush all")
        resolve(asking, VIP.address)
        assert tap.drain() == []
    finally:
        tap.close()


def test_one_reading_is_bounded(asking: Host, answering: Link, tap: WireTap) -> None:
    answering.host.ip(f"addr add {VIP.name} dev eth0")
    assert answers(tap, VIP)
    for _ in range(3 * PACKETS_AT_ONCE_MAX):
        tap.ask(VIP)
    readings = []
    while heard := tap.drain():
        readings.append(len(heard))
    assert max(readings) == PACKETS_AT_ONCE_MAX


def test_who_asks_on_an_interface_that_is_gone_is_told_so(asking: Host, tap: WireTap) -> None:
    asking.ip("link del eth0")
    with pytest.raises(AskError, match=r"cannot ask for 192.168.7.110 on eth0: No such device"):
        tap.ask(VIP)


def test_our_own_hardware_addresses_are_those_of_all_interfaces(asking: Host, tap: WireTap) -> None:
    mac = "02:00:00:00:00:77"
    asking.ip(f"link add other address {mac} type veth peer name peer-of-other")
    macs = asking.call(tap.own_macs)
    assert {asking.links[0].mac, mac} <= set(macs)
    assert "00:00:00:00:00:00" not in macs
