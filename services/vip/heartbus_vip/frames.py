"""Who has this address now, told to everybody on the network: gratuitous ARP, unsolicited NA.

Sans-I/O, Ethernet only. ARP: RFC 826 (layout), RFC 5227 section 3 (announcement in the request
form). Neighbour advertisement of IPv6: RFC 4861 sections 4.4 and 7.2.6.
"""

from __future__ import annotations

import enum
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_IPV6: Final = 0x86DD
MAC_BYTES: Final = 6
BROADCAST_MAC: Final = b"\xff" * MAC_BYTES
ALL_NODES: Final = IPv6Address("ff02::1").packed
ALL_NODES_MAC: Final = b"\x33\x33\x00\x00\x00\x01"
"""RFC 2464 section 7: 33:33 and the last four bytes of the multicast address."""

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_HARDWARE_ETHERNET = 1
_PROTOCOL_IPV4 = 0x0800

_IPV6 = struct.Struct("!IHBB16s16s")  # version and flow, payload length, next header, hop limit
_ADVERTISEMENT = struct.Struct("!BBHI16sBB6s")  # type, code, checksum, flags, target, MAC option
_PSEUDO_HEADER = struct.Struct("!16s16sII")  # RFC 8200 section 8.1
_ICMPV6 = 58
_NEIGHBOUR_ADVERTISEMENT = 136
_HOP_LIMIT = 255
"""What has passed a router has less and is dropped by the receiver."""
_ROUTER, _OVERRIDE = 0x80000000, 0x20000000
_TARGET_LINK_LAYER_ADDRESS = 2


class ArpForm(enum.IntEnum):
    """Both update caches; some devices listen to one of them only. Values: ARP operation."""

    REQUEST = 1
    REPLY = 2


def gratuitous_arp(*, address: str, mac: bytes, form: ArpForm) -> bytes:
    """Return an Ethernet frame to everybody that says: ``address`` is at ``mac``.

    In the request form the target hardware address is zero (RFC 5227). In the reply form it is our
    own, or Linux does not take the frame for gratuitous (net/ipv4/arp.c, arp_is_garp).

    Raises:
        ValueError: the address is not IPv4, or the MAC is not 6 bytes.

    """
    packed = IPv4Address(address).packed
    target_mac = bytes(MAC_BYTES) if form is ArpForm.REQUEST else _checked(mac)
    return _ETHERNET.pack(BROADCAST_MAC, _checked(mac), ETHERTYPE_ARP) + _ARP.pack(
        _HARDWARE_ETHERNET,
        _PROTOCOL_IPV4,
        MAC_BYTES,
        len(packed),
        form,
        mac,
        packed,
        target_mac,
        packed,
    )


def neighbour_advertisement(*, address: str, mac: bytes, router: bool) -> bytes:
    """Return an Ethernet frame to all nodes that says: ``address`` is at ``mac`` from now on.

    Unsolicited, with the override flag: caches that know another MAC take this one. ``router``:
    whether this host forwards, as its answers to solicitations say too; a node that took us for its
    router drops us as one when an advertisement denies it (RFC 4861 section 7.2.5).

    Raises:
        ValueError: the address is not IPv6, or the MAC is not 6 bytes.

    """
    packed = IPv6Address(address).packed
    flags = _OVERRIDE | (_ROUTER if router else 0)

    def advertisement(checksum: int) -> bytes:
        return _ADVERTISEMENT.pack(
            _NEIGHBOUR_ADVERTISEMENT,
            0,
            checksum,
            flags,
            packed,
            _TARGET_LINK_LAYER_ADDRESS,
            1,  # length of the option in units of 8 bytes
            _checked(mac),
        )

    body = advertisement(0)
    pseudo_header = _PSEUDO_HEADER.pack(packed, ALL_NODES, len(body), _ICMPV6)
    return (
        _ETHERNET.pack(ALL_NODES_MAC, mac, ETHERTYPE_IPV6)
        + _IPV6.pack(6 << 28, len(body), _ICMPV6, _HOP_LIMIT, packed, ALL_NODES)
        + advertisement(_checksum(pseudo_header + body))
    )


def _checked(mac: bytes) -> bytes:
    if len(mac) != MAC_BYTES:
        raise ValueError(f"a MAC address has {MAC_BYTES} bytes, not {len(mac)}")
    return mac


def _checksum(octets: bytes) -> int:
    """Return the checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
