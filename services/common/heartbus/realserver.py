"""What a machine needs to be a real server behind gate or ipip, and what of it is missing.

Sans-I/O. A director that forwards by gate (direct routing) or ipip (tunnel) leaves the address of
the virtual service in the packet: the real server must have it as an address of its own, must not
answer ARP for it, and must accept what comes out of the tunnel. Linux answers no neighbour
solicitation for an IPv6 address of another interface, so IPv6 needs the address alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from heartbus.model import ForwardingMethod

LOOPBACK: Final = "lo"
TUNNELS: Final[Mapping[int, tuple[str, str, str]]] = {
    4: ("tunl0", "ipip", "ipip"),
    6: ("ip6tnl0", "ip6_tunnel", "ip6tnl"),
}
"""Of each family the interface that takes packets of any director, its kernel module, its kind."""

HAVE_IT: Final = (ForwardingMethod.GATE, ForwardingMethod.IPIP)
"""The methods whose real servers have the address of the virtual service themselves."""

ARP_IGNORE: Final = 1
"""Answer ARP only for addresses of the interface that was asked (ip-sysctl, arp_ignore)."""

ARP_ANNOUNCE: Final = 2
"""Never say an address of another interface in our own ARP requests (ip-sysctl, arp_announce)."""

NEW_INTERFACES: Final = "default"
"""What the kernel calls those that come later; before the network is up there are no others."""

RP_STRICT, RP_LOOSE = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAddress:
    """An address that this machine serves, and how packets for it arrive: by gate or ipip."""

    address: str
    method: ForwardingMethod

    @property
    def family(self) -> int:
        """4 or 6."""
        return ipaddress.ip_address(self.address).version

    @property
    def prefix(self) -> int:
        """Of this address alone: nobody is a neighbour through it."""
        return ipaddress.ip_address(self.address).max_prefixlen

    @property
    def device(self) -> str:
        """Which interface has it."""
        return TUNNELS[self.family][0] if self.method is ForwardingMethod.IPIP else LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface as the kernel has it; ``addresses`` with their prefix lengths."""

    name: str
    up: bool
    addresses: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was seen of this machine.

    ``sysctls``: of net.ipv4.conf, under ``INTERFACE.NAME``; ``listening``: (family, address, port)
    of TCP sockets that wait for connections.
    """

    interfaces: tuple[Interface, ...]
    sysctls: Mapping[str, int]
    listening: frozenset[tuple[int, str, int]] = frozenset()

    def interface(self, name: str) -> Interface | None:
        """Return an interface, None if there is none."""
        return next((x for x in self.interfaces if x.name == name), None)

    def effective(self, interface: str, name: str) -> int:
        """Return what counts: the kernel takes the larger of ``all`` and the interface's own."""
        own = self.sysctls.get(f"{interface}.{name}", 0)
        return max(self.sysctls.get(f"all.{name}", 0), own)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressChange:
    """An address to add to an interface."""

    interface: str
    address: str
    prefix: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SysctlChange:
    """A variable of net.ipv4.conf to set; ``name`` is ``INTERFACE.NAME``."""

    name: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp:
    """An interface to bring up; ``module``: whose loading makes it where it is not there.

    ``kind``: of it, as rtnetlink calls it.
    """

    interface: str
    module: str
    kind: str


Change = AddressChange | SysctlChange | LinkUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that keeps an address from being served. ``mended_by`` None: not by us."""

    about: str
    what: str
    mended_by: Change | None = None


def problems(served: tuple[ServedAddress, ...], seen: Machine) -> tuple[Problem, ...]:
    """Return what is missing, in the order in which it must be mended.

    ARP comes before addresses: a machine that answers for the address of a virtual service only
    for a moment takes its clients away from the director for as long as they remember it.
    """
    found = [
        *_arp(served, seen),
        *_tunnels(served, seen),
        *(problem for one in served for problem in _address(one, seen)),
    ]
    return tuple(found)


def _arp(served: tuple[ServedAddress, ...], seen: Machine) -> Iterator[Problem]:
    if not any(one.family == 4 for one in served):
        return
    rules = (
        ("arp_ignore", ARP_IGNORE, "it answers ARP for addresses of other interfaces"),
        ("arp_announce", ARP_ANNOUNCE, "it may say a served address in its own ARP requests"),
    )
    for name, least, why in rules:
        names = [x.name for x in seen.interfaces if x.name != LOOPBACK]
        wrong = [x for x in (*names, NEW_INTERFACES) if seen.effective(x, name) < least]
        if wrong:
            yield Problem(
                about=", ".join(wrong),
                what=f"{why}: net.ipv4.conf.all.{name} must be {least} or more",
                mended_by=SysctlChange(name=f"all.{name}", value=least),
            )


def _tunnels(served: tuple[ServedAddress, ...], seen: Machine) -> Iterator[Problem]:
    families = sorted({one.family for one in served if one.method is ForwardingMethod.IPIP})
    for family in families:
        device, module, kind = TUNNELS[family]
        interface = seen.interface(device)
        if interface is None or not interface.up:
            there = "there is no such interface" if interface is None else "it is down"
            yield Problem(
                about=device,
                what=f"{there}: packets in a tunnel are not taken",
                mended_by=LinkUp(interface=device, module=module, kind=kind),
            )
        if family == 4 and seen.effective(device, "rp_filter") == RP_STRICT:
            yield Problem(
                about=device,
                what=(
                    "it drops packets whose answer would go out by another interface, as all"
                    f" answers do: net.ipv4.conf.{device}.rp_filter must be {RP_LOOSE}, or this"
                    " and the one of all 0"
                ),
                mended_by=SysctlChange(name=f"{device}.rp_filter", value=RP_LOOSE),
            )


def _address(one: ServedAddress, seen: Machine) -> Iterator[Problem]:
    has = [
        (interface.name, prefix)
        for interface in seen.interfaces
        for address, prefix in interface.addresses
        if ipaddress.ip_address(address) == ipaddress.ip_address(one.address)
    ]
    for name, prefix in has:
        if name not in (LOOPBACK, one.device):
            yield Problem(
                about=one.address,
                what=(
                    f"{name} has it: this machine answers for it in place of the director; remove"
                    f" it with: ip addr del {one.address}/{prefix} dev {name}"
                ),
            )
        elif prefix != one.prefix:
            yield Problem(
                about=one.address,
                what=(
                    f"{name} has it as /{prefix}: the whole network behind it would be local; it"
                    f" must be /{one.prefix}: ip addr del {one.address}/{prefix} dev {name}"
                ),
            )
    if not has:
        yield Problem(
            about=one.address,
            what="this machine does not have it, and drops what the director forwards",
            mended_by=AddressChange(interface=one.device, address=one.address, prefix=one.prefix),
        )


def unserved(ports: Mapping[str, tuple[int, ...]], seen: Machine) -> tuple[Problem, ...]:
    """Return TCP ports, by served address, on which no program waits for connections."""
    found = []
    for address, wanted in ports.items():
        family = ipaddress.ip_address(address).version
        whole = "0.0.0.0" if family == 4 else "::"
        anywhere = {(family, address), (family, whole), (6, "::")}
        open_ports = {port for of, at, port in seen.listening if (of, at) in anywhere}
        found += [
            Problem(
                about=f"{address} port {port}",
                what="no program waits for connections there; one bound to another address only"
                " does not get them",
            )
            for port in wanted
            if port not in open_ports
        ]
    return tuple(found)
