"""UDP links in a namespace: which way a datagram came, multicast, names, interfaces that change."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from heartbus.model import BroadcastLink, MulticastLink, UnicastLink
from heartbus.runner import MachineError
from heartbus_membership.hearing import Hearing
from heartbus_membership.links import POINTS_AT_US, Received
from heartbus_membership.signing import Keyring
from heartbus_membership.udp_links import RECEIVE_BYTES, UdpLink, UdpLinks
from tests.membership.fakes import KEYS, until
from tests.membership.wires import Wires, entered, inside, ip, made_wires

pytestmark = pytest.mark.netns

PORT = 694
IP_RECVTTL = 12  # linux/in.h; the socket module of Python 3.11 lacks it
GROUP4 = MulticastLink(interface="eth1", group="239.0.0.1", ttl=7)
GROUP6 = MulticastLink(interface="eth1", group="ff02::4:1", ttl=9)
ALL = (
    BroadcastLink(interface="eth1"),
    GROUP4,
    MulticastLink(interface="eth1", group="239.0.0.2", loop=True),
    GROUP6,
    UnicastLink(interface="eth1", peer="10.93.1.2"),
    UnicastLink(interface="eth1", peer="10.93.1.3"),
    UnicastLink(interface="eth1", peer="fe80::2"),
    UnicastLink(interface="eth1", peer="fd93:1::2"),
)


@pytest.fixture
def wires() -> Iterator[Wires]:
    with made_wires() as made, entered(made.a):
        yield made


@dataclass
class Host:
    """The links of a and what came over them."""

    links: UdpLinks
    heard: list[Received] = field(default_factory=list)

    def open(self) -> None:
        self.links.open(lambda: self.heard.extend(self.links.drain()))

    def ways(self) -> list[tuple[str | None, str]]:
        return [(received.link, received.source) for received in self.heard]

    def problems(self) -> dict[str, str | None]:
        return {link.name: link.problem for link in self.links.conditions()}


@contextlib.asynccontextmanager
async def opened(*links: UdpLink) -> AsyncIterator[Host]:
    made = Host(UdpLinks(links))
    made.open()
    try:
        yield made
    finally:
        made.links.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}  # no look-up goes on


@contextlib.contextmanager
def peer(wires: Wires, address: str) -> Iterator[socket.socket]:
    """Give a socket of b on cable 1 that sends from this address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def make() -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1")
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if family is socket.AF_INET:
            made.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.93.1.2")
            )
            made.bind((address, 0))
        else:
            made.bind((address, 0, 0, socket.if_nametoindex("eth1")))
        return made

    with inside(wires.b, make) as sock:
        yield sock


def listening(wires: Wires, group: str, port: int = PORT) -> socket.socket:
    """Return a socket of b that hears a group and is told how many hops a datagram has left."""
    family = socket.AF_INET6 if ":" in group else socket.AF_INET
    packed = socket.inet_pton(family, group)

    def make() -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.bind((group, port, 0, socket.if_nametoindex("eth1"))[: 4 if ":" in group else 2])
        index = socket.if_nametoindex("eth1")
        if family is socket.AF_INET:
            member = struct.pack("=4s4si", packed, bytes(4), index)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            made.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        else:
            member = struct.pack("=16si", packed, index)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        made.settimeout(2)
        return made

    return inside(wires.b, make)


async def test_the_way_of_a_datagram_is_known_when_all_links_share_a_port(wires: Wires) -> None:
    wires.cable(1)
    for address in ("10.93.1.3/24", "10.93.1.9/24", "fe80::9/64", "fd93:1::9/64"):
        wires.add(wires.b, "eth1", address)
    sent = [
        ("10.93.1.2", "255.255.255.255", "bcast:eth1"),
        ("10.93.1.2", "10.93.1.255", "bcast:eth1"),
        ("10.93.1.2", "239.0.0.1", "mcast:eth1:239.0.0.1"),
        ("10.93.1.3", "239.0.0.2", "mcast:eth1:239.0.0.2"),
        ("10.93.1.2", "10.93.1.1", "ucast:eth1:10.93.1.2"),
        ("10.93.1.3", "10.93.1.1", "ucast:eth1:10.93.1.3"),
        ("10.93.1.9", "10.93.1.1", "ucast:eth1:10.93.1.2"),  # unknown: the first peer
        ("fe80::2", "ff02::4:1", "mcast:eth1:ff02::4:1"),
        ("fe80::2", "fe80::1", "ucast:eth1:fe80::2"),
        ("fd93:1::2", "fd93:1::1", "ucast:eth1:fd93:1::2"),
        ("fe80::9", "fe80::1", "ucast:eth1:fe80::2"),
        ("fd93:1::9", "fd93:1::1", "ucast:eth1:fd93:1::2"),
    ]
    async with opened(*ALL) as a:
        for source, to, link in sent:
            with peer(wires, source) as sock:
                sock.sendto(b"x", (to, PORT))
            await until(lambda: bool(a.heard))
            assert a.ways() == [(link, source)], to
            a.heard.clear()


