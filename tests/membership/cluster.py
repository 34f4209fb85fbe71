"""A cluster of production cores on one virtual clock: network, disks, vips and buses are played.

A fault is begun and ended by name; everything random comes from one seed.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from heartbus.events import (
    DirectorStatus,
    HeldGroup,
    HoldStatus,
    NodeDead,
    NodeLate,
    NodeLeft,
    VipState,
)
from heartbus.model import Timers
from heartbus_membership.claims import (
    Effect,
    Grant,
    GroupRule,
    PeerReport,
    PersistEpoch,
    PersistVote,
    Revoke,
    SendHeartbeat,
    StandingLease,
    Vote,
)
from heartbus_membership.detector import FailureDetector, NodeEvent
from heartbus_membership.ownership import Ownership

TIMERS = Timers(keepalive_s=0.2, warntime_s=0.4, deadtime_s=0.8, initdead_s=3.0)
LEASE_S = 5.0
GRACE_S = 5.0
LIFETIME_S = 3.0
REFRESH_S = 0.25
GROUP = "vip"

Marks = tuple[int, tuple[int, int] | None]
"""Sequence of a heartbeat, and the newest incarnation and sequence heard of its receiver."""


@dataclass(slots=True)
class Host:
    """A director: what outlives the membership process, and the process."""

    name: str
    on: bool = True
    paused: bool = False
    membership_paused: bool = False
    vip_alive: bool = True
    epochs: dict[str, int] = field(default_factory=dict)
    votes: dict[str, Vote] = field(default_factory=dict)
    incarnation: int = 0
    lease_file: tuple[StandingLease, ...] = ()
    address_until_s: float = float("-inf")
    vip_epoch: int = 0
    starts_fail: bool = False
    failed_epoch: int = 0
    process: Process | None = None
    granted: list[int] = field(default_factory=list)
    waiting: list[Callable[[], None]] = field(default_factory=list)


class Process:
    """One life of a membership process."""

    def __init__(self, cluster: SimulatedCluster, host: Host) -> None:
        self.cluster = cluster
        self.host = host
        host.incarnation += 1
        self.incarnation = host.incarnation
        now_s = cluster.now_s
        standing = tuple(x for x in host.lease_file if x.deadline_s > now_s)
        self.detector = FailureDetector(
            peers=[n for n in cluster.hosts if n != host.name],
            timers=TIMERS,
            restart_grace_s=GRACE_S,
            lease_s=LEASE_S,
            started_s=now_s,
        )
        self.ownership = Ownership(
            node=host.name,
            directors=tuple(cluster.hosts),
            groups=[GroupRule(name=GROUP, preferred=cluster.preferred)],
            failback=cluster.failback,
            timers=TIMERS,
            lease_s=LEASE_S,
            lifetime_s=LIFETIME_S,
            started_s=now_s,
            epochs=dict(host.epochs),
            standing=standing,
            incarnation=self.incarnation,
            votes=dict(host.votes),
        )
        self.due_s = now_s
        self.sequence = 0
        self.heard_of: dict[str, tuple[int, int]] = {}
        self.leaving = False

    @property
    def runs(self) -> bool:
        """Whether its code can run now."""
        host = self.host
        running = host.on and not host.paused and not host.membership_paused
        return host.process is self and running

    def turn(self) -> None:
        """Do what the shell does in one turn."""
        now_s = self.cluster.now_s
        if now_s - self.due_s > TIMERS.keepalive_s:
            self.detector.own_stall(now_s=now_s)
        waiting, self.host.waiting = self.host.waiting, []
        for deliver in waiting:
            deliver()
        self.carry_out(self.ownership.bus_changed(connected=self.cluster.bus_up, now_s=now_s))
        self.announce(self.detector.deadline_passed(now_s=now_s))
        self.carry_out(self.ownership.tick(now_s=now_s))
        self.send()
        for peer in self.cluster.hosts.values():
            answers = self.cluster.bus_reaches(self.host, peer)
            if peer is not self.host and answers:
                self.detector.bus_evidence(peer.name, now_s=now_s)

    def announce(self, events: list[NodeEvent]) -> None:
        """Tell ownership what the detector found."""
        words = {
            NodeLate: DirectorStatus.LATE,
            NodeDead: DirectorStatus.DEAD,
            NodeLeft: DirectorStatus.LEFT,
        }
        for event in events:
            status = words.get(type(event))
            if status is not None:
                self.carry_out(
                    self.ownership.peer_silent(
                        event.director, status, cause=None, now_s=self.cluster.now_s
                    )
                )

    def heard(self, peer: str, report: PeerReport, marks: Marks, leaving: bool) -> None:
        """Take in a heartbeat."""
        now_s = self.cluster.now_s
        sequence, heard_of_us = marks
        if self.heard_of.get(peer, (0, 0)) >= (report.incarnation, sequence):
            return
        self.heard_of[peer] = (report.incarnation, sequence)
        if heard_of_us is not None and heard_of_us[0] == self.incarnation:
            report = replace(report, echoed=heard_of_us[1])
        events = self.detector.heartbeat_received(
            peer, link="net", incarnation=report.incarnation, leaving=leaving, now_s=now_s
        )
        self.announce(events)
        if not leaving:
            self.carry_out(self.ownership.peer_heard(peer, report, now_s=now_s))

    def carry_out(self, effects: list[Effect]) -> None:
        """Do what ownership asks for."""
        for effect in effects:
            if isinstance(effect, PersistEpoch):
                self.host.epochs[effect.group] = effect.epoch
            elif isinstance(effect, Grant):
                self.host.granted.append(effect.epoch)
                self.cluster.note(f"{self.host.name} granted {effect.epoch}: {effect.reason}")
            elif isinstance(effect, SendHeartbeat):
                self.send()
            elif isinstance(effect, PersistVote):
                self.host.votes[effect.group] = effect.vote
            elif isinstance(effect, Revoke):
                self.cluster.note(f"{self.host.name} revoked {effect.epoch}: {effect.reason}")
        before = self.host.lease_file
        self.host.lease_file = self.ownership.leases
        if [x.epoch for x in before] != [x.epoch for x in self.host.lease_file]:
            self.cluster.vip_turn(self.host)

    def send(self) -> None:
        """Send a heartbeat to everybody."""
        now_s = self.cluster.now_s
        self.sequence += 1
        claims, votes = self.ownership.claims(now_s=now_s), self.ownership.votes(now_s=now_s)
        self.ownership.beat_sent(self.sequence, now_s=now_s)
        for peer in self.cluster.hosts:
            if peer != self.host.name:
                report = PeerReport(
                    incarnation=self.incarnation,
                    settled=self.ownership.settled,
                    claims=claims,
                    supports=frozenset(g for g, whom in votes.items() if whom == peer),
                )
                heard_of = self.heard_of.get(peer)
                self.cluster.transmit(
                    self.host.name, peer, report, (self.sequence, heard_of), self.leaving
                )


class SimulatedCluster:
    """Hosts, what joins them, and the time."""

    def __init__(self, *, seed: int, directors: int = 2, failback: bool = False) -> None:
        self.random = random.Random(seed)
        self.now_s = 100.0
        self.failback = failback
        self.hosts = {name: Host(name) for name in "abc"[:directors]}
        self.preferred = "a"
        self.bus_up = True
        self.loss = 0.0
        self.cuts: set[tuple[str, str]] = set()
        self.story: list[str] = []
        self.after_step: Callable[[], None] = lambda: None
        self._numbers = itertools.count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        for host in self.hosts.values():
            self.start_membership(host)
            self._repeat_vip(host)

    def note(self, line: str) -> None:
        """Add a line to the story that a failing test prints."""
        self.story.append(f"{self.now_s:8.3f} {line}")

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._queue, (self.now_s + delay_s, next(self._numbers), action))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end_s = self.now_s + seconds
        while self._queue and self._queue[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(self._queue)
            action()
            self.after_step()
        self.now_s = end_s

    # --- network and bus -------------------------------------------------------------------------

    def transmit(
        self, sender: str, receiver: str, report: PeerReport, marks: Marks, leaving: bool
    ) -> None:
        """Carry a heartbeat over the network, or lose it."""
        if (sender, receiver) in self.cuts or self.random.random() < self.loss:
            return
        host = self.hosts[receiver]
        self.at(
            self.random.uniform(0.001, 0.004),
            lambda: self._arrive(host, lambda: self._hear(host, sender, report, marks, leaving)),
        )

    def _arrive(self, host: Host, deliver: Callable[[], None]) -> None:
        if host.process is None or not host.on or host.paused:
            return
        if host.process.runs:
            deliver()
        elif len(host.waiting) < 30:
            host.waiting.append(deliver)

    @staticmethod
    def _hear(host: Host, sender: str, report: PeerReport, marks: Marks, leaving: bool) -> None:
        if host.process is not None:
            host.process.heard(sender, report, marks, leaving)

    def bus_reaches(self, asker: Host, asked: Host) -> bool:
        """Whether a question over the bus is answered by a service other than membership."""
        path = {(asker.name, asked.name), (asked.name, asker.name)}
        up = asked.on and not asked.paused and asked.vip_alive
        return self.bus_up and up and not path & self.cuts

    # --- processes -------------------------------------------------------------------------------

    def start_membership(self, host: Host) -> None:
        """Start a process on a host that is on."""
        if not host.on or host.process is not None:
            return
        host.waiting.clear()
        process = host.process = Process(self, host)
        process.ownership.bus_changed(connected=self.bus_up, now_s=self.now_s)
        self._repeat_turn(process)

    def _repeat_turn(self, process: Process) -> None:
        if process.host.process is not process:
            return
        if process.runs:
            process.turn()
            process.due_s = self.now_s + TIMERS.keepalive_s
            self.at(TIMERS.keepalive_s * self.random.uniform(0.95, 1.0), self._again(process))
        else:
            self.at(0.01, self._again(process))

    def _again(self, process: Process) -> Callable[[], None]:
        return lambda: self._repeat_turn(process)

    # --- vip -------------------------------------------------------------------------------------

    def _repeat_vip(self, host: Host) -> None:
        self.vip_turn(host)
        self.at(REFRESH_S, lambda: self._repeat_vip(host))

    def vip_turn(self, host: Host) -> None:
        """Act on the lease, as vip does, and report."""
        if not host.on or host.paused or not host.vip_alive:
            return
        lease = next((x for x in host.lease_file if x.deadline_s > self.now_s), None)
        if lease is None:
            host.failed_epoch = 0
        elif host.starts_fail:
            host.failed_epoch = lease.epoch
        if lease is None:
            status = HoldStatus.RELEASED
        else:
            # As vip does: what has failed is tried again with a new epoch, and not before.
            failed = lease.epoch == host.failed_epoch
            status = HoldStatus.FAILED if failed else HoldStatus.HELD
            host.vip_epoch = lease.epoch
        held_s = LIFETIME_S if status is HoldStatus.HELD else 0.0
        host.address_until_s = self.now_s + held_s
        group = HeldGroup(name=GROUP, status=status, epoch=host.vip_epoch, addresses=())
        self.at(0.001, lambda: self._vip_report(host, VipState(groups=(group,))))

    def _vip_report(self, host: Host, state: VipState) -> None:
        process = host.process
        if process is not None and process.runs and self.bus_up:
            process.carry_out(process.ownership.vip_reported(state, now_s=self.now_s))

    @property
    def holders(self) -> list[str]:
        """Hosts whose kernel has the address now."""
        return [h.name for h in self.hosts.values() if h.on and h.address_until_s > self.now_s]

    # --- faults ----------------------------------------------------------------------------------

    def cut(self, *pairs: tuple[str, str]) -> None:
        """Lose everything from the first to the second of each pair."""
        self.cuts |= set(pairs)

    def isolate(self, name: str) -> None:
        """Cut one host off, both ways."""
        for other in self.hosts:
            if other != name:
                self.cut((name, other), (other, name))

    def heal(self) -> None:
        """End all cuts."""
        self.cuts.clear()

    def kill_membership(self, name: str) -> None:
        """kill -9 of the membership process; its files stay."""
        self.hosts[name].process = None

    def crash(self, name: str) -> None:
        """Switch a host off."""
        host = self.hosts[name]
        host.on = False
        host.process = None
        host.address_until_s = float("-inf")
        host.lease_file = ()

    def boot(self, name: str) -> None:
        """Switch a host on again."""
        host = self.hosts[name]
        host.on = True
        self.start_membership(host)
