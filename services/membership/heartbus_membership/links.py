"""UDP heartbeat links: datagrams out and in over named network interfaces, nothing else.

All links of one interface and port share a socket that is bound to the device (SO_BINDTODEVICE,
Linux 5.7 or later without privilege). Which link a datagram came over shows in its destination
(IP_PKTINFO, ip(7)): broadcast, or our own address and then the sender's. Broadcasts go to
255.255.255.255, which needs neither a route nor a matching netmask. An interface that is missing,
down or without address is a problem of that link, told and tried again, never an end.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from heartbus.model import BroadcastLink, HeartbeatLink, UnicastLink
from heartbus.runner import MachineError
from heartbus_membership.snapshot import LinkCondition

RECEIVE_BYTES: Final = 2048
DRAIN_DATAGRAMS_MAX: Final = 512
"""More than a default receive buffer holds (about 270), so that a stall is drained in one turn."""

POINTS_AT_US: Final = "points at ourselves"
"""Harmless: it lets all directors share one ha.cf."""

EVERYBODY: Final = "255.255.255.255"
IP_PKTINFO: Final = 8  # linux/in.h; the socket module of Python 3.11 lacks it
_PKTINFO: Final = struct.Struct("=i4s4s")  # ip(7): ifindex, local address, destination
_PKTINFO_SPACE: Final = socket.CMSG_SPACE(_PKTINFO.size)
_RTM_NEWROUTE: Final = 24  # linux/rtnetlink.h, as all of these
_RTM_GETROUTE: Final = 26
_NLM_F_REQUEST: Final = 1
_RTA_DST: Final = 1
_RTN_LOCAL: Final = 2
_RTA: Final = struct.Struct("=HH4s")
_ROUTE_HEAD: Final = struct.Struct("=IHHII8BI")
"""struct nlmsghdr and struct rtmsg: length, type, flags, sequence, port; family, destination
length, source length, tos, table, protocol, scope, type; flags."""
_ROUTE_REQUEST: Final = struct.Struct("=IHHII8BIHH4s")
_DEVICE_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO, errno.EBADF})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One datagram; ``link`` None: it came over an interface by a way that is not configured."""

    datagram: bytes
    link: str | None
    source: str


class Links(Protocol):
    """What the shell needs of its links; ``UdpLinks`` is the real one."""

    def open(self, readable: Callable[[], None]) -> None:
        """Open what can be opened; ``readable`` is called when datagrams wait."""
        ...

    def send(self, datagram: bytes) -> None:
        """Send one datagram on every usable link; never raises, never waits."""
        ...

    def drain(self) -> list[Received]:
        """Return what waits in the sockets; never waits."""
        ...

    async def repair(self) -> None:
        """Try again what failed; call it about every second."""
        ...

    def conditions(self) -> tuple[LinkCondition, ...]:
        """Return the condition of each configured link."""
        ...

    def close(self) -> None:
        """Close all sockets."""
        ...


@dataclass(slots=True)
class _Link:
    name: str
    peer: str | None
    address: str | None
    is_ourselves: bool = False
    problem: str | None = None


