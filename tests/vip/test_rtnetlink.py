from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from heartbus_vip import rtnetlink
from heartbus_vip.rtnetlink import (
    AddressReply,
    DumpEnd,
    KernelAddress,
    RouteReply,
    RtnetlinkError,
    Verdict,
)

VIP = KernelAddress(
    address="192.168.7.110", prefix_len=24, index=7, broadcast="192.168.7.255", valid_s=3
)
ipv4 = st.ip_addresses(v=4).map(str)
addresses = st.builds(
    KernelAddress,
    address=ipv4,
    prefix_len=st.integers(0, 32),
    index=st.integers(0, 2**31 - 1),
    broadcast=st.none() | ipv4,
    scope=st.sampled_from([rtnetlink.SCOPE_UNIVERSE, rtnetlink.SCOPE_HOST]),
    valid_s=st.none() | st.integers(0, 2**32 - 2),
)

addresses_v6 = st.builds(
    KernelAddress,
    address=st.ip_addresses(v=6).map(lambda a: str(ipaddress.IPv6Address(int(a)))),
    prefix_len=st.integers(1, 128),
    index=st.integers(0, 2**31 - 1),
    valid_s=st.none() | st.integers(1, 2**32 - 2),
    preferred=st.booleans(),
    detect_duplicates=st.booleans(),
)


def decoded(message_class: Any, octets: bytes) -> Any:
    message = message_class(octets)
    message.decode()
    return message


@given(address=addresses, sequence=st.integers(0, 2**32 - 1), acknowledge=st.booleans())
def test_pyroute2_reads_a_put_as_it_was_meant(
    address: KernelAddress, sequence: int, acknowledge: bool
) -> None:
    octets = rtnetlink.put_address(address, sequence=sequence, acknowledge=acknowledge)
    message = decoded(ifaddrmsg, octets)
    lifetime = 0xFFFFFFFF if address.valid_s is None else address.valid_s
    cacheinfo = message.get_attr("IFA_CACHEINFO")
    assert message["header"]["length"] == len(octets)
    assert message["header"]["type"] == 20
    assert message["header"]["flags"] == 0x501 | (0x4 if acknowledge else 0)
    assert message["header"]["sequence_number"] == sequence
    assert message["family"] == 2
    assert (message["prefixlen"], message["scope"], message["index"]) == (
        address.prefix_len,
        address.scope,
        address.index,
    )
    assert message.get_attr("IFA_LOCAL") == message.get_attr("IFA_ADDRESS") == address.address
    assert message.get_attr("IFA_BROADCAST") == address.broadcast
    assert (cacheinfo["ifa_preferred"], cacheinfo["ifa_valid"]) == (lifetime, lifetime)


def test_a_put_has_exactly_these_bytes() -> None:
    expected = (
        "44000000 1400 0505 2a000000 00000000"  # 68 bytes, RTM_NEWADDR, REQUEST ACK REPLACE CREATE
        "02 18 00 00 07000000"  # AF_INET /24, universe, interface 7
        "0800 0200 c0a8076e 0800 0100 c0a8076e 0800 0400 c0a807ff"  # local, address, broadcast
        "1400 0600 03000000 03000000 00000000 00000000"  # preferred 3 s, valid 3 s
    )
    assert rtnetlink.put_address(VIP, sequence=42, acknowledge=True) == bytes.fromhex(expected)


def test_a_delete_names_address_prefix_and_interface() -> None:
    message = decoded(ifaddrmsg, rtnetlink.delete_address(VIP, sequence=1))
    assert message["header"]["type"] == 21
    assert message["header"]["flags"] == 0x5
    assert (message["prefixlen"], message["index"]) == (24, 7)
    assert message.get_attr("IFA_LOCAL") == "192.168.7.110"


def test_a_dump_asks_for_all_ipv4_addresses() -> None:
    message = decoded(ifaddrmsg, rtnetlink.dump_addresses(sequence=1))
    assert (message["header"]["type"], message["header"]["flags"]) == (22, 0x301)
    assert message["family"] == 2


def test_a_route_is_asked_for_one_address() -> None:
    message = decoded(rtmsg, rtnetlink.find_route("192.168.7.110", sequence=1))
    assert (message["header"]["type"], message["header"]["flags"]) == (26, 0x1)
    assert message["dst_len"] == 32
    assert message.get_attr("RTA_DST") == "192.168.7.110"


