"""How much of a service may leave within a minute on the word of one checker alone.

Sans-I/O. A director that loses its own way to the real servers sees all of them dead at once. So of
each service one server, or ``loss_percent`` of its weight, may leave in any WINDOW_S without
agreement. More may leave at once if a peer's checker says the same, or if no peer's checker is
heard that says otherwise: then nobody knows better. What was withheld leaves when the peer agrees,
falls silent, or when enough of the window has passed. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from heartbus.model import RealServerName, VirtualService, VirtualServiceName
from heartbus_ipvs_agent.vantages import Vantages

WINDOW_S: Final = 60.0
OFF_PERCENT: Final = 100

Server = tuple[VirtualServiceName, RealServerName]


class Governor:
    """Watches the losses of each service; ``vantages`` knows what the peers say."""

    def __init__(self, *, loss_percent: int, vantages: Vantages) -> None:
        self.loss_percent = loss_percent
        self._vantages = vantages
        self._weights: dict[VirtualServiceName, dict[RealServerName, int]] = {}
        self._losses: dict[VirtualServiceName, dict[RealServerName, float]] = {}

    def use(self, services: Iterable[VirtualService]) -> None:
        """Watch these services from now on."""
        self._weights = {
            service.name: {real.name: real.weight for real in service.real_servers}
            for service in services
        }
        for name in self._losses.keys() - self._weights.keys():
            del self._losses[name]

    def may_leave(self, server: Server, *, now_s: float) -> bool:
        """Return whether a server that was up may leave now; if so the loss counts."""
        service, real = server
        weights = self._weights.get(service, {})
        lost = self._losses.setdefault(service, {})
        for name in [name for name, lost_s in lost.items() if now_s - lost_s >= WINDOW_S]:
            del lost[name]
        others = {name for name in lost if name != real}
        share = sum(weights.get(name, 0) for name in (*others, real))
        allowed = sum(weights.values()) * self.loss_percent / OFF_PERCENT
        too_much = self.loss_percent < OFF_PERCENT and others and share > allowed
        if too_much and self._vantages.contradicted(server, now_s=now_s):
            return False
        lost[real] = now_s
        return True

    def came_back(self, server: Server) -> None:
        """Forget the loss of a server that is up again: its capacity is there."""
        self._losses.get(server[0], {}).pop(server[1], None)
