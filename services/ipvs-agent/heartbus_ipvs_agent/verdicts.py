"""What was last decided about each real server of ours.

Sans-I/O. ``vantages`` says whose word counts. A checker that falls silent or starts anew
(``unknown``) changes nothing: the last decision stands. What a governor withholds stays up until it
may leave. Times are monotonic seconds on this node's clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from heartbus.events import CheckerState, Health, RealServerDown, RealServerUp, RealServerWeight
from heartbus.model import DecidedBy, RealServerName, VirtualService, VirtualServiceName
from heartbus_ipvs_agent.governor import OFF_PERCENT, Governor
from heartbus_ipvs_agent.vantages import Vantages, Word, word_of

Server = tuple[VirtualServiceName, RealServerName]


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
        decided_by: DecidedBy = DecidedBy.OWN,
    ) -> None:
        self._node = node
        self._vantages = Vantages(node=node, decided_by=decided_by, now_s=now_s)
        self._governor = Governor(loss_percent=loss_percent, vantages=self._vantages)
        self.withheld: dict[Server, str | None] = {}
        self._known: set[Server] = set()
        self.decided: dict[Server, Health] = {}
        self.weights: dict[Server, int] = {}
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

    def decide_by(self, decided_by: DecidedBy) -> None:
        """Change whose word counts, from the next snapshot on."""
        self._vantages.decided_by = decided_by

    def bus_found(self, *, now_s: float) -> None:
        """Silence during an outage of the bus says nothing about our checker: count anew."""
        self._vantages.bus_found(now_s=now_s)

    def snapshot_received(
        self, snapshot: CheckerState, *, node: str, now_s: float
    ) -> list[VerdictChange]:
        """Take in the snapshot of the checker on ``node``; return what it changes."""
        vantages = self._vantages
        vantages.heard(node, snapshot, now_s=now_s)
        own = vantages.own_decides(now_s=now_s)
        if node != self._node and not vantages.peers_matter(now_s=now_s):
            return self.reconsidered(now_s=now_s)
        changes = []
        for verdict in snapshot.verdicts:
            server = (
                VirtualServiceName(verdict.virtual_service),
                RealServerName(verdict.real_server),
            )
            word: Word | None
            if own and not vantages.elsewhere(server):
                if node != self._node:
                    continue
                word = Word(verdict.health, verdict.weight, verdict.cause)
            else:
                word = vantages.word(server, now_s=now_s)
            change = self._decide(server, word, now_s=now_s)
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
        """Take in an event; where those of a peer do not count they only agree."""
        server = (VirtualServiceName(event.virtual_service), RealServerName(event.real_server))
        self._vantages.told(node, event, event_id, now_s=now_s)
        own = self._vantages.own_decides(now_s=now_s) and not self._vantages.elsewhere(server)
        if own and node != self._node:
            return self.reconsidered(now_s=now_s)
        word = word_of(event, event_id) if own else self._vantages.word(server, now_s=now_s)
        change = self._decide(server, word, now_s=now_s)
        return [] if change is None else [change]

    def reconsidered(self, *, now_s: float) -> list[VerdictChange]:
        """Return the losses that were withheld and may be so now; ask on a period too."""
        changes = []
        for server, cause in list(self.withheld.items()):
            change = self._decide(server, Word(Health.DOWN, None, cause), now_s=now_s)
            if change is not None:
                changes.append(change)
        return changes

    def _decide(self, server: Server, word: Word | None, *, now_s: float) -> VerdictChange | None:
        if word is None or word.health is Health.UNKNOWN or server not in self._known:
            return None
        health, weight, cause = word
        before = self.decided.get(server)
        if before is health and self.weights.get(server) == weight:
            self.withheld.pop(server, None)
            return None
        if health is Health.DOWN and before is Health.UP:
            if not self._governor.may_leave(server, now_s=now_s):
                self.withheld[server] = cause
                return None
        elif health is Health.UP and before is Health.DOWN:
            self._governor.came_back(server)
        self.withheld.pop(server, None)
        self.decided[server] = health
        if weight is None:
            self.weights.pop(server, None)
        else:
            self.weights[server] = weight
        return VerdictChange(
            virtual_service=server[0], real_server=server[1], health=health, cause=cause
        )
