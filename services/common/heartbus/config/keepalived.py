"""Makes a configuration of heartbus out of keepalived.conf; what has no counterpart is listed.

keepalived.conf is of one host and names no directors: who converts it says who they are. Each
vrrp_instance becomes a resource group, those of a sync group become one.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from heartbus.config import source
from heartbus.config.keepalived_addresses import STATEMENTS, Announcements, address
from heartbus.config.keepalived_blocks import Block, parse
from heartbus.config.keepalived_services import (
    NO_COUNTERPART,
    groups_of_addresses,
    left_out,
    services,
)
from heartbus.config.keepalived_tracks import DEFINITIONS, USES, Tracks, tracked_files
from heartbus.config.report import Place, Places, Report, shown
from heartbus.config.validate import validate
from heartbus.config.values import BadValueError, interface, ip
from heartbus.model import (
    TIMER_PROFILES,
    AddressResource,
    AnnounceSettings,
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
    ResourceSettings,
    Tracker,
    UnicastLink,
    VipSettings,
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
        "native_ipv6",
    }
)
"""Statements of a vrrp_instance that are read, or that heartbus needs no word about."""


_NOTIFY: Final = frozenset(
    {
        *("notify", "notify_master", "notify_backup", "notify_fault", "notify_stop"),
        *("notify_deleted", "notify_master_rx_lower_pri", "smtp_alert"),
    }
)
HOOKS: Final = (
    "is called in another way here, with STATE, GROUP and EPOCH: see [[vip.resources.hooks]];"
    " left out"
)


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
    announcements = Announcements(report)
    for block in blocks:
        if block.name == "global_defs":
            announcements.global_defs(block)
        elif block.name == "garp_group":
            announcements.garp_group(block)
    reader = _Reader(directors, announcements, report)
    addresses, files = groups_of_addresses(blocks, report), tracked_files(blocks)
    found: list[VirtualService] = []
    for block in blocks:
        match block.name:
            case "vrrp_instance":
                reader.instance(block)
            case "vrrp_sync_group":
                reader.sync_group(block)
            case "virtual_server":
                found += services(block, addresses, files, report)
            case "virtual_server_group" | "global_defs" | "garp_group":
                pass
            case name if name in DEFINITIONS:
                reader.tracks.define(block)
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
        vip=VipSettings(
            announce=announcements.everywhere,
            resources=ResourceSettings(trackers=reader.trackers(groups)),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Instance:
    """A vrrp_instance, as far as it is made something of."""

    preferred: str
    addresses: list[AddressResource]
    announce: AnnounceSettings | None
    place: Place


class _Reader:
    """Collects instances, then makes groups of them."""

    def __init__(
        self, directors: Sequence[str], announcements: Announcements, report: Report
    ) -> None:
        self._directors = directors
        self._announcements = announcements
        self._report = report
        self._instances: dict[str, _Instance] = {}
        self._synced: dict[str, list[str]] = {}
        self.tracks = Tracks(report)
        self.links: list[HeartbeatLink] = []
        self.failback = Failback.ON

    def instance(self, block: Block) -> None:
        """Take in one vrrp_instance."""
        said = {line.name: line for line in block.inner}
        name = block.values[0] if block.values else ""
        nic = _first(said.get("interface"))
        addresses: list[AddressResource] = []
        for line in block.inner:
            match line.name:
                case "virtual_ipaddress" | "virtual_ipaddress_excluded":
                    read = (address(each, nic, self._report) for each in line.inner)
                    addresses += filter(None, read)
                case "unicast_peer":
                    self.links += filter(None, (self._peer(each, nic) for each in line.inner))
                case "nopreempt":
                    self.failback = Failback.OFF
                case "authentication":
                    self._report.note(line.place, "heartbeats are signed with a key of their own")
                case word if word in USES:
                    self.tracks.use(line, name)
                case word if word in _NOTIFY:
                    left_out(line, self._report, HOOKS)
                case word if word not in _SAID | STATEMENTS:
                    left_out(line, self._report)
        if nic is not None and "unicast_peer" not in said:
            try:
                self.links.append(BroadcastLink(interface=interface(nic)))
            except BadValueError as error:
                self._report.error(said["interface"].place, str(error))
        first = _first(said.get("state")) != "BACKUP"
        preferred = self._directors[0] if first or len(self._directors) < 2 else self._directors[1]
        if name in self._instances or not name:
            self._report.error(block.place, f"{shown(name)}: allowed is a name of its own")
        self._instances[name] = _Instance(
            preferred=preferred,
            addresses=addresses,
            announce=self._announcements.instance(block.inner, nic),
            place=block.place,
        )

    def sync_group(self, block: Block) -> None:
        """Take in one vrrp_sync_group."""
        name = block.values[0] if block.values else ""
        for line in block.inner:
            if line.name == "group":
                members = [*line.values, *(word for each in line.inner for word in each.words)]
                self._synced[name] = members
            elif line.name in USES:
                self.tracks.use(line, name)
            else:
                left_out(line, self._report, HOOKS if line.name in _NOTIFY else NO_COUNTERPART)

    def trackers(self, groups: Sequence[ResourceGroup]) -> tuple[Tracker, ...]:
        """Return what is tracked for these groups."""
        names = {group.name for group in groups}

        def group_of(owner: str) -> str | None:
            name = _group_name(self._inside.get(owner, owner))
            return name if name in names else None

        return self.tracks.trackers(group_of)

    @property
    def _inside(self) -> dict[str, str]:
        return {member: name for name, members in self._synced.items() for member in members}

    def groups(self) -> tuple[ResourceGroup, ...]:
        """Return a group for each sync group, and for each instance that is in none."""
        inside = self._inside
        drafts: dict[str, _Instance] = {}
        for name, instance in self._instances.items():
            draft = drafts.setdefault(inside.get(name, name), replace(instance, addresses=[]))
            draft.addresses.extend(instance.addresses)
            if draft.announce != instance.announce:
                self._report.warning(
                    instance.place,
                    "announced otherwise than the first of its vrrp_sync_group, which counts for"
                    " all of them",
                )
        return tuple(
            ResourceGroup(
                name=_group_name(name),
                preferred=draft.preferred,
                resources=tuple(draft.addresses),
                announce=draft.announce,
            )
            for name, draft in drafts.items()
            if draft.addresses
        )

    def _peer(self, line: Block, nic: str | None) -> HeartbeatLink | None:
        try:
            return UnicastLink(interface=interface(nic or ""), peer=ip(line.name))
        except BadValueError as error:
            self._report.error(line.place, str(error))
            return None


def _group_name(name: str) -> str:
    return name.replace(" ", "_")


def _first(block: Block | None) -> str | None:
    return block.values[0] if block is not None and block.values else None


def _in_group(service: VirtualService, groups: Sequence[ResourceGroup]) -> VirtualService:
    """Return the service as part of the group that holds its address."""
    for group in groups:
        if service.endpoint.address in [a.address for a in group.addresses]:
            return replace(service, group=group.name)
    return service
