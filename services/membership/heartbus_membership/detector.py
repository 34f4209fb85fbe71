"""Decides which director is alive, late, dead or gone, and which of its links are heard.

Sans-I/O; times are seconds on our monotonic clock.

    unknown ──heard──► alive ◄──heard── late
       │                 │               │
       │initdead         │warntime──────►│deadtime on all links (stretched by the bus, below)
       ▼                 ▼leaving        ▼
      dead ◄─────────── left            dead        (dead, left: alive again when heard)

A peer that was heard is dead at

    min(max(base, bus_seen) + deadtime, base + deadtime + restart_grace)

where base is when it was last heard, or when we last noticed our own stall. So signs of life on
the bus may delay a death by at most restart_grace, and never cause one. A sign that comes when the
peer is late already shows that its host outlived its membership: it counts for EVIDENCE_S if that
is longer, because a busy host may not answer every question within a short deadtime. Deadtime is
the configured one while we are well ourselves, and longer by a bounded time while we are not
(local_health.py).
After a stall of ours (``turned``) every peer gets a whole deadtime anew, at most REARMS_MAX times
while it is silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from heartbus.events import (
    DirectorStatus,
    LinkDown,
    LinkUp,
    NodeAlive,
    NodeDead,
    NodeLate,
    NodeLeft,
)
from heartbus.model import Timers
from heartbus_membership.local_health import LocalHealth

REARMS_MAX: Final = 4
"""Stalls of ours that a silent peer may profit from: a machine that stalls for ever must still
be able to declare a death, at most REARMS_MAX * (stall + deadtime) late."""

EVIDENCE_S: Final = 1.5
"""Services say how they are about every second by themselves."""

LIVE: Final = frozenset({DirectorStatus.ALIVE, DirectorStatus.LATE})

NodeEvent = NodeAlive | NodeLate | NodeDead | NodeLeft | LinkUp | LinkDown


@dataclass(slots=True)
class _Peer:
    name: str
    status: DirectorStatus = DirectorStatus.UNKNOWN
    incarnation: int | None = None
    heard_s: float | None = None
    bus_seen_s: float = float("-inf")
    outlived_s: float = float("-inf")
    """When the bus last showed its host alive while it was late."""
    rearmed_s: float = float("-inf")
    rearms: int = 0
    links_heard_s: dict[str, float] = field(default_factory=dict)


class FailureDetector:
    """Watches the peers of one director. Each input returns the events that it makes true."""

    def __init__(
        self,
        *,
        peers: Sequence[str],
        timers: Timers,
        restart_grace_s: float,
        lease_s: float,
        started_s: float,
    ) -> None:
        self._timers = timers
        self.health = LocalHealth(timers)
        self._restart_grace_s = restart_grace_s
        # A peer whose membership died unheard around our start may hold a group for a lease still.
        self._initdead_s = max(timers.initdead_s, lease_s + timers.deadtime_s)
        self._started_s = started_s
        self._peers = {name: _Peer(name) for name in peers}

    # --- what happened ---------------------------------------------------------------------------

    def heartbeat_received(
        self, peer: str, *, link: str, incarnation: int, leaving: bool, now_s: float
    ) -> list[NodeEvent]:
        """Take in news of a peer."""
        watched = self._peers[peer]
        restarted = watched.incarnation is not None and incarnation != watched.incarnation
        before = watched.status
        watched.incarnation = incarnation
        watched.heard_s = now_s
        watched.rearms = 0
        if leaving:
            watched.status = DirectorStatus.LEFT
            down = self._all_links_down(watched, now_s)
            return [NodeLeft(director=peer), *down] if before is not DirectorStatus.LEFT else []
        watched.status = DirectorStatus.ALIVE
        events: list[NodeEvent] = []
        if before is not DirectorStatus.ALIVE or restarted:
            events.append(NodeAlive(director=peer, incarnation=incarnation))
        return events + self._link_heard(watched, link, now_s)

    def copy_received(self, peer: str, *, link: str, now_s: float) -> list[NodeEvent]:
        """Take in a copy of what is already known: it shows that this link works, no more."""
        watched = self._peers[peer]
        return self._link_heard(watched, link, now_s) if watched.status in LIVE else []

    def bus_evidence(self, peer: str, *, now_s: float) -> None:
        """Another service of this peer was heard on the bus: its host lives."""
        watched = self._peers[peer]
        watched.bus_seen_s = now_s
        if watched.status is DirectorStatus.LATE:
            watched.outlived_s = now_s

    def turned(self, *, late_s: float, now_s: float) -> bool:
        """Take in how late we are ourselves; return whether that was a stall."""
        stalled = self.health.turned(late_s, now_s)
        if stalled:
            self.own_stall(now_s=now_s)
        return stalled

    def own_stall(self, *, now_s: float) -> None:
        """Note that we were not running: silence until now says nothing about the peers."""
        for watched in self._peers.values():
            if watched.rearms < REARMS_MAX:
                watched.rearms += 1
                watched.rearmed_s = now_s

    def deadline_passed(self, *, now_s: float) -> list[NodeEvent]:
        """Return what silence has made true by now; empty sockets before you ask."""
        events: list[NodeEvent] = []
        for watched in self._peers.values():
            events += self._silence(watched, now_s)
        return events

    # --- what is known ---------------------------------------------------------------------------

    @property
    def next_deadline_s(self) -> float:
        """When silence will make something true; infinity if nothing can."""
        return min(map(self._deadline_of, self._peers.values()), default=float("inf"))

    def status(self, peer: str) -> DirectorStatus:
        """Return what is known of a peer."""
        return self._peers[peer].status

    def incarnation(self, peer: str) -> int | None:
        """Return the incarnation of a peer, None if it was never heard."""
        return self._peers[peer].incarnation

    def silent_s(self, peer: str, *, now_s: float) -> float | None:
        """Return how long a peer has been silent, None if it was never heard."""
        heard_s = self._peers[peer].heard_s
        return None if heard_s is None else now_s - heard_s

    def heard_on(self, link: str) -> tuple[str, ...]:
        """Return the peers whose heartbeats arrive over a link."""
        return tuple(p.name for p in self._peers.values() if link in p.links_heard_s)

    # --- the rules -------------------------------------------------------------------------------

    @staticmethod
    def _link_heard(watched: _Peer, link: str, now_s: float) -> list[NodeEvent]:
        new = link not in watched.links_heard_s
        watched.links_heard_s[link] = now_s
        return [LinkUp(director=watched.name, link=link)] if new else []

    @property
    def _deadtime_s(self) -> float:
        return self._timers.deadtime_s * self.health.stretch

    def _base_s(self, watched: _Peer) -> float:
        assert watched.heard_s is not None
        return max(watched.heard_s, watched.rearmed_s)

    def _late_at_s(self, watched: _Peer) -> float:
        silence_s = min(self._timers.warntime_s, self._timers.deadtime_s)
        return self._base_s(watched) + silence_s

    def _dead_at_s(self, watched: _Peer) -> float:
        deadtime_s = self._deadtime_s
        if watched.heard_s is None:
            return max(self._started_s + self._initdead_s, watched.rearmed_s + deadtime_s)
        base_s = self._base_s(watched)
        stretched_s = max(base_s, watched.bus_seen_s) + deadtime_s
        if watched.outlived_s > base_s:
            stretched_s = max(stretched_s, watched.outlived_s + EVIDENCE_S)
        return min(stretched_s, base_s + deadtime_s + self._restart_grace_s)

    def _link_down_at_s(self, watched: _Peer, heard_s: float) -> float:
        return max(heard_s, watched.rearmed_s) + self._deadtime_s

    def _deadline_of(self, watched: _Peer) -> float:
        if watched.status is DirectorStatus.UNKNOWN:
            return self._dead_at_s(watched)
        if watched.status not in LIVE:
            return float("inf")
        if watched.status is DirectorStatus.LATE:
            return self._dead_at_s(watched)
        heard_elsewhere = (s for s in watched.links_heard_s.values() if s != watched.heard_s)
        links = (self._link_down_at_s(watched, heard_s) for heard_s in heard_elsewhere)
        return min((self._late_at_s(watched), *links))

    def _silence(self, watched: _Peer, now_s: float) -> list[NodeEvent]:
        events: list[NodeEvent] = []
        if watched.status is DirectorStatus.ALIVE:
            events += self._silent_links_down(watched, now_s)
            if now_s >= self._late_at_s(watched):
                assert watched.heard_s is not None
                watched.status = DirectorStatus.LATE
                events.append(NodeLate(director=watched.name, silent_s=now_s - watched.heard_s))
        dying = watched.status in (DirectorStatus.LATE, DirectorStatus.UNKNOWN)
        if dying and now_s >= self._dead_at_s(watched):
            events.append(self._dead(watched, now_s))
            events += self._all_links_down(watched, now_s)
        return events

    def _dead(self, watched: _Peer, now_s: float) -> NodeDead:
        watched.status = DirectorStatus.DEAD
        if watched.heard_s is None:
            silent_s = now_s - self._started_s
            reason = f"never heard in {silent_s:.3g} s since our start (initdead)"
        else:
            silent_s = now_s - watched.heard_s
            reason = f"silent on all links for {silent_s:.3g} s (deadtime)"
            if watched.bus_seen_s > watched.heard_s:
                reason += f"; last sign on the bus {now_s - watched.bus_seen_s:.3g} s ago"
        return NodeDead(director=watched.name, silent_s=silent_s, reason=reason)

    def _silent_links_down(self, watched: _Peer, now_s: float) -> list[NodeEvent]:
        silent = [
            (link, heard_s)
            for link, heard_s in watched.links_heard_s.items()
            if now_s >= self._link_down_at_s(watched, heard_s) and heard_s != watched.heard_s
        ]
        return [self._link_down(watched, link, now_s) for link, _ in silent]

    def _all_links_down(self, watched: _Peer, now_s: float) -> list[NodeEvent]:
        return [self._link_down(watched, link, now_s) for link in tuple(watched.links_heard_s)]

    @staticmethod
    def _link_down(watched: _Peer, link: str, now_s: float) -> LinkDown:
        heard_s = watched.links_heard_s.pop(link)
        return LinkDown(director=watched.name, link=link, silent_s=now_s - heard_s)
