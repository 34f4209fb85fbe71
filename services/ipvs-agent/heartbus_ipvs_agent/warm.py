"""Tells peers which connections are known here, and hears what they know of those served here.

Shell around ``warmth``. Without sync daemons nobody knows anything, so nothing is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from heartbus.bus import Bus
from heartbus.events import IpvsConnections
from heartbus.model import ResourceGroup, VirtualService, VirtualServiceName
from heartbus.model_ipvs import IpvsSettings
from heartbus_ipvs_agent.desired import service_key
from heartbus_ipvs_agent.entries import ServiceKey, Table, canonical_address
from heartbus_ipvs_agent.warmth import Warmth


class Warm:
    """What one director and its peers know of connections."""

    def __init__(
        self,
        *,
        node: str,
        directors: Iterable[str],
        groups: Iterable[ResourceGroup],
        settings: IpvsSettings,
        bus: Bus,
        clock: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._serving = Serving(groups)
        self._warmth = Warmth(
            [name for name in directors if name != node],
            percent=settings.warm_percent,
            wait_s=settings.warm_wait_s,
            now_s=clock(),
        )

    def use(self, settings: IpvsSettings, groups: Iterable[ResourceGroup]) -> None:
        """Go on with what was read anew."""
        self._settings, self._serving = settings, Serving(groups)
        self._warmth.limit(percent=settings.warm_percent, wait_s=settings.warm_wait_s)

    @property
    def known(self) -> dict[str, float]:
        """The percentage of the connections served here that each peer knows."""
        return self._warmth.known if self._settings.sync is not None else {}

    @property
    def cold(self) -> dict[str, str]:
        """Peers that should not be handed a group yet, and why."""
        return self._warmth.cold if self._settings.sync is not None else {}

    def heard(self, node: str, told: IpvsConnections) -> None:
        """Take in what a peer knows."""
        self._warmth.peer_told(node, told.counts, now_s=self._clock())

    def looked(self, services: Iterable[VirtualService], table: Table, *, held: Set[str]) -> bool:
        """Count, tell and compare; return whether other peers are cold than before."""
        if self._settings.sync is None:
            return False
        counts = established(table)
        names = {service.name: service for service in services}
        known: dict[VirtualServiceName, int] = {
            name: counts.get(service_key(s), 0) for name, s in names.items()
        }
        self._bus.publish(IpvsConnections(counts={n: count for n, count in known.items() if count}))
        served: dict[str, int] = {
            name: count
            for name, count in known.items()
            if self._serving.groups(names[name]) <= held
        }
        return self._warmth.looked(served, now_s=self._clock())


class Serving:
    """Which groups a director must hold for clients to reach a service there."""

    def __init__(self, groups: Iterable[ResourceGroup]) -> None:
        self._by_address: dict[str, set[str]] = {}
        self._all: set[str] = set()
        for group in groups:
            self._all.add(group.name)
            for resource in group.addresses:
                address = canonical_address(resource.address)
                self._by_address.setdefault(address, set()).add(group.name)

    def groups(self, service: VirtualService) -> Set[str]:
        """Return the group that it names, or else the one with its address.

        Where neither says it, as of a mark, only who holds all groups serves it for sure.
        """
        if service.group is not None:
            return {service.group}
        return self._by_address.get(canonical_address(service.endpoint.address), self._all)


def established(table: Table) -> dict[ServiceKey, int]:
    """Return how many established connections each service has."""
    counts: dict[ServiceKey, int] = {}
    for (service, _destination), counters in table.connections.items():
        counts[service] = counts.get(service, 0) + counters.active
    return counts
