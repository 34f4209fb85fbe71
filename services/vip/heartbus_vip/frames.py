"""Gratuitous ARP as bytes: who has this address now, told to everybody on the network.

Sans-I/O. RFC 826 (layout), RFC 5227 section 3 (announcement in the request form), Ethernet only.
"""

from __future__ import annotations

import enum
import struct
from ipaddress import IPv4Address
from typing import Final

ETHERTYPE_ARP: Final = 0x0806
MAC_BYTES: Final = 6
BROADCAST_MAC: Final = b"\xff" * MAC_BYTES

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_HARDWARE_ETHERNET = 1
_PROTOCOL_IPV4 = 0x0800


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
    if len(mac) != MAC_BYTES:
        raise ValueError(f"a MAC address has {MAC_BYTES} bytes, not {len(mac)}")
    packed = IPv4Address(address).packed
    target_mac = bytes(MAC_BYTES) if form is ArpForm.REQUEST else mac
    return _ETHERNET.pack(BROADCAST_MAC, mac, ETHERTYPE_ARP) + _ARP.pack(
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
