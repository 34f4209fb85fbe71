"""Shows a configuration as it was understood: text for people, JSON for scripts, never a secret.

Sans-I/O. Used by ``heartbus config show``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from heartbus.config.show_checks import check_in_words, checking_in_words
from heartbus.model import (
    PLAIN_TUNNEL,
    AddressResource,
    AnnounceForm,
    AnnounceSettings,
    CheckedServicesResource,
    Cluster,
    ConflictSettings,
    Fence,
    HeartbeatLink,
    IpvsSettings,
    Membership,
    MulticastLink,
    OnConflict,
    PingNode,
    ReloadSettings,
    Resource,
    ResourceSettings,
    SavedRulesResource,
    ScriptResource,
    SerialLink,
    ServicePolicy,
    SorryServer,
    StartPolicy,
    UnicastLink,
    VirtualService,
)

REDACTED: Final = "(not shown)"
LABEL_WIDTH: Final = 18

RESOURCE_KINDS: Final[dict[type[Resource], str]] = {
    AddressResource: "address",
    ScriptResource: "script",
    CheckedServicesResource: "ldirectord",
    SavedRulesResource: "ipvsadm",
}


def render(cluster: Cluster, as_json: bool) -> str:
    """Return the whole configuration, ending in a newline."""
    if as_json:
        return json.dumps(redacted(cluster), indent=2) + "\n"
    return "\n".join(_text(cluster)) + "\n"


def redacted(cluster: Cluster) -> dict[str, object]:
    """Return the cluster as plain values: secrets replaced, links and resources with a kind."""
    document: dict[str, object] = msgspec.to_builtins(cluster)
    built: Membership = cluster.membership
    membership = msgspec.to_builtins(built)
    for key in membership["authentication"]["keys"]:
        key["secret"] = REDACTED
    for fence, plain in zip(built.fences, membership["fences"], strict=True):
        for option, written in zip(fence.options, plain["options"], strict=True):
            written["value"] = REDACTED if option.secret else option.value
    membership["links"] = [
        {"kind": link.name.partition(":")[0], **plain}
        for link, plain in zip(built.links, membership["links"], strict=True)
    ]
    document["membership"] = membership
    groups, services = msgspec.to_builtins(cluster.groups), []
    for group, plain in zip(cluster.groups, groups, strict=True):
        plain["resources"] = [
            {"kind": RESOURCE_KINDS[type(resource)], **fields}
            for resource, fields in zip(group.resources, plain["resources"], strict=True)
        ]
    document["groups"] = groups
    for service in msgspec.to_builtins(cluster.virtual_services):
        for key in ("password", "secret"):
            service["check"][key] = REDACTED if service["check"][key] else ""
        services.append(service)
    document["virtual_services"] = services
    return document


def _when_read(settings: ReloadSettings) -> str:
    when = "watched" if settings.autoreload else "read anew when told (heartbus reload)"
    return f"{when}, then {settings.callback} is run" if settings.callback else when


def _text(cluster: Cluster) -> Iterator[str]:
    yield _row("Configuration", cluster.source or "(not from a file)")
    yield ""
    yield "Directors"
    for director in cluster.directors:
        yield f"  {director.name:<40} {director.address or '(looked up by name)'}"
    if cluster.witnesses:
        yield "Witnesses"
    for witness in cluster.witnesses:
        yield f"  {witness.name:<40} {witness.address or '(looked up by name)'}"
    yield ""
    yield from _membership(cluster.membership)
    yield ""
    yield "Virtual IPs"
    vip = cluster.vip
    yield _row("  lifetime", f"{vip.lifetime_s} s, refreshed every {vip.refresh_s:g} s")
    yield _row("  announced", _announced(vip.announce))
    yield _row("  scripts", f"{vip.script_timeout_s:g} s at most, from {cluster.resource_path[0]}")
    for directory in cluster.resource_path[1:]:
        yield _row("", f"then {directory}")
    yield _row("  conflicts", _conflicts(vip.conflicts))
    yield from _watching(vip.resources)
    yield ""
    yield _row(
        "Bus", f"clients on port {cluster.bus.client_port}, directors on {cluster.bus.route_port}"
    )
    yield _row("Files", _when_read(cluster.reload))
    yield _row("History", f"{cluster.history.days} days, {cluster.history.megabytes} MB at most")
    if cluster.history.stream is not None:
        subjects = f"{cluster.history.stream_subject}.>"
        yield _row("", f"also to the JetStream of {cluster.history.stream}, as {subjects}")
    yield from _ipvs(cluster.ipvs)
    yield from _rows("Checks", list(checking_in_words(cluster.checks)))
    for group in cluster.groups:
        yield ""
        yield f"Group {group.name}"
        yield _row("  preferred", group.preferred)
        if group.announce is not None:
            yield _row("  announced", _announced(group.announce))
        for number, resource in enumerate(group.resources, 1):
            yield f"  {number}. {_resource(resource)}"
    for service in cluster.virtual_services:
        yield ""
        yield from _service(service)


def _ipvs(ipvs: IpvsSettings) -> Iterator[str]:
    timeouts = [
        f"{name} {seconds} s"
        for name, seconds in (
            ("tcp", ipvs.timeout_tcp_s),
            ("tcpfin", ipvs.timeout_tcpfin_s),
            ("udp", ipvs.timeout_udp_s),
        )
        if seconds
    ]
    if ipvs != IpvsSettings():
        yield ""
        yield "IPVS"
        yield _row("  loss", f"{ipvs.loss_percent} % a minute where a peer disagrees")
        if ipvs.remove_foreign:
            yield _row("  foreign", "services that are not configured leave the table")
    yield from _rows("  timeouts", [", ".join(timeouts)] if timeouts else [])
    if ipvs.sync is not None:
        yield _row("  sync daemon", f"on {ipvs.sync.interface}, id {ipvs.sync.sync_id}")
        if ipvs.warm_percent:
            yield _row(
                "  handover",
                f"to who knows {ipvs.warm_percent} % of the connections, or after"
                f" {ipvs.warm_wait_s:g} s",
            )
    yield from _rows("  sysctls", [f"{name} = {value}" for name, value in ipvs.sysctls])


def _membership(membership: Membership) -> Iterator[str]:
    timers = membership.timers
    yield "Membership"
    yield _row("  keepalive", f"{timers.keepalive_s:g} s")
    yield _row("  warntime", f"{timers.warntime_s:g} s")
    yield _row("  deadtime", f"{timers.deadtime_s:g} s")
    yield _row("  initdead", f"{timers.initdead_s:g} s")
    yield _row("  failback", str(membership.failback))
    yield _row("  takeover", str(membership.takeover))
    yield _row(
        "  lease", f"{membership.lease_s:g} s, restart grace {membership.restart_grace_s:g} s"
    )
    yield from _rows("  links", [_link(link) for link in membership.links])
    yield _row("  hopfudge", str(membership.hopfudge))
    authentication = membership.authentication
    keys = [
        f"{key.id} {key.method} {REDACTED if key.secret else '(no secret)'}"
        f"{' signs' if key.id == authentication.signing_key else ''}"
        for key in authentication.keys
    ]
    yield from _rows("  keys", keys)
    if membership.ping_nodes:
        yield _row(
            "  deadping",
            f"{membership.ping_silence_s:g} s, asked every {membership.ping_interval_s:g} s",
        )
    yield from _rows("  ping nodes", [_ping_node(node) for node in membership.ping_nodes])
    yield from _rows("  watchdog", [membership.watchdog] if membership.watchdog else [])
    yield from _rows("  fences", [_fence(fence) for fence in membership.fences])
    clients = [
        f"{client.command} as {client.user}{' (built in)' if client.built_in else ''}"
        for client in membership.clients
    ]
    yield from _rows("  programs", clients)
    if membership.realtime:
        yield _row("  real time", f"SCHED_RR, priority {membership.rtprio}, memory locked")


def _announced(settings: AnnounceSettings) -> str:
    """Return when frames are sent, in words."""
    spacing = f"{settings.spacing_s:g} s apart"
    if settings.spacing_ipv6_s is not None:
        spacing += f" (IPv6 {settings.spacing_ipv6_s:g} s)"
    words = [f"{settings.burst} times, {spacing}"]
    if settings.pacing_s or settings.pacing_ipv6_s:
        pacing = f"on one interface {settings.pacing_s:g} s between any two"
        if settings.pacing_ipv6_s is not None:
            pacing += f" (IPv6 {settings.pacing_ipv6_s:g} s)"
        words.append(pacing)
    if settings.again_s:
        words.append(f"once more after {settings.again_s:g} s")
    if settings.refresh_s:
        words.append(f"then {settings.refresh_burst} every {settings.refresh_s:g} s")
    if settings.form is not AnnounceForm.BOTH:
        words.append(f"ARP as {settings.form} only")
    return ", ".join(words)


def _conflicts(conflicts: ConflictSettings) -> str:
    if conflicts.policy is OnConflict.IGNORE:
        return "ignored"
    asked = f"asked every {conflicts.interval_s:g} s" if conflicts.interval_s else "not asked"
    return f"{conflicts.policy}; the network is {asked} who has an address"


def _watching(resources: ResourceSettings) -> Iterator[str]:
    often = f"asked every {resources.monitor_interval_s:g} s, lost after {resources.monitor_fall}"
    yield _row("  held scripts", often if resources.monitor_interval_s else "not watched")
    yield _row(
        "  failed stops",
        f"tried {resources.stop_retries} times again, {resources.stop_retry_s:g} s apart, then"
        f" {resources.on_stop_failure}",
    )
    yield from _rows("  hooks", [_of(h.command, h.groups) for h in resources.hooks])
    trackers = [
        _of(f"{t.kind} {t.target}, weight {t.weight}, every {t.interval_s:g} s", t.groups)
        for t in resources.trackers
    ]
    yield from _rows("  trackers", trackers)


def _of(what: str, groups: Sequence[str]) -> str:
    return f"{what}, of {', '.join(groups)}" if groups else what


def _ping_node(node: PingNode) -> str:
    family = " over IPv6" if node.ipv6 else ""
    if node.members == (node.name,):
        return f"{node.name}{family}"
    return f"{node.name}{family}: any of {', '.join(node.members)}"


def _service(service: VirtualService) -> Iterator[str]:
    yield f"Virtual service {service.name}"
    yield _row("  scheduler", " ".join((service.scheduler, *service.scheduler_flags)))
    yield from _rows("  one packet", ["each is scheduled by itself"] if service.one_packet else [])
    yield _row("  group", service.group or "(none: served on every director)")
    yield _row("  check", check_in_words(service.check))
    yield _row(
        "  failed servers",
        "stay with weight 0 (quiescent)" if service.quiescent else "leave the table",
    )
    if service.persistence_timeout_s is not None:
        length = service.persistence_netmask or (128 if ":" in service.endpoint.address else 32)
        engine = f" and {service.persistence_engine}" if service.persistence_engine else ""
        yield _row("  persistent", f"{service.persistence_timeout_s} s for each /{length}{engine}")
    if service.sorry_server is not None:
        yield _row("  fallback", _sorry_server(service.sorry_server))
    yield from _policy(service.policy)
    for server in service.real_servers:
        own = "" if server.tunnel == PLAIN_TUNNEL else f" tunnel {server.tunnel}"
        if server.upper_threshold:
            again = server.lower_threshold or server.upper_threshold * 3 // 4
            own += f" connections up to {server.upper_threshold}, again below {again}"
        if server.request is not None:
            own += f" request {server.request!r}"
        if server.receive is not None:
            own += f" receive {server.receive!r}"
        yield f"  real {server.name:<25} {server.forwarding:<5} weight {server.weight}{own}"


def _policy(policy: ServicePolicy) -> Iterator[str]:
    """Show what is not at its default."""
    if (policy.quorum, policy.hysteresis) != (1, 0):
        lost = max(policy.quorum - policy.hysteresis, 1)
        yield _row(
            "  quorum",
            f"gained at weight {policy.quorum + policy.hysteresis}, lost below weight {lost}",
        )
    if policy.start is not StartPolicy.KEEP:
        yield _row("  before a check", f"{policy.start}")
    if policy.cleanstop:
        yield _row("  at a stop", "leaves the table")
    for label, command in (
        ("  fallback command", policy.fallback_command),
        ("  at quorum", policy.quorum_up),
        ("  without quorum", policy.quorum_down),
    ):
        yield from _rows(label, [shlex.join(command)] if command else [])


def _sorry_server(server: SorryServer) -> str:
    return f"{server.endpoint} {server.forwarding}"


def _resource(resource: Resource) -> str:
    match resource:
        case AddressResource():
            parts = [f"address {resource.name}"]
            if resource.broadcast is not None:
                parts.append(f"broadcast {resource.broadcast}")
            parts.append(f"on {resource.interface or 'the interface of the route'}")
            if resource.label is not None:
                parts.append(f"as {resource.label}")
            if resource.source:
                parts.append("source of own connections")
            return " ".join(parts)
        case ScriptResource():
            return " ".join((f"script {resource.script}", *resource.arguments))
        case CheckedServicesResource():
            return f"virtual services of {resource.file}"
        case SavedRulesResource():
            return f"saved IPVS rules of {resource.file or '(no file)'}"


def _link(link: HeartbeatLink) -> str:
    if isinstance(link, SerialLink):
        return f"serial {link.device}, {link.baud} baud"
    if isinstance(link, UnicastLink):
        kind = "ucast6" if link.ipv6 else "ucast"
        return f"{kind} {link.interface} to {link.peer}, UDP port {link.port}"
    if isinstance(link, MulticastLink):
        loop = "heard by ourselves too" if link.loop else "no loop"
        return (
            f"mcast {link.interface} to {link.group}, UDP port {link.port}, ttl {link.ttl}, {loop}"
        )
    return f"bcast {link.interface}, UDP port {link.port}"


def _fence(fence: Fence) -> str:
    options = [f"{o.name}={REDACTED if o.secret else o.value}" for o in fence.options]
    within = f"within {fence.timeout_s:g} s"
    return " ".join((f"{fence.director}: {fence.command} {fence.action}", within, *options))


def _rows(label: str, values: Sequence[str]) -> Iterator[str]:
    for index, value in enumerate(values):
        yield _row(label if index == 0 else "", value)


def _row(label: str, value: str) -> str:
    return f"{label:<{LABEL_WIDTH}}{value}"
