"""Makes a configuration of heartbus out of keepalived.conf; what has no counterpart is listed.

keepalived.conf is of one host and names no directors: who converts it says who they are. Each
vrrp_instance becomes a resource group, those of a sync group become one.
"""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Iterator, Sequence
from typing import Final

from heartbus.config import source
from heartbus.config.keepalived_blocks import Block, parse
from heartbus.config.keepalived_services import groups_of_addresses, left_out, services
from heartbus.config.report import Place, Places, Report, shown
from heartbus.config.validate import validate
from heartbus.config.values import BadValueError, interface, ip, ipv4
from heartbus.model import (
    TIMER_PROFILES,
    AddressResource,
    Authentication,
    AuthKey,
    AuthMethod,
    BroadcastLink,
    Cluster,
    Director,
    Failback,
    HeartbeatLink,
    Membership,
    ResourceGroup,
    UnicastLink,
    VirtualService,
    default_lease_s,
)

TIMERS: Final = "lan"
_FILES_MAX: Final = 256

_SAID: Final = frozenset(
    {
        "state",
        "interface",
        "virtual_router_id",
        "priority",
        "advert_int",
        "nopreempt",
        "preempt",
        "virtual_ipaddress",
        "virtual_ipaddress_excluded",
        "unicast_peer",
        "unicast_src_ip",
        "authentication",
    }
)
"""Statements of a vrrp_instance that are read, or that heartbus needs no word about."""