async def test_what_no_link_describes_has_no_link_or_does_not_arrive(wires: Wires) -> None:
    wires.cable(1)
    async with opened(GROUP4, GROUP6) as a:
        with peer(wires, "10.93.1.2") as four, peer(wires, "fe80::2") as six:
            for to in ("239.0.0.9", "224.0.0.1", "255.255.255.255", "10.93.1.1", "239.0.0.1"):
                four.sendto(to.encode(), (to, PORT))
            for to in ("ff02::4:9", "ff02::1", "fe80::1", "ff02::4:1"):
                six.sendto(to.encode(), (to, PORT))
        await until(lambda: len(a.heard) >= 5)
        assert {received.datagram.decode(): received.link for received in a.heard} == {
            "255.255.255.255": None,
            "10.93.1.1": None,
            "239.0.0.1": GROUP4.name,
            "fe80::1": None,
            "ff02::4:1": GROUP6.name,
        }


async def test_multicast_leaves_with_its_own_ttl_and_comes_back_only_with_loop(
    wires: Wires,
) -> None:
    wires.cable(1)
    looped6 = MulticastLink(interface="eth1", group="ff02::4:2", ttl=3, loop=True)
    with (
        listening(wires, "239.0.0.1") as first,
        listening(wires, "239.0.0.2") as second,
        listening(wires, "ff02::4:1") as third,
        listening(wires, "ff02::4:2") as fourth,
    ):
        async with opened(*ALL, looped6) as a:
            for _ in range(2):
                a.links.send(b"beat")
                for sock, ttl in ((first, 7), (second, 1), (third, 9), (fourth, 3)):
                    datagram, [(_, _, said)], _, source = sock.recvmsg(99, 99)
                    assert (datagram, struct.unpack("=i", said)[0]) == (b"beat", ttl)
                    assert source[:2] in (("10.93.1.1", PORT), ("fe80::1", PORT))
            await until(lambda: len(a.heard) == 6)
            own_broadcast = ("bcast:eth1", "10.93.1.1")
            back = {own_broadcast, ("mcast:eth1:239.0.0.2", "10.93.1.1"), (looped6.name, "fe80::1")}
            assert set(a.ways()) == back


async def test_two_ports_and_two_interfaces_are_kept_apart(wires: Wires) -> None:
    wires.cable(1)
    wires.cable(2)
    other_port = MulticastLink(interface="eth1", group="239.0.0.1", port=1694)
    other_interface = MulticastLink(interface="eth2", group="239.0.0.1")
    async with opened(GROUP4) as a, opened(other_port) as p, opened(other_interface) as i:
        with peer(wires, "10.93.1.2") as sock:
            sock.sendto(b"x", ("239.0.0.1", PORT))
            sock.sendto(b"y", ("239.0.0.1", 1694))
        await until(lambda: bool(a.heard and p.heard))
        assert [r.datagram for r in a.heard] == [b"x"]
        assert [r.datagram for r in p.heard] == [b"y"]
        assert i.heard == []


