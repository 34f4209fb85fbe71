"""The virtual services by which checks reach one real server each: named by a mark, with one entry.

Sans-I/O. They follow from the configuration alone: verdicts and operators change nothing, because a
server that is out is checked all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from heartbus.model import ForwardingMethod, VirtualService
from heartbus.probe_marks import probe_marks
from heartbus_ipvs_agent.desired import (
    FORWARDING,
    real_server_key,
    service_key,
    service_settings,
    tunnel_ends,
)
from heartbus_ipvs_agent.entries import (
    DestinationSettings,
    ServiceEntry,
    ServiceKey,
    ServiceSettings,
)


def answered_by_vip(services: Iterable[VirtualService]) -> bool:
    """Return whether answers to checks come from a VIP, which may be local here; of IPv4."""
    return any(
        service.check.through_vip
        and ":" not in service.endpoint.address
        and any(real.forwarding is not ForwardingMethod.MASQ for real in service.real_servers)
        for service in services
    )


def probe_services(services: Iterable[VirtualService]) -> dict[ServiceKey, ServiceEntry]:
    """Return the wanted entry of each."""
    services = tuple(services)
    marks = probe_marks(services)
    found: dict[ServiceKey, ServiceEntry] = {}
    for service in services:
        if not service.check.through_vip:
            continue
        family = service_key(service).family
        settings = ServiceSettings(scheduler="rr", netmask=service_settings(service).netmask)
        for real in service.real_servers:
            key = real_server_key(service, real)
            if real.forwarding is not ForwardingMethod.MASQ:
                key = key._replace(port=0)  # that of the packet, which is the VIP's
            found[ServiceKey(family, 0, "", 0, marks[service.name, real.name])] = ServiceEntry(
                settings=settings,
                destinations={
                    key: DestinationSettings(
                        forwarding=FORWARDING[real.forwarding],
                        weight=1,
                        tunnel=tunnel_ends(real.tunnel),
                    )
                },
            )
    return found
