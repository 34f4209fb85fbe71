"""Looks whether this machine has the interfaces that virtual IPs need.

One file serves all directors, and an interface may come later: a warning, and an error of
``heartbus config check`` on a director itself.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from heartbus.config.group_files import Search
from heartbus.config.report import Places, Report, closest, shown, word
from heartbus.model import AddressResource, Cluster

INTERFACES: Final = "/proc/thread-self/net/dev"
ADDRESSES6: Final = "/proc/thread-self/net/if_inet6"
_NAMED_MAX: Final = 10
_LOOPBACK: Final = "lo"


def check_interfaces(cluster: Cluster, search: Search, places: Places, report: Report) -> None:
    """Report interfaces that are not here, and addresses of IPv6 where nothing speaks it."""
    names = _interfaces(search)
    if names is None:
        return  # no /proc: nothing is known of this machine
    with_ipv6 = _with_ipv6(search)
    for index, group in enumerate(cluster.groups):
        for position, resource in enumerate(group.resources):
            if not isinstance(resource, AddressResource):
                continue
            why = _missing(resource, names, with_ipv6, search)
            if why is not None:
                place = places.at("groups", index, "resources", position)
                report.warning(place, why, here=True)


def _missing(
    resource: AddressResource, names: Collection[str], with_ipv6: Collection[str], search: Search
) -> str | None:
    nic = resource.interface
    if nic is None:
        if resource.ipv6 and not with_ipv6:
            return (
                f"{resource.address}: no interface here has an address of IPv6, so no route leads"
                " to it; allowed is an interface that has one, or its name"
            )
        return None
    if nic not in names:
        listed = ", ".join(map(word, sorted(names)[:_NAMED_MAX]))
        return f"no interface {shown(nic)} here; there are {listed}{closest(nic, names)}"
    if resource.ipv6 and _ipv6_is_off(nic, search):
        return (
            f"{shown(nic)} can have no address of IPv6: net.ipv6.conf.{word(nic)}.disable_ipv6 is"
            " not 0"
        )
    return None


def _interfaces(search: Search) -> list[str] | None:
    try:
        lines = Path(search.system(INTERFACES)).read_text().splitlines()
    except (OSError, ValueError):
        return None
    return [line.partition(":")[0].strip() for line in lines if ":" in line]


def _with_ipv6(search: Search) -> frozenset[str]:
    try:
        lines = Path(search.system(ADDRESSES6)).read_text().splitlines()
    except (OSError, ValueError):
        return frozenset()
    return frozenset(line.split()[-1] for line in lines if line.strip()) - {_LOOPBACK}


def _ipv6_is_off(interface: str, search: Search) -> bool:
    path = Path(search.system(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"))
    try:
        return path.read_text().strip() != "0"
    except (OSError, ValueError):
        return True
