"""Puts a cluster together from a directory in the old form: ha.cf, haresources, authkeys."""

from __future__ import annotations

import os
from typing import Final

from heartbus.config import authkeys, ha_cf, haresources, source
from heartbus.config.authkeys import AuthKeys
from heartbus.config.group_files import (
    LDIRECTORD_SUFFIX,
    SYSTEM_RESOURCE_PATH,
    Draft,
    GroupFiles,
    Search,
    check_scripts,
)
from heartbus.config.ha_cf import (
    BAUD_DEFAULT,
    HOPFUDGE_DEFAULT,
    UDPPORT_DEFAULT,
    HaCf,
    LinkKind,
)
from heartbus.config.interfaces_here import check_interfaces
from heartbus.config.kernel_here import check_kernel
from heartbus.config.own_name import named_at
from heartbus.config.programs import check_programs
from heartbus.config.report import Path, Place, Places, Report
from heartbus.config.validate import validate
from heartbus.model import (
    RTPRIO_DEFAULT,
    Authentication,
    BroadcastLink,
    Cluster,
    Director,
    Failback,
    HeartbeatLink,
    Membership,
    MulticastLink,
    ResourceGroup,
    SerialLink,
    Timers,
    UnicastLink,
    default_lease_s,
)

HA_CF: Final = "ha.cf"
HARESOURCES: Final = "haresources"
AUTHKEYS: Final = "authkeys"
CONF: Final = "conf"
RESOURCE_DIRECTORY: Final = "resource.d"

KEEPALIVE_DEFAULT_S: Final = 1.0
DEADTIME_DEFAULT_S: Final = 30.0
LINK_DIRECTIVES: Final = frozenset({"bcast", "udp", "ucast", "ucast6", "mcast", "mcast6", "serial"})
TIMER_DIRECTIVES: Final = frozenset({"keepalive", "warntime", "deadtime", "initdead"})


def directories(path: str) -> tuple[str, ...]:
    """Return where the files of a configuration in the old form are looked for."""
    return (path, os.path.join(path, CONF))


def is_classic(path: str) -> bool:
    """Return whether this directory holds a configuration in the old form."""
    return any(source.is_file(os.path.join(place, HA_CF)) for place in directories(path))


def load(path: str, *, root: str, report: Report) -> Cluster:
    """Return the cluster of this directory; it can be used only if the report has no errors."""
    search = Search(directories=directories(path), root=root)
    ha = _read_ha_cf(path, search, report)
    keys = _read_authkeys(path, search, report)
    nodes = [node.value for node in ha.nodes]
    draft = Draft(groups=[], services=[])
    files = GroupFiles(search, report)
    resource_places: dict[Path, Place] = {}
    haresources_file = _find(HARESOURCES, path, search, report)
    content = source.read(haresources_file, report) if haresources_file else None
    groups_refused = False
    if haresources_file is not None and content is not None:
        errors_before = report.errors
        groups = haresources.parse(content.text, haresources_file, nodes, report)
        groups_refused = report.errors > errors_before
        if not groups and not report.errors:
            report.warning(Place(file=haresources_file), "no resource group; nothing will be held")
        for index, setting in enumerate(groups):
            line = setting.value
            group = ResourceGroup(name=line.name, preferred=line.preferred, resources=())
            draft.add_group(group, line.resources, setting.place, files)
            for position, resource in enumerate(line.resources):
                resource_places["groups", index, "resources", position] = resource.place
    _note_other_files(search, files, report)
    cluster = Cluster(
        directors=tuple(Director(name=name) for name in nodes),
        membership=_membership(ha, keys, report),
        groups=tuple(group.value for group in draft.groups),
        virtual_services=tuple(service.value for service in draft.services),
        resource_path=_resource_path(path),
        reload=files.reload.settings,
        source=path,
    )
    places = Places(
        whole=Place(file=ha.file),
        known={**_places(ha, keys, draft), **resource_places, **files.reload.places},
        not_written=_not_written(ha),
    )
    report.places = places
    without = _without(ha, keys) | (frozenset({"groups"}) if groups_refused else frozenset())
    cluster = named_at(cluster, places)
    validate(cluster, places, report, without=without)
    check_scripts(cluster, search, places, report)
    check_interfaces(cluster, search, places, report)
    check_kernel(cluster, search, places, report)
    check_programs(cluster, search, places, report)
    return cluster


def _find(name: str, path: str, search: Search, report: Report) -> str | None:
    found = source.find(name, search.directories, report)
    if found is None:
        report.files.update((os.path.join(place, name), "") for place in search.directories)
        report.error(
            Place(file=os.path.join(path, name)),
            f"missing; looked in {' and '.join(search.directories)}",
        )
    return found