@given(address=addresses, sequence=st.integers(0, 2**32 - 1))
def test_what_is_put_is_read_back(address: KernelAddress, sequence: int) -> None:
    # The kernel answers a dump with the same message that adds an address.
    octets = rtnetlink.put_address(address, sequence=sequence, acknowledge=False)
    assert list(rtnetlink.replies(octets)) == [AddressReply(sequence=sequence, address=address)]


@given(address=addresses_v6, sequence=st.integers(0, 2**32 - 1))
def test_of_ipv6_too_with_its_preference_and_whether_duplicates_are_looked_for(
    address: KernelAddress, sequence: int
) -> None:
    octets = rtnetlink.put_address(address, sequence=sequence, acknowledge=False)
    assert list(rtnetlink.replies(octets)) == [AddressReply(sequence=sequence, address=address)]
    message = decoded(ifaddrmsg, octets)
    lifetime = 0xFFFFFFFF if address.valid_s is None else address.valid_s
    cacheinfo = message.get_attr("IFA_CACHEINFO")
    assert message["family"] == 10
    assert ipaddress.ip_address(message.get_attr("IFA_ADDRESS")) == ipaddress.ip_address(
        address.address
    )
    assert cacheinfo["ifa_valid"] == lifetime
    assert cacheinfo["ifa_preferred"] == (lifetime if address.preferred else 0)
    assert bool((message.get_attr("IFA_FLAGS") or 0) & 0x2) is not address.detect_duplicates


def test_a_label_of_ipv4_is_put_and_read_back() -> None:
    labelled = dataclasses.replace(VIP, label="eth0:www")
    octets = rtnetlink.put_address(labelled, sequence=1, acknowledge=False)
    assert decoded(ifaddrmsg, octets).get_attr("IFA_LABEL") == "eth0:www"
    assert list(rtnetlink.replies(octets)) == [AddressReply(sequence=1, address=labelled)]


def route_message(**attributes: str | int) -> bytes:
    message = rtmsg()
    message["family"], message["type"] = 2, 1
    message["header"]["type"], message["header"]["sequence_number"] = 24, 9
    message["attrs"] = list(attributes.items())
    message.encode()
    return bytes(message.data)


def test_a_route_tells_interface_and_gateway() -> None:
    octets = route_message(RTA_DST="10.0.0.1", RTA_OIF=4, RTA_GATEWAY="192.168.7.1")
    assert list(rtnetlink.replies(octets)) == [
        RouteReply(sequence=9, type=rtnetlink.ROUTE_UNICAST, index=4, gateway="192.168.7.1")
    ]


def error_message(errno: int, *, flags: int, after: bytes) -> bytes:
    body = struct.pack("=i", -errno) + after
    return struct.pack("=IHHII", 16 + len(body), 2, flags, 5, 0) + body


REQUEST_HEADER = struct.pack("=IHHII", 24, 20, 0x505, 5, 0)
TEXT = struct.pack("=HH", 4 + 8, 1) + b"no link\0"


def test_an_acknowledgement_is_a_verdict_of_zero() -> None:
    octets = error_message(0, flags=0x100, after=REQUEST_HEADER)
    assert list(rtnetlink.replies(octets)) == [Verdict(sequence=5, errno=0)]


@pytest.mark.parametrize(
    ("flags", "after"),
    [(0x300, REQUEST_HEADER + TEXT), (0x200, REQUEST_HEADER + bytes(8) + TEXT)],
    ids=["request capped", "request repeated whole"],
)
def test_the_kernels_own_words_are_kept(flags: int, after: bytes) -> None:
    octets = error_message(19, flags=flags, after=after)
    assert list(rtnetlink.replies(octets)) == [Verdict(sequence=5, errno=19, text="no link")]


def test_several_messages_in_one_datagram_come_in_order() -> None:
    done = struct.pack("=IHHIIi", 20, 3, 2, 8, 0, 0)
    put = rtnetlink.put_address(VIP, sequence=8, acknowledge=False)
    replies = list(rtnetlink.replies(put + put + done))
    assert [type(reply) for reply in replies] == [AddressReply, AddressReply, DumpEnd]


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_one_kind_of_error(octets: bytes) -> None:
    with contextlib.suppress(RtnetlinkError):
        list(rtnetlink.replies(octets))


@given(st.data())
def test_a_damaged_message_is_refused_with_one_kind_of_error(data: st.DataObject) -> None:
    octets = bytearray(rtnetlink.put_address(VIP, sequence=1, acknowledge=True))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RtnetlinkError):
        list(rtnetlink.replies(bytes(octets)))