class _Port:
    """The socket of one interface and port, and the links that use it."""

    def __init__(self, interface: str, number: int) -> None:
        self.interface = interface
        self.number = number
        self.links: list[_Link] = []
        self.socket: socket.socket | None = None
        self.problem: str | None = None

    def open(self) -> None:
        """Open the socket.

        Raises:
            OSError: it cannot be opened.

        """
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            sock.bind(("", self.number))
        except OSError:
            sock.close()
            raise
        self.socket = sock
        self.problem = None

    def close(self, problem: str) -> None:
        """Close the socket because of a problem."""
        if self.socket is not None:
            asyncio.get_running_loop().remove_reader(self.socket)
            self.socket.close()
        self.socket = None
        self.problem = problem

    def send(self, datagram: bytes) -> None:
        """Send on each link; failures are noted at the link."""
        for link in self.links:
            if self.socket is None or link.address is None or link.is_ourselves:
                continue
            try:
                self.socket.sendto(datagram, (link.address, self.number))
                link.problem = None
            except OSError as error:
                link.problem = f"sending to {link.address}: {_words(error)}"
                if error.errno in _DEVICE_GONE:
                    self.close(f"interface {self.interface}: {_words(error)}")

    def drain(self, limit: int) -> list[Received]:
        """Return up to ``limit`` waiting datagrams."""
        found: list[Received] = []
        while self.socket is not None and len(found) < limit:
            try:
                datagram, ancillary, _, source = self.socket.recvmsg(RECEIVE_BYTES, _PKTINFO_SPACE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self.close(f"interface {self.interface}: {_words(error)}")
                break
            link = self._link_of(_is_broadcast(ancillary), source[0])
            found.append(Received(datagram=datagram, link=link, source=source[0]))
        return found

    def _link_of(self, broadcast: bool, source: str) -> str | None:
        if broadcast:
            return next((link.name for link in self.links if link.peer is None), None)
        unicast = [link for link in self.links if link.peer is not None and not link.is_ourselves]
        named = (link.name for link in unicast if link.address == source)
        return next(named, unicast[0].name if unicast else None)

    def conditions(self) -> list[LinkCondition]:
        """Return the condition of each link."""
        return [self._condition(link) for link in self.links]

    def _condition(self, link: _Link) -> LinkCondition:
        if link.is_ourselves:
            return LinkCondition(name=link.name, usable=False, problem=POINTS_AT_US)
        problem = self.problem or link.problem
        return LinkCondition(
            name=link.name,
            usable=problem is None and self.socket is not None and link.address is not None,
            problem=problem,
        )


class UdpLinks:
    """The configured broadcast and unicast links of this host."""

    def __init__(self, links: Sequence[HeartbeatLink]) -> None:
        self._ports: dict[tuple[str, int], _Port] = {}
        self._unsupported: list[LinkCondition] = []
        self._readable: Callable[[], None] | None = None
        for link in links:
            self._add(link)

    def _add(self, link: HeartbeatLink) -> None:
        if not isinstance(link, BroadcastLink | UnicastLink):
            self._unsupported.append(
                LinkCondition(name=link.name, usable=False, problem="serial: not yet supported")
            )
            return
        key = (link.interface, link.port)
        port = self._ports.setdefault(key, _Port(*key))
        if isinstance(link, BroadcastLink):
            port.links.append(_Link(link.name, None, EVERYBODY))
        else:
            address = link.peer if _is_ipv4(link.peer) else None
            problem = None if address else f"{link.peer} is not resolved to an address yet"
            port.links.append(_Link(link.name, link.peer, address, problem=problem))

    def open(self, readable: Callable[[], None]) -> None:
        """Open what can be opened; ``readable`` is called when datagrams wait.

        Raises:
            MachineError: privilege is missing or the port is taken.

        """
        self._readable = readable
        for port in self._ports.values():
            error = self._try_open(port)
            if error is not None and error.errno in _WHAT_TO_DO:
                raise MachineError(
                    f"cannot open heartbeat port udp/{port.number} on {port.interface}: "
                    f"{_words(error)}; {_WHAT_TO_DO[error.errno]}"
                ) from error
        self._find_ourselves()

    def _try_open(self, port: _Port) -> OSError | None:
        try:
            port.open()
        except OSError as error:
            port.problem = f"interface {port.interface}: {_words(error)}"
            return error
        assert port.socket is not None
        assert self._readable is not None
        asyncio.get_running_loop().add_reader(port.socket, self._readable)
        return None

    def send(self, datagram: bytes) -> None:
        """Send one datagram on every usable link; never raises, never waits."""
        for port in self._ports.values():
            port.send(datagram)

    def drain(self) -> list[Received]:
        """Return what waits in the sockets; never waits."""
        found: list[Received] = []
        for port in self._ports.values():
            found += port.drain(DRAIN_DATAGRAMS_MAX)
        return found

    async def repair(self) -> None:
        """Open again what is closed, resolve names, see which address became our own."""
        for port in self._ports.values():
            if port.socket is None:
                self._try_open(port)
            for link in port.links:
                if link.address is None and link.peer is not None:
                    await _resolve(link, link.peer)
        self._find_ourselves()

    def _find_ourselves(self) -> None:
        for port in self._ports.values():
            for link in port.links:
                if link.peer is not None and link.address is not None:
                    link.is_ourselves = _is_local(link.address)

    def conditions(self) -> tuple[LinkCondition, ...]:
        """Return the condition of each configured link."""
        found = list(self._unsupported)
        for port in self._ports.values():
            found += port.conditions()
        return tuple(found)

    def close(self) -> None:
        """Close all sockets."""
        for port in self._ports.values():
            port.close("closed")


_WHAT_TO_DO: Final = {
    errno.EACCES: (
        "ports below 1024 need CAP_NET_BIND_SERVICE: run as root, or with "
        "AmbientCapabilities=CAP_NET_BIND_SERVICE, or set udpport to 1024 or more on all directors"
    ),
    errno.EPERM: (
        "binding to an interface needs CAP_NET_RAW here: run as root, or with "
        "AmbientCapabilities=CAP_NET_RAW"
    ),
    errno.EADDRINUSE: (
        "another program uses it (`ss -ulpn` shows which): stop that one, perhaps an old "
        "heartbeat or a second heartbus-membership, or set another udpport on all directors"
    ),
}


async def _resolve(link: _Link, peer: str) -> None:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(peer, None, family=socket.AF_INET)
    except OSError as error:
        link.problem = f"{peer} has no IPv4 address: {error.strerror or error}"
        return
    link.address = str(found[0][4][0])
    link.problem = None


def _is_ipv4(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET, text)
    except OSError:
        return False
    return True


def _is_local(address: str) -> bool:
    """Whether an address is one of this host's, as its routing table says; False if it does not.

    Binding would not tell where net.ipv4.ip_nonlocal_bind is on, nor the source address that the
    kernel chooses where ours is the second one of its subnet.
    """
    message = _ROUTE_REQUEST.pack(
        _ROUTE_REQUEST.size, _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0,
        socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0,
        _RTA.size, _RTA_DST, socket.inet_aton(address),
    )  # fmt: skip
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            kernel.send(message)
            answer = kernel.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)  # it is there already
    except OSError:
        return False
    if len(answer) < _ROUTE_HEAD.size:
        return False
    _, kind, _, _, _, *_, route_type, _ = _ROUTE_HEAD.unpack_from(answer)
    return bool(kind == _RTM_NEWROUTE and route_type == _RTN_LOCAL)


def _is_broadcast(ancillary: Sequence[tuple[int, int, bytes]]) -> bool:
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO and len(data) >= _PKTINFO.size:
            _, local, destination = _PKTINFO.unpack_from(data)
            return bool(local != destination)
    return False


def _words(error: OSError) -> str:
    return error.strerror or os.strerror(error.errno or 0)
