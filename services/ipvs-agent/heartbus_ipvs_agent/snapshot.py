"""The kernel's table in the words of the configuration, page by page, and its digests.

Sans-I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from heartbus.events import TableRealServer, TableService
from heartbus.model import RealServerName, VirtualService, VirtualServiceName
from heartbus_ipvs_agent import traffic
from heartbus_ipvs_agent.desired import (
    Overrides,
    Server,
    real_server_names,
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
from heartbus_ipvs_agent.paging import PAGE_ENTRIES_MAX, Slice

DIGEST_HEX_DIGITS: Final = 16
LAST_SLICE_MAX: Final = 2 * PAGE_ENTRIES_MAX
"""Entries of the last slice of a service, which has those that nobody configured too."""

_NO_CONNECTIONS: Final = Connections(active=0, inactive=0)
_FORWARDING_WORD: Final = {f: f.name.lower() for f in Forwarding}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remarks:
    """What is known of entries beside the kernel's table."""

    overrides: Overrides = field(default_factory=dict)
    drained: Collection[Server] = ()
    lost: Collection[VirtualServiceName] = ()


def table_services(
    slices: Iterable[Slice], table: Table, remarks: Remarks
) -> tuple[TableService, ...]:
    """Return what stands on one page, of the services that the table has."""
    return tuple(
        _service(part, key, entry, table, remarks)
        for part in slices
        if (entry := table.services.get(key := service_key(part.service))) is not None
    )


def _service(
    part: Slice, key: ServiceKey, entry: ServiceEntry, table: Table, remarks: Remarks
) -> TableService:
    service = part.service
    names = real_server_names(service)
    sorry = sorry_server_key(service)
    end = part.start + (LAST_SLICE_MAX if part.count is None else part.count)
    real_servers = []
    for destination, settings in list(entry.destinations.items())[part.start : end]:
        counters = table.connections.get((key, destination), _NO_CONNECTIONS)
        name = names.get(destination) or RealServerName(str(destination))
        override = remarks.overrides.get((service.name, name))
        real_servers.append(
            TableRealServer(
                real_server=name,
                forwarding=_FORWARDING_WORD[settings.forwarding],
                weight=settings.weight,
                active_connections=counters.active,
                inactive_connections=counters.inactive,
                persistent_connections=counters.persistent,
                override="" if override is None else str(override.action),
                drained=(service.name, name) in remarks.drained,
                sorry=destination == sorry and destination not in names,
                traffic=traffic.decode(counters.traffic),
            )
        )
    return TableService(
        virtual_service=service.name,
        scheduler=entry.settings.scheduler,
        real_servers=tuple(real_servers),
        lost=service.name in remarks.lost,
        traffic=traffic.decode(table.traffic.get(key, b"")),
    )


# --- digests -------------------------------------------------------------------------------------


class Digests:
    """Digests of the services of a table; an entry that did not change is not read again."""

    def __init__(self) -> None:
        self._known: dict[ServiceKey, tuple[ServiceEntry, str]] = {}

    def of(self, services: Iterable[VirtualService], table: Table) -> dict[str, str]:
        """Return the digest of each configured service that the table has, by its name."""
        found: dict[str, str] = {}
        known: dict[ServiceKey, tuple[ServiceEntry, str]] = {}
        for service in services:
            key = service_key(service)
            entry = table.services.get(key)
            if entry is None:
                continue
            before = self._known.get(key)
            if before is None or (before[0] is not entry and before[0] != entry):
                before = (entry, entry_digest(key, entry))
            known[key] = before
            found[service.name] = before[1]
        self._known = known
        return found


def entry_digest(key: ServiceKey, entry: ServiceEntry) -> str:
    """Return 16 hex digits over everything that is configuration; counters are not.

    Equal on two directors whose kernels treat new connections alike.
    """
    s = entry.settings
    head = f"{key} {s.scheduler} {s.flags} {s.timeout_s} {s.netmask} {s.engine}"
    lines = [
        f"{destination} {d.forwarding:d} {d.weight} {d.upper_threshold} {d.lower_threshold}"
        f" {tuple(d.tunnel)}"
        for destination, d in entry.destinations.items()
    ]
    return _digest([head, *sorted(lines)])


def whole_digest(digests: dict[str, str]) -> str:
    """Return the digest of a whole table from those of its services."""
    return _digest(f"{name} {digest}" for name, digest in sorted(digests.items()))


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:DIGEST_HEX_DIGITS]
