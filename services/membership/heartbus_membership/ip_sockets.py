"""UDP sockets of one network interface for IPv4 and IPv6, as Linux has them.

Which way a datagram came shows in its destination (IP_PKTINFO in ip(7), RFC 3542 section 6.1):
broadcast, a multicast group, or an address of ours.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BROADCAST: Final = "255.255.255.255"
"""Needs neither a route nor a matching netmask."""
ANSWER_BYTES: Final = 2048

# linux/in.h, linux/in6.h, asm-generic/socket.h; the socket module of Python 3.11 lacks these.
_IP_PKTINFO: Final = 8
_IP_MULTICAST_ALL: Final = 49
_IPV6_MULTICAST_ALL: Final = 29
_SO_BINDTOIFINDEX: Final = 62
_PKTINFO: Final = struct.Struct("=i4s4s")  # ip(7): ifindex, local address, destination
_PKTINFO6: Final = struct.Struct("=16si")  # RFC 3542: destination, ifindex
PKTINFO_SPACE: Final = socket.CMSG_SPACE(max(_PKTINFO.size, _PKTINFO6.size))
_DESTINATION4: Final = (socket.IPPROTO_IP, _IP_PKTINFO)
_DESTINATION6: Final = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
_MREQN: Final = struct.Struct("=4s4si")  # ip(7): group, local address, ifindex
_MREQ6: Final = struct.Struct("=16si")  # ipv6(7): group, ifindex

_RTM_NEWROUTE: Final = 24  # linux/rtnetlink.h, as all of these
_RTM_GETROUTE: Final = 26
_NLM_F_REQUEST: Final = 1
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTN_LOCAL: Final = 2
_ATTRIBUTE: Final = struct.Struct("=HH")
_ROUTE_HEAD: Final = struct.Struct("=IHHII8BI")
"""struct nlmsghdr and struct rtmsg: length, type, flags, sequence, port; family, destination
length, source length, tos, table, protocol, scope, type; flags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a datagram was sent: everybody, a ``group``, or (neither) an address of ours."""

    is_broadcast: bool = False
    group: str | None = None


TO_US: Final = Destination()


def family_of(address: str) -> socket.AddressFamily:
    """Return the family of an address in text."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def is_address(text: str) -> bool:
    """Whether a text is an address and no host name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_link_local(address: str) -> bool:
    """Whether an address means something on one network only."""
    return ipaddress.ip_address(address).is_link_local


def open_socket(interface: str, port: int, family: socket.AddressFamily) -> socket.socket:
    """Return a socket that hears one port on one interface, whatever the destination.

    Binding to the device (SO_BINDTODEVICE) needs no privilege since Linux 5.7.

    Raises:
        OSError: it cannot be opened.

    """
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        if family is socket.AF_INET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
        sock.bind(("", port))
    except OSError:
        sock.close()
        raise
    return sock


def index_of(sock: socket.socket) -> int:
    """Return the index of the interface that a socket is bound to."""
    return sock.getsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX)


def is_there(interface: str, index: int) -> bool:
    """Whether an interface exists and is still the one of this index, not one made anew."""
    try:
        return socket.if_nametoindex(interface) == index
    except OSError:
        return False


def join(sock: socket.socket, group: str) -> None:
    """Hear a multicast group on the interface of the socket.

    Raises:
        OSError: the interface cannot.

    """
    packed = socket.inet_pton(sock.family, group)
    if sock.family is socket.AF_INET:
        membership = _MREQN.pack(packed, bytes(4), index_of(sock))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    else:
        membership = _MREQ6.pack(packed, index_of(sock))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)


def set_multicast(sock: socket.socket, *, ttl: int, loop: bool) -> None:
    """Set how multicast datagrams leave a socket from now on.

    Raises:
        OSError: the interface is gone.

    """
    if sock.family is socket.AF_INET:
        interface = _MREQN.pack(bytes(4), bytes(4), index_of(sock))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, loop)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index_of(sock))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ttl)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, loop)


def destination(ancillary: Sequence[tuple[int, int, bytes]]) -> Destination:
    """Return where a datagram was sent, from what recvmsg(2) says beside it."""
    for level, kind, data in ancillary:
        if (level, kind) == _DESTINATION4 and len(data) >= _PKTINFO.size:
            _, local, packed = _PKTINFO.unpack_from(data)
            address = ipaddress.IPv4Address(packed)
            if address.is_multicast:
                return Destination(group=str(address))
            return Destination(is_broadcast=local != packed)
        if (level, kind) == _DESTINATION6 and len(data) >= _PKTINFO6.size:
            packed, _ = _PKTINFO6.unpack_from(data)
            address6 = ipaddress.IPv6Address(packed)
            return Destination(group=str(address6)) if address6.is_multicast else TO_US
    return TO_US


def is_local(address: str, index: int) -> bool:
    """Whether an address is one of this host's, as its routing table says; False if it does not.

    ``index``: the interface that a link-local address belongs to. Binding would not tell where
    net.ipv4.ip_nonlocal_bind is on, nor the source address that the kernel chooses where ours is
    the second one of its subnet.
    """
    family = family_of(address)
    packed = socket.inet_pton(family, address)
    attributes = _attribute(_RTA_DST, packed)
    if is_link_local(address):
        attributes += _attribute(_RTA_OIF, struct.pack("=I", index))
    message = _ROUTE_HEAD.pack(
        _ROUTE_HEAD.size + len(attributes), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0,
        family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0,
    ) + attributes  # fmt: skip
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            kernel.send(message)
            answer = kernel.recv(ANSWER_BYTES, socket.MSG_DONTWAIT)  # it is there already
    except OSError:
        return False
    if len(answer) < _ROUTE_HEAD.size:
        return False
    _, kind, _, _, _, *_, route_type, _ = _ROUTE_HEAD.unpack_from(answer)
    return bool(kind == _RTM_NEWROUTE and route_type == _RTN_LOCAL)


def _attribute(kind: int, content: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + content


def words(error: OSError) -> str:
    """Return what an error of the system says."""
    return error.strerror or os.strerror(error.errno or 0)
