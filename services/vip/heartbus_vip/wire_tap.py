"""Hears what neighbours say about our addresses on all interfaces, and asks them.

Packet sockets with a filter in the kernel, so that only what is about these addresses wakes us up.
What is read at once is bounded, and after each reading the sockets rest: a flood by somebody on the
same network may cost us sightings, not processor time.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from heartbus.model import AddressResource
from heartbus_vip import neighbours
from heartbus_vip.neighbours import Instruction, Said, Unread

PACKETS_AT_ONCE_MAX: Final = 64
REST_S: Final = 0.02
"""So at most 3,200 packets are looked at in a second."""

INTERFACES_MAX: Final = 1000

_BUFFER_BYTES: Final = 256 * 1024
_SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h
_INSTRUCTION: Final = struct.Struct("=HBBI")  # struct sock_filter (linux/filter.h)
_SIOCGIFHWADDR, _SIOCETHTOOL = 0x8927, 0x8946  # linux/sockios.h
_ETHTOOL_GPERMADDR: Final = 0x20  # linux/ethtool.h
_HARDWARE_REQUEST: Final = struct.Struct("16sH6s16x")  # ifreq: name, family, hardware address
_POINTER_REQUEST: Final = struct.Struct("16sP16x")  # ifreq: name, ifr_data
_PERMANENT: Final = struct.Struct("=II32s")  # ethtool_perm_addr: command, size, data
_ARPHRD_ETHER: Final = 1
_MAC_BYTES: Final = 6
_SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h
_TIMESPEC: Final = struct.Struct("@ll")
_AGE_MAX_S: Final = 10.0
"""What waited for longer, the wall clock has been set meanwhile, or nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What somebody said, and where we heard it; ``at_s``: when it arrived (CLOCK_MONOTONIC)."""

    said: Said
    interface: str
    at_s: float


class AskError(Exception):
    """A question could not be sent; the message says which, where, and why."""


class WireTap:
    """The sockets of this network namespace; ``unread`` counts what said nothing, by reason."""

    def __init__(
        self, addresses: Collection[str], *, interface: Callable[[AddressResource], str]
    ) -> None:
        """Open them for what is said about ``addresses``; ``interface``: where to ask for one.

        Raises:
            OSError: CAP_NET_RAW is missing, or there is no such protocol here.

        """
        self._interface = interface
        self.unread: Counter[str] = Counter()
        self._sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._sockets: dict[int, socket.socket] = {}
        self._readable: Callable[[], None] | None = None
        try:
            self.use_addresses(addresses)
        except OSError:
            self.close()
            raise

    def use_addresses(self, addresses: Collection[str]) -> None:
        """Hear what is said about these from now on.

        Raises:
            OSError: as for a new one.

        """
        for ethertype in neighbours.ETHERTYPES:
            opened = self._sockets.get(ethertype)
            wanted = any((":" in a) == (ethertype == neighbours.ETHERTYPE_IPV6) for a in addresses)
            if opened is None and not wanted:
                continue
            program = neighbours.passing(ethertype, addresses)
            if opened is not None:
                _attach(opened, program)
                continue
            opened = self._sockets[ethertype] = _open(ethertype, program)
            if self._readable is not None:
                asyncio.get_running_loop().add_reader(opened, self._rest, opened)

    def close(self) -> None:
        """Hear no more."""
        self.listen(None)
        for opened in (self._sender, *self._sockets.values()):
            opened.close()

    def listen(self, readable: Callable[[], None] | None) -> None:
        """Call ``readable`` from now on when something was said; None: call nobody."""
        before, self._readable = self._readable, readable
        for opened in self._sockets.values():
            if readable is not None:
                asyncio.get_running_loop().add_reader(opened, self._rest, opened)
            elif before is not None:
                asyncio.get_running_loop().remove_reader(opened)

    def _rest(self, opened: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(opened)
        loop.call_later(REST_S, self._listen_again, opened)
        if self._readable is not None:
            self._readable()

    def _listen_again(self, opened: socket.socket) -> None:
        if self._readable is not None:
            asyncio.get_running_loop().add_reader(opened, self._rest, opened)

    def drain(self) -> list[Heard]:
        """Return what was said since the last call; never waits."""
        heard: list[Heard] = []
        for opened in self._sockets.values():
            for _ in range(PACKETS_AT_ONCE_MAX):
                try:
                    packet, notes, _, source = opened.recvmsg(
                        neighbours.PACKET_BYTES_MAX, socket.CMSG_SPACE(_TIMESPEC.size)
                    )
                except (BlockingIOError, InterruptedError):
                    break
                except OSError:
                    continue  # an interface went down: ENETDOWN, once
                interface, ethertype, kind, _, link_mac = source
                if kind == socket.PACKET_OUTGOING:
                    continue
                said = neighbours.read(ethertype, packet, link_mac=link_mac)
                if isinstance(said, Unread):
                    self.unread[said] += 1
                else:
                    at_s = time.monotonic() - _age_s(notes)
                    heard.append(Heard(said=said, interface=interface, at_s=at_s))
        return heard

    def ask(self, resource: AddressResource) -> None:
        """Ask everybody on its interface who has an address; one without Ethernet is not asked.

        Raises:
            AddressError: nobody knows on which interface.
            AskError: that interface is gone or down.

        """
        interface = self._interface(resource)
        try:
            mac = _hardware_address(self._sender, interface)
            if mac is not None:
                ethertype, frame = neighbours.question(resource.address, mac)
                self._sender.sendto(frame, (interface, ethertype))
        except OSError as error:
            raise AskError(
                f"cannot ask for {resource.address} on {interface}: {error.strerror}"
            ) from error

    def own_macs(self) -> tuple[str, ...]:
        """Return the hardware addresses of this host, in order.

        An interface in a bond has another one than it was made with, and may send from either.
        """
        macs: set[str] = set()
        for _, interface in socket.if_nameindex()[:INTERFACES_MAX]:
            for look in (_hardware_address, _permanent_address):
                try:
                    mac = look(self._sender, interface)
                except OSError:
                    continue  # it is gone meanwhile, or its driver does not know
                if mac is not None and any(mac):
                    macs.add(mac.hex(":"))
        return tuple(sorted(macs))


def _open(ethertype: int, program: tuple[Instruction, ...]) -> socket.socket:
    # Without the Ethernet header. What comes before the filter is there is about others, and few.
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    opened = socket.socket(socket.AF_PACKET, kind, socket.htons(ethertype))
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        _attach(opened, program)
        # When a packet came, however late a busy process reads it.
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        opened.close()
        raise
    return opened


def _attach(opened: socket.socket, program: tuple[Instruction, ...]) -> None:
    """Let a socket hear what a program passes, instead of what another one did (socket(7))."""
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*step) for step in program))
    filter_ = struct.pack("@HP", len(program), ctypes.addressof(code))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)


def _age_s(notes: list[tuple[int, int, bytes]]) -> float:
    """Return how long ago a packet arrived, by what the kernel noted beside it."""
    for level, kind, stamp in notes:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(stamp) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(stamp)
            age_s = time.time() - seconds - nanoseconds / 1e9
            return age_s if 0.0 <= age_s <= _AGE_MAX_S else 0.0
    return 0.0


def _hardware_address(any_socket: socket.socket, interface: str) -> bytes | None:
    request = _HARDWARE_REQUEST.pack(interface.encode(), 0, b"")
    _, kind, mac = _HARDWARE_REQUEST.unpack(fcntl.ioctl(any_socket, _SIOCGIFHWADDR, request))
    return bytes(mac) if kind == _ARPHRD_ETHER else None


def _permanent_address(any_socket: socket.socket, interface: str) -> bytes | None:
    answer = ctypes.create_string_buffer(
        _PERMANENT.pack(_ETHTOOL_GPERMADDR, 32, b""), _PERMANENT.size
    )
    request = _POINTER_REQUEST.pack(interface.encode(), ctypes.addressof(answer))
    fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
    _, size, mac = _PERMANENT.unpack(answer.raw)
    return bytes(mac[:_MAC_BYTES]) if size == _MAC_BYTES else None
