"""Who says to have an address: frames as neighbours send them, and whatever else may come."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heartbus_vip import neighbours
from heartbus_vip.frames import ArpForm, gratuitous_arp
from heartbus_vip.neighbours import ETHERTYPE_ARP, ETHERTYPE_IPV6, Instruction, Said, Unread

VIP, VIP6 = "192.168.7.110", "2001:db8::110"
MAC, OTHER_MAC = bytes.fromhex("026862000001"), bytes.fromhex("026862000002")
SAID = Said(address=VIP, mac="02:68:62:00:00:01")
SAID6 = Said(address=VIP6, mac="02:68:62:00:00:01")
ETHERNET = 14


def arp(operation: int, sender: str, target: str, *, mac: bytes = MAC) -> bytes:
    four = [bytes(map(int, text.split("."))) for text in (sender, target)]
    return struct.pack(
        "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, mac, four[0], bytes(6), four[1]
    )


def discovery(
    kind: int, *, source: str, target: str, options: bytes = b"", hops: int = 255, code: int = 0
) -> bytes:
    """A neighbour solicitation (135) or advertisement (136) with a good checksum."""
    addresses = IPv6Address(source).packed + IPv6Address("ff02::1").packed
    body = struct.pack("!BBHI16s", kind, code, 0, 0, IPv6Address(target).packed) + options
    pseudo = addresses + struct.pack("!I3xB", len(body), 58) + body
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + body[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), 58, hops) + addresses + body


def option(kind: int, mac: bytes = MAC) -> bytes:
    return bytes([kind, 1]) + mac


@pytest.mark.parametrize(
    ("ethertype", "packet", "expected"),
    [
        (ETHERTYPE_ARP, arp(2, VIP, "192.168.7.9"), SAID),
        (ETHERTYPE_ARP, arp(1, VIP, "192.168.7.9"), SAID),
        (ETHERTYPE_ARP, arp(1, VIP, "192.168.7.9") + bytes(18), SAID),  # padded to 60 bytes
        (ETHERTYPE_ARP, arp(1, "0.0.0.0", VIP), Unread.OTHER),  # a probe
        (ETHERTYPE_ARP, arp(8, VIP, VIP), Unread.OTHER),
        (ETHERTYPE_ARP, arp(2, VIP, VIP, mac=bytes(6)), Unread.MALFORMED),
        (ETHERTYPE_ARP, arp(2, VIP, VIP, mac=b"\xff" * 6), Unread.MALFORMED),
        (ETHERTYPE_ARP, arp(2, "224.0.0.1", VIP), Unread.MALFORMED),
        (ETHERTYPE_ARP, arp(2, VIP, VIP)[:-1], Unread.MALFORMED),
        (
            ETHERTYPE_IPV6,
            discovery(136, source="fe80::1", target=VIP6, options=option(2)),
            SAID6,
        ),
        (
            ETHERTYPE_IPV6,
            discovery(135, source=VIP6, target="2001:db8::9", options=option(1)),
            SAID6,
        ),
        (
            ETHERTYPE_IPV6,  # without the option it is the sender of the frame
            discovery(136, source="fe80::1", target=VIP6),
            Said(address=VIP6, mac="02:68:62:00:00:02"),
        ),
        (ETHERTYPE_IPV6, discovery(135, source="::", target=VIP6), Unread.OTHER),
        (ETHERTYPE_IPV6, discovery(134, source="fe80::1", target=VIP6), Unread.OTHER),
        (ETHERTYPE_IPV6, discovery(136, source="fe80::1", target=VIP6, hops=64), Unread.MALFORMED),
        (ETHERTYPE_IPV6, discovery(136, source="fe80::1", target=VIP6, code=1), Unread.MALFORMED),
        (
            ETHERTYPE_IPV6,
            discovery(136, source="fe80::1", target=VIP6, options=b"\2\0" + MAC),
            Unread.MALFORMED,
        ),
        (ETHERTYPE_IPV6, discovery(136, source="fe80::1", target=VIP6)[:-1], Unread.MALFORMED),
        (ETHERTYPE_IPV6, discovery(136, source="fe80::1", target="ff02::1"), Unread.MALFORMED),
        (0x0800, b"whatever", Unread.OTHER),
    ],
)
def test_what_a_packet_says(ethertype: int, packet: bytes, expected: Said | Unread) -> None:
    assert neighbours.read(ethertype, packet, link_mac=OTHER_MAC) == expected


def test_a_wrong_checksum_is_not_believed() -> None:
    packet = bytearray(discovery(136, source="fe80::1", target=VIP6, options=option(2)))
    packet[-1] ^= 1
    assert neighbours.read(ETHERTYPE_IPV6, bytes(packet), link_mac=MAC) is Unread.MALFORMED


def test_our_own_announcement_would_be_understood() -> None:
    frame = gratuitous_arp(address=VIP, mac=MAC, form=ArpForm.REPLY)
    assert neighbours.read(ETHERTYPE_ARP, frame[ETHERNET:], link_mac=MAC) == SAID


@pytest.mark.parametrize("address", [VIP, VIP6])
def test_a_question_claims_nothing(address: str) -> None:
    ethertype, frame = neighbours.question(address, MAC)
    assert neighbours.read(ethertype, frame[ETHERNET:], link_mac=MAC) is Unread.OTHER
    assert frame[6:12] == MAC


def test_a_question_is_the_probe_of_the_standards() -> None:
    ethertype, frame = neighbours.question(VIP, MAC)
    assert ethertype == ETHERTYPE_ARP
    assert frame[:6] == b"\xff" * 6
    assert frame[ETHERNET:] == arp(1, "0.0.0.0", VIP)
    ethertype, frame = neighbours.question(VIP6, MAC)
    assert ethertype == ETHERTYPE_IPV6
    assert frame[:6] == bytes.fromhex("3333ff000110")
    packet = frame[ETHERNET:]
    assert packet[8:24] == bytes(16)  # from nobody: duplicate address detection
    assert IPv6Address(packet[24:40]) == IPv6Address("ff02::1:ff00:110")
    assert (packet[7], packet[40]) == (255, 135)
    assert IPv6Address(packet[48:64]) == IPv6Address(VIP6)


@pytest.mark.parametrize(("address", "mac"), [("nonsense", MAC), (VIP, b"short")])
def test_a_question_about_nonsense_is_refused(address: str, mac: bytes) -> None:
    with pytest.raises(ValueError, match="address"):
        neighbours.question(address, mac)


WELL_MADE = st.sampled_from(
    [
        arp(2, VIP, VIP),
        discovery(136, source="fe80::1", target=VIP6, options=option(2)),
        discovery(135, source=VIP6, target=VIP6, options=option(1) + option(14)),
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A well made packet with some bytes replaced, cut off or with more behind."""
    packet = bytearray(draw(WELL_MADE))
    for at in draw(st.lists(st.integers(0, len(packet) - 1), max_size=4)):
        packet[at] = draw(st.integers(0, 255))
    return bytes(packet[: draw(st.integers(0, len(packet)))]) + draw(st.binary(max_size=40))


