"""ICMP and ICMPv6 echo sockets: questions out, answers in, nothing else.

One socket per family: raw (needs CAP_NET_RAW), and where that is refused a datagram socket of the
kind that ping(8) uses without privilege (``net.ipv4.ping_group_range`` must allow our group; the
kernel then fills in the identifier and, for IPv4, strips the IP header). Raw sockets see every
answer that reaches the host, so the kernel is told to pass echo replies with our identifier only.
What is read at once is bounded, and after each reading the socket rests: a flood by somebody who
has overheard the identifier may cost answers, not processor time.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from heartbus import icmp_echo as echo

RECEIVE_BYTES: Final = 512
"""Our answers have 96 bytes with the longest IPv4 header; what is longer is not ours."""

DRAIN_MAX: Final = 256
REST_S: Final = 0.01
SECRET_BYTES: Final = 32

SOL_RAW: Final = 255  # linux/socket.h
ICMP_FILTER: Final = 1  # linux/icmp.h
ICMPV6_FILTER: Final = 1  # linux/icmpv6.h
SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h
_INSTRUCTION: Final = struct.Struct("=HBBI")  # struct sock_filter of linux/filter.h, as these
_LDX_IPV4_HEADER_BYTES: Final = 0xB1  # BPF_LDX | BPF_B | BPF_MSH
_LD_HALF_AT_X: Final = 0x48  # BPF_LD | BPF_H | BPF_IND
_LD_HALF: Final = 0x28  # BPF_LD | BPF_H | BPF_ABS
_JUMP_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_AT_IDENTIFIER: Final = 4

REFUSED: Final = frozenset({errno.EPERM, errno.EACCES})
WHAT_TO_DO: Final = (
    "ICMP echo needs CAP_NET_RAW: run as root, or with AmbientCapabilities=CAP_NET_RAW, or "
    "let net.ipv4.ping_group_range include our group"
)


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address in canonical text; ``scope`` is the interface of a link-local IPv6 address."""

    text: str
    scope: int = 0

    @property
    def is_ipv6(self) -> bool:
        """Whether it is asked by ICMPv6."""
        return ":" in self.text

    @property
    def key(self) -> str:
        """What tells it from every other address."""
        return f"{self.text}%{self.scope}" if self.scope else self.text


class Icmp(Protocol):
    """What the shell needs to ask; ``IcmpSockets`` is the real one."""

    def open(self, *, ipv4: bool, ipv6: bool, readable: Callable[[], None]) -> str | None:
        """Open what is wanted and closed; return what is wrong, None for nothing."""
        ...

    def can_ask(self, address: Address) -> bool:
        """Whether the socket of its family is open."""
        ...

    def ask(self, address: Address) -> str | None:
        """Send one question; return why it could not be sent, None if it was."""
        ...

    def drain(self) -> list[Address]:
        """Return who has answered, as often as they did; never waits."""
        ...

    def forget(self, address: Address) -> None:
        """Take no more answers of an address."""
        ...

    def close(self) -> None:
        """Close all sockets."""
        ...


@dataclass(slots=True)
class _Socket:
    family: echo.Family
    socket: socket.socket
    is_raw: bool


