"""Looks whether the kernel of this machine has what the virtual services ask of its IPVS.

One file serves all directors, and they may run other kernels: a warning, and an error of
``heartbus config check`` on a director itself. Where modules are not to be seen nothing is said;
then the agent tells what the kernel answers.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from heartbus.config.group_files import Search
from heartbus.config.report import Places, Report
from heartbus.kernel_age import (
    MIXED_FAMILIES_SINCE,
    TUNNEL_TYPES_SINCE,
    Version,
    since_words,
    version,
)
from heartbus.model import PLAIN_TUNNEL, Cluster, VirtualService

RELEASE: Final = "/proc/sys/kernel/osrelease"
MODULES: Final = "/lib/modules"
IPVS_MODULES: Final = "kernel/net/netfilter/ipvs"
BUILT_IN: Final = "modules.builtin"


def check_kernel(cluster: Cluster, search: Search, places: Places, report: Report) -> None:
    """Report what this kernel's IPVS does not have."""
    try:
        release = Path(search.system(RELEASE)).read_text().strip()
    except (OSError, ValueError):
        return
    modules = _modules(release, search)
    age = version(release)
    for index, service in enumerate(cluster.virtual_services):
        if modules is not None:
            _named(service, index, modules, release, places, report)
        if age is not None and age < TUNNEL_TYPES_SINCE:
            _young(service, index, age, release, places, report)


def _named(
    service: VirtualService,
    index: int,
    modules: Collection[str],
    release: str,
    places: Places,
    report: Report,
) -> None:
    engine = service.persistence_engine
    for key, name, module in (
        ("scheduler", service.scheduler, f"ip_vs_{service.scheduler}"),
        ("persistence_engine", engine, f"ip_vs_pe_{engine}"),
    ):
        if name is not None and module not in modules:
            report.warning(
                places.at("virtual_services", index, key),
                f"{name}: the kernel here ({release}) has no module {module}, and refuses the"
                " service",
                here=True,
            )


def _young(
    service: VirtualService, index: int, age: Version, release: str, places: Places, report: Report
) -> None:
    family = ":" in service.endpoint.address
    for position, real in enumerate(service.real_servers):
        key, why = "", ""
        if age < MIXED_FAMILIES_SINCE and (":" in real.endpoint.address) != family:
            key = "address"
            why = f"another family than its service's takes {since_words(MIXED_FAMILIES_SINCE)}"
        elif real.tunnel != PLAIN_TUNNEL:
            key = "tunnel"
            why = f"a tunnel of type {real.tunnel.type} takes {since_words(TUNNEL_TYPES_SINCE)}"
        if why:
            report.warning(
                places.at("virtual_services", index, "real_servers", position, key),
                f"{real.name}: {why}; here runs {release}",
                here=True,
            )


def _modules(release: str, search: Search) -> frozenset[str] | None:
    """Return the names of the modules of IPVS; None where they are not to be seen."""
    place = Path(search.system(f"{MODULES}/{release}"))
    try:
        found = {path.name.partition(".")[0] for path in (place / IPVS_MODULES).iterdir()}
        built_in = (place / BUILT_IN).read_text().splitlines()
    except (OSError, ValueError):
        return None
    found |= {line.rpartition("/")[2].partition(".")[0] for line in built_in if "/ipvs/" in line}
    return frozenset(found)