class _Included:
    """Reads included files, relative to the file that names them."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def included(self, pattern: str, file: str, place: Place) -> Iterator[tuple[str, str]]:
        """Yield the files in order; none is a warning."""
        base = os.path.join(os.path.dirname(file), pattern)
        try:
            paths = sorted(glob.glob(base))[:_FILES_MAX]
        except (OSError, ValueError):
            paths = []
        if not paths:
            self._report.warning(place.of("include"), f"no file {shown(pattern)}")
        for path in paths:
            read = source.read(path, self._report)
            if read is not None:
                yield path, read.text


def load(
    path: str,
    *,
    directors: Sequence[str],
    secret: bytes,
    report: Report,
    config_id: str = "",
) -> Cluster | None:
    """Return the configuration; ``directors``: their names, that of this file's host first.

    ``secret`` signs heartbeats: VRRP has none that is worth the name.
    """
    file = source.read(path, report)
    if file is None:
        return None
    blocks = parse(file.text, path, report, _Included(report), config_id=config_id)
    reader = _Reader(directors, report)
    addresses = groups_of_addresses(blocks, report)
    found: list[VirtualService] = []
    for block in blocks:
        match block.name:
            case "vrrp_instance":
                reader.instance(block)
            case "vrrp_sync_group":
                reader.sync_group(block)
            case "virtual_server":
                found += services(block, addresses, report)
            case "virtual_server_group":
                pass
            case _:
                left_out(block, report)
    groups = reader.groups()
    cluster = Cluster(
        directors=tuple(Director(name=name) for name in directors),
        membership=Membership(
            timers=TIMER_PROFILES[TIMERS],
            links=tuple(dict.fromkeys(reader.links)),
            authentication=Authentication(
                signing_key=1, keys=(AuthKey(id=1, method=AuthMethod.SHA256, secret=secret),)
            ),
            failback=reader.failback,
            lease_s=default_lease_s(TIMER_PROFILES[TIMERS], voters=len(directors)),
        ),
        groups=groups,
        virtual_services=tuple(_in_group(service, groups) for service in found),
        source=path,
    )
    report.note(
        Place(file=path),
        f"times are those of the profile {TIMERS}; advert_int and priorities are not used, the"
        " secret of the heartbeats is new: copy the converted file to every director",
    )
    validate(cluster, Places(whole=Place(file=path)), report, without=frozenset())
    return cluster


class _Reader:
    """Collects instances, then makes groups of them."""

    def __init__(self, directors: Sequence[str], report: Report) -> None:
        self._directors = directors
        self._report = report
        self._instances: dict[str, tuple[str, list[AddressResource]]] = {}
        self._synced: dict[str, list[str]] = {}
        self.links: list[HeartbeatLink] = []
        self.failback = Failback.ON

    def instance(self, block: Block) -> None:
        """Take in one vrrp_instance."""
        said = {line.name: line for line in block.inner}
        nic = _first(said.get("interface"))
        addresses: list[AddressResource] = []
        for line in block.inner:
            match line.name:
                case "virtual_ipaddress" | "virtual_ipaddress_excluded":
                    addresses += filter(None, (self._address(each, nic) for each in line.inner))
                case "unicast_peer":
                    self.links += filter(None, (self._peer(each, nic) for each in line.inner))
                case "nopreempt":
                    self.failback = Failback.OFF
                case "authentication":
                    self._report.note(line.place, "heartbeats are signed with a key of their own")
                case name if name not in _SAID:
                    left_out(line, self._report)
        if nic is not None and "unicast_peer" not in said:
            try:
                self.links.append(BroadcastLink(interface=interface(nic)))
            except BadValueError as error:
                self._report.error(said["interface"].place, str(error))
        first = _first(said.get("state")) != "BACKUP"
        preferred = self._directors[0] if first or len(self._directors) < 2 else self._directors[1]
        name = block.values[0] if block.values else ""
        if name in self._instances or not name:
            self._report.error(block.place, f"{shown(name)}: allowed is a name of its own")
        self._instances[name] = (preferred, addresses)

    def sync_group(self, block: Block) -> None:
        """Take in one vrrp_sync_group."""
        name = block.values[0] if block.values else ""
        for line in block.inner:
            if line.name == "group":
                members = [*line.values, *(word for each in line.inner for word in each.words)]
                self._synced[name] = members
            else:
                left_out(line, self._report)

    def groups(self) -> tuple[ResourceGroup, ...]:
        """Return a group for each sync group, and for each instance that is in none."""
        inside = {member: name for name, members in self._synced.items() for member in members}
        drafts: dict[str, tuple[str, list[AddressResource]]] = {}
        for name, (preferred, addresses) in self._instances.items():
            group = inside.get(name, name)
            drafts.setdefault(group, (preferred, []))[1].extend(addresses)
        return tuple(
            ResourceGroup(
                name=name.replace(" ", "_"), preferred=preferred, resources=tuple(addresses)
            )
            for name, (preferred, addresses) in drafts.items()
            if addresses
        )

    def _address(self, line: Block, nic: str | None) -> AddressResource | None:
        address, slash, length = line.name.partition("/")
        options = dict(zip(line.words[1::2], line.words[2::2], strict=False))
        try:
            canonical = ip(address)
            bits = 128 if ":" in canonical else 32
            if slash and not (length.isdecimal() and 1 <= int(length[:4]) <= bits):
                raise BadValueError(f"{shown(length)} is no prefix length; allowed is 1 to {bits}")
            broadcast = options.get("brd") or options.get("broadcast")
            return AddressResource(
                address=canonical,
                prefix_len=int(length) if slash else bits,
                broadcast=ipv4(broadcast) if broadcast and broadcast not in "+-" else None,
                interface=interface(options["dev"]) if "dev" in options else nic,
            )
        except BadValueError as error:
            self._report.error(line.place, str(error))
            return None

    def _peer(self, line: Block, nic: str | None) -> HeartbeatLink | None:
        try:
            return UnicastLink(interface=interface(nic or ""), peer=ip(line.name))
        except BadValueError as error:
            self._report.error(line.place, str(error))
            return None


def _first(block: Block | None) -> str | None:
    return block.values[0] if block is not None and block.values else None


def _in_group(service: VirtualService, groups: Sequence[ResourceGroup]) -> VirtualService:
    """Return the service as part of the group that holds its address."""
    for group in groups:
        if service.endpoint.address in [a.address for a in group.addresses]:
            return dataclasses.replace(service, group=group.name)
    return service