class IcmpSockets:
    """The two sockets of this process."""

    def __init__(self) -> None:
        self._sockets: dict[int, _Socket] = {}
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._questions = echo.Questions(secret=os.urandom(SECRET_BYTES))
        self._readable: Callable[[], None] = lambda: None

    def open(self, *, ipv4: bool, ipv6: bool, readable: Callable[[], None]) -> str | None:
        """Open what is wanted and closed; return what is wrong, None for nothing.

        ``readable`` is called when answers wait.
        """
        self._readable = readable
        problems: list[str] = []
        for family, wanted in ((echo.IPV4, ipv4), (echo.IPV6, ipv6)):
            if not wanted or family.version in self._sockets:
                continue
            try:
                opened = _open(family, self._identifier)
            except OSError as error:
                advice = f"; {WHAT_TO_DO}" if error.errno in REFUSED else ""
                problems.append(f"IPv{family.version}: {_words(error)}{advice}")
                continue
            self._sockets[family.version] = opened
            self._listen(opened)
        return ", ".join(problems) or None

    def _listen(self, opened: _Socket) -> None:
        if self._sockets.get(opened.family.version) is opened:
            asyncio.get_running_loop().add_reader(opened.socket, self._rest, opened)

    def _rest(self, opened: _Socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(opened.socket)
        loop.call_later(REST_S, self._listen, opened)
        self._readable()

    def can_ask(self, address: Address) -> bool:
        """Whether the socket of its family is open."""
        return _version(address) in self._sockets

    def ask(self, address: Address) -> str | None:
        """Send one question; return why it could not be sent, None if it was."""
        opened = self._sockets.get(_version(address))
        if opened is None:
            return "no socket to ask with"
        sequence, data = self._questions.ask(address.key)
        message = echo.request(
            opened.family, identifier=self._identifier, sequence=sequence, data=data
        )
        to = (address.text, 0, 0, address.scope) if address.is_ipv6 else (address.text, 0)
        try:
            opened.socket.sendto(message, to)
        except OSError as error:
            return f"sending to {address.text}: {_words(error)}"
        return None

    def drain(self) -> list[Address]:
        """Return who has answered, as often as they did; never waits."""
        found: list[Address] = []
        for opened in self._sockets.values():
            found += self._answers(opened)
        return found

    def _answers(self, opened: _Socket) -> Iterable[Address]:
        for _ in range(DRAIN_MAX):
            try:
                packet, source = opened.socket.recvfrom(RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # news of an unreachable target: the silence that follows says it
            message: bytes | None = packet
            if opened.is_raw and opened.family is echo.IPV4:
                message = echo.without_ipv4_header(packet)
            reply = echo.parse(opened.family, message) if message is not None else None
            if reply is None or (opened.is_raw and reply.identifier != self._identifier):
                continue
            address = _address(source)
            if self._questions.answered(address.key, reply):
                yield address

    def forget(self, address: Address) -> None:
        """Take no more answers of an address."""
        self._questions.forget(address.key)

    def close(self) -> None:
        """Close all sockets."""
        sockets, self._sockets = self._sockets, {}
        for opened in sockets.values():
            asyncio.get_running_loop().remove_reader(opened.socket)
            opened.socket.close()


async def resolve(host: str, *, ipv6: bool) -> Address:
    """Return the address to ask of a host name or an address; over IPv4 where there is one.

    ``ipv6``: over IPv6 or not at all.

    Raises:
        OSError: there is none.

    """
    if (address := literal(host)) is not None:
        return address
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ipv6 else socket.AF_UNSPEC
    found = await loop.getaddrinfo(host, None, family=family, type=socket.SOCK_DGRAM)
    usable = [entry for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6)]
    usable.sort(key=lambda entry: entry[0] is not socket.AF_INET)
    if not usable:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    return _address(usable[0][4])


def literal(host: str) -> Address | None:
    """Return the address that this text is, None for a name.

    Raises:
        OSError: the interface of a link-local address is not there.

    """
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return None
    interface = getattr(parsed, "scope_id", None)
    # Not by getaddrinfo: that of uvloop drops the scope.
    scope = socket.if_nametoindex(interface) if interface else 0
    return Address(str(parsed).partition("%")[0], scope)


def _open(family: echo.Family, identifier: int) -> _Socket:
    domain = socket.AF_INET if family is echo.IPV4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if family is echo.IPV4 else socket.IPPROTO_ICMPV6
    try:
        raw = socket.socket(domain, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        plain = socket.socket(domain, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, protocol)
        return _Socket(family, plain, is_raw=False)
    if family is echo.IPV4:
        raw.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", ~(1 << family.reply) & 0xFFFFFFFF))
    else:
        blocked = [0xFFFFFFFF] * 8  # a bit for each type, set: blocked (RFC 3542, section 3.2)
        blocked[family.reply >> 5] &= ~(1 << (family.reply & 31))
        raw.setsockopt(socket.IPPROTO_ICMPV6, ICMPV6_FILTER, struct.pack("=8I", *blocked))
    _pass_only(raw, family, identifier)
    return _Socket(family, raw, is_raw=True)


def _pass_only(raw: socket.socket, family: echo.Family, identifier: int) -> None:
    """Let the kernel drop what has not our identifier (socket(7), linux/filter.h)."""
    if family is echo.IPV4:
        load = [(_LDX_IPV4_HEADER_BYTES, 0, 0, 0), (_LD_HALF_AT_X, 0, 0, _AT_IDENTIFIER)]
    else:
        load = [(_LD_HALF, 0, 0, _AT_IDENTIFIER)]
    compare = [(_JUMP_IF_EQUAL, 0, 1, identifier), (_RETURN, 0, 0, RECEIVE_BYTES)]
    program = [*load, *compare, (_RETURN, 0, 0, 0)]
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*step) for step in program))
    filter_ = struct.pack("@HP", len(program), ctypes.addressof(code))
    raw.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)


def _version(address: Address) -> int:
    return echo.IPV6.version if address.is_ipv6 else echo.IPV4.version


def _address(source: tuple[object, ...]) -> Address:
    """Return the address of a socket name; the scope, if any, is its fourth part."""
    text = str(source[0]).partition("%")[0]
    scope = source[3] if len(source) == 4 else 0
    return Address(text, scope if isinstance(scope, int) else 0)


def _words(error: OSError) -> str:
    return error.strerror or os.strerror(error.errno or 0)
