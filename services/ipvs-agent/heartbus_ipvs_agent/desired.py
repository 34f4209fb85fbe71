"""(configuration, verdicts, overrides, last known table) -> the table that we want.

Sans-I/O. What a verdict means for the entry of a real server:

    up                        the weight that the verdict has, else the configured one
    down, quiescent           weight 0, the entry stays
    down, not quiescent       no entry
    unknown, entry exists     as it is in the kernel: a restart of ours moves nothing
    unknown, no entry         no traffic: weight 0 if quiescent, else no entry

A check of type ``on`` is always up. A check of type ``off`` never gives a verdict, so its servers
stay unknown: nothing is activated, and what an operator added by hand stays. With policy ``start``
down, unknown is down; with ``start`` up it is up where the kernel does not have the service yet.

What operators want comes before all of this: drained servers have weight 0 and stay, disabled ones
have no entry, those in maintenance count as down.

The sorry server is there while no real server of its service is given new connections, which
includes real servers that are up with a configured weight of 0: somebody has to answer. Where only
unknown entries carry weight, it stays as it is. While a service is ``short`` of its quorum its
sorry server gets all new connections: the real servers that are up stay, with weight 0, because
their connections need the entries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from heartbus.events import Health
from heartbus.model import (
    PLAIN_TUNNEL,
    CheckType,
    Endpoint,
    ForwardingMethod,
    RealServer,
    RealServerName,
    SchedulerFlag,
    StartPolicy,
    TransportProtocol,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualService,
    VirtualServiceName,
)
from heartbus.overrides import Override, OverrideAction
from heartbus_ipvs_agent.entries import (
    IPIP_ENDS,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPV4_NETMASK_ALL,
    IPV6_PREFIX_ALL,
    SERVICE_ONE_PACKET,
    SERVICE_PERSISTENT,
    SERVICE_SCHED_FALLBACK,
    SERVICE_SCHED_PORT,
    TUNNEL_CHECKSUM,
    TUNNEL_REMOTE_CHECKSUM,
    DestinationKey,
    DestinationSettings,
    Family,
    Forwarding,
    ServiceEntry,
    ServiceKey,
    ServiceSettings,
    Table,
    TunnelEnds,
    TunnelKind,
    canonical_address,
    family_of,
)
from heartbus_ipvs_agent.quorum import Weights as LiveWeights

Verdicts = Mapping[tuple[VirtualServiceName, RealServerName], Health]
"""The health last decided, by virtual service and real server; missing: unknown."""

Server = tuple[VirtualServiceName, RealServerName]
Overrides = Mapping[Server, Override]
"""What operators want, by virtual service and real server; missing: what is configured."""

NO_OVERRIDES: Final[Overrides] = {}
SORRY_WEIGHT: Final = 1

REMEMBERED_MAX: Final = 20_000
"""Services; of a reload that changes all of many, the old ones are forgotten at this number."""

FORWARDING: Final = {
    ForwardingMethod.GATE: Forwarding.GATE,
    ForwardingMethod.MASQ: Forwarding.MASQ,
    ForwardingMethod.IPIP: Forwarding.IPIP,
}
_ALWAYS: Final = {CheckType.ON: Health.UP, CheckType.OFF: Health.UNKNOWN}
"""The health of real servers that are not checked, whatever a verdict says."""
_UNCHECKED: Final = {
    (StartPolicy.KEEP, False): Health.UNKNOWN,
    (StartPolicy.KEEP, True): Health.UNKNOWN,
    (StartPolicy.DOWN, False): Health.DOWN,
    (StartPolicy.DOWN, True): Health.DOWN,
    (StartPolicy.UP, False): Health.UP,
    (StartPolicy.UP, True): Health.UNKNOWN,
}
"""What an unknown real server counts as, by policy and by whether the kernel has the service."""
_PROTOCOL: Final = {
    TransportProtocol.TCP: IPPROTO_TCP,
    TransportProtocol.UDP: IPPROTO_UDP,
    TransportProtocol.SCTP: IPPROTO_SCTP,
}
_SCHEDULER_FLAG: Final = {
    SchedulerFlag.SH_FALLBACK: SERVICE_SCHED_FALLBACK,
    SchedulerFlag.SH_PORT: SERVICE_SCHED_PORT,
    SchedulerFlag.MH_FALLBACK: SERVICE_SCHED_FALLBACK,
    SchedulerFlag.MH_PORT: SERVICE_SCHED_PORT,
}
_TUNNEL_KIND: Final = {
    TunnelType.IPIP: TunnelKind.IPIP,
    TunnelType.GUE: TunnelKind.GUE,
    TunnelType.GRE: TunnelKind.GRE,
}
_TUNNEL_FLAGS: Final = {
    TunnelChecksum.NONE: 0,
    TunnelChecksum.FULL: TUNNEL_CHECKSUM,
    TunnelChecksum.REMOTE: TUNNEL_REMOTE_CHECKSUM,
}


Weights = Mapping[tuple[VirtualServiceName, RealServerName], int]
"""The weight that a real server which is up is to have instead of the configured one."""


def wanted_table(
    services: Iterable[VirtualService],
    *,
    verdicts: Verdicts,
    observed: Table,
    weights: Weights = MappingProxyType({}),
    overrides: Overrides = NO_OVERRIDES,
    cut: Collection[Server] = (),
    short: Collection[VirtualServiceName] = (),
) -> Table:
    """Return the wanted entries of all configured services, in the order of configuration."""
    wanted = {}
    for service in services:
        key = service_key(service)
        wanted[key] = wanted_service(
            service,
            verdicts=verdicts,
            observed=observed.services.get(key),
            weights=weights,
            overrides=overrides,
            cut=cut,
            short=short,
        )
    return Table(services=wanted)


def wanted_service(
    service: VirtualService,
    *,
    verdicts: Verdicts,
    observed: ServiceEntry | None,
    weights: Weights = MappingProxyType({}),
    overrides: Overrides = NO_OVERRIDES,
    cut: Collection[Server] = (),
    short: Collection[VirtualServiceName] = (),
) -> ServiceEntry:
    """Return the wanted entry of one service; ``observed`` None: the kernel does not have it."""
    destinations: dict[DestinationKey, DestinationSettings] = {}
    decided = adopted = False
    for key, entry, health in _real_servers(service, verdicts, observed, weights, overrides, cut):
        if entry is None:
            continue
        if key not in destinations or entry.weight > destinations[key].weight:
            # With gate and ipip two configured ports are one entry: the better one counts.
            destinations[key] = entry
        if entry.answers:
            decided |= health is not Health.UNKNOWN
            adopted |= health is Health.UNKNOWN
    sorry = sorry_server_key(service)
    if sorry is not None:
        there = observed is not None and sorry in observed.destinations
        if service.name in short:
            for key, entry in destinations.items():
                if entry.answers:
                    destinations[key] = replace(entry, weight=0)
            destinations[sorry] = _sorry_settings(service)
        elif not decided and (not adopted or there):
            destinations[sorry] = _sorry_settings(service)
    return ServiceEntry(settings=service_settings(service), destinations=destinations)


def live_weights(
    service: VirtualService,
    *,
    verdicts: Verdicts,
    observed: ServiceEntry | None,
    weights: Weights = MappingProxyType({}),
    overrides: Overrides = NO_OVERRIDES,
    cut: Collection[Server] = (),
) -> LiveWeights:
    """Return the weight of the real servers that are up, and of those that may come up yet."""
    up: dict[DestinationKey, int] = {}
    undecided = 0
    for key, entry, health in _real_servers(service, verdicts, observed, weights, overrides, cut):
        if entry is not None and entry.answers:
            up[key] = max(up.get(key, 0), entry.weight)
        elif health is Health.UNKNOWN:
            undecided += 1
    most = max((real.weight for real in service.real_servers), default=0)
    return LiveWeights(up=sum(up.values()), undecided=undecided * most)


def _real_servers(
    service: VirtualService,
    verdicts: Verdicts,
    observed: ServiceEntry | None,
    weights: Weights,
    overrides: Overrides,
    cut: Collection[Server],
) -> Iterator[tuple[DestinationKey, DestinationSettings | None, Health]]:
    """Yield key, wanted entry and health of each real server."""
    there = observed.destinations if observed is not None else {}
    always = _ALWAYS.get(service.check.type)
    unchecked = _UNCHECKED[service.policy.start, bool(there)]
    for who, key, configured in _prepared(service):
        health = always or verdicts.get(who, Health.UNKNOWN)
        assumed = unchecked if always is None and health is Health.UNKNOWN else health
        settings = _weighed(configured, weights.get(who)) if weights else configured
        override = overrides.get(who) if overrides else None
        if override is not None:
            entry = _overridden(
                override, settings, assumed, there.get(key), service.quiescent, cut=who in cut
            )
        elif assumed is Health.UP:
            entry = settings
        else:
            entry = _not_up(settings, assumed, there.get(key), service.quiescent)
        yield key, entry, health


def service_key(service: VirtualService) -> ServiceKey:
    """Return what names a configured service in the kernel."""
    address = canonical_address(service.endpoint.address)
    if service.fwmark:
        return ServiceKey(family_of(address), 0, "", 0, service.fwmark)
    return ServiceKey(
        family=family_of(address),
        protocol=_PROTOCOL[service.protocol],
        address=address,
        port=service.endpoint.port,
    )


def service_settings(service: VirtualService) -> ServiceSettings:
    """Return the kernel's settings of a configured service.

    Without persistence, timeout and netmask are what ipvsadm sends: 0, and the whole address.
    """
    family = family_of(canonical_address(service.endpoint.address))
    whole = IPV6_PREFIX_ALL if family is Family.IPV6 else IPV4_NETMASK_ALL
    flags = SERVICE_ONE_PACKET if service.one_packet else 0
    for flag in service.scheduler_flags:
        flags |= _SCHEDULER_FLAG[flag]
    if service.persistence_timeout_s is None:
        return ServiceSettings(scheduler=service.scheduler.value, flags=flags, netmask=whole)
    return ServiceSettings(
        scheduler=service.scheduler.value,
        flags=flags | SERVICE_PERSISTENT,
        timeout_s=service.persistence_timeout_s,
        netmask=whole
        if service.persistence_netmask is None
        else _netmask(family, service.persistence_netmask),
        engine=service.persistence_engine or "",
    )


def real_server_key(service: VirtualService, real: RealServer) -> DestinationKey:
    """Return what names a real server in the kernel."""
    return _destination_key(service, real.endpoint, real.forwarding)


def sorry_server_key(service: VirtualService) -> DestinationKey | None:
    """Return what names the sorry server in the kernel; None: there is none."""
    sorry = service.sorry_server
    return None if sorry is None else _destination_key(service, sorry.endpoint, sorry.forwarding)


def _destination_key(
    service: VirtualService, endpoint: Endpoint, forwarding: ForwardingMethod
) -> DestinationKey:
    # Only masq rewrites the port. For the others packets keep that of the virtual service, and
    # the entry says so, as ipvsadm and ldirectord have it.
    port = endpoint.port
    if forwarding is not ForwardingMethod.MASQ or port == 0:
        port = service.endpoint.port
    return DestinationKey(address=canonical_address(endpoint.address), port=port)


@dataclass(slots=True)
class _Remembered:
    """What a service says of its real servers; it is the same in every plan."""

    service: VirtualService
    real_servers: list[tuple[Server, DestinationKey, DestinationSettings]]


_remembered: dict[int, _Remembered] = {}


def _prepared(
    service: VirtualService,
) -> list[tuple[Server, DestinationKey, DestinationSettings]]:
    """Return name, key and configured settings of each real server.

    Remembered by identity: hashing a service with all its servers would cost more than it saves.
    An entry holds its service, so no other object can have the same identity meanwhile.
    """
    found = _remembered.get(id(service))
    if found is None:
        if len(_remembered) >= REMEMBERED_MAX:
            _remembered.clear()
        found = _remembered[id(service)] = _Remembered(
            service,
            [
                ((service.name, real.name), real_server_key(service, real), _configured(real))
                for real in service.real_servers
            ],
        )
    return found.real_servers


def real_server_names(service: VirtualService) -> dict[DestinationKey, RealServerName]:
    """Return the name of each configured real server by what names it in the kernel."""
    return {key: who[1] for who, key, _settings in _prepared(service)}


def _configured(real: RealServer) -> DestinationSettings:
    return DestinationSettings(
        forwarding=FORWARDING[real.forwarding],
        weight=real.weight,
        upper_threshold=real.upper_threshold,
        lower_threshold=real.lower_threshold,
        tunnel=tunnel_ends(real.tunnel),
    )


def _weighed(settings: DestinationSettings, weight: int | None) -> DestinationSettings:
    """Return the entry with the weight that its checks say; a configured 0 stays 0."""
    return settings if weight is None or not settings.answers else replace(settings, weight=weight)


def _not_up(
    settings: DestinationSettings,
    health: Health,
    observed: DestinationSettings | None,
    quiescent: bool,
) -> DestinationSettings | None:
    if health is Health.UNKNOWN and observed is not None:
        return replace(settings, weight=observed.weight)
    return replace(settings, weight=0) if quiescent else None


def tunnel_ends(tunnel: Tunnel) -> TunnelEnds:
    """Return the kernel's numbers for a tunnel."""
    if tunnel == PLAIN_TUNNEL:
        return IPIP_ENDS
    return TunnelEnds(_TUNNEL_KIND[tunnel.type], tunnel.port, _TUNNEL_FLAGS[tunnel.checksum])


