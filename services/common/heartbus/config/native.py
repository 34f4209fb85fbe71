"""Reads the TOML form: one file, the same on every director, into the model.

The keys are those of examples/heartbus.toml, which says what each of them means.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from heartbus.config import native_guards, source
from heartbus.config.authkeys import KEY_ID_MAX
from heartbus.config.group_files import Draft, GroupFiles, Search, check_scripts
from heartbus.config.ha_cf import (
    BAUD_DEFAULT,
    BAUD_RATES,
    HOPFUDGE_DEFAULT,
    HOPFUDGE_MAX,
    RTPRIO_MAX,
    RTPRIO_MIN,
    TTL_DEFAULT,
    TTL_MAX,
    UDPPORT_DEFAULT,
)
from heartbus.config.includes import read_joined
from heartbus.config.interfaces_here import check_interfaces
from heartbus.config.kernel_here import check_kernel
from heartbus.config.keys_history import read_history
from heartbus.config.native_checking import read_checking
from heartbus.config.native_groups import resources_of
from heartbus.config.native_ipvs import read_ipvs
from heartbus.config.native_services import virtual_service
from heartbus.config.native_vip import announce_settings, read_vip
from heartbus.config.own_name import named_at
from heartbus.config.programs import check_programs
from heartbus.config.report import Path, Place, Places, Report, Setting, shown
from heartbus.config.sync_groups import SyncGroups
from heartbus.config.toml_joined import JoinedFiles
from heartbus.config.toml_table import Table
from heartbus.config.validate import validate
from heartbus.config.values import (
    absolute_path,
    host,
    interface,
    ipv6_host,
    multicast,
    multicast6,
    node_name,
    peer,
    peer6,
    ping_name,
)
from heartbus.model import (
    RTPRIO_DEFAULT,
    TIMER_PROFILES,
    Authentication,
    AuthKey,
    AuthMethod,
    BroadcastLink,
    BusSettings,
    Cluster,
    Director,
    Failback,
    HeartbeatLink,
    Membership,
    MulticastLink,
    PingNode,
    ResourceGroup,
    SerialLink,
    Takeover,
    Timers,
    UnicastLink,
    default_lease_s,
)

TIMER_PROFILE_DEFAULT: Final = "lan"
TIMER_KEYS: Final = ("keepalive", "warntime", "deadtime", "initdead")
LEASE_NOT_GIVEN_S: Final = 0.0
LINK_KINDS: Final = ("bcast", "ucast", "ucast6", "mcast", "mcast6", "serial")


def load(path: str, *, root: str, report: Report) -> Cluster | None:
    """Return the cluster of this file; it can be used only if the report has no errors."""
    file = source.read(path, report)
    if file is None:
        return None
    try:
        read = read_joined(file, report)
        return _Reader(*read, root, report).cluster() if read is not None else None
    except RecursionError:
        report.error(Place(file=path), "nested too deeply; no key of heartbus is nested like that")
        return None


class _Reader:
    """Reads one document; remembers which parts were refused and where the others stand.

    ``sources``: the files that it consists of, by path.
    """

    def __init__(
        self,
        document: JoinedFiles,
        sources: Mapping[str, source.Source],
        root: str,
        report: Report,
    ) -> None:
        self._toml = document
        self._sources = sources
        self._report = report
        directory = os.path.dirname(document.path) or "."
        self._search = Search(directories=(directory,), root=root)
        self._files = GroupFiles(self._search, report)
        self._tables: dict[Path, Path] = {}
        self._without: set[str] = set()
        self._ping_places: dict[Path, Place] = {}
        self._sync_places: dict[Path, Place] = {}

    def cluster(self) -> Cluster:
        document = Table(self._toml, (), self._toml.content)
        with self._refusing("timers", "lease", "links", "lines", "keys", "deadping", "ping_nodes"):
            membership = self._membership(document.table("membership"))
        with self._refusing("vip", "resources"):
            vip = read_vip(document.table("vip"))
        bus = read_bus(document.table("bus"))
        with self._refusing("services"):
            ipvs = read_ipvs(document.table("ipvs"))
            checks = read_checking(document.table("checks"))
        with self._refusing("directors", "groups", "guards", "resources"):
            directors = self._directors("directors", document.tables("directors"))
            witnesses = self._directors("witnesses", document.tables("witnesses"))
        draft = Draft(groups=[], services=[])
        with self._refusing("groups", "services", "resources"):
            self._services(document.tables("virtual_services"), draft)
            self._groups(document.tables("groups"), draft)
        history = read_history(document.table("history"))
        general = document.table("cluster")
        self._files.reload.of_table(general)
        cluster = Cluster(
            directors=directors,
            witnesses=witnesses,
            membership=_with_lease_default(membership, len(directors) + len(witnesses)),
            vip=vip,
            bus=bus,
            ipvs=ipvs,
            checks=checks,
            history=history,
            groups=tuple(group.value for group in draft.groups),
            virtual_services=tuple(service.value for service in draft.services),
            reload=self._files.reload.settings,
            source=self._toml.path,
        )
        if resource_path := general.texts("resource_path", absolute_path):
            cluster = dataclasses.replace(cluster, resource_path=tuple(resource_path))
        general.close()
        document.close()
        return self._cross_checked(cluster, draft)

    @contextlib.contextmanager
    def _refusing(self, *rules: str) -> Iterator[None]:
        """Leave out these rules of validate.py if anything within was refused."""
        before = self._report.errors
        yield
        if self._report.errors > before:
            self._without.update(rules)

    def _cross_checked(self, cluster: Cluster, draft: Draft) -> Cluster:
        written = sum(path[0] == "virtual_services" for path in self._tables)
        known = {
            **draft.service_places(first=written),
            **self._ping_places,
            **self._sync_places,
            **self._files.reload.places,
        }
        places = Places(
            whole=Place(file=self._toml.path), known=known, lookup=self._place, exact=self._exact
        )
        cluster = named_at(cluster, places)
        validate(cluster, places, self._report, without=frozenset(self._without))
        check_scripts(cluster, self._search, places, self._report)
        check_interfaces(cluster, self._search, places, self._report)
        check_kernel(cluster, self._search, places, self._report)
        check_programs(cluster, self._search, places, self._report)
        self._report.places = places
        return cluster

    def _place(self, path: Path) -> Place:
        return self._toml.place(self._tables.get(path[:2], path[:2]) + path[2:])

    def _exact(self, path: Path) -> Place | None:
        if path[0] == "virtual_services" and path[:2] not in self._tables:
            return None  # from a file of its own
        written = self._tables.get(path[:2], path[:2]) + path[2:]
        if path[:1] == ("membership",) and path[1] in TIMER_KEYS:
            # A time that is not written is that of the profile.
            return self._toml.written(written) or self._toml.written(("membership", "timers"))
        return self._toml.written(written)

    def _directors(self, key: str, tables: list[Table]) -> tuple[Director, ...]:
        directors: list[Director] = []
        for table in tables:
            name = table.required("name", table.text("name", node_name))
            address = table.text("address", host)
            table.close()
            if name is not None:
                self._tables[key, len(directors)] = table.path
                directors.append(Director(name=name, address=address))
        return tuple(directors)

    def _services(self, tables: list[Table], draft: Draft) -> None:
        for table in tables:
            service = virtual_service(table, self)
            if service is not None:
                self._tables["virtual_services", len(draft.services)] = table.path
                draft.services.append(Setting(value=service, place=table.at("address")))

    def _groups(self, tables: list[Table], draft: Draft) -> None:
        sync = SyncGroups(draft)
        for table in tables:
            preferred = table.required("preferred", table.text("preferred", node_name))
            resources, tables_of_resources = resources_of(table)
            announce = announce_settings(table.table("announce"))
            name = table.text("name", str)
            tied = table.text("sync", str)
            if name is None and resources:
                name = resources[0].value.name
            table.close()
            if preferred is None or name is None:
                if not table.has("name") and not table.has("resources"):
                    self._report.error(table.at(), "neither name nor resources; both are needed")
                continue
            group = ResourceGroup(
                name=tied or name,
                preferred=preferred,
                resources=(),
                announce=announce if table.has("announce") else None,
            )
            if tied is None or not sync.has(tied):
                self._tables["groups", len(draft.groups)] = table.path
            at = sync.add(group, name if tied else None, table.at("preferred"), self._report)
            places = draft.add_resources(at, resources, self._files, tables_of_resources)
            if tied is not None:
                self._sync_places |= places
        sync.rename_services()

    def _membership(self, table: Table) -> Membership:
        links = [_link(link) for link in table.tables("links")]
        hopfudge = table.integer("hopfudge", 0, HOPFUDGE_MAX)
        membership = Membership(
            timers=read_timers(table),
            links=tuple(link for link in links if link is not None),
            hopfudge=HOPFUDGE_DEFAULT if hopfudge is None else hopfudge,
            authentication=self._authentication(table.table("authentication")),
            failback=table.choice("failback", Failback) or Failback.OFF,
            takeover=table.choice("takeover", Takeover) or Takeover.FAST,
            ping_nodes=self._ping_nodes(table),
            deadping_s=table.seconds("deadping"),
            watchdog=table.text("watchdog", absolute_path),
            fences=native_guards.fences(table.tables("fences"), self),
            clients=native_guards.clients(table.tables("clients")),
            realtime=table.boolean("realtime") or False,
            rtprio=table.integer("rtprio", RTPRIO_MIN, RTPRIO_MAX) or RTPRIO_DEFAULT,
        )
        lease_s = table.seconds("lease")
        grace_s = table.seconds("restart_grace", zero=True)
        table.close()
        return dataclasses.replace(
            membership,
            lease_s=LEASE_NOT_GIVEN_S if lease_s is None else lease_s,
            restart_grace_s=membership.restart_grace_s if grace_s is None else grace_s,
        )

    def _ping_nodes(self, table: Table) -> tuple[PingNode, ...]:
        nodes = [PingNode(name=name, members=(name,)) for name in table.texts("ping_nodes", host)]
        for index in range(len(nodes)):
            self._ping_places["membership", "ping_nodes", index] = table.at("ping_nodes", index)
        for group in table.tables("ping_groups"):
            name = group.required("name", group.text("name", ping_name))
            ipv6 = group.boolean("ipv6") or False
            members = group.texts("members", ipv6_host if ipv6 else host)
            group.required("members", members)
            group.close()
            if name is not None:
                place = group.at("members") if not members else group.at("name")
                self._ping_places["membership", "ping_nodes", len(nodes)] = place
                nodes.append(PingNode(name=name, members=tuple(members), ipv6=ipv6))
        return tuple(nodes)

    def _authentication(self, table: Table) -> Authentication:
        signing_key = table.integer("signing_key", 0, KEY_ID_MAX)
        table.required("signing_key", signing_key)
        keys = [self._key(key) for key in table.tables("keys")]
        table.close()
        return Authentication(
            signing_key=signing_key or 0, keys=tuple(key for key in keys if key is not None)
        )

    def _key(self, table: Table) -> AuthKey | None:
        key_id = table.required("id", table.integer("id", 0, KEY_ID_MAX))
        method = table.choice("method", AuthMethod) or AuthMethod.SHA256
        written = table.secret("secret")
        file = table.text("secret_file", str)
        table.close()
        secret = written.encode() if written is not None else b""
        if written is not None and file is not None:
            self._report.error(table.at("secret_file"), "given beside secret; allowed is one")
        elif file is not None:
            secret = self.from_file(table, "secret_file", file)
        elif written is not None:
            self.written_here(table, "secret")
        return AuthKey(id=key_id, method=method, secret=secret) if key_id is not None else None

    def written_here(self, table: Table, key: str) -> None:
        """Refuse a secret of this file if others may read it; remember where it is."""
        self._report.secrets.append(table.at(key))
        file = self._sources[table.at(key).file]
        if file.readable_by_others:
            self._report.error(
                table.at(key),
                f"mode {file.mode:03o}: group or others may read the secret; allowed is 600"
                f" (chmod 600 {file.path}), or {key}_file",
            )

    def from_file(self, table: Table, key: str, name: str) -> bytes:
        """Return the secret in a file, looked for beside this one."""
        path = os.path.join(self._search.directories[0], name)
        file = source.read(path, self._report)
        if file is None:
            self._report.error(table.at(key), f"{shown(name)} cannot be read")
            return b""
        if file.readable_by_others:
            self._report.error(
                Place(file=path),
                f"mode {file.mode:03o}: group or others may read the secret; allowed is 600:"
                f" chmod 600 {path}",
            )
        return file.text.removesuffix("\n").encode("utf-8", "surrogateescape")


def _with_lease_default(membership: Membership, voters: int) -> Membership:
    if membership.lease_s != LEASE_NOT_GIVEN_S:
        return membership
    return dataclasses.replace(
        membership, lease_s=default_lease_s(membership.timers, voters=voters)
    )


def read_timers(table: Table) -> Timers:
    """Return the times: those of the profile, unless one is written."""
    profile = TIMER_PROFILES[table.word("timers", tuple(TIMER_PROFILES)) or TIMER_PROFILE_DEFAULT]
    keepalive_s = table.seconds("keepalive")
    warntime_s = table.seconds("warntime")
    deadtime_s = table.seconds("deadtime")
    initdead_s = table.seconds("initdead")
    return Timers(
        keepalive_s=keepalive_s or profile.keepalive_s,
        warntime_s=warntime_s or profile.warntime_s,
        deadtime_s=deadtime_s or profile.deadtime_s,
        initdead_s=initdead_s or profile.initdead_s,
    )


def read_bus(table: Table) -> BusSettings:
    """Return the ports of the bus."""
    default = BusSettings()
    bus = BusSettings(
        client_port=table.integer("client_port", 1, 65535) or default.client_port,
        route_port=table.integer("route_port", 1, 65535) or default.route_port,
    )
    table.close()
    return bus


def _link(table: Table) -> HeartbeatLink | None:
    kind = table.required("kind", table.word("kind", LINK_KINDS))
    link: HeartbeatLink | None = None
    if kind == "serial":
        device = table.required("device", table.text("device", absolute_path))
        baud = table.integer("baud", BAUD_RATES[0], BAUD_RATES[-1])
        if baud is not None and baud not in BAUD_RATES:
            table.refuse("baud", baud, ", ".join(map(str, BAUD_RATES)))
        link = SerialLink(device=device, baud=baud or BAUD_DEFAULT) if device else None
    elif kind is not None:
        nic = table.required("interface", table.text("interface", interface))
        port = table.integer("port", 1, 65535) or UDPPORT_DEFAULT
        if kind == "bcast":
            link = BroadcastLink(interface=nic, port=port) if nic else None
        elif kind in ("mcast", "mcast6"):
            link = _multicast(table, nic, port, multicast6 if kind == "mcast6" else multicast)
        else:
            parse = peer6 if kind == "ucast6" else peer
            to = table.required("peer", table.text("peer", parse))
            ipv6 = kind == "ucast6" and to is not None and ":" not in to
            link = UnicastLink(interface=nic, peer=to, port=port, ipv6=ipv6) if nic and to else None
    if kind is not None:
        table.close()
    return link


def _multicast(
    table: Table, nic: str | None, port: int, parse: Callable[[str], str]
) -> MulticastLink | None:
    group = table.required("group", table.text("group", parse))
    ttl = table.integer("ttl", 0, TTL_MAX)
    loop = table.boolean("loop")
    if nic is None or group is None:
        return None
    return MulticastLink(
        interface=nic,
        group=group,
        port=port,
        ttl=TTL_DEFAULT if ttl is None else ttl,
        loop=bool(loop),
    )
