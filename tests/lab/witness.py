"""Who holds an address, followed without a pause: told by each kernel, and asked on the wire.

The kernels tell every address that comes or goes (rtnetlink); once in a while the witness asks by
ARP who has the address, as a neighbour would. Both are seen from outside of the programs that are
watched: it does not matter what those believe.
"""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from tests.lab import addresses
from tests.lab.addresses import ARP_LAYOUT, ARP_REPLY, ARP_REQUEST, BROADCAST, ETH_P_ARP
from tests.lab.network import Host, Link, wait_until

RTMGRP_IPV4_IFADDR: Final = 0x10  # linux/rtnetlink.h, as the next two
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
NLMSG: Final = struct.Struct("=IHHII")
IFADDRMSG_BYTES: Final = 8
ATTRIBUTE: Final = struct.Struct("=HH")
IFA_LOCAL: Final = 2
SO_RCVBUFFORCE: Final = 33
BUFFER_BYTES: Final = 4 << 20
"""Room for the news of ten minutes in which a starved witness does not read."""

ARP_PERIOD_S: Final = 0.02


@dataclass(slots=True)
class Hold:
    """A span in which one host had the address; ``until_s`` None: it has it still."""

    host: str
    since_s: float
    until_s: float | None = None


class Witness:
    """Watches one IPv4 address on some hosts; enter it to start, leave it to stop.

    ``link``: the cable of the host that asks by ARP, as the client of those hosts would.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        address: str,
        *,
        link: Link,
        arp_period_s: float = ARP_PERIOD_S,
    ) -> None:
        self._hosts, self._address, self.link = tuple(hosts), address, link
        self._wanted = socket.inet_aton(address)
        self._arp_period_s = arp_period_s
        self._holds: list[Hold] = []
        self._now: dict[str, Hold] = {}
        self._replies: list[tuple[float, str]] = []
        self._changed_s = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._watch, name=f"witness-{address}", daemon=True)

    def __enter__(self) -> Self:
        self._kernels = {host.call(_kernel_news): host for host in self._hosts}
        self._wire = self.link.host.call(functools.partial(_wire, self.link.interface))
        for host in self._hosts:  # after the subscription: nothing falls in between
            if addresses.holds(host, self._address):
                self._appeared(host.name, time.monotonic())
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        for open_socket in (*self._kernels, self._wire):
            open_socket.close()

    # --- asking ----------------------------------------------------------------------------------

    def holders(self) -> list[str]:
        """Return the hosts that have the address now."""
        self._check()
        with self._lock:
            return sorted(self._now)

    @property
    def changed_s(self) -> float:
        """When the address last came to a host or left one."""
        self._check()
        with self._lock:
            return self._changed_s

    def holds(self, *, since_s: float = 0.0) -> list[Hold]:
        """Return the spans that began at or after a time, in order."""
        self._check()
        with self._lock:
            return [Hold(h.host, h.since_s, h.until_s) for h in self._holds if h.since_s >= since_s]

    def on_two_s(self, *, since_s: float, until_s: float) -> float:
        """Return for how long of a span several kernels had the address."""
        self._check()
        with self._lock:
            spans = [
                (max(h.since_s, since_s), min(until_s if h.until_s is None else h.until_s, until_s))
                for h in self._holds
            ]
        edges = [(at_s, step) for b, e in spans if b < e for at_s, step in ((b, 1), (e, -1))]
        total_s, count, before_s = 0.0, 0, since_s
        for at_s, step in sorted(edges):
            total_s += (at_s - before_s) * (count > 1)
            count, before_s = count + step, at_s
        return total_s

    def answered_by_two_s(self, *, since_s: float, until_s: float) -> float:
        """Return for how long of a span two MAC addresses answered ARP for the address.

        Counted in periods of asking: one counts if two different answers came in it.
        """
        self._check()
        with self._lock:
            replies = [(t, mac) for t, mac in self._replies if since_s <= t < until_s]
        macs: dict[int, set[str]] = {}
        for at_s, mac in replies:
            macs.setdefault(int(at_s / self._arp_period_s), set()).add(mac)
        return sum(len(found) > 1 for found in macs.values()) * self._arp_period_s

    def answering(self, *, since_s: float) -> set[str]:
        """Return the MAC addresses that answered ARP since a time."""
        self._check()
        with self._lock:
            return {mac for at_s, mac in self._replies if at_s >= since_s}

    def answers(self, *, since_s: float) -> list[str]:
        """Return the MAC addresses of all ARP answers since a time, in their order."""
        self._check()
        with self._lock:
            return [mac for at_s, mac in self._replies if at_s >= since_s]

    def wait_for(self, holders: Sequence[str], *, timeout_s: float) -> float:
        """Return how many seconds it took until exactly these hosts had the address.

        Raises:
            TimeoutError: they do not within ``timeout_s``.

        """
        return wait_until(
            lambda: self.holders() == sorted(holders),
            timeout_s=timeout_s,
            what=f"{', '.join(holders) or 'nobody'} holds {self._address} alone",
            period_s=0.005,
        )

    def forget(self, *, before_s: float) -> None:
        """Drop what ended before a time."""
        with self._lock:
            self._holds = [h for h in self._holds if h.until_s is None or h.until_s >= before_s]
            self._replies = [(t, mac) for t, mac in self._replies if t >= before_s]

    def _check(self) -> None:
        if self._error is not None:
            raise RuntimeError("the witness has died") from self._error

    # --- watching --------------------------------------------------------------------------------

    def _watch(self) -> None:
        try:
            poll = select.epoll()
            by_descriptor = {news.fileno(): news for news in (*self._kernels, self._wire)}
            for descriptor in by_descriptor:
                poll.register(descriptor, select.EPOLLIN)
            next_ask_s = time.monotonic()
            while not self._ended.is_set():
                if time.monotonic() >= next_ask_s:
                    self._ask()
                    next_ask_s = max(next_ask_s + self._arp_period_s, time.monotonic())
                for descriptor, _ in poll.poll(max(0.001, next_ask_s - time.monotonic())):
                    self._read(by_descriptor[descriptor])
            poll.close()
        except BaseException as error:
            self._error = error

    def _ask(self) -> None:
        own_mac = self._wire.getsockname()[4]
        request = ARP_LAYOUT.pack(
            1, 0x0800, 6, 4, ARP_REQUEST, own_mac, bytes(4), bytes(6), self._wanted
        )
        with contextlib.suppress(OSError):  # our own cable may be the one that is cut
            self._wire.send(BROADCAST + own_mac + struct.pack("!H", ETH_P_ARP) + request)

    def _read(self, readable: socket.socket) -> None:
        while True:
            try:
                data = readable.recv(65536)
            except BlockingIOError:
                return
            now_s = time.monotonic()
            if readable is self._wire:
                _, _, _, _, operation, mac, sender, *_ = ARP_LAYOUT.unpack_from(data, 14)
                # A gratuitous reply goes to everybody; an answer comes to us.
                if operation == ARP_REPLY and sender == self._wanted and data[:6] != BROADCAST:
                    with self._lock:
                        self._replies.append((now_s, mac.hex(":")))
                continue
            for kind, local in _address_news(data):
                if local != self._wanted:
                    continue
                name = self._kernels[readable].name
                (self._appeared if kind == RTM_NEWADDR else self._vanished)(name, now_s)

    def _appeared(self, host: str, now_s: float) -> None:
        with self._lock:
            if host not in self._now:  # the kernel tells of every refresh too
                self._changed_s = now_s
                self._now[host] = Hold(host, now_s)
                self._holds.append(self._now[host])

    def _vanished(self, host: str, now_s: float) -> None:
        with self._lock:
            hold = self._now.pop(host, None)
            if hold is not None:
                self._changed_s = hold.until_s = now_s


def _kernel_news() -> socket.socket:
    news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    news.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    news.bind((0, RTMGRP_IPV4_IFADDR))
    news.setblocking(False)
    return news


def _wire(interface: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
    wire.bind((interface, ETH_P_ARP))
    wire.setblocking(False)
    return wire


def _address_news(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and local address of each RTM_NEWADDR and RTM_DELADDR in a datagram."""
    at = 0
    while at + NLMSG.size <= len(data):
        length, kind, *_ = NLMSG.unpack_from(data, at)
        if length < NLMSG.size:
            return
        attribute = at + NLMSG.size + IFADDRMSG_BYTES
        while kind in (RTM_NEWADDR, RTM_DELADDR) and attribute + ATTRIBUTE.size <= at + length:
            size, name = ATTRIBUTE.unpack_from(data, attribute)
            if name == IFA_LOCAL:
                yield kind, data[attribute + 4 : attribute + 8]
            attribute += max(4, (size + 3) & ~3)
        at += (length + 3) & ~3
