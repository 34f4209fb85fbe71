"""The four rtnetlink requests that a virtual IP needs, their replies, and news, as bytes.

Sans-I/O. Layouts: linux/netlink.h, linux/if_addr.h, linux/if_link.h, linux/rtnetlink.h; fields are
in host order, addresses in network order. Why by hand: docs/decisions/0005-rtnetlink.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # rtmsg: family, lengths, tos, table, proto, scope, type, flags
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, hardware type, index, flags, change
_CACHEINFO = struct.Struct("=IIII")  # ifa_cacheinfo: preferred, valid, created, updated
_ERROR = struct.Struct("=i")
_U32 = struct.Struct("=I")

_DONE, _FAILED = 3, 2
_NEW_LINK, _DELETE_LINK = 16, 17
_NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS, _NEW_ROUTE, _GET_ROUTE = 20, 21, 22, 24, 26
_REQUEST, _ACK, _REPLACE, _CREATE, _DUMP = 0x1, 0x4, 0x100, 0x400, 0x300
_CAPPED, _HAS_TEXT = 0x100, 0x200  # flags of an error reply
_ERROR_TEXT = 1  # NLMSGERR_ATTR_MSG
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_BROADCAST, _IFA_CACHEINFO, _IFA_FLAGS = 1, 2, 3, 4, 6, 8
_NO_DAD = 0x02  # IFA_F_NODAD: usable at once
_NOT_USABLE = 0x08 | 0x40  # IFA_F_DADFAILED, IFA_F_TENTATIVE
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_IFLA_ADDRESS, _IFLA_NAME, _IFLA_EVENT = 1, 3, 44
_IFF_RUNNING = 0x40  # set up, and its carrier is there (netdevice(7))
_NOTIFY_EVENTS = (3, 4)  # IFLA_EVENT_BONDING_FAILOVER, IFLA_EVENT_NOTIFY_PEERS
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

AF_INET: Final = 2
AF_INET6: Final = 10
_IPV4_BYTES = 4
_READ: Final = {AF_INET: IPv4Address, AF_INET6: IPv6Address}
SCOPE_UNIVERSE: Final = 0
SCOPE_HOST: Final = 254
FOREVER: Final = 0xFFFFFFFF
"""INFINITY_LIFE_TIME (include/net/addrconf.h)."""

ROUTE_UNICAST: Final = 1
ROUTE_LOCAL: Final = 2


class RtnetlinkError(ValueError):
    """Bytes from the kernel do not have the expected shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelAddress:
    """One address of an interface; ``valid_s`` None: no end, as addresses set by hand have.

    ``preferred`` False: deprecated, so that the kernel takes it as the source of no connection
    that another address can serve. ``detect_duplicates``: of IPv6, wait for RFC 4862 before use.
    ``usable`` False: duplicates are still looked for, or one was found; only the kernel says so.
    ``broadcast`` and ``label`` are of IPv4 only.
    """

    address: str
    prefix_len: int
    index: int
    broadcast: str | None = None
    scope: int = SCOPE_UNIVERSE
    valid_s: int | None = None
    preferred: bool = True
    label: str | None = None
    detect_duplicates: bool = False
    usable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressReply:
    """One address of a dump."""

    sequence: int
    address: KernelAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteReply:
    """The route to an address; ``gateway`` None: directly connected."""

    sequence: int
    type: int
    index: int | None
    gateway: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Outcome of a request: 0 or an errno, with the kernel's own words where it gives some."""

    sequence: int
    errno: int
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpEnd:
    """The dump with this sequence is complete."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGone:
    """An address left an interface, for whatever reason (RTM_DELADDR)."""

    address: KernelAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkNews:
    """How an interface is now (RTM_NEWLINK). ``running``: set up, with a carrier.

    ``notify``: the kernel asks those who have addresses there to tell their neighbours, because a
    bond sends through another interface now, say.
    """

    index: int
    name: str
    running: bool
    mac: bytes
    notify: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkGone:
    """There is no such interface any more (RTM_DELLINK)."""

    index: int
    name: str


Reply = AddressReply | RouteReply | Verdict | DumpEnd
News = AddressGone | LinkNews | LinkGone


def put_address(address: KernelAddress, *, sequence: int, acknowledge: bool) -> bytes:
    """Add an address, or set the lifetime of the one that is there (RTM_NEWADDR, replace).

    An error is reported whether or not ``acknowledge`` asks for good news too.
    """
    head, body = _which(address)
    if address.broadcast is not None:
        body += _attribute(_IFA_BROADCAST, IPv4Address(address.broadcast).packed)
    if address.label is not None:
        body += _attribute(_IFA_LABEL, address.label.encode() + b"\0")
    if ":" in address.address and not address.detect_duplicates:
        body += _attribute(_IFA_FLAGS, _U32.pack(_NO_DAD))
    lifetime_s = FOREVER if address.valid_s is None else address.valid_s
    preferred_s = lifetime_s if address.preferred else 0
    body += _attribute(_IFA_CACHEINFO, _CACHEINFO.pack(preferred_s, lifetime_s, 0, 0))
    flags = _REQUEST | _CREATE | _REPLACE | (_ACK if acknowledge else 0)
    return _message(_NEW_ADDRESS, flags, sequence, head + body)


def delete_address(address: KernelAddress, *, sequence: int) -> bytes:
    """Remove exactly this address, prefix length and interface (RTM_DELADDR)."""
    head, body = _which(address)
    return _message(_DELETE_ADDRESS, _REQUEST | _ACK, sequence, head + body)


def dump_addresses(*, sequence: int, family: int = AF_INET) -> bytes:
    """Ask for all addresses of a family; answered by AddressReply… and DumpEnd (RTM_GETADDR)."""
    body = _ADDRESS.pack(family, 0, 0, 0, 0)
    return _message(_GET_ADDRESS, _REQUEST | _DUMP, sequence, body)


def find_route(destination: str, *, sequence: int) -> bytes:
    """Ask for the route to an address; answered by a RouteReply or a Verdict (RTM_GETROUTE)."""
    packed = ip_address(destination).packed
    body = _ROUTE.pack(_family(packed), 8 * len(packed), 0, 0, 0, 0, 0, 0, 0)
    body += _attribute(_RTA_DST, packed)
    return _message(_GET_ROUTE, _REQUEST, sequence, body)


def _which(address: KernelAddress) -> tuple[bytes, bytes]:
    packed = ip_address(address.address).packed
    head = _ADDRESS.pack(_family(packed), address.prefix_len, 0, address.scope, address.index)
    return head, _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)


def _family(packed: bytes) -> int:
    return AF_INET if len(packed) == _IPV4_BYTES else AF_INET6


def replies(datagram: bytes) -> Iterator[Reply]:
    """Yield what one datagram of the kernel says, in order; other kinds of message are skipped.

    Raises:
        RtnetlinkError: a message is cut off or too short for its kind.

    """
    for kind, flags, sequence, body in _messages(datagram):
        reply = _reply(kind, flags, sequence, body)
        if reply is not None:
            yield reply


def news(datagram: bytes) -> Iterator[News]:
    """Yield what one datagram of a socket tells that has joined the groups of addresses and links.

    What came and what was refreshed is skipped: our own refreshes are told too, many a second.

    Raises:
        RtnetlinkError: a message is cut off or too short for its kind.

    """
    for kind, _flags, sequence, body in _messages(datagram):
        try:
            if kind == _DELETE_ADDRESS:
                gone = _address_reply(sequence, body)
                if gone is not None:
                    yield AddressGone(address=gone.address)
            elif kind in (_NEW_LINK, _DELETE_LINK):
                link = _link_news(kind, body)
                if link is not None:
                    yield link
        except (struct.error, ValueError) as error:
            raise RtnetlinkError(f"netlink message of type {kind}: {error}") from error


def _messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, flags, sequence and body of each message."""
    offset = 0
    while offset < len(datagram):
        if len(datagram) - offset < _HEADER.size:
            raise RtnetlinkError(f"{len(datagram) - offset} bytes are no netlink header")
        length, kind, flags, sequence, _port = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            raise RtnetlinkError(f"a netlink message of {length} bytes in {len(datagram)} bytes")
        yield kind, flags, sequence, datagram[offset + _HEADER.size : offset + length]
        offset += _aligned(length)