async def test_own_addresses_of_both_families_are_ourselves(wires: Wires) -> None:
    wires.cable(1)
    for key in ("net.ipv4.ip_nonlocal_bind", "net.ipv6.ip_nonlocal_bind"):
        wires.set(wires.a, key, 1)
    own = [UnicastLink(interface="eth1", peer=f"{net}1") for net in ("10.93.1.", "fe80::")]
    async with opened(*own, *ALL) as a:
        wanted = {link.name: POINTS_AT_US for link in own}
        assert a.problems() == {**dict.fromkeys(link.name for link in ALL), **wanted}
        wires.cable(2)
        wires.add(wires.a, "eth2", "fe80::2/64")  # that of our peer, but on another network
        ip("-n", wires.a, "addr", "del", "fe80::1/64", "dev", "eth1")
        await a.links.repair()
        assert a.problems()["ucast:eth1:fe80::2"] is None
        assert a.problems()["ucast:eth1:fe80::1"] is None
        assert a.problems()["ucast:eth1:10.93.1.1"] == POINTS_AT_US


async def test_an_interface_made_anew_is_joined_again_even_if_nothing_was_sent(
    wires: Wires,
) -> None:
    async with opened(*ALL) as a:
        gone = "interface eth1: No such device"
        assert set(a.problems().values()) == {gone}
        for _ in range(2):
            wires.cable(1)
            await a.links.repair()
            assert set(a.problems().values()) == {None}
            with peer(wires, "10.93.1.2") as four, peer(wires, "fe80::2") as six:
                four.sendto(b"x", ("239.0.0.1", PORT))
                six.sendto(b"x", ("ff02::4:1", PORT))
            await until(lambda: len(a.heard) == 2)
            assert {link for link, _ in a.ways()} == {GROUP4.name, GROUP6.name}
            a.heard.clear()
            with listening(wires, GROUP6.group) as listener:
                a.links.send(b"beat")
                _, [(_, _, ttl)], _, _ = listener.recvmsg(99, 99)
                assert struct.unpack("=i", ttl)[0] == GROUP6.ttl
            ip("-n", wires.a, "link", "del", "eth1")
            await a.links.repair()
            assert set(a.problems().values()) == {gone}
            a.links.send(b"nowhere")
            # Gone and back between two looks: another interface has the name.
            wires.cable(1)
            await a.links.repair()
            ip("-n", wires.a, "link", "del", "eth1")
            wires.cable(1)
            await a.links.repair()
            with peer(wires, "fe80::2") as six:
                six.sendto(b"x", ("ff02::4:1", PORT))
            await until(lambda: a.ways() == [(GROUP6.name, "fe80::2")])
            a.heard.clear()
            ip("-n", wires.a, "link", "del", "eth1")
            await a.links.repair()


async def test_sending_on_an_interface_that_is_down_is_a_problem_until_it_is_up(
    wires: Wires,
) -> None:
    wires.cable(1)
    async with opened(*ALL) as a:
        ip("-n", wires.a, "link", "set", "eth1", "down")
        a.links.send(b"x")
        assert all(str(problem).startswith("sending to") for problem in a.problems().values())
        assert not any(link.usable for link in a.links.conditions())
        wires.up(wires.a, 1)

        def all_well() -> bool:
            a.links.send(b"x")
            return not any(a.problems().values())

        await until(all_well)


async def test_ipv6_switched_off_is_a_problem_of_the_ipv6_links_only(wires: Wires) -> None:
    wires.cable(1)
    wires.set(wires.a, "net.ipv6.conf.eth1.disable_ipv6", 1)
    async with opened(*ALL) as a:
        a.links.send(b"x")
        problems = a.problems()
        for link in ALL:
            assert (problems[link.name] is not None) is ("::" in link.name), link.name
        wires.set(wires.a, "net.ipv6.conf.eth1.disable_ipv6", 0)
        for address in ("fe80::1/64", "fd93:1::1/64"):
            wires.add(wires.a, "eth1", address)
        await a.links.repair()
        a.links.send(b"x")
        assert not any(a.problems().values())
        with peer(wires, "fe80::2") as six:
            six.sendto(b"x", ("ff02::4:1", PORT))
        await until(lambda: (GROUP6.name, "fe80::2") in a.ways())