@given(
    st.sampled_from([ETHERTYPE_ARP, ETHERTYPE_IPV6, 0]),
    st.binary(max_size=200) | damaged(),
    st.binary(max_size=8),
)
@example(ETHERTYPE_IPV6, discovery(136, source="fe80::1", target=VIP6), b"")
def test_whatever_comes_ends_in_a_word(ethertype: int, packet: bytes, link_mac: bytes) -> None:
    said = neighbours.read(ethertype, packet, link_mac=link_mac)
    if isinstance(said, Said):
        mac = bytes.fromhex(said.mac.replace(":", ""))
        assert len(mac) == 6
        assert any(mac)
    else:
        assert isinstance(said, Unread)


# --- the filter ----------------------------------------------------------------------------------


def passes(program: tuple[Instruction, ...], packet: bytes) -> bool:
    """Run a filter as the kernel does (net/core/filter.c); a load beyond the end drops."""
    at = accumulator = 0
    while True:
        code, if_true, if_false, constant = program[at]
        at += 1
        if code == 0x06:
            return constant != 0
        if code in (0x20, 0x30):
            size = 4 if code == 0x20 else 1
            if constant + size > len(packet):
                return False
            accumulator = int.from_bytes(packet[constant : constant + size], "big")
        else:
            assert code == 0x15
            at += if_true if accumulator == constant else if_false


@pytest.mark.parametrize(
    ("ethertype", "packet", "expected"),
    [
        (ETHERTYPE_ARP, arp(2, VIP, "192.168.7.9"), True),
        (ETHERTYPE_ARP, arp(2, "192.168.7.111", "192.168.7.9"), True),
        (ETHERTYPE_ARP, arp(2, "192.168.7.112", "192.168.7.9"), False),
        (ETHERTYPE_ARP, arp(1, "192.168.7.9", VIP), False),  # all clients ask for it
        (ETHERTYPE_IPV6, discovery(136, source="fe80::1", target=VIP6), True),
        (ETHERTYPE_IPV6, discovery(135, source=VIP6, target="2001:db8::9"), True),
        (ETHERTYPE_IPV6, discovery(135, source="2001:db8::9", target="2001:db8::8"), False),
        (ETHERTYPE_IPV6, discovery(134, source=VIP6, target=VIP6), False),
        (ETHERTYPE_IPV6, struct.pack("!IHBB", 6 << 28, 60, 6, 64) + bytes(92), False),
    ],
)
def test_the_filter_lets_through_what_is_about_our_addresses(
    ethertype: int, packet: bytes, expected: bool
) -> None:
    program = neighbours.passing(ethertype, [VIP, "192.168.7.111", VIP6])
    assert passes(program, packet) is expected


def test_a_filter_of_very_many_addresses_stays_within_the_limit_of_the_kernel() -> None:
    many = [f"10.{n >> 8}.{n & 255}.1" for n in range(2000)]
    assert len(neighbours.passing(ETHERTYPE_ARP, many)) == 1
    most = [f"2001:db8::{n:x}" for n in range(neighbours.FILTER_ADDRESSES_MAX)]
    program = neighbours.passing(ETHERTYPE_IPV6, most)
    assert 2000 < len(program) <= 4096
    assert passes(program, discovery(136, source="fe80::1", target=most[-1]))
