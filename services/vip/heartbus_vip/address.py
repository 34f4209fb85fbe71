"""Add, refresh, remove and list the addresses of this machine over rtnetlink.

The kernel answers within the system call that asks, so nothing here waits for anything but the
kernel's own lock, and no event loop is needed.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Final

from heartbus.model import AddressResource
from heartbus_vip import rtnetlink
from heartbus_vip.rtnetlink import KernelAddress
from heartbus_vip.sysctls import ipv6_off, promote_secondaries

_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_DATAGRAM_BYTES_MAX: Final = 65536
_REPLY_TIMEOUT_S: Final = 1.0  # the answer is there when send returns; this bounds a kernel defect
_NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.ENODEV)


class AddressError(Exception):
    """The kernel refused; the message says what was tried, what it said, and what to do."""


class StalledError(Exception):
    """We were not running between a decision and its deed; nothing was sent, decide anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """Outcome of one refresh. ``missing``: it was gone from the kernel and is back now."""

    resource: AddressResource
    missing: bool = False
    problem: str | None = None


class AddressTable:
    """The kernel's addresses of this network namespace, as far as virtual IPs need them."""

    def __init__(self) -> None:
        """Open the socket; needs no privilege yet."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.settimeout(_REPLY_TIMEOUT_S)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0
        self._indexes: dict[AddressResource, int] = {}

    def close(self) -> None:
        """Close the socket; the addresses stay."""
        self._socket.close()

    def may_change(self) -> bool:
        """Whether we have CAP_NET_ADMIN here: the kernel checks that before anything else."""
        nothing = KernelAddress(address="0.0.0.0", prefix_len=32, index=0)
        sequence = self._next()
        verdict = self._ask(rtnetlink.delete_address(nothing, sequence=sequence), sequence)
        return verdict.errno != errno.EPERM

    def addresses(self) -> list[KernelAddress]:
        """Return all addresses of all interfaces; those of IPv6 last.

        Raises:
            AddressError: the kernel does not say.

        """
        return [*self._of_family(rtnetlink.AF_INET), *self._of_family(rtnetlink.AF_INET6)]

    def _of_family(self, family: int) -> list[KernelAddress]:
        sequence = self._next()
        self._send(rtnetlink.dump_addresses(sequence=sequence, family=family))
        found: list[KernelAddress] = []
        while True:
            for reply in self._receive():
                if reply.sequence != sequence:
                    continue
                if isinstance(reply, rtnetlink.AddressReply):
                    found.append(reply.address)
                elif isinstance(reply, rtnetlink.DumpEnd):
                    return found
                elif isinstance(reply, rtnetlink.Verdict):
                    raise AddressError(f"cannot list the addresses: {_words(reply)}")

    def interface(self, resource: AddressResource) -> int:
        """Return the index of the interface that a virtual IP belongs on.

        The configured one; else the one that has the address already; else the one that the
        kernel routes the address through, as long as that is not the loopback.

        Raises:
            AddressError: there is no such interface, or no route.

        """
        if resource.interface is not None:
            try:
                return socket.if_nametoindex(resource.interface)
            except OSError as error:
                known = ", ".join(name for _, name in socket.if_nameindex())
                raise AddressError(
                    f"{resource.name}: there is no interface {resource.interface!r} here "
                    f"(there are {known}); name another one, or none to let the route decide"
                ) from error
        sequence = self._next()
        self._send(rtnetlink.find_route(resource.address, sequence=sequence))
        route = self._one(sequence)
        if isinstance(route, rtnetlink.RouteReply) and route.type == rtnetlink.ROUTE_UNICAST:
            if route.index is not None:
                return route.index
        elif isinstance(route, rtnetlink.RouteReply) and route.type == rtnetlink.ROUTE_LOCAL:
            index = self._interface_that_has_or_neighbours(resource)
            if index is not None:
                return index
        reason = f" ({_words(route)})" if isinstance(route, rtnetlink.Verdict) else ""
        raise AddressError(
            f"{resource.name}: no interface has a route to it{reason}; give an interface of this "
            "machine an address of its network, or name the interface in the configuration"
        )

    def interface_name(self, resource: AddressResource) -> str | None:
        """Return the interface that ``put`` chose, None if it is not there any more."""
        index = self._indexes.get(resource)
        return None if index is None else interface_name(index)

    def interface_to_ask(self, resource: AddressResource) -> str:
        """Return the interface on which neighbours are asked for an address: its own.

        Raises:
            AddressError: as for ``interface``.

        """
        return self.interface_name(resource) or interface_name(self.interface(resource))

    def put(self, resource: AddressResource, *, lifetime_s: int, not_after_s: float) -> None:
        """Add an address that the kernel drops after ``lifetime_s``, or set its lifetime anew.

        ``not_after_s``: monotonic time after which the right to hold it must be looked at again.

        Raises:
            AddressError: no interface, or the kernel refuses.
            StalledError: it is later than ``not_after_s``; a process that was stopped for a while
                must not act on what it decided before.

        """
        index = self.interface(resource)
        address = _kernel_address(resource, index=index, lifetime_s=lifetime_s)
        present = self._of_family(rtnetlink.AF_INET6 if resource.ipv6 else rtnetlink.AF_INET)
        sequence = self._next()
        failures = self._put_all(
            {sequence: (resource, address)}, present, verb="add", not_after_s=not_after_s
        )
        if failures:
            raise AddressError(failures[sequence])
        self._indexes[resource] = index

    def remove_strays(self, resource: AddressResource) -> None:
        """Remove the address where an earlier configuration left it beside where ``put`` has it.

        That is with another prefix length, or on another interface.

        Raises:
            AddressError: the kernel refuses.

        """
        index = self._indexes.get(resource)
        for stray in self.matching(resource) if index is not None else ():
            if (stray.prefix_len, stray.index) != (resource.prefix_len, index):
                self._delete(resource, stray)

    def refresh(
        self, wanted: Sequence[tuple[AddressResource, int]], *, not_after_s: float
    ) -> list[Refreshed]:
        """Set the lifetimes of many addresses (resource, seconds) anew, adding what is missing.

        Raises:
            AddressError: the kernel does not talk to us at all.
            StalledError: as for ``put``.

        """
        listed = self.addresses()
        present = {(a.address, a.prefix_len, a.index) for a in listed}
        outcomes: list[Refreshed] = []
        requests: dict[int, tuple[AddressResource, KernelAddress]] = {}
        for resource, lifetime_s in wanted:
            try:
                index = self._indexes.get(resource) or self.interface(resource)
            except AddressError as error:
                outcomes.append(Refreshed(resource=resource, missing=True, problem=str(error)))
                continue
            self._indexes[resource] = index
            address = _kernel_address(resource, index=index, lifetime_s=lifetime_s)
            requests[self._next()] = (resource, address)
        failures = self._put_all(requests, listed, verb="refresh", not_after_s=not_after_s)
        for sequence, (resource, address) in requests.items():
            problem = failures.get(sequence)
            if problem is not None:
                self._indexes.pop(resource, None)  # a new interface may have another index
            missing = (address.address, address.prefix_len, address.index) not in present
            outcomes.append(Refreshed(resource=resource, missing=missing, problem=problem))
        return outcomes

    def remove(self, resource: AddressResource) -> bool:
        """Remove a virtual IP from wherever it is; return whether it was there.

        Raises:
            AddressError: the kernel refuses.

        """
        self._indexes.pop(resource, None)
        found = self.matching(resource)
        for address in found:
            self._delete(resource, address)
        return bool(found)

    def matching(self, resource: AddressResource) -> list[KernelAddress]:
        """Return where the kernel has this address, whatever its prefix length.

        One on the loopback is not counted, unless the configuration wants it there: a director
        that is a real server too has it there for direct routing.
        """
        loopback = resource.interface == "lo"
        return [
            address
            for address in self.addresses()
            if address.address == resource.address
            and (loopback or interface_name(address.index) != "lo")
        ]

    def _delete(self, resource: AddressResource, address: KernelAddress) -> None:
        promote_secondaries(interface_name(address.index))
        sequence = self._next()
        verdict = self._ask(rtnetlink.delete_address(address, sequence=sequence), sequence)
        if verdict.errno and verdict.errno not in _NO_SUCH_ADDRESS:
            where = interface_name(address.index)
            raise AddressError(f"cannot remove {resource.name} from {where}: {_words(verdict)}")

    # --- below: one request, one answer ----------------------------------------------------------

    def _interface_that_has_or_neighbours(self, resource: AddressResource) -> int | None:
        addresses = [a for a in self.addresses() if interface_name(a.index) != "lo"]
        for address in addresses:
            if address.address == resource.address:
                return address.index
        network = ip_interface(resource.name).network
        near = [
            a for a in addresses if ip_interface(f"{a.address}/{a.prefix_len}").network == network
        ]
        return near[0].index if near else None

    def _put_all(
        self,
        requests: dict[int, tuple[AddressResource, KernelAddress]],
        present: Sequence[KernelAddress],
        *,
        verb: str,
        not_after_s: float,
    ) -> dict[int, str]:
        """Send all requests in one system call; return the failed ones: sequence to words.

        Only the last is acknowledged: errors come in any case, so silence before it is success.
        """
        if not requests:
            return {}
        last = next(reversed(requests))
        batch = b""
        for sequence, (_, address) in requests.items():
            wrong = _uncorrectable(present, address)
            if wrong is not None:
                batch += rtnetlink.delete_address(wrong, sequence=self._next())
            batch += rtnetlink.put_address(address, sequence=sequence, acknowledge=sequence == last)
        self._refuse_late(not_after_s)
        self._send(batch)
        failures: dict[int, str] = {}
        while True:
            for reply in self._receive():
                if not isinstance(reply, rtnetlink.Verdict) or reply.sequence not in requests:
                    continue
                if reply.errno:
                    resource, address = requests[reply.sequence]
                    where = interface_name(address.index)
                    failures[reply.sequence] = (
                        f"cannot {verb} {resource.name} on {where}: {_words(reply)}"
                    )
                    if resource.ipv6 and ipv6_off(where):  # of which some kernels say nothing
                        failures[reply.sequence] += f"; set net.ipv6.conf.{where}.disable_ipv6=0"
                if reply.sequence == last:
                    return failures

    @staticmethod
    def _refuse_late(not_after_s: float) -> None:
        if time.monotonic() > not_after_s:
            raise StalledError

    def _ask(self, request: bytes, sequence: int) -> rtnetlink.Verdict:
        self._send(request)
        reply = self._one(sequence)
        if not isinstance(reply, rtnetlink.Verdict):
            raise AddressError(f"unexpected answer of the kernel: {reply}")
        return reply

    def _one(self, sequence: int) -> rtnetlink.Reply:
        while True:
            for reply in self._receive():
                if reply.sequence == sequence:
                    return reply

    def _send(self, octets: bytes) -> None:
        try:
            self._socket.send(octets)
        except OSError as error:
            raise AddressError(f"cannot talk rtnetlink: {error.strerror}") from error

    def _receive(self) -> list[rtnetlink.Reply]:
        try:
            return list(rtnetlink.replies(self._socket.recv(_DATAGRAM_BYTES_MAX)))
        except (OSError, rtnetlink.RtnetlinkError) as error:
            raise AddressError(f"no answer from rtnetlink: {error}") from error

    def _next(self) -> int:
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        return self._sequence


def _uncorrectable(present: Iterable[KernelAddress], wanted: KernelAddress) -> KernelAddress | None:
    """Return what must be removed before ``wanted`` is put, because putting would not change it.

    For the kernel an address of IPv6 is the same with any prefix length, one of IPv4 with any label
    and broadcast address: it would set the lifetime and leave the rest as it was
    (net/ipv4/devinet.c, net/ipv6/addrconf.c, inet6_addr_modify). So it would one that somebody set
    with duplicate address detection, which may have failed.
    """
    for address in present:
        if (address.address, address.index) != (wanted.address, wanted.index):
            continue
        if ":" in wanted.address:
            differs = address.prefix_len != wanted.prefix_len or not address.usable
        elif address.prefix_len == wanted.prefix_len:
            differs = (wanted.label is not None and address.label != wanted.label) or (
                wanted.broadcast is not None and address.broadcast != wanted.broadcast
            )
        else:
            continue  # another address, for IPv4; it is removed once this one is there
        if differs:
            return address
    return None


def _kernel_address(resource: AddressResource, *, index: int, lifetime_s: int) -> KernelAddress:
    network = ip_interface(resource.name).network
    broadcast = resource.broadcast
    if broadcast is None and network.version == 4 and network.prefixlen < 31:  # RFC 3021
        broadcast = str(network.broadcast_address)
    return KernelAddress(
        address=resource.address,
        prefix_len=resource.prefix_len,
        index=index,
        broadcast=broadcast,
        scope=rtnetlink.SCOPE_HOST if network.is_loopback else rtnetlink.SCOPE_UNIVERSE,
        valid_s=lifetime_s,
        # What begins from a VIP ends with it, so own connections begin from another address where
        # there is one. The kernel does not look at this when it chooses a source of IPv4.
        preferred=resource.source or not resource.ipv6,
        label=resource.label,
    )


def interface_name(index: int) -> str:
    """Return the name of an interface, or its number in words if it is gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"interface {index}"


def _words(reply: rtnetlink.Reply) -> str:
    if not isinstance(reply, rtnetlink.Verdict):
        return str(reply)
    return f"{os.strerror(reply.errno)}{': ' + reply.text if reply.text else ''}"