def _read_ha_cf(path: str, search: Search, report: Report) -> HaCf:
    file = _find(HA_CF, path, search, report)
    content = source.read(file, report) if file else None
    if file is None or content is None:
        return HaCf(file=os.path.join(path, HA_CF))
    return ha_cf.parse(content.text, file, report)


def _read_authkeys(path: str, search: Search, report: Report) -> AuthKeys:
    file = _find(AUTHKEYS, path, search, report)
    content = source.read(file, report) if file else None
    if file is None or content is None:
        return AuthKeys(file=os.path.join(path, AUTHKEYS))
    if content.readable_by_others:
        report.error(
            Place(file=file),
            f"mode {content.mode:03o}: group or others may read the secrets; allowed is 600:"
            f" chmod 600 {file}",
        )
    return authkeys.parse(content.text, file, report)


def _membership(ha: HaCf, keys: AuthKeys, report: Report) -> Membership:
    return Membership(
        timers=_timers(ha),
        links=_links(ha),
        hopfudge=ha.hopfudge.value if ha.hopfudge else HOPFUDGE_DEFAULT,
        authentication=Authentication(
            signing_key=keys.signing_key.value if keys.signing_key else 0,
            keys=tuple(key.value for key in keys.keys),
        ),
        failback=_failback(ha, report),
        lease_s=default_lease_s(_timers(ha), voters=len(ha.nodes)),
        ping_nodes=tuple(node.value for node in ha.ping_nodes),
        deadping_s=ha.deadping_s.value if ha.deadping_s else None,
        watchdog=ha.watchdog.value if ha.watchdog else None,
        clients=tuple(client.value for client in ha.clients),
        realtime=_realtime(ha, report),
        rtprio=ha.rtprio.value if ha.rtprio else RTPRIO_DEFAULT,
    )


def _timers(ha: HaCf) -> Timers:
    """Return the times of ha.cf, with Heartbeat's rules for those that are not given."""
    keepalive_s = ha.keepalive_s.value if ha.keepalive_s else KEEPALIVE_DEFAULT_S
    deadtime_s = ha.deadtime_s.value if ha.deadtime_s else DEADTIME_DEFAULT_S
    if ha.initdead_s is not None:
        initdead_s = ha.initdead_s.value
    elif deadtime_s > 10.0:
        initdead_s = deadtime_s
    else:
        initdead_s = 12.0 if deadtime_s < 6.0 else 2 * deadtime_s
    return Timers(
        keepalive_s=keepalive_s,
        warntime_s=ha.warntime_s.value if ha.warntime_s else deadtime_s / 2,
        deadtime_s=deadtime_s,
        initdead_s=initdead_s,
    )


def _links(ha: HaCf) -> tuple[HeartbeatLink, ...]:
    port = ha.udpport.value if ha.udpport else UDPPORT_DEFAULT
    baud = ha.baud.value if ha.baud else BAUD_DEFAULT
    links: list[HeartbeatLink] = []
    for setting in ha.links:
        link = setting.value
        match link.kind:
            case LinkKind.BCAST:
                links.append(BroadcastLink(interface=link.device, port=port))
            case LinkKind.UCAST:
                links.append(
                    UnicastLink(interface=link.device, peer=link.peer, port=port, ipv6=link.ipv6)
                )
            case LinkKind.MCAST:
                links.append(
                    MulticastLink(
                        interface=link.device,
                        group=link.peer,
                        port=link.port,
                        ttl=link.ttl,
                        loop=link.loop,
                    )
                )
            case LinkKind.SERIAL:
                links.append(SerialLink(device=link.device, baud=baud))
    return tuple(links)


def _failback(ha: HaCf, report: Report) -> Failback:
    """Return the policy; ``nice_failback`` has the meaning it had in Heartbeat 1.0."""
    if ha.nice_failback is not None:
        keeps = ha.nice_failback.value
        meaning = "groups stay where they are" if keeps else "the preferred director takes back"
        told = f"taken as in Heartbeat 1.0: {meaning} (auto_failback {'off' if keeps else 'on'})"
        if keeps:
            told += "; Heartbeat 1.2 to 3 did the opposite"
        if ha.auto_failback is not None:
            told = f"auto_failback of line {ha.auto_failback.place.line} counts instead"
        report.warning(ha.nice_failback.place, told)
        if ha.auto_failback is None:
            return Failback.OFF if keeps else Failback.ON
    if ha.auto_failback is not None:
        return ha.auto_failback.value
    if not ha.broken & {"auto_failback", "nice_failback"}:
        report.note(
            Place(file=ha.file, directive="auto_failback"),
            "not given: on, Heartbeat's own default (legacy)",
        )
    return Failback.ON


