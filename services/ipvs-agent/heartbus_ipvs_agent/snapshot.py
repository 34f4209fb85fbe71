"""The kernel's table in the words of the configuration: ``IpvsState``, and its digest.

Sans-I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Final

from heartbus.events import IpvsState, TableRealServer, TableService
from heartbus.model import RealServerName, VirtualService
from heartbus_ipvs_agent.desired import (
    NO_OVERRIDES,
    Overrides,
    Server,
    real_server_key,
    service_key,
    sorry_server_key,
)
from heartbus_ipvs_agent.entries import (
    Connections,
    Forwarding,
    ServiceEntry,
    ServiceKey,
    Table,
)

DIGEST_HEX_DIGITS: Final = 16

_NO_CONNECTIONS: Final = Connections(active=0, inactive=0)
_FORWARDING_WORD: Final = {f: f.name.lower() for f in Forwarding}


def table_state(
    services: Iterable[VirtualService],
    table: Table,
    *,
    repairs: int,
    failures: tuple[str, ...],
    overrides: Overrides = NO_OVERRIDES,
    drained: Collection[Server] = (),
    sync: tuple[str, ...] = (),
) -> IpvsState:
    """Return the snapshot of the configured services that the table has."""
    found: list[TableService] = []
    entries: dict[ServiceKey, ServiceEntry] = {}
    for service in services:
        key = service_key(service)
        entry = table.services.get(key)
        if entry is not None:
            entries[key] = entry
            found.append(_service(service, key, entry, table, overrides, drained))
    return IpvsState(
        services=tuple(found),
        digest=table_digest(entries),
        repairs=repairs,
        failures=failures,
        sync=sync,
    )


def table_digest(entries: dict[ServiceKey, ServiceEntry]) -> str:
    """Return 16 hex digits over everything that is configuration; counters are not.

    Equal on two directors whose kernels treat new connections alike.
    """
    lines = []
    for key, entry in entries.items():
        s = entry.settings
        lines.append(f"{key} {s.scheduler} {s.flags} {s.timeout_s} {s.netmask} {s.engine}")
        lines += (
            f"{key} {destination} {d.forwarding:d} {d.weight} {d.upper_threshold}"
            f" {d.lower_threshold} {tuple(d.tunnel)}"
            for destination, d in entry.destinations.items()
        )
    lines.sort()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:DIGEST_HEX_DIGITS]


def service_digests(services: Iterable[VirtualService], table: Table) -> dict[str, str]:
    """Return the digest of each configured service that the table has."""
    return {
        service.name: table_digest({key: table.services[key]})
        for service in services
        if (key := service_key(service)) in table.services
    }


def _service(
    service: VirtualService,
    key: ServiceKey,
    entry: ServiceEntry,
    table: Table,
    overrides: Overrides,
    drained: Collection[Server],
) -> TableService:
    names = {real_server_key(service, real): real.name for real in service.real_servers}
    sorry = sorry_server_key(service)
    real_servers = []
    for destination, settings in entry.destinations.items():
        counters = table.connections.get((key, destination), _NO_CONNECTIONS)
        name = names.get(destination) or RealServerName(str(destination))
        override = overrides.get((service.name, name))
        real_servers.append(
            TableRealServer(
                real_server=name,
                forwarding=_FORWARDING_WORD[settings.forwarding],
                weight=settings.weight,
                active_connections=counters.active,
                inactive_connections=counters.inactive,
                persistent_connections=counters.persistent,
                override="" if override is None else str(override.action),
                drained=(service.name, name) in drained,
                sorry=destination == sorry and destination not in names,
            )
        )
    return TableService(
        virtual_service=service.name,
        scheduler=entry.settings.scheduler,
        real_servers=tuple(real_servers),
    )