def _reply(kind: int, flags: int, sequence: int, body: bytes) -> Reply | None:
    try:
        if kind == _NEW_ADDRESS:
            return _address_reply(sequence, body)
        if kind == _NEW_ROUTE:
            return _route_reply(sequence, body)
        if kind == _FAILED:
            return _verdict(flags, sequence, body)
    except (struct.error, ValueError) as error:
        raise RtnetlinkError(f"netlink message of type {kind}: {error}") from error
    return DumpEnd(sequence=sequence) if kind == _DONE else None


def _address_reply(sequence: int, body: bytes) -> AddressReply | None:
    family, prefix_len, flags, scope, index = _ADDRESS.unpack_from(body)
    if family not in _READ:
        return None
    attributes = _attributes(body[_ADDRESS.size :])
    local = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if local is None:
        raise RtnetlinkError("an address message without an address")
    broadcast = attributes.get(_IFA_BROADCAST)
    label = attributes.get(_IFA_LABEL)
    if _IFA_FLAGS in attributes:
        (flags,) = _U32.unpack(attributes[_IFA_FLAGS])
    preferred_s = valid_s = FOREVER
    if _IFA_CACHEINFO in attributes:
        preferred_s, valid_s, _created, _updated = _CACHEINFO.unpack_from(
            attributes[_IFA_CACHEINFO]
        )
    return AddressReply(
        sequence=sequence,
        address=KernelAddress(
            address=str(_READ[family](local)),
            prefix_len=prefix_len,
            index=index,
            broadcast=None if broadcast is None else str(IPv4Address(broadcast)),
            scope=scope,
            valid_s=None if valid_s == FOREVER else valid_s,
            preferred=preferred_s > 0 or valid_s == 0,
            label=None if label is None else label.rstrip(b"\0").decode("utf-8", "replace"),
            detect_duplicates=family == AF_INET6 and not flags & _NO_DAD,
            usable=not flags & _NOT_USABLE,
        ),
    )


