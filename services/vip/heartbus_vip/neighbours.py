"""What neighbours say about an address, and what they are asked about it, as bytes.

Sans-I/O. ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861), over Ethernet only. A packet
is what follows the Ethernet header. Whatever it holds, reading it ends in ``Said`` or ``Unread``.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_IPV6: Final = 0x86DD
ETHERTYPES: Final = (ETHERTYPE_ARP, ETHERTYPE_IPV6)
PACKET_BYTES_MAX: Final = 1514
"""Advertisements of some hundred bytes are possible with options that nobody uses."""

_MAC_BYTES = 6
_BROADCAST_MAC = b"\xff" * _MAC_BYTES
_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_ETHERNET_IPV4 = (1, 0x0800, 6, 4)
_ARP_REQUEST, _ARP_REPLY = 1, 2
_IPV6 = struct.Struct("!IHBB16s16s")
_PSEUDO_HEADER = struct.Struct("!16s16sI3xB")
_ICMPV6 = 58
_HOP_LIMIT = 255
_SOLICITATION, _ADVERTISEMENT = 135, 136
_ND = struct.Struct("!BBHI16s")  # type, code, checksum, flags, target
_SOURCE_MAC, _TARGET_MAC = 1, 2  # options, RFC 4861 section 4.6
_NOBODY = bytes(16)
_SOLICITED_NODE = IPv6Address("ff02::1:ff00:0").packed[:13]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Somebody says: ``address`` is at ``mac``. Both in canonical text."""

    address: str
    mac: str


class Unread(enum.StrEnum):
    """Why a packet says nothing about who has an address.

    ``other``: it is well made and about something else, such as the question of a third party.
    """

    OTHER = "other"
    MALFORMED = "malformed"


def read(ethertype: int, packet: bytes, *, link_mac: bytes) -> Said | Unread:
    """Return what a packet says; ``link_mac``: from which hardware address it came."""
    if ethertype == ETHERTYPE_ARP:
        return _read_arp(packet)
    if ethertype == ETHERTYPE_IPV6:
        return _read_discovery(packet, link_mac)
    return Unread.OTHER


def _read_arp(packet: bytes) -> Said | Unread:
    if len(packet) < _ARP.size:
        return Unread.MALFORMED
    *kind, operation, mac, address, _, _ = _ARP.unpack_from(packet)
    if tuple(kind) != _ARP_ETHERNET_IPV4 or operation not in (_ARP_REQUEST, _ARP_REPLY):
        return Unread.OTHER
    if not any(address):
        return Unread.OTHER  # a probe: it asks, and claims nothing (RFC 5227 section 1.1)
    return _said(IPv4Address(address), mac)


def _read_discovery(packet: bytes, link_mac: bytes) -> Said | Unread:
    if len(packet) < _IPV6.size:
        return Unread.MALFORMED
    first, length, following, hops, source, destination = _IPV6.unpack_from(packet)
    if first >> 28 != 6:
        return Unread.MALFORMED
    body = packet[_IPV6.size : _IPV6.size + length]
    if following != _ICMPV6 or not body or body[0] not in (_SOLICITATION, _ADVERTISEMENT):
        return Unread.OTHER
    if len(body) != length or len(body) < _ND.size or hops != _HOP_LIMIT:
        return Unread.MALFORMED
    kind, code, _, _, target = _ND.unpack_from(body)
    if code or _checksum(_pseudo_header(source, destination, length) + body):
        return Unread.MALFORMED
    if kind == _SOLICITATION and source == _NOBODY:
        return Unread.OTHER  # duplicate address detection of somebody: it asks
    options = _options(body[_ND.size :])
    if options is None:
        return Unread.MALFORMED
    wanted, address = (_SOURCE_MAC, source) if kind == _SOLICITATION else (_TARGET_MAC, target)
    return _said(IPv6Address(address), options.get(wanted, link_mac))


