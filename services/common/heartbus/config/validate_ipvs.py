"""The rules of the kernel's IPVS about what may stand together, for every form of configuration.

Sans-I/O. What only the running kernel knows (which modules it has) is told by ipvs-agent.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable
from typing import Final

from heartbus.config.report import Place, Places, Report, shown
from heartbus.config.values import is_plain_ipv4
from heartbus.model import (
    PLAIN_TUNNEL,
    CheckType,
    Cluster,
    Endpoint,
    ForwardingMethod,
    RealServer,
    TransportProtocol,
    TunnelChecksum,
    TunnelType,
    VirtualService,
)
from heartbus.model_checks import WELL_KNOWN_PORTS
from heartbus.model_ipvs import WEIGHT_MAX
from heartbus.probe_marks import PROBE_MARK_FIRST, PROBE_MARKS, is_probe_mark

_PORTLESS: Final = (
    CheckType.ON,
    CheckType.OFF,
    CheckType.PING,
    CheckType.EXTERNAL,
    CheckType.EXTERNAL_PERL,
    CheckType.FILE,
)
At = Callable[[], Place]
"""Finds a place: asked for only where there is something to say, which is rare."""

IPV4_BITS: Final = 32
IPV6_BITS: Final = 128


def ipvs_rules(service: VirtualService, index: int, places: Places, report: Report) -> None:
    """Report what the kernel would refuse, or would never do, of one virtual service."""
    at = functools.partial(places.at, "virtual_services", index)
    if not service.fwmark:
        _address(service.endpoint, functools.partial(at, "address"), report)
        _service_port(service, at("address"), report)
    elif is_probe_mark(service.fwmark):
        report.error(
            at("fwmark"),
            f"{service.fwmark} is not allowed: checks through_vip have {PROBE_MARK_FIRST} and the"
            f" {PROBE_MARKS - 1} marks after it",
        )
    _scheduling(service, at, report)
    _persistence(service, at, report)
    _quorum(service, at, report)
    seen: set[Endpoint] = set()
    for position, real in enumerate(service.real_servers):
        own = functools.partial(at, "real_servers", position)
        _real_server(service, real, own, report)
        if real.endpoint in seen:
            report.error(own("address"), f"{real.name} is given twice; each server is given once")
        seen.add(real.endpoint)
    sorry = service.sorry_server
    if sorry is not None:
        place = functools.partial(at, "fallback")
        _address(sorry.endpoint, place, report)
        _port(service, sorry.endpoint, place, report)
        _family(service, sorry.endpoint, sorry.forwarding, place, report)


def sync_rules(cluster: Cluster, places: Places, report: Report) -> None:
    """Report a sync daemon beside services of mixed families, which the kernel refuses."""
    if cluster.ipvs.sync is None:
        return
    for index, service in enumerate(cluster.virtual_services):
        family = _is_ipv6(service.endpoint.address)
        for position, real in enumerate(service.real_servers):
            if _is_ipv6(real.endpoint.address) != family:
                report.error(
                    places.at("virtual_services", index, "real_servers", position, "address"),
                    f"{real.name} is of another family than its service, and the sync daemon"
                    " carries no such connections; allowed is one of the two: [ipvs.sync], or"
                    " servers of one family",
                )


def _service_port(service: VirtualService, place: Place, report: Report) -> None:
    port = service.endpoint.port
    if not 0 <= port <= 65535:
        report.error(place, f"port {port} is not allowed; allowed is 1 to 65535, or 0 for any")
    elif port == 0 and service.persistence_timeout_s is None:
        report.error(
            place,
            "port 0 (every port) without persistent: the kernel would serve nothing; allowed is"
            " persistent = SECONDS beside it, or a port",
        )


def _scheduling(service: VirtualService, at: functools.partial[Place], report: Report) -> None:
    for flag in service.scheduler_flags:
        if flag.scheduler is not service.scheduler:
            report.error(
                at("scheduler_flags"),
                f"{flag} is none of scheduler {service.scheduler}; allowed is scheduler"
                f" {flag.scheduler}, or another flag",
            )
    if service.one_packet and service.protocol not in (
        TransportProtocol.UDP,
        TransportProtocol.FWM,
    ):
        report.error(
            at("one_packet"), f"a {service.protocol} service has connections; allowed is udp or fwm"
        )


def _persistence(service: VirtualService, at: functools.partial[Place], report: Report) -> None:
    bits = IPV6_BITS if _is_ipv6(service.endpoint.address) else IPV4_BITS
    mask = service.persistence_netmask
    if mask is not None and not 1 <= mask <= bits:
        report.error(at("netmask"), f"/{mask} is not allowed; allowed is 1 to {bits}")
    if service.persistence_engine is None:
        return
    if service.persistence_timeout_s is None:
        report.error(at("persistence_engine"), "without persistent; allowed is both or neither")
    if service.protocol not in (TransportProtocol.UDP, TransportProtocol.FWM):
        report.error(
            at("persistence_engine"),
            f"{service.persistence_engine} reads UDP packets only; allowed is protocol udp or fwm",
        )


def _quorum(service: VirtualService, at: functools.partial[Place], report: Report) -> None:
    policy = service.policy
    if policy.hysteresis and policy.hysteresis >= policy.quorum:
        report.error(
            at("hysteresis"),
            f"{policy.hysteresis} is not below quorum ({policy.quorum}); allowed is 0 to"
            f" {policy.quorum - 1}",
        )
    gained = policy.quorum + policy.hysteresis
    whole = sum(real.weight for real in service.real_servers)
    if gained > max(whole, 1):
        report.warning(
            at("quorum"),
            f"it takes weight {gained}, and all real servers together have {whole}: it is lost"
            " for ever, unless their checks raise the weights",
        )


def _real_server(
    service: VirtualService, real: RealServer, at: functools.partial[Place], report: Report
) -> None:
    address = functools.partial(at, "address")
    _address(real.endpoint, address, report)
    _port(service, real.endpoint, address, report)
    _family(service, real.endpoint, real.forwarding, address, report)
    _probed_port(service, real, address, report)
    if not 0 <= real.weight <= WEIGHT_MAX:
        report.error(at("weight"), f"{real.weight} is not allowed; allowed is 0 to {WEIGHT_MAX}")
    if real.lower_threshold > real.upper_threshold:
        report.error(
            at("lower_threshold"),
            f"{real.lower_threshold} is above upper_threshold ({real.upper_threshold}); allowed is"
            f" 0 to {real.upper_threshold}",
        )
    if real.tunnel != PLAIN_TUNNEL:
        _tunnel(real, at("tunnel"), report)
    if real.forwarding is not ForwardingMethod.MASQ and real.endpoint.port not in (
        0,
        service.endpoint.port,
    ):
        whither = (
            f"port {service.endpoint.port}" if service.endpoint.port else "the port they asked for"
        )
        report.warning(
            at("address"),
            f"{real.name}: with {real.forwarding} a packet keeps its port, so clients reach"
            f" {whither}; only masq can change it",
        )


def _tunnel(real: RealServer, place: Place, report: Report) -> None:
    tunnel = real.tunnel
    if real.forwarding is not ForwardingMethod.IPIP:
        report.error(place, f"with method {real.forwarding}; allowed is method ipip")
    if tunnel.type is TunnelType.GUE and tunnel.port == 0:
        report.error(place, "gue without port; allowed is port = NUMBER, usually 6080")
    if tunnel.type is not TunnelType.GUE and tunnel.port:
        report.error(place, f"{tunnel.type} with a port; allowed is a port with gue only")
    if tunnel.type is TunnelType.IPIP and tunnel.checksum is not TunnelChecksum.NONE:
        report.error(place, "ipip has no checksum; allowed is none, or type gue or gre")
    if tunnel.type is TunnelType.GRE and tunnel.checksum is TunnelChecksum.REMOTE:
        report.error(place, "gre has no remote checksum; allowed is none or full")


def _probed_port(service: VirtualService, real: RealServer, at: At, report: Report) -> None:
    """Report a server without a port, which can be served, where there is nothing to ask."""
    check = service.check
    if (
        real.endpoint.port == 0
        and check.port is None
        and check.type not in _PORTLESS
        and check.service not in WELL_KNOWN_PORTS
    ):
        report.error(
            at(),
            f"{real.endpoint.address}: no port to check; allowed is a port in the check, or a"
            " check without one (ping, external, on, off)",
        )


def _family(
    service: VirtualService,
    endpoint: Endpoint,
    forwarding: ForwardingMethod,
    at: At,
    report: Report,
) -> None:
    """Report a change of family, which takes a tunnel (and Linux 3.18 or later)."""
    if forwarding is ForwardingMethod.IPIP:
        return
    if _is_ipv6(endpoint.address) != _is_ipv6(service.endpoint.address):
        family = "IPv6" if _is_ipv6(service.endpoint.address) else "IPv4"
        report.error(
            at(),
            f"{endpoint.address} is not of the family of the service ({family}), and {forwarding}"
            " cannot change it; allowed is ipip, or an address of that family",
        )


def _address(endpoint: Endpoint, at: At, report: Report) -> None:
    if is_plain_ipv4(endpoint.address):
        return
    try:
        address = ipaddress.ip_address(endpoint.address)
    except ValueError:
        report.error(at(), f"{shown(endpoint.address)} cannot be served; allowed is an IP address")
        return
    if address.is_multicast or address.is_unspecified or "%" in endpoint.address:
        report.error(
            at(),
            f"{endpoint.address} cannot be served; allowed is a unicast address without a scope",
        )


def _port(service: VirtualService, endpoint: Endpoint, at: At, report: Report) -> None:
    """0 stands for the port of the service where that is any port as well."""
    low = 0 if service.endpoint.port == 0 else 1
    if not low <= endpoint.port <= 65535:
        report.error(at(), f"port {endpoint.port} is not allowed; allowed is {low} to 65535")


def _is_ipv6(address: str) -> bool:
    return ":" in address