def _link_news(kind: int, body: bytes) -> LinkNews | LinkGone | None:
    family, _type, index, flags, _change = _LINK.unpack_from(body)
    if family != 0:
        return None  # of a bridge: its port is meant, which may leave it and stay an interface
    attributes = _attributes(body[_LINK.size :])
    name = attributes.get(_IFLA_NAME, b"").rstrip(b"\0").decode("utf-8", "replace")
    if kind == _DELETE_LINK:
        return LinkGone(index=index, name=name)
    event = _U32.unpack(attributes[_IFLA_EVENT])[0] if _IFLA_EVENT in attributes else 0
    return LinkNews(
        index=index,
        name=name,
        running=bool(flags & _IFF_RUNNING),
        mac=attributes.get(_IFLA_ADDRESS, b""),
        notify=event in _NOTIFY_EVENTS,
    )


def _route_reply(sequence: int, body: bytes) -> RouteReply | None:
    family, _d, _s, _tos, _table, _proto, _scope, kind, _flags = _ROUTE.unpack_from(body)
    if family not in _READ:
        return None
    attributes = _attributes(body[_ROUTE.size :])
    index = attributes.get(_RTA_OIF)
    gateway = attributes.get(_RTA_GATEWAY)
    return RouteReply(
        sequence=sequence,
        type=kind,
        index=None if index is None else _U32.unpack(index)[0],
        gateway=None if gateway is None else str(_READ[family](gateway)),
    )


def _verdict(flags: int, sequence: int, body: bytes) -> Verdict:
    (negative_errno,) = _ERROR.unpack_from(body)
    text = ""
    if flags & _HAS_TEXT:
        # After the errno: the header of the request, and its body unless the kernel capped it.
        (length,) = _U32.unpack_from(body, _ERROR.size)
        start = _ERROR.size + (_HEADER.size if flags & _CAPPED else _aligned(length))
        text = (
            _attributes(body[start:]).get(_ERROR_TEXT, b"").rstrip(b"\0").decode("utf-8", "replace")
        )
    return Verdict(sequence=sequence, errno=-negative_errno, text=text)


def _attributes(octets: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while len(octets) - offset >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(octets, offset)
        if not _ATTRIBUTE.size <= length <= len(octets) - offset:
            raise RtnetlinkError(f"an attribute of {length} bytes in {len(octets) - offset}")
        found[kind & _TYPE_MASK] = octets[offset + _ATTRIBUTE.size : offset + length]
        offset += _aligned(length)
    return found


def _attribute(kind: int, octets: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(octets)
    return _ATTRIBUTE.pack(length, kind) + octets + bytes(_aligned(length) - length)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def _aligned(length: int) -> int:
    return (length + 3) & ~3