def _options(octets: bytes) -> dict[int, bytes] | None:
    """Return the hardware addresses in the options of a message, None if they are malformed."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(octets):
        length = 8 * octets[at + 1] if at + 1 < len(octets) else 0
        if length == 0 or at + length > len(octets):
            return None
        found.setdefault(octets[at], octets[at + 2 : at + 2 + _MAC_BYTES])
        at += length
    return found


def _said(address: IPv4Address | IPv6Address, mac: bytes) -> Said | Unread:
    one_station = len(mac) == _MAC_BYTES and any(mac) and not mac[0] & 1
    if not one_station or address.is_multicast or address.is_unspecified:
        return Unread.MALFORMED
    return Said(address=str(address), mac=mac.hex(":"))


def question(address: str, mac: bytes) -> tuple[int, bytes]:
    """Return the type and the Ethernet frame that ask everybody who has an address.

    Nothing is claimed and no cache is changed by it: an ARP probe (RFC 5227 section 2.1.1), or a
    neighbour solicitation from the unspecified address (RFC 4862 section 5.4.2). ``mac``: of the
    interface that it is sent on.

    Raises:
        ValueError: this is no address, or no MAC of 6 bytes.

    """
    if len(mac) != _MAC_BYTES:
        raise ValueError(f"a MAC address has {_MAC_BYTES} bytes, not {len(mac)}")
    asked = ip_address(address)
    if isinstance(asked, IPv4Address):
        packet = _ARP.pack(
            *_ARP_ETHERNET_IPV4, _ARP_REQUEST, mac, bytes(4), bytes(_MAC_BYTES), asked.packed
        )
        return ETHERTYPE_ARP, _ETHERNET.pack(_BROADCAST_MAC, mac, ETHERTYPE_ARP) + packet
    group = _SOLICITED_NODE + asked.packed[-3:]
    body = _ND.pack(_SOLICITATION, 0, 0, 0, asked.packed)
    checksum = _checksum(_pseudo_header(_NOBODY, group, len(body)) + body)
    body = _ND.pack(_SOLICITATION, 0, checksum, 0, asked.packed)
    head = _IPV6.pack(6 << 28, len(body), _ICMPV6, _HOP_LIMIT, _NOBODY, group)
    group_mac = b"\x33\x33" + group[-4:]  # RFC 2464 section 7
    return ETHERTYPE_IPV6, _ETHERNET.pack(group_mac, mac, ETHERTYPE_IPV6) + head + body


def _pseudo_header(source: bytes, destination: bytes, length: int) -> bytes:
    return _PSEUDO_HEADER.pack(source, destination, length, _ICMPV6)


def _checksum(octets: bytes) -> int:
    """Return the Internet checksum (RFC 1071); 0 over octets that hold their own."""
    octets += bytes(len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# --- what the kernel is to let through -----------------------------------------------------------

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant: struct sock_filter (linux/filter.h)."""

FILTER_ADDRESSES_MAX: Final = 1000
"""A filter has at most 4096 instructions (BPF_MAXINSNS); with more addresses all is let through."""

_LOAD_WORD, _LOAD_BYTE = 0x20, 0x30  # BPF_LD | BPF_W or BPF_B | BPF_ABS
_JUMP_IF_EQUAL, _RETURN = 0x15, 0x06
_ARP_SENDER_AT = 14
_NEXT_HEADER_AT, _SOURCE_TAIL_AT, _TYPE_AT, _TARGET_TAIL_AT = 6, 20, 40, 60


def passing(ethertype: int, addresses: Iterable[str]) -> tuple[Instruction, ...]:
    """Return the filter of a socket that needs what is said about these addresses, and no more.

    It sees packets without their Ethernet header. Of an IPv6 address it compares the last four
    bytes; ``read`` tells the rest.
    """
    wanted = [ip_address(address) for address in addresses]
    version = 4 if ethertype == ETHERTYPE_ARP else 6
    tails = sorted({int.from_bytes(a.packed[-4:], "big") for a in wanted if a.version == version})
    if len(tails) > FILTER_ADDRESSES_MAX:
        return ((_RETURN, 0, 0, PACKET_BYTES_MAX),)
    if version == 4:
        return (*_any_of(_ARP_SENDER_AT, tails), _DROP)
    return (
        (_LOAD_BYTE, 0, 0, _NEXT_HEADER_AT),
        (_JUMP_IF_EQUAL, 1, 0, _ICMPV6),
        _DROP,
        (_LOAD_BYTE, 0, 0, _TYPE_AT),
        (_JUMP_IF_EQUAL, 2, 0, _SOLICITATION),
        (_JUMP_IF_EQUAL, 1, 0, _ADVERTISEMENT),
        _DROP,
        *_any_of(_SOURCE_TAIL_AT, tails),
        *_any_of(_TARGET_TAIL_AT, tails),
        _DROP,
    )


_DROP: Final[Instruction] = (_RETURN, 0, 0, 0)


def _any_of(at: int, tails: list[int]) -> Iterable[Instruction]:
    yield (_LOAD_WORD, 0, 0, at)
    for tail in tails:
        yield (_JUMP_IF_EQUAL, 0, 1, tail)
        yield (_RETURN, 0, 0, PACKET_BYTES_MAX)
