"""What of this machine will be in the way of a virtual IP, looked at when the process starts.

Said in words, once; nothing of it keeps the process from starting, because interfaces and routes
may come later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from heartbus.model import AddressResource, VirtualService
from heartbus_vip import sysctls
from heartbus_vip.address import AddressError, AddressTable, interface_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """``event``: the name of the log line; ``reason``: what is wrong, and what to do."""

    event: str
    reason: str


def remarks(
    table: AddressTable,
    resources: Iterable[AddressResource],
    services: Iterable[VirtualService] = (),
) -> list[Remark]:
    """Look at the interface of each address; return what is to be said, nothing twice."""
    found: dict[Remark, None] = {}
    served = {service.endpoint.address: service.name for service in services if not service.fwmark}
    for resource in resources:
        try:
            interface = interface_name(table.interface(resource))
            looped = _on_loopback(table, resource)
        except AddressError as error:
            found[Remark(event="address.interface", reason=str(error))] = None
            continue
        for event, reason in (
            ("address.ipv6_off", _ipv6_off(resource, interface)),
            ("address.promote_secondaries", _secondaries(resource, interface)),
            ("address.loopback", _answers(resource, interface) if looped else None),
            ("address.circle", _circle(resource, served) if looped else None),
        ):
            if reason is not None:
                found[Remark(event=event, reason=reason)] = None
    return list(found)


def _on_loopback(table: AddressTable, resource: AddressResource) -> bool:
    return resource.interface != "lo" and any(
        a.address == resource.address and interface_name(a.index) == "lo" for a in table.addresses()
    )


def _ipv6_off(resource: AddressResource, interface: str) -> str | None:
    if not resource.ipv6 or not sysctls.ipv6_off(interface):
        return None
    return (
        f"{resource.name}: {interface} can have no address of IPv6; set"
        f" net.ipv6.conf.{interface}.disable_ipv6=0"
    )


def _secondaries(resource: AddressResource, interface: str) -> str | None:
    return None if resource.ipv6 else sysctls.promote_secondaries(interface)


def _answers(resource: AddressResource, interface: str) -> str | None:
    """Say it if we answer ARP for an address that we do not hold; IPv6 looks at the interface."""
    if resource.ipv6 or not sysctls.answers_for_other_interfaces(interface):
        return None
    return (
        f"{resource.address} is on lo, as on a real server of direct routing, and this director"
        f" answers ARP for it on {interface} while another one holds it; set"
        f" net.ipv4.conf.{interface}.arp_ignore=1 and net.ipv4.conf.{interface}.arp_announce=2"
    )


def _circle(resource: AddressResource, served: Mapping[str, str]) -> str | None:
    """Say it if this host, a real server too, would distribute what it is to answer."""
    if resource.address not in served:
        return None
    return (
        f"{resource.address} is on lo, as on a real server of direct routing: what the other"
        " director sends here to be answered, this one distributes again as"
        f" {served[resource.address]}, and back; let the service be one of a firewall mark,"
        " see docs/addresses.md"
    )
