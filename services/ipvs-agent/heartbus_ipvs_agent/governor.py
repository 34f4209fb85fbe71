"""How much of a service may leave within a minute on the word of one checker alone.

Sans-I/O. A director that loses its own way to the real servers sees all of them dead at once. So of
each service one server, or ``loss_percent`` of its weight, may leave in any WINDOW_S without
agreement. More may leave at once if a peer's checker says the same, or if no peer's checker is
heard that says otherwise: then nobody knows better. What was withheld leaves when the peer agrees,
falls silent, or when enough of the window has passed. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heartbus.events import CheckerState, Health
from heartbus.model import RealServerName, VirtualService, VirtualServiceName

WINDOW_S: Final = 60.0
PEER_FRESH_S: Final = 3.0
OFF_PERCENT: Final = 100

Server = tuple[VirtualServiceName, RealServerName]


@dataclass(slots=True)
class _Peer:
    heard_s: float
    snapshot: CheckerState
    health: dict[tuple[str, str], Health] | None = None
    """Made from the snapshot when first asked for: most snapshots are never asked."""


class Governor:
    """Watches the losses of each service."""

    def __init__(self, *, loss_percent: int) -> None:
        self.loss_percent = loss_percent
        self._weights: dict[VirtualServiceName, dict[RealServerName, int]] = {}
        self._losses: dict[VirtualServiceName, dict[RealServerName, float]] = {}
        self._peers: dict[str, _Peer] = {}

    def use(self, services: Iterable[VirtualService]) -> None:
        """Watch these services from now on."""
        self._weights = {
            service.name: {real.name: real.weight for real in service.real_servers}
            for service in services
        }
        for name in self._losses.keys() - self._weights.keys():
            del self._losses[name]

    def peer_said(self, node: str, snapshot: CheckerState, *, now_s: float) -> None:
        """Remember the newest snapshot of a peer's checker."""
        self._peers = {
            peer: said for peer, said in self._peers.items() if now_s - said.heard_s <= PEER_FRESH_S
        }
        self._peers[node] = _Peer(now_s, snapshot)

    def peer_changed(self, node: str, server: tuple[str, str], health: Health) -> None:
        """Take in an event of a peer's checker, which comes before its next snapshot."""
        said = self._peers.get(node)
        if said is not None:
            self._health(said)[server] = health

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
        if too_much and self._contradicted(server, now_s=now_s):
            return False
        lost[real] = now_s
        return True

    def came_back(self, server: Server) -> None:
        """Forget the loss of a server that is up again: its capacity is there."""
        self._losses.get(server[0], {}).pop(server[1], None)

    def _contradicted(self, server: Server, *, now_s: float) -> bool:
        """Return whether a peer that is heard says up, and none says down."""
        words = {
            self._health(said).get(server, Health.UNKNOWN)
            for said in self._peers.values()
            if now_s - said.heard_s <= PEER_FRESH_S
        }
        return Health.UP in words and Health.DOWN not in words

    @staticmethod
    def _health(said: _Peer) -> dict[tuple[str, str], Health]:
        if said.health is None:
            said.health = {
                (v.virtual_service, v.real_server): v.health for v in said.snapshot.verdicts
            }
        return said.health
