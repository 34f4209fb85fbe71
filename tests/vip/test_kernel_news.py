"""News of addresses and interfaces: as bytes, and from the real kernel."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from heartbus_vip import rtnetlink
from heartbus_vip.kernel_news import KernelNews
from heartbus_vip.rtnetlink import (
    AddressGone,
    KernelAddress,
    LinkGone,
    LinkNews,
    News,
    RtnetlinkError,
)
from tests.lab.network import Host, Lab, wait_until

VIP = KernelAddress(address="192.168.7.110", prefix_len=24, index=2)
MAC = "02:68:62:00:00:01"


def link_message(
    *, kind: int = 16, family: int = 0, flags: int = 0x43, event: int | None = None
) -> bytes:
    message = ifinfmsg()
    message["family"], message["index"], message["flags"] = family, 3, flags
    message["header"]["type"] = kind
    message["attrs"] = [("IFLA_IFNAME", "eth0"), ("IFLA_ADDRESS", MAC)]
    message.encode()
    octets = bytearray(message.data)
    if event is not None:
        octets += struct.pack("=HHI", 8, 44, event)
    struct.pack_into("=I", octets, 0, len(octets))
    return bytes(octets)


def test_an_address_that_went_is_told_and_one_that_came_is_not() -> None:
    put = rtnetlink.put_address(VIP, sequence=0, acknowledge=False)
    gone = bytearray(put)
    struct.pack_into("=H", gone, 4, 21)  # RTM_DELADDR has the same body
    assert list(rtnetlink.news(put + bytes(gone))) == [AddressGone(address=VIP)]


@pytest.mark.parametrize(
    ("flags", "running"),
    [(0x43, True), (0x3, False), (0x2, False)],
    ids=["up with carrier", "up without", "down"],
)
def test_an_interface_tells_whether_it_runs(flags: int, running: bool) -> None:
    (link,) = rtnetlink.news(link_message(flags=flags))
    mac = bytes.fromhex(MAC.replace(":", ""))
    assert link == LinkNews(index=3, name="eth0", running=running, mac=mac, notify=False)


@pytest.mark.parametrize(("event", "notify"), [(3, True), (4, True), (2, False)])
def test_a_failover_of_a_bond_asks_for_announcements(event: int, notify: bool) -> None:
    (link,) = rtnetlink.news(link_message(event=event))
    assert isinstance(link, LinkNews)
    assert link.notify is notify


def test_an_interface_that_leaves_a_bridge_has_not_gone() -> None:
    assert list(rtnetlink.news(link_message(kind=17))) == [LinkGone(index=3, name="eth0")]
    assert list(rtnetlink.news(link_message(kind=17, family=7))) == []


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_one_kind_of_error(octets: bytes) -> None:
    with contextlib.suppress(RtnetlinkError):
        list(rtnetlink.news(octets))


@given(st.data())
def test_a_damaged_message_is_refused_with_one_kind_of_error(data: st.DataObject) -> None:
    octets = bytearray(link_message(event=4))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RtnetlinkError):
        list(rtnetlink.news(bytes(octets)))


# --- the real kernel -----------------------------------------------------------------------------


@pytest.fixture
def host(lab: Lab) -> Host:
    host = lab.host("director")
    lab.attach(host, lab.switch("lan"), "eth0", "192.168.7.1/24", "2001:db8::1/64")
    return host


@pytest.fixture
def news(host: Host) -> Iterator[KernelNews]:
    created = host.call(KernelNews)
    yield created
    created.close()


def heard(news: KernelNews, wanted: Callable[[News], bool]) -> list[News]:
    """Return what was told once something that is wanted was told."""
    told: list[News] = []

    def there() -> bool:
        told.extend(news.read() or ())
        return any(map(wanted, told))

    wait_until(there, timeout_s=10.0, what="the news")
    return told


@pytest.mark.netns
@pytest.mark.parametrize("address", ["192.168.7.1/24", "2001:db8::1/64"])
def test_an_address_deleted_by_hand_is_heard_of(host: Host, news: KernelNews, address: str) -> None:
    host.ip(f"addr del {address} dev eth0")
    bare = address.partition("/")[0]
    heard(news, lambda n: isinstance(n, AddressGone) and n.address.address == bare)


@pytest.mark.netns
def test_an_interface_is_heard_of_when_it_goes_down_comes_up_and_vanishes(
    host: Host, news: KernelNews
) -> None:
    host.ip("link set eth0 down")
    heard(news, lambda n: isinstance(n, LinkNews) and n.name == "eth0" and not n.running)
    host.ip("link set eth0 up")
    heard(news, lambda n: isinstance(n, LinkNews) and n.name == "eth0" and n.running)
    host.ip("link del eth0")
    heard(news, lambda n: isinstance(n, LinkGone) and n.name == "eth0")


@pytest.mark.netns
def test_more_news_than_can_be_kept_is_told_as_lost(host: Host, news: KernelNews) -> None:
    host.ip(*(f"addr add 10.1.{n >> 8}.{n & 255}/32 dev lo" for n in range(6000)))
    outcomes = [news.read() for _ in range(100)]
    assert None in outcomes
    host.ip("addr del 192.168.7.1/24 dev eth0")
    heard(news, lambda n: isinstance(n, AddressGone))  # it goes on


@pytest.mark.netns
def test_no_news_is_no_wait(news: KernelNews) -> None:
    assert news.read() == []
