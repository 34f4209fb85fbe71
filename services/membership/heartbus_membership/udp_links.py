"""UDP heartbeat links: broadcast, multicast and unicast over named interfaces, IPv4 and IPv6.

All links of one interface, port and family share a socket that is bound to the device, so that none
hears what came in elsewhere. Multicast groups are joined anew with the socket when an
interface was away; host names are looked up beside, by tasks of their own.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from heartbus.model import BroadcastLink, MulticastLink, UnicastLink
from heartbus.runner import MachineError
from heartbus_membership import ip_sockets
from heartbus_membership.ip_sockets import Destination, words
from heartbus_membership.links import POINTS_AT_US, Received
from heartbus_membership.snapshot import LinkCondition

RECEIVE_BYTES: Final = 2048
"""More than a heartbeat may have: what is cut off here is refused for its length."""
DRAIN_DATAGRAMS_MAX: Final = 512
"""More than a default receive buffer holds (about 270), so that a stall is drained in one turn."""
LOOKUP_RETRY_S: Final = 1.0
LOOKUP_AGAIN_S: Final = 30.0
"""A host may get another address."""

_DEVICE_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO, errno.EBADF})

UdpLink = BroadcastLink | MulticastLink | UnicastLink


class _Way(enum.Enum):
    BROADCAST = enum.auto()
    MULTICAST = enum.auto()
    UNICAST = enum.auto()


@dataclass(slots=True, kw_only=True)
class _Link:
    """``address``: where to. ``port`` None: its host name is not looked up yet."""

    name: str
    way: _Way
    address: str = ""
    ttl: int = 1
    loop: bool = False
    port: _Port | None = None
    is_joined: bool = False
    is_ourselves: bool = False
    problem: str | None = None

    @property
    def condition(self) -> LinkCondition:
        if self.is_ourselves:
            return LinkCondition(name=self.name, usable=False, problem=POINTS_AT_US)
        is_open = self.port is not None and self.port.socket is not None
        problem = (self.port.problem if self.port is not None else None) or self.problem
        return LinkCondition(name=self.name, usable=is_open and problem is None, problem=problem)


class _Port:
    """The socket of one interface, port and family, and the links that use it."""

    def __init__(self, interface: str, number: int, family: socket.AddressFamily) -> None:
        self.interface = interface
        self.number = number
        self.family = family
        self.links: list[_Link] = []
        self.socket: socket.socket | None = None
        self.problem: str | None = None
        self._index = 0
        self._multicast: tuple[int, bool] | None = None

    def open(self, readable: Callable[[], None]) -> None:
        """Open the socket.

        Raises:
            OSError: it cannot be opened; that is its problem now.

        """
        try:
            opened = ip_sockets.open_socket(self.interface, self.number, self.family)
            self._index = ip_sockets.index_of(opened)
        except OSError as error:
            self.problem = f"interface {self.interface}: {words(error)}"
            raise
        self.socket = opened
        self.problem = None
        self._multicast = None
        for link in self.links:
            link.is_joined = False
        asyncio.get_running_loop().add_reader(opened, readable)
        self.refresh()

    def close(self, problem: str) -> None:
        """Close the socket because of a problem."""
        if self.socket is not None:
            asyncio.get_running_loop().remove_reader(self.socket)
            self.socket.close()
        self.socket = None
        self.problem = problem

    def notice_absence(self) -> None:
        """Close the socket if its interface is gone, perhaps with another one in its place."""
        if self.socket is not None and not ip_sockets.is_there(self.interface, self._index):
            self.close(f"interface {self.interface}: {words(OSError(errno.ENODEV, ''))}")

    def refresh(self) -> None:
        """Join what is not joined, and see which addresses are our own by now."""
        for link in self.links:
            if link.way is _Way.UNICAST:
                link.is_ourselves = ip_sockets.is_local(link.address, self._index)
            elif link.way is _Way.MULTICAST and not link.is_joined and self.socket is not None:
                try:
                    ip_sockets.join(self.socket, link.address)
                    link.is_joined = True
                    link.problem = None
                except OSError as error:
                    link.problem = f"joining {link.address}: {words(error)}"

    def send(self, datagram: bytes) -> None:
        """Send on each link; failures are noted at the link."""
        for link in self.links:
            if self.socket is None or link.is_ourselves:
                continue
            try:
                if link.way is _Way.MULTICAST:
                    self._set_multicast(self.socket, link)
                self.socket.sendto(datagram, (link.address, self.number))
                if link.is_joined or link.way is not _Way.MULTICAST:
                    link.problem = None
            except OSError as error:
                link.problem = f"sending to {link.address}: {words(error)}"
                if error.errno in _DEVICE_GONE:
                    self.close(f"interface {self.interface}: {words(error)}")

    def _set_multicast(self, sock: socket.socket, link: _Link) -> None:
        wanted = (link.ttl, link.loop)
        if self._multicast != wanted:
            ip_sockets.set_multicast(sock, ttl=link.ttl, loop=link.loop)
            self._multicast = wanted

    def drain(self, limit: int) -> list[Received]:
        """Return up to ``limit`` waiting datagrams."""
        found: list[Received] = []
        while self.socket is not None and len(found) < limit:
            try:
                datagram, ancillary, _, source = self.socket.recvmsg(
                    RECEIVE_BYTES, ip_sockets.PKTINFO_SPACE
                )
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self.close(f"interface {self.interface}: {words(error)}")
                break
            link = self._link_of(ip_sockets.destination(ancillary), source[0])
            found.append(Received(datagram=datagram, link=link, source=source[0]))
        return found

    def _link_of(self, to: Destination, source: str) -> str | None:
        """Return the link that describes this way.

        An unknown sender counts for the first peer with an address of its scope: it may have
        several, or a new one.
        """
        if to.is_broadcast:
            return next((link.name for link in self.links if link.way is _Way.BROADCAST), None)
        if to.group is not None:
            groups = (link for link in self.links if link.way is _Way.MULTICAST)
            return next((link.name for link in groups if link.address == to.group), None)
        peers = [link for link in self.links if link.way is _Way.UNICAST and not link.is_ourselves]
        for link in peers:
            if link.address == source:
                return link.name
        scope = ip_sockets.is_link_local(source)
        near = [link for link in peers if ip_sockets.is_link_local(link.address) is scope]
        return next((link.name for link in (*near, *peers)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """A unicast link whose peer has a host name."""

    link: _Link
    interface: str
    number: int
    host: str
    family: socket.AddressFamily

    async def addresses(self) -> list[str]:
        """Return the addresses of the host, those of IPv4 first.

        Raises:
            OSError: it has none.

        """
        loop = asyncio.get_running_loop()
        answers = await loop.getaddrinfo(
            self.host, None, family=self.family, type=socket.SOCK_DGRAM
        )
        return [str(answer[4][0]) for answer in sorted(answers, key=lambda a: a[0])]


class UdpLinks:
    """The configured broadcast, multicast and unicast links of this host."""

    def __init__(self, links: Sequence[UdpLink]) -> None:
        self._ports: dict[tuple[str, int, socket.AddressFamily], _Port] = {}
        self._links: list[_Link] = []
        self._named: list[_Named] = []
        self._lookups: list[asyncio.Task[None]] = []
        self._readable: Callable[[], None] | None = None
        for link in links:
            self._links.append(self._add(link))

    def _add(self, link: UdpLink) -> _Link:
        if isinstance(link, BroadcastLink):
            made = _Link(name=link.name, way=_Way.BROADCAST)
            self._place(made, link.interface, link.port, ip_sockets.BROADCAST)
        elif isinstance(link, MulticastLink):
            made = _Link(name=link.name, way=_Way.MULTICAST, ttl=link.ttl, loop=link.loop)
            self._place(made, link.interface, link.port, link.group)
        else:
            made = _Link(name=link.name, way=_Way.UNICAST)
            if ip_sockets.is_address(link.peer):
                self._place(made, link.interface, link.port, link.peer)
            else:
                made.problem = f"{link.peer} is not resolved to an address yet"
                family = socket.AF_INET6 if link.ipv6 else socket.AF_UNSPEC
                self._named.append(
                    _Named(
                        link=made,
                        interface=link.interface,
                        number=link.port,
                        host=link.peer,
                        family=family,
                    )
                )
        return made

    def _place(self, link: _Link, interface: str, number: int, address: str) -> _Port:
        """Give a link its address and the port that goes with it."""
        key = (interface, number, ip_sockets.family_of(address))
        port = self._ports.setdefault(key, _Port(*key))
        if link.port is not port:
            if link.port is not None:
                link.port.links.remove(link)
            port.links.append(link)
        link.port = port
        link.address = address
        link.problem = None
        return port

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
                    f"{words(error)}; {_WHAT_TO_DO[error.errno]}"
                ) from error
        loop = asyncio.get_running_loop()
        self._lookups = [loop.create_task(self._look_up(named)) for named in self._named]

    def _try_open(self, port: _Port) -> OSError | None:
        assert self._readable is not None
        try:
            port.open(self._readable)
        except OSError as error:
            return error
        return None

    async def _look_up(self, named: _Named) -> None:
        """Keep the address of a host name; one that was found stays until there is another."""
        link = named.link
        while True:
            try:
                addresses = await named.addresses()
            except OSError as error:
                if link.port is None:
                    kind = "IPv6 address" if named.family is socket.AF_INET6 else "address"
                    link.problem = f"{named.host} has no {kind}: {error.strerror or error}"
            else:
                if link.port is None or link.address not in addresses:
                    port = self._place(link, named.interface, named.number, addresses[0])
                    if port.socket is None:
                        self._try_open(port)
                    port.refresh()
            await asyncio.sleep(LOOKUP_RETRY_S if link.port is None else LOOKUP_AGAIN_S)

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
        """Open again what is closed or stale, join groups, see which address became our own."""
        for port in self._ports.values():
            port.notice_absence()
            if port.socket is None:
                self._try_open(port)
            else:
                port.refresh()

    def conditions(self) -> tuple[LinkCondition, ...]:
        """Return the condition of each link."""
        return tuple(link.condition for link in self._links)

    def dropped(self) -> Mapping[str, int]:
        """Return nothing: what arrives at all arrives as a datagram."""
        return {}

    def close(self) -> None:
        """Close all sockets."""
        for lookup in self._lookups:
            lookup.cancel()
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
