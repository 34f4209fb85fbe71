"""The rules of virtual IPs: what can be held, and how often it is refreshed and announced.

Sans-I/O.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from heartbus.config.report import Places, Report, shown
from heartbus.model import AddressResource, AnnounceSettings, Cluster

REFRESHES_PER_LIFETIME: Final = 2
"""An address must survive one lost refresh."""

SPACING_MAX_S: Final = 60.0
"""keepalived calls more than a second very long; what comes later is no burst."""

_HOST_BITS_MIN: Final = 2  # below that there is no broadcast address (RFC 3021)


def vip_rules(cluster: Cluster, places: Places, report: Report) -> None:
    """Report times that do not go together."""
    vip = cluster.vip
    if vip.refresh_s * REFRESHES_PER_LIFETIME > vip.lifetime_s:
        report.error(
            places.at("vip", "refresh"),
            f"{vip.refresh_s:g} s is too long for a lifetime of {vip.lifetime_s} s; allowed is"
            f" {vip.lifetime_s / REFRESHES_PER_LIFETIME:g} s or less",
        )
    _announce(vip.announce, places, report, at=("vip", "announce"))
    for index, group in enumerate(cluster.groups):
        if group.announce is not None:
            _announce(group.announce, places, report, at=("groups", index, "announce"))


def _announce(
    settings: AnnounceSettings, places: Places, report: Report, *, at: tuple[str | int, ...]
) -> None:
    for key, between_s in (
        ("spacing", settings.spacing_s),
        ("spacing_ipv6", settings.spacing_ipv6_s or 0.0),
        ("pacing", settings.pacing_s),
        ("pacing_ipv6", settings.pacing_ipv6_s or 0.0),
    ):
        if between_s > SPACING_MAX_S:
            report.error(
                places.at(*at, key),
                f"{between_s:g} s is too long between two frames of a burst; allowed is"
                f" {SPACING_MAX_S:g} s or less",
            )


def address_rules(
    resource: AddressResource, places: Places, report: Report, *, at: tuple[str | int, ...]
) -> None:
    """Report what cannot be held as it is written."""
    place = places.at(*at)
    try:
        address = ipaddress.ip_address(resource.address)
    except ValueError:
        report.error(
            place,
            f"{shown(resource.address)} cannot be held; allowed is an address of IPv4 or IPv6",
        )
        return
    if not 1 <= resource.prefix_len <= address.max_prefixlen:
        report.error(
            place,
            f"/{resource.prefix_len} is no prefix length; allowed is 1 to {address.max_prefixlen}",
        )
        return
    if (why := _not_of_a_host(address)) is not None:
        report.error(place, f"{address} is {why}; allowed is the address of a host")
        return
    for why in _contradictions(resource, address):
        report.error(place, why)
    network = ipaddress.ip_network((resource.address, resource.prefix_len), strict=False)
    if isinstance(network, ipaddress.IPv4Network):
        _in_network(resource, network, places, report, at=at)


def _not_of_a_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str | None:
    if address.is_multicast:
        return "a multicast group"
    if address.is_unspecified or address == ipaddress.IPv4Address("255.255.255.255"):
        return "no address of one host"
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_loopback:
            return "the loopback"
        if address.ipv4_mapped is not None:
            return "an address of IPv4 in IPv6 form"
        if address.scope_id is not None:
            return "an address with %scope (the interface says it)"
    return None


def _contradictions(
    resource: AddressResource, address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> list[str]:
    found: list[str] = []
    if resource.ipv6:
        if resource.broadcast is not None:
            found.append(
                f"{shown(resource.broadcast)}: IPv6 has no broadcast address; allowed is none"
            )
        if resource.label is not None:
            found.append(
                f"{shown(resource.label)}: an address of IPv6 has no label; allowed is none"
            )
        if address.is_link_local and resource.interface is None:
            found.append(
                f"{address} is there on every network; allowed is with its interface beside it"
            )
    elif resource.source:
        found.append(
            "source is of IPv6 only; allowed for IPv4 is the resource"
            f" IPsrcaddr::{resource.address} in the group"
        )
    return found


def _in_network(
    resource: AddressResource,
    network: ipaddress.IPv4Network,
    places: Places,
    report: Report,
    *,
    at: tuple[str | int, ...],
) -> None:
    place = places.at(*at)
    many = network.max_prefixlen - network.prefixlen >= _HOST_BITS_MIN
    if many and resource.address in (str(network.network_address), str(network.broadcast_address)):
        report.warning(
            place,
            f"{resource.address} is not the address of a host in {network}: hosts have those"
            f" between {network.network_address} and {network.broadcast_address}",
        )
    nic, label = resource.interface, resource.label
    if label is not None and nic is not None and not (label == nic or label.startswith(f"{nic}:")):
        report.warning(
            place,
            f"the label {shown(label)} does not begin with {nic}: ; ifconfig shows the address with"
            f" one such as {shown(f'{nic}:1')} only",
        )
    if resource.broadcast is None:
        return
    try:
        broadcast = ipaddress.IPv4Address(resource.broadcast)
    except ValueError:
        report.error(place, f"{shown(resource.broadcast)} is no IPv4 broadcast address")
        return
    if broadcast not in network:
        report.warning(
            place,
            f"the broadcast address {resource.broadcast} is not in {network};"
            f" {network.broadcast_address} would be usual",
        )
