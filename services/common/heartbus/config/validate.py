"""The rules that tie parts of a configuration together, for every form it may have.

Sans-I/O. The rules are listed in ``RULES``; a parser tests single values, everything that needs two
of them is tested here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Final

from heartbus.config import line_load
from heartbus.config.authkeys import KEY_ID_MAX
from heartbus.config.diagnostics import Diagnostic
from heartbus.config.ha_cf import BAUD_RATES
from heartbus.config.report import Place, Places, Report, closest, dotted, shown, word
from heartbus.config.validate_addresses import address_rules, vip_rules
from heartbus.config.validate_checks import check_rules
from heartbus.config.validate_ipvs import ipvs_rules, sync_rules
from heartbus.config.validate_resources import resource_rules
from heartbus.config.values import is_host_name
from heartbus.model import (
    RTPRIO_DEFAULT,
    AddressResource,
    AuthMethod,
    Cluster,
    SerialLink,
    Timers,
    VirtualService,
)

GROUP_NAME_CHARS_MAX: Final = 255
DEADTIME_PER_KEEPALIVE: Final = 2
"""Heartbeat: deadtime must be above this many keepalives, or one lost packet is a death."""
LEASE_KEEPALIVES_MIN: Final = 4
"""A majority renews a lease with every heartbeat and its echo: two may be lost or late."""
VOTERS_MAX: Final = 16
"""A heartbeat names the newest heartbeat of each other voter."""
PING_MEMBERS_MAX: Final = 128
"""All of them are asked every 0.2 s at worst; and their number must fit in a heartbeat."""

GUARDS_MAX: Final = 64
"""Fences, and programs beside membership: each program has a place in every snapshot."""

Rule = Callable[[Cluster, Places, Report], None]


def validate(cluster: Cluster, places: Places, report: Report, *, without: frozenset[str]) -> None:
    """Report everything that contradicts itself; ``without`` names rules that make no sense yet.

    (A rule makes no sense when one of its values was refused already.)
    """
    for name, rule in RULES.items():
        if name not in without:
            rule(cluster, places, report)


def _directors(cluster: Cluster, places: Places, report: Report) -> None:
    if not cluster.directors:
        report.error(places.at("directors"), "no director; at least one node is needed")
    seen: set[str] = set()
    entries = [("directors", index, d) for index, d in enumerate(cluster.directors)]
    entries += [("witnesses", index, d) for index, d in enumerate(cluster.witnesses)]
    for key, index, director in entries:
        at = places.at(key, index, "name")
        if not is_host_name(director.name):
            report.error(
                at, f"{shown(director.name)} is no host name; allowed are letters, digits, -, dots"
            )
        if director.name in seen:
            report.error(at, f"{shown(director.name)} is named twice; each director has one entry")
        seen.add(director.name)
    if len(cluster.voters) > VOTERS_MAX:
        report.error(
            places.at("directors"),
            f"{len(cluster.voters)} directors and witnesses; allowed are {VOTERS_MAX} or fewer",
        )
    if cluster.witnesses and not cluster.has_majority:
        report.warning(
            places.at("witnesses", 0, "name"),
            "one director and a witness make no majority: the witness changes nothing",
        )
    elif cluster.has_majority and len(cluster.voters) % 2 == 0:
        report.note(
            places.at("directors"),
            f"{len(cluster.voters)} voters survive the loss of no more of them than"
            f" {len(cluster.voters) - 1} would",
        )


def _timers(cluster: Cluster, places: Places, report: Report) -> None:
    timers: Timers = cluster.membership.timers
    at = functools.partial(places.at, "membership")
    if not timers.deadtime_s > DEADTIME_PER_KEEPALIVE * timers.keepalive_s:
        report.error(
            at("deadtime"),
            f"{timers.deadtime_s:g} s is not above {DEADTIME_PER_KEEPALIVE} x keepalive"
            f" ({timers.keepalive_s:g} s); allowed is more than"
            f" {DEADTIME_PER_KEEPALIVE * timers.keepalive_s:g} s",
        )
    if timers.initdead_s < timers.deadtime_s:
        report.error(
            at("initdead"),
            f"{timers.initdead_s:g} s is below deadtime; allowed is {timers.deadtime_s:g} s or more"
            " (twice that is recommended)",
        )
    if timers.warntime_s <= timers.keepalive_s:
        report.warning(
            at("warntime"),
            f"{timers.warntime_s:g} s is not above keepalive ({timers.keepalive_s:g} s):"
            " every heartbeat will be late",
        )
    elif timers.warntime_s > timers.deadtime_s:
        report.warning(
            at("warntime"),
            f"{timers.warntime_s:g} s is above deadtime ({timers.deadtime_s:g} s):"
            " nobody is ever late before being dead",
        )


def _lease(cluster: Cluster, places: Places, report: Report) -> None:
    membership = cluster.membership
    timers = membership.timers
    if cluster.has_majority:
        if membership.lease_s < LEASE_KEEPALIVES_MIN * timers.keepalive_s:
            report.error(
                places.at("membership", "lease"),
                f"{membership.lease_s:g} s is below {LEASE_KEEPALIVES_MIN} x keepalive; allowed is"
                f" {LEASE_KEEPALIVES_MIN * timers.keepalive_s:g} s or more, or one lost heartbeat"
                " ends a lease",
            )
        return
    # A peer counts from the last heartbeat that it heard, a lease from the last that was due.
    bound_s = membership.restart_grace_s + timers.deadtime_s - 2 * timers.keepalive_s
    if membership.lease_s > bound_s:
        report.error(
            places.at("membership", "lease"),
            f"{membership.lease_s:g} s is above restart_grace + deadtime - 2 x keepalive; allowed"
            f" is {bound_s:g} s or less, or an address could be held twice",
        )


def _links(cluster: Cluster, places: Places, report: Report) -> None:
    links = cluster.membership.links
    if len(cluster.directors) > 1 and not links:
        report.error(
            places.at("membership", "links"),
            "no link to send heartbeats over; at least one bcast, mcast, ucast or serial is needed",
        )
    seen: set[str] = set()
    for index, link in enumerate(links):
        if link.name in seen:
            report.error(
                places.at("membership", "links", index),
                f"{link.name} is given twice; each link is given once",
            )
        seen.add(link.name)


def _deadping(cluster: Cluster, places: Places, report: Report) -> None:
    membership = cluster.membership
    deadping_s, keepalive_s = membership.deadping_s, membership.timers.keepalive_s
    if deadping_s is None:
        return
    place = places.at("membership", "deadping")
    if not deadping_s > DEADTIME_PER_KEEPALIVE * keepalive_s:
        report.error(
            place,
            f"{deadping_s:g} s is not above {DEADTIME_PER_KEEPALIVE} x keepalive"
            f" ({keepalive_s:g} s); allowed is more than"
            f" {DEADTIME_PER_KEEPALIVE * keepalive_s:g} s",
        )
    elif not deadping_s > DEADTIME_PER_KEEPALIVE * membership.ping_interval_s:
        report.warning(
            place,
            f"{deadping_s:g} s is not above {DEADTIME_PER_KEEPALIVE} x"
            f" {membership.ping_interval_s:g} s, how often a ping node is asked:"
            " one lost answer will be a death",
        )


def _ping_nodes(cluster: Cluster, places: Places, report: Report) -> None:
    directors = {text for d in cluster.directors for text in (d.name, d.address) if text}
    seen: set[str] = set()
    members = 0
    for index, node in enumerate(cluster.membership.ping_nodes):
        place = places.at("membership", "ping_nodes", index)
        if node.name in seen:
            report.error(place, f"{shown(node.name)} is named twice; each ping node has one entry")
        seen.add(node.name)
        if not node.members:
            report.error(place, f"{shown(node.name)} has no members; at least one host is needed")
        for member in sorted(directors.intersection(node.members)):
            report.warning(
                place,
                f"{shown(member)} is a director: it always reaches itself, so its answers say"
                " nothing about the network; a router is usual",
            )
        members += len(node.members)
        if members > PING_MEMBERS_MAX >= members - len(node.members):
            report.error(
                place,
                f"more than {PING_MEMBERS_MAX} hosts to ask; allowed are {PING_MEMBERS_MAX},"
                " the members of groups counted",
            )


def _lines(cluster: Cluster, places: Places, report: Report) -> None:
    keepalive_s = cluster.membership.timers.keepalive_s
    busy_bits = line_load.bits_per_keepalive(cluster)
    for index, link in enumerate(cluster.membership.links):
        if not isinstance(link, SerialLink):
            continue
        share = busy_bits / (link.baud * keepalive_s)
        if share <= line_load.SHARE_MAX:
            continue
        enough = [rate for rate in BAUD_RATES if line_load.fits(busy_bits, rate, keepalive_s)]
        baud = f"baud {enough[0]} or more, or " if enough else ""
        least_s = busy_bits / (link.baud * line_load.SHARE_MAX)
        report.warning(
            places.at("membership", "links", index),
            f"heartbeats fill {share:.0%} of a line of {link.baud} baud, and those that do not fit"
            f" are dropped; allowed should be {line_load.SHARE_MAX:.0%} or less:"
            f" {baud}a keepalive of {least_s:.2g} s or more",
        )


def _keys(cluster: Cluster, places: Places, report: Report) -> None:
    authentication = cluster.membership.authentication
    at = functools.partial(places.at, "membership", "authentication")
    seen: set[int] = set()
    for index, key in enumerate(authentication.keys):
        place = at("keys", index)
        if not 0 <= key.id <= KEY_ID_MAX:
            report.error(place, f"key id {key.id} is not allowed; allowed is 0 to {KEY_ID_MAX}")
        if key.id in seen:
            report.error(place, f"key {key.id} is given twice; each id has one key")
        seen.add(key.id)
        if key.method is AuthMethod.CRC and key.secret:
            report.error(place, "crc takes no secret; allowed is crc alone, or another method")
        if key.method is not AuthMethod.CRC and not key.secret:
            report.error(place, f"{key.method} needs a secret; allowed is one word without blanks")
        if key.method is AuthMethod.CRC:
            report.warning(
                place, "crc proves nothing: anybody can forge heartbeats; sha256 is recommended"
            )
        elif key.method is not AuthMethod.SHA256:
            report.warning(place, f"{key.method} is weak; sha256 is recommended")
    if authentication.key(authentication.signing_key) is None:
        allowed = ", ".join(str(key.id) for key in authentication.keys) or "none, there is no key"
        report.error(
            at("signing_key"), f"there is no key {authentication.signing_key}; allowed is {allowed}"
        )


def _guards(cluster: Cluster, places: Places, report: Report) -> None:
    membership = cluster.membership
    for name, count in (("fences", len(membership.fences)), ("clients", len(membership.clients))):
        if count > GUARDS_MAX:
            report.error(
                places.at("membership", name, GUARDS_MAX),
                f"{count} are too many; allowed is {GUARDS_MAX}",
            )
    names = [director.name for director in cluster.directors]
    for index, fence in enumerate(membership.fences):
        if fence.director not in names:
            report.error(
                places.at("membership", "fences", index, "director"),
                f"{shown(fence.director)} is no director; allowed is"
                f" {', '.join(names[:10])}{closest(fence.director, names)}",
            )
    fenced = {fence.director for fence in membership.fences}
    without = [name for name in names if name not in fenced]
    if fenced and without and len(names) > 1:
        report.warning(
            places.at("membership", "fences"),
            f"no fence for {', '.join(without[:10])}: when one of these is dead it is taken over"
            " without being fenced",
        )
    if membership.rtprio != RTPRIO_DEFAULT and not membership.realtime:
        report.note(places.at("membership", "rtprio"), "without effect: realtime is off")


def _groups(cluster: Cluster, places: Places, report: Report) -> None:
    first_of: dict[str, int] = {}
    holders: dict[str, str] = {}
    directors = [director.name for director in cluster.directors]
    for index, group in enumerate(cluster.groups):
        at = functools.partial(places.at, "groups", index)
        if group.name in first_of:
            other = places.at("groups", first_of[group.name], "name").line
            report.error(
                at("name"),
                f"the group {shown(group.name)} of line {other} again; the name of a group"
                " (in haresources: its first resource) must be unique",
            )
        first_of.setdefault(group.name, index)
        if not _is_group_name(group.name):
            report.error(
                at("name"),
                f"{shown(group.name)} is no name for a group; allowed are 1 to"
                f" {GROUP_NAME_CHARS_MAX} characters without blanks",
            )
        if group.preferred not in directors:
            report.error(
                at("preferred"),
                f"{shown(group.preferred)} is no director; allowed is"
                f" {', '.join(directors[:10])}{closest(group.preferred, directors)}",
            )
        if not group.resources:
            report.error(at("resources"), "no resources; a group needs at least one")
        for position, resource in enumerate(group.resources):
            if not isinstance(resource, AddressResource):
                continue
            place = at("resources", position)
            address_rules(resource, places, report, at=("groups", index, "resources", position))
            if (holder := holders.get(resource.address)) is not None:
                report.error(
                    place,
                    f"{resource.address} is already held by the group {shown(holder)};"
                    " an address belongs to one group",
                )
            holders.setdefault(resource.address, group.name)


def _is_group_name(name: str) -> bool:
    return 0 < len(name) <= GROUP_NAME_CHARS_MAX and name.isprintable() and " " not in name


def _services(cluster: Cluster, places: Places, report: Report) -> None:
    seen: dict[str, int] = {}
    held = {
        group.name: frozenset(address.address for address in group.addresses)
        for group in cluster.groups
    }
    names = [group.name for group in cluster.groups]
    for index, service in enumerate(cluster.virtual_services):
        at = functools.partial(places.at, "virtual_services", index)
        if service.name in seen:
            other = places.at("virtual_services", seen[service.name], "address")
            report.error(
                at("address"),
                f"{service.name} is served already by {other.file}:{other.line};"
                " a virtual service is defined once",
            )
        seen.setdefault(service.name, index)
        if service.group is not None and service.group not in names:
            report.error(
                at("group"),
                f"{shown(service.group)} is no group; allowed is"
                f" {', '.join(map(word, names[:10])) or 'none, there is no group'}"
                f"{closest(service.group, names)}",
            )
        ipvs_rules(service, index, places, report)
        check_rules(service, index, places, report)
        _held(held, service, index, places, report)
    sync_rules(cluster, places, report)


def _held(
    held: Mapping[str, frozenset[str]],
    service: VirtualService,
    index: int,
    places: Places,
    report: Report,
) -> None:
    """Warn of a service whose group has no such address; ``held``: the addresses of each group."""
    addresses = held.get(service.group) if service.group is not None else None
    if addresses is None or service.fwmark or service.endpoint.address in addresses:
        return
    report.warning(
        places.at("virtual_services", index, "address"),
        f"no address of the group {shown(service.group)} is {service.endpoint.address};"
        " clients reach this service only where something else holds it",
    )


RULES: Final[dict[str, Rule]] = {
    "directors": _directors,
    "timers": _timers,
    "lease": _lease,
    "deadping": _deadping,
    "ping_nodes": _ping_nodes,
    "links": _links,
    "lines": _lines,
    "keys": _keys,
    "guards": _guards,
    "vip": vip_rules,
    "resources": resource_rules,
    "groups": _groups,
    "services": _services,
}

TIME_RULES: Final = ("timers", "lease", "deadping", "lines")
"""What a timer profile can break."""


def recheck(cluster: Cluster) -> tuple[Diagnostic, ...]:
    """Return what is wrong or odd about the times of a finished cluster, without lines.

    For whoever replaced times after the load, by a timer profile say; they were tested together
    with others. The file of each remark is ``cluster.source``.
    """
    report = Report()
    places = Places(
        whole=Place(file=cluster.source),
        lookup=lambda path: Place(file=cluster.source, directive=dotted(path)),
    )
    for name in TIME_RULES:
        RULES[name](cluster, places, report)
    return report.diagnostics()
