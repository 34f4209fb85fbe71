"""What the start says of the machine: the real kernel, in a namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from heartbus.model import AddressResource, Endpoint, TransportProtocol, VirtualService
from heartbus_vip.address import AddressTable
from heartbus_vip.outlook import Remark, remarks
from tests.lab.network import Host, Lab

pytestmark = pytest.mark.netns

VIP = AddressResource(address="192.168.7.110", prefix_len=24)
VIP6 = AddressResource(address="2001:db8::110", prefix_len=64, interface="eth0")
Look = Callable[..., list[Remark]]


@pytest.fixture
def host(lab: Lab) -> Host:
    host = lab.host("director")
    lab.attach(host, lab.switch("lan"), "eth0", "192.168.7.1/24", "2001:db8::1/64")
    return host


@pytest.fixture
def look(host: Host) -> Iterator[Look]:
    table = host.call(AddressTable)
    yield lambda *resources, services=(): host.call(lambda: remarks(table, resources, services))
    table.close()


def test_a_machine_that_fits_is_met_with_silence(look: Look) -> None:
    assert look(VIP, VIP6) == []


def test_secondaries_are_promoted_from_the_start(host: Host, look: Look) -> None:
    host.sysctl("net.ipv4.conf.all.promote_secondaries", 0)
    host.sysctl("net.ipv4.conf.eth0.promote_secondaries", 0)
    assert look(VIP) == []
    assert (
        host.run(["cat", "/proc/sys/net/ipv4/conf/eth0/promote_secondaries"]).stdout.strip() == "1"
    )


def test_the_loopback_of_a_real_server_is_said_only_if_arp_is_answered_for_it(
    host: Host, look: Look
) -> None:
    host.ip("addr add 192.168.7.110/32 dev lo")
    (remark,) = look(VIP)
    assert remark.event == "address.loopback"
    assert "set net.ipv4.conf.eth0.arp_ignore=1" in remark.reason
    host.sysctl("net.ipv4.conf.eth0.arp_ignore", 1)
    assert look(VIP) == []


def test_a_real_server_that_would_distribute_what_it_is_to_answer_is_told(
    host: Host, look: Look
) -> None:
    at = Endpoint(address=VIP.address, port=80)
    service = VirtualService(protocol=TransportProtocol.TCP, endpoint=at)
    host.sysctl("net.ipv4.conf.eth0.arp_ignore", 1)
    assert look(VIP, services=[service]) == [], "it is no real server"
    host.ip("addr add 192.168.7.110/32 dev lo")
    (remark,) = look(VIP, services=[service])
    assert remark.event == "address.circle"
    assert "this one distributes again as tcp:192.168.7.110:80" in remark.reason
    marked = VirtualService(
        protocol=TransportProtocol.FWM, endpoint=Endpoint(address="0.0.0.0", port=0), fwmark=1
    )
    assert look(VIP, services=[marked]) == []


def test_the_loopback_of_ipv6_is_silent_by_itself(host: Host, look: Look) -> None:
    host.ip("addr add 2001:db8::110/128 dev lo nodad")
    assert look(VIP6) == []


def test_ipv6_that_is_off_is_said_with_what_to_set(host: Host, look: Look) -> None:
    host.sysctl("net.ipv6.conf.eth0.disable_ipv6", 1)
    (remark,) = look(VIP6)
    assert remark.reason == (
        "2001:db8::110/64: eth0 can have no address of IPv6; set net.ipv6.conf.eth0.disable_ipv6=0"
    )


def test_an_interface_that_is_not_there_is_said_once(look: Look) -> None:
    absent = AddressResource(address="10.0.0.1", prefix_len=24, interface="eth9")
    (remark,) = look(absent, absent)
    assert remark.event == "address.interface"
    assert "there is no interface 'eth9' here" in remark.reason
