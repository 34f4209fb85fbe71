"""What the checkers last decided about each real server of ours, and whose word counts.

Sans-I/O. Our own checker's word counts. A checker that falls silent or starts anew (``unknown``)
changes nothing: the last decision stands. After PEER_AFTER_S of silence, or while our own checker
says that its view is suspect (it sees most servers down and a peer sees them up), the word of one
peer's checker counts instead, that of the first by name among those heard lately, so that two peers
who disagree cannot make an entry flap. Times are monotonic seconds on this node's clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heartbus.events import CheckerState, Health, RealServerDown, RealServerUp, RealServerWeight
from heartbus.model import RealServerName, VirtualService, VirtualServiceName
from heartbus_ipvs_agent.governor import OFF_PERCENT, Governor

Server = tuple[VirtualServiceName, RealServerName]

PEER_AFTER_S: Final = 10.0
PEER_FRESH_S: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictChange:
    """A real server is decided otherwise than before. ``cause``: id of the event that said so."""

    virtual_service: VirtualServiceName
    real_server: RealServerName
    health: Health
    cause: str | None


class VerdictBook:
    """The decisions about the real servers of ``services``; everything else is ignored."""

    def __init__(
        self,
        services: Iterable[VirtualService],
        *,
        node: str,
        now_s: float,
        loss_percent: int = OFF_PERCENT,
    ) -> None:
        self._node = node
        self._governor = Governor(loss_percent=loss_percent)
        self.withheld: dict[Server, str | None] = {}
        self._known: set[tuple[VirtualServiceName, RealServerName]] = set()
        self._own_heard_s = now_s
        self._own_suspect = False
        self._peers_heard_s: dict[str, float] = {}
        self.decided: dict[tuple[VirtualServiceName, RealServerName], Health] = {}
        self.weights: dict[tuple[VirtualServiceName, RealServerName], int] = {}
        self.use(services)

    def use(self, services: Iterable[VirtualService]) -> None:
        """Go on with these services; of real servers that stay the last decision stands."""
        services = tuple(services)
        self._governor.use(services)
        self._known = {(s.name, real.name) for s in services for real in s.real_servers}
        for key in self.decided.keys() - self._known:
            del self.decided[key]
        for key in self.weights.keys() - self._known:
            del self.weights[key]
        for key in self.withheld.keys() - self._known:
            del self.withheld[key]

    def limit(self, loss_percent: int) -> None:
        """Change how much may leave within a minute without agreement."""
        self._governor.loss_percent = loss_percent

    def bus_found(self, *, now_s: float) -> None:
        """Silence during an outage of the bus says nothing about our checker: count anew."""
        self._own_heard_s = now_s
        self._peers_heard_s.clear()

    def snapshot_received(
        self, snapshot: CheckerState, *, node: str, now_s: float
    ) -> list[VerdictChange]:
        """Take in the snapshot of the checker on ``node``; return what it changes."""
        if node == self._node:
            self._own_heard_s = now_s
            self._own_suspect = snapshot.suspect is not None
            if self._own_suspect:
                return []
        else:
            if snapshot.suspect is not None:
                return []
            self._governor.peer_said(node, snapshot, now_s=now_s)
            if not self._peer_counts(node, now_s=now_s):
                return self.reconsidered(now_s=now_s)
        changes = []
        for verdict in snapshot.verdicts:
            change = self._decide(
                VirtualServiceName(verdict.virtual_service),
                RealServerName(verdict.real_server),
                verdict.health,
                verdict.weight,
                verdict.cause,
                now_s=now_s,
            )
            if change is not None:
                changes.append(change)
        return changes

    def event_received(
        self,
        event: RealServerUp | RealServerDown | RealServerWeight,
        *,
        node: str,
        event_id: str,
        now_s: float,
    ) -> list[VerdictChange]:
        """Take in an event; those of a peer's checker only agree. Return what it changes."""
        health = Health.DOWN if isinstance(event, RealServerDown) else Health.UP
        if node != self._node:
            server = (event.virtual_service, event.real_server)
            self._governor.peer_changed(node, server, health)
            return self.reconsidered(now_s=now_s)
        self._own_heard_s = now_s
        if self._own_suspect:
            return []
        change = self._decide(
            VirtualServiceName(event.virtual_service),
            RealServerName(event.real_server),
            health,
            None if isinstance(event, RealServerDown) else event.weight,
            event_id,
            now_s=now_s,
        )
        return [] if change is None else [change]

    def reconsidered(self, *, now_s: float) -> list[VerdictChange]:
        """Return the losses that were withheld and may be so now; ask on a period too."""
        changes = []
        for server, cause in list(self.withheld.items()):
            change = self._decide(*server, Health.DOWN, None, cause, now_s=now_s)
            if change is not None:
                changes.append(change)
        return changes

    def _peer_counts(self, node: str, *, now_s: float) -> bool:
        self._peers_heard_s[node] = now_s
        self._peers_heard_s = {
            peer: heard_s
            for peer, heard_s in self._peers_heard_s.items()
            if now_s - heard_s <= PEER_FRESH_S
        }
        own_silent = self._own_suspect or now_s - self._own_heard_s > PEER_AFTER_S
        return own_silent and node == min(self._peers_heard_s)

    def _decide(
        self,
        virtual_service: VirtualServiceName,
        real_server: RealServerName,
        health: Health,
        weight: int | None,
        cause: str | None,
        *,
        now_s: float,
    ) -> VerdictChange | None:
        key = (virtual_service, real_server)
        if health is Health.UNKNOWN or key not in self._known:
            return None
        if self.decided.get(key) is health and self.weights.get(key) == weight:
            self.withheld.pop(key, None)
            return None
        before = self.decided.get(key)
        if health is Health.DOWN and before is Health.UP:
            if not self._governor.may_leave(key, now_s=now_s):
                self.withheld[key] = cause
                return None
        elif health is Health.UP and before is Health.DOWN:
            self._governor.came_back(key)
        self.withheld.pop(key, None)
        self.decided[key] = health
        if weight is None:
            self.weights.pop(key, None)
        else:
            self.weights[key] = weight
        return VerdictChange(
            virtual_service=virtual_service, real_server=real_server, health=health, cause=cause
        )