def _overridden(
    override: Override,
    settings: DestinationSettings,
    health: Health,
    observed: DestinationSettings | None,
    quiescent: bool,
    *,
    cut: bool,
) -> DestinationSettings | None:
    """Return the entry of a real server that an operator wants otherwise than configured.

    A draining server keeps its entry, quiescent or not: its connections need it. Once it is down
    they are lost, and what the configuration says of a failed server counts.
    """
    if override.action is OverrideAction.DISABLE or cut:
        return None
    if override.action is OverrideAction.MAINTENANCE:
        return _not_up(settings, Health.DOWN, observed, quiescent)
    if override.action is OverrideAction.WEIGHT:
        settings = replace(settings, weight=override.weight)
    up = health is Health.UP
    entry = settings if up else _not_up(settings, health, observed, quiescent)
    if entry is None or override.action is OverrideAction.WEIGHT:
        return entry
    return replace(entry, weight=0)


def _sorry_settings(service: VirtualService) -> DestinationSettings:
    assert service.sorry_server is not None
    return DestinationSettings(
        forwarding=FORWARDING[service.sorry_server.forwarding], weight=SORRY_WEIGHT
    )


def _netmask(family: Family, prefix_len: int) -> int:
    if family is Family.IPV6:
        return prefix_len
    return IPV4_NETMASK_ALL & (IPV4_NETMASK_ALL << (32 - prefix_len))