async def test_datagrams_of_any_length_end_in_a_counter(wires: Wires) -> None:
    wires.cable(1)
    hearing = Hearing(node="a", incarnation=1, peers=["b"], keyring=Keyring(KEYS), groups_by_id={})
    lengths = [0, 1, 1400, 1401, RECEIVE_BYTES, RECEIVE_BYTES + 1, 9000, 65_507]
    async with opened(*ALL) as a:
        with peer(wires, "10.93.1.2") as four, peer(wires, "fe80::2") as six:
            for length in lengths:
                content = b"HB\x01\x01".ljust(length, b"\0")[:length]
                four.sendto(content, ("10.93.1.1", PORT))
                six.sendto(content, ("fe80::1", PORT))
        await until(lambda: len(a.heard) == 2 * len(lengths))
        assert max(len(received.datagram) for received in a.heard) == RECEIVE_BYTES
        for received in a.heard:
            hearing.judge(received.datagram, link=received.link)
        assert hearing.dropped == {"alien": 4, "forged": 2, "malformed": 10}


# --- host names ----------------------------------------------------------------------------------


class Names:
    """What a name server would say; ``families`` are those that were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: dict[int, list[str]] = {}
        self.families: list[int] = []
        self.answering = asyncio.Event()
        self.answering.set()
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", self.getaddrinfo)

    async def getaddrinfo(
        self,
        host: str,
        port: None,
        *,
        family: int,
        type: int,  # noqa: A002  # as the loop has it
    ) -> list[Any]:
        self.families.append(family)
        await self.answering.wait()
        found = [
            (kind, type, 17, "", (address, 0))
            for kind, addresses in self.addresses.items()
            for address in addresses
            if family in (kind, socket.AF_UNSPEC)
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found


NAMED = UnicastLink(interface="eth1", peer="b.example")
NAMED6 = UnicastLink(interface="eth1", peer="b.example", ipv6=True)


async def test_a_name_with_an_ipv6_address_only(
    wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires.cable(1)
    names = Names(monkeypatch)
    names.addresses[socket.AF_INET6] = ["fd93:1::2"]
    async with opened(NAMED) as a:
        assert a.problems() == {NAMED.name: "b.example is not resolved to an address yet"}
        await until(lambda: a.problems() == {NAMED.name: None})
        with peer(wires, "fd93:1::2") as six:
            six.sendto(b"x", ("fd93:1::1", PORT))
        await until(lambda: a.ways() == [(NAMED.name, "fd93:1::2")])


async def test_a_name_with_both_is_ipv4_and_ucast6_never_is(
    wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires.cable(1)
    names = Names(monkeypatch)
    names.addresses = {socket.AF_INET6: ["fd93:1::2"], socket.AF_INET: ["10.93.1.2"]}
    async with opened(NAMED, NAMED6) as a:
        await until(lambda: not any(a.problems().values()))
        assert names.families == [socket.AF_UNSPEC, socket.AF_INET6]
        for source, to in (("10.93.1.2", "10.93.1.1"), ("fd93:1::2", "fd93:1::1")):
            with peer(wires, source) as sock:
                sock.sendto(b"x", (to, PORT))
        await until(lambda: len(a.heard) == 2)
        assert set(a.ways()) == {(NAMED.name, "10.93.1.2"), (NAMED6.name, "fd93:1::2")}


async def test_a_name_server_that_does_not_answer_holds_up_nothing(
    wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch)
    names.answering.clear()
    async with opened(NAMED, GROUP4) as a:
        wires.cable(1)
        async with asyncio.timeout(0.5):
            await a.links.repair()
        assert a.problems()[GROUP4.name] is None
        assert a.problems()[NAMED.name] == "b.example is not resolved to an address yet"
        names.answering.set()
        text = "b.example has no address: Name or service not known"
        await until(lambda: a.problems()[NAMED.name] == text)
        names.addresses[socket.AF_INET] = ["10.93.1.2"]
        await until(lambda: a.problems()[NAMED.name] is None, within_s=5)


# --- at the start --------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [GROUP4, GROUP6])
async def test_a_taken_port_is_an_error_at_the_start_for_both_families(
    wires: Wires, link: MulticastLink
) -> None:
    wires.cable(1)
    async with opened(link):
        with pytest.raises(MachineError, match="udp/694 on eth1: Address already in use") as error:
            UdpLinks([link]).open(lambda: None)
        assert isinstance(error.value.__cause__, OSError)
        assert error.value.__cause__.errno == errno.EADDRINUSE