def _realtime(ha: HaCf, report: Report) -> bool:
    """Return what the file says, off if it says nothing: see decision 11."""
    if ha.realtime is not None:
        return ha.realtime.value
    if "realtime" not in ha.broken:
        report.note(
            Place(file=ha.file, directive="realtime"),
            "not given: off (Heartbeat: on); heartbus notices when it was not scheduled in time,"
            " and a real-time process can starve all others",
        )
    return False


def _resource_path(path: str) -> tuple[str, ...]:
    own = os.path.abspath(os.path.join(path, RESOURCE_DIRECTORY))
    return tuple(dict.fromkeys((own, *SYSTEM_RESOURCE_PATH)))


def _without(ha: HaCf, keys: AuthKeys) -> frozenset[str]:
    """Return the rules whose values were refused, so that no error follows from another."""
    without: set[str] = set()
    if ha.broken & TIMER_DIRECTIVES:
        without |= {"timers", "lease"}
    if ha.broken & (TIMER_DIRECTIVES | {"deadping"}):
        without.add("deadping")
    if ha.broken & {"ping", "ping6", "ping_group"}:
        without.add("ping_nodes")
    if ha.broken & LINK_DIRECTIVES:
        without.add("links")
    if ha.broken & {"baud", "keepalive"}:
        without.add("lines")
    if keys.signing_key is None or keys.refused:
        without.add("keys")
    return frozenset(without)


def _not_written(ha: HaCf) -> frozenset[Path]:
    """Return what follows from other directives; its place is theirs, for remarks."""
    given = (
        ("keepalive", ha.keepalive_s),
        ("warntime", ha.warntime_s),
        ("deadtime", ha.deadtime_s),
        ("initdead", ha.initdead_s),
        ("lease", None),
    )
    return frozenset(("membership", name) for name, setting in given if setting is None)


def _places(ha: HaCf, keys: AuthKeys, draft: Draft) -> dict[Path, Place]:
    places: dict[Path, Place] = {
        ("directors",): Place(file=ha.file, directive="node"),
        ("membership", "links"): Place(file=ha.file, directive="bcast"),
        ("membership", "deadtime"): Place(file=ha.file, directive="deadtime"),
        ("membership", "initdead"): Place(file=ha.file, directive="initdead"),
        ("membership", "warntime"): Place(file=ha.file, directive="warntime"),
        ("membership", "authentication"): Place(file=keys.file),
    }
    for name, setting in (
        ("deadtime", ha.deadtime_s or ha.keepalive_s),
        ("initdead", ha.initdead_s or ha.deadtime_s),
        ("warntime", ha.warntime_s or ha.deadtime_s),
        ("lease", ha.deadtime_s),
        ("deadping", ha.deadping_s),
        ("rtprio", ha.rtprio),
        ("keepalive", ha.keepalive_s),
        ("failback", ha.auto_failback or ha.nice_failback),
        ("hopfudge", ha.hopfudge),
        ("watchdog", ha.watchdog),
        ("realtime", ha.realtime),
    ):
        if setting is not None:
            places["membership", name] = setting.place
    for index, node in enumerate(ha.nodes):
        places["directors", index] = node.place
    for index, link in enumerate(ha.links):
        places["membership", "links", index] = link.place
        if link.value.kind is LinkKind.SERIAL and ha.baud is not None:
            places["membership", "links", index, "baud"] = ha.baud.place
        if link.value.kind in (LinkKind.BCAST, LinkKind.UCAST) and ha.udpport is not None:
            places["membership", "links", index, "port"] = ha.udpport.place
    if ha.ping_nodes:
        places["membership", "ping_nodes"] = ha.ping_nodes[0].place
    for index, ping_node in enumerate(ha.ping_nodes):
        places["membership", "ping_nodes", index] = ping_node.place
    for index, client in enumerate(ha.clients):
        places["membership", "clients", index] = client.place
    for index, key in enumerate(keys.keys):
        places["membership", "authentication", "keys", index] = key.place
    if keys.signing_key is not None:
        places["membership", "authentication", "signing_key"] = keys.signing_key.place
    for index, group in enumerate(draft.groups):
        places["groups", index] = group.place
    line_of = {group.value.name: group.place for group in draft.groups}
    for index, service in enumerate(draft.services):
        if (line := line_of.get(service.value.group or "")) is not None:
            places["virtual_services", index, "group"] = line
    return {**places, **draft.service_places()}


def _note_other_files(search: Search, files: GroupFiles, report: Report) -> None:
    for directory in search.directories:
        for name in source.listing(directory):
            path = os.path.join(directory, name)
            if name == HA_CF or not name.endswith(LDIRECTORD_SUFFIX) or path in files.loaded:
                continue
            if source.is_file(path):
                report.note(
                    Place(file=path),
                    f"not loaded: no group of haresources names it (ldirectord::{name})",
                )
