"""One life of a membership process: the production cores, and what the shell does around them.

It stands for ``heartbus_membership/service.py``, method by method and in the same order: ``wake``
and ``_turn`` for ``_turn`` and ``_sleep_until``, ``_datagram_received``, ``_announce``,
``_carry_out`` (with ``_remember``), ``_write_leases`` for ``Granting``, ``vip_reported`` and
``bus_evidence`` for ``_bus_message_received``, ``_ask`` for ``Asking`` and ``stop`` with
``_go_on_leaving`` for ``_leave``. Turn, Beats, Detector, Ownership, Readiness, Hearing with its
replay guard, and the codec with its signatures are the real ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Final

from heartbus.events import DirectorStatus, Lease, NodeDead, NodeLate, NodeLeft, VipState
from heartbus.model import Authentication, AuthKey, AuthMethod
from heartbus_membership import snapshot
from heartbus_membership.beats import Beats
from heartbus_membership.claims import (
    Effect,
    Grant,
    PersistEpoch,
    PersistVote,
    Revoke,
    SendHeartbeat,
    Vote,
)
from heartbus_membership.detector import FailureDetector, NodeEvent
from heartbus_membership.hearing import Dropped, Hearing
from heartbus_membership.leases import LEASE_WRITE_PERIOD_S
from heartbus_membership.ownership import Ownership
from heartbus_membership.service import (
    LEAVING_BEATS,
    LEAVING_SPACING_S,
    STOP_BLIND_WAIT_S,
    STOP_BUSY_WAIT_S,
    STOP_LOOK_S,
    STOP_WAIT_S,
    TICK_S_MAX,
)
from heartbus_membership.signing import Keyring
from heartbus_membership.turn import Turn
from heartbus_membership.wire import name_id
from heartbus_simulator.bus import STATE_PERIOD_S
from heartbus_simulator.host import DiedError, DiskFullError, Host
from heartbus_vip.news import LeaseNews

if TYPE_CHECKING:
    from heartbus_simulator.cluster import Cluster

KEY: Final = AuthKey(id=1, method=AuthMethod.SHA256, secret=b"of the simulation")
KEYRING: Final = Keyring(Authentication(signing_key=1, keys=(KEY,)))
DIGEST: Final = bytes(8)


class MembershipProcess:
    """Lives until ``host.membership`` is another one, or none."""

    def __init__(self, cluster: Cluster, host: Host) -> None:
        setup = cluster.setup
        self._cluster, self._host, self._timers = cluster, host, setup.times.timers
        self.incarnation = host.disk.next_incarnation(wall_ms=host.wall_ms)
        now_s = host.clock.now_s
        self._peers = tuple(name for name in cluster.hosts if name != host.name)
        self.detector = FailureDetector(
            peers=self._peers,
            timers=self._timers,
            restart_grace_s=setup.times.grace_s,
            lease_s=setup.times.lease_s + setup.tail_s,
            started_s=now_s,
        )
        self.ownership = Ownership(
            node=host.name,
            directors=setup.directors,
            groups=setup.rules,
            failback=setup.failback,
            timers=self._timers,
            lease_s=setup.times.lease_s,
            lifetime_s=setup.times.lifetime_s,
            started_s=now_s,
            epochs=dict(host.disk.epochs),
            standing=host.leases.claims(now_s=now_s),
            incarnation=self.incarnation,
            votes=host.disk.votes_of_this_boot(),
            **setup.takeover_options,
        )
        self.hearing = Hearing(
            node=host.name,
            incarnation=self.incarnation,
            peers=self._peers,
            keyring=KEYRING,
            groups_by_id={name_id(name): name for name in setup.group_names},
        )
        self.turn = Turn(
            detector=self.detector,
            ownership=self.ownership,
            announce=self._announce,
            carry_out=self._carry_out,
        )
        self.beats = Beats(
            node=host.name,
            incarnation=self.incarnation,
            timers=self._timers,
            keyring=KEYRING,
            ownership=self.ownership,
            hearing=self.hearing,
            write_votes=self._write_votes,
            started_s=now_s,
        )
        self._tick_s = min(self._timers.keepalive_s, setup.times.lease_s / 4, TICK_S_MAX)
        self._next_tick_s = self._due_s = now_s
        self._next_state_s = now_s
        self._unwritten: dict[str, Vote] = {}
        self._again = self._state_wanted = False
        self._leases_changed = True
        self._leases_written_s = float("-inf")
        self._asking: set[str] = set()
        self._timer = 0
        self._leave_begun_s: float | None = None
        self._beats_left = LEAVING_BEATS

    @property
    def alive(self) -> bool:
        """Whether this life goes on."""
        return self._host.membership is self

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._leave_begun_s is not None

    # --- when it runs ----------------------------------------------------------------------------

    def wake(self) -> None:
        """Do a turn, and more while it asks for one; then sleep until the next deadline."""
        if not (self.alive and self._host.membership_runs):
            return
        try:
            self._again = True
            while self._again:
                self._again = False
                self._turn(due_s=self._due_s)
                self._due_s = min(self._next_tick_s, self.detector.next_deadline_s)
        except DiedError:
            return
        if self._state_wanted or self._host.clock.now_s >= self._next_state_s:
            self._publish_state()
        self._sleep()

    def _sleep(self) -> None:
        clock, now_s = self._host.clock, self._host.clock.now_s
        delay_s = math.ceil(max(0.0, self._due_s - now_s) * 1000) / 1000
        self._timer += 1
        number = self._timer
        self._cluster.timeline.at(clock.real_s(now_s + delay_s), lambda: self._rings(number))

    def _rings(self, number: int) -> None:
        if number == self._timer:
            self.wake()

    def resume(self) -> None:
        """Go on after a pause of the process or the host: the sockets first, then the bus.

        A datagram wakes ``_beat`` in the next round of the event loop; a message takes some rounds
        through the bus client before ``_follow_bus`` has it.
        """
        waiting = self._host.take_inbox()
        self.wake()
        for deliver in waiting:
            if self.alive:
                self.receive(deliver)

    def receive(self, deliver: Callable[[MembershipProcess], None]) -> None:
        """Take a message from the bus, then do a turn."""
        try:
            deliver(self)
        except DiedError:
            return
        self.wake()

    # --- one turn --------------------------------------------------------------------------------

    def _turn(self, *, due_s: float) -> None:
        now_s = self._host.clock.now_s
        if self.turn.woke(late_s=now_s - due_s, now_s=now_s):
            self._cluster.counts["own stall"] += 1
        while self._host.datagrams:
            datagram, link, _ = self._host.datagrams.popleft()
            self._datagram_received(datagram, link, now_s)
        connected = self._cluster.bus.connected(self._host)
        if self.turn.all_heard(bus_connected=connected, now_s=now_s):
            self._cluster.counts["bus found" if connected else "bus lost"] += 1
            self._state_wanted = True
        self.turn.decide(now_s=now_s)
        self._write_leases(now_s)
        if self.beats.due(now_s=now_s):
            self._send_heartbeat(now_s)
        if now_s >= self._next_tick_s:
            self._next_tick_s = max(self._next_tick_s + self._tick_s, now_s)

    def _datagram_received(self, datagram: bytes, link: str, now_s: float) -> None:
        heard = self.hearing.judge(datagram, link=link)
        if heard is None:
            return
        if isinstance(heard, Dropped):
            self._cluster.counts[f"dropped {heard.reason}"] += 1
            return
        self.turn.heard(heard, now_s=now_s)

    def _announce(self, event: NodeEvent) -> None:
        self._cluster.counts[event.kind] += 1
        self._state_wanted = True
        match event:
            case NodeLate():
                self._ask(event.director)
                self._cluster.note(f"{self._host.name}: {event.director} is late")
            case NodeDead():
                self._cluster.note(f"{self._host.name}: {event.director} is dead")
            case NodeLeft():
                self._cluster.note(f"{self._host.name}: {event.director} left")

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case PersistEpoch():
                    self._host.step("persist")
                    self._remember(effect)
                case PersistVote():
                    self._host.step("persist")
                    self._unwritten[effect.group] = effect.vote
                case Grant():
                    self._host.step("grant")
                    self._leases_changed = self._state_wanted = True
                    self._cluster.granted(self._host, effect)
                    self._cluster.bus.tell_vip(self._host, self._hint_grant)
                case Revoke():
                    self._host.step("revoke")
                    self._leases_changed = self._state_wanted = True
                    self._cluster.revoked(self._host, effect)
                    self._cluster.bus.tell_vip(self._host, self._hint_revoke(effect))
                case SendHeartbeat():
                    self.beats.wanted = self._leases_changed = self._again = True

    def _remember(self, effect: PersistEpoch) -> None:
        try:
            self._host.disk.remember_epoch(effect.group, effect.epoch)
        except DiskFullError:
            self._cluster.counts["epoch unwritten"] += 1

    def _write_votes(self) -> Collection[str]:
        for group, vote in list(self._unwritten.items()):
            try:
                self._host.disk.remember_vote(group, vote)
                del self._unwritten[group]
            except DiskFullError:
                self._cluster.counts["vote unwritten"] += 1
        return self._unwritten

    def _write_leases(self, now_s: float) -> None:
        leases = self._leases()
        renewal_due = bool(leases) and now_s - self._leases_written_s >= LEASE_WRITE_PERIOD_S
        if not (self._leases_changed or renewal_due):
            return
        self._host.step("write")
        try:
            self._host.leases.write(leases, releasing=self.ownership.releasing, now_s=now_s)
            self._leases_changed = False
            self._leases_written_s = now_s
        except DiskFullError:
            self._cluster.counts["leases unwritten"] += 1

    def _send_heartbeat(self, now_s: float) -> None:
        self._host.step("send")
        datagram = self.beats.compose(digest=DIGEST, parts=b"", reach=None, now_s=now_s)
        self._cluster.network.send(self._host.name, datagram)

    def _leases(self) -> tuple[Lease, ...]:
        return snapshot.lease_views(self.ownership.leases, causes={})

    # --- the bus ---------------------------------------------------------------------------------

    def vip_reported(self, state: VipState) -> None:
        """Take in a snapshot of the own vip."""
        self.turn.vip_reported(state, now_s=self._host.clock.now_s)

    def bus_evidence(self, peer: str) -> None:
        """Take in a sign of life of another host."""
        self.turn.bus_evidence(peer, now_s=self._host.clock.now_s)

    def _ask(self, peer: str) -> None:
        if peer not in self._asking:
            self._asking.add(peer)
            self._ask_on(peer)

    def _ask_on(self, peer: str) -> None:
        if not self.alive or self.detector.status(peer) is not DirectorStatus.LATE:
            self._asking.discard(peer)
            return
        cluster = self._cluster

        def answered(shown: bool) -> None:
            cluster.counts["bus answer" if shown else "bus silence"] += 1
            if shown and self.alive and self._host.membership_runs:
                self.bus_evidence(peer)
            cluster.timeline.after(self._timers.keepalive_s, lambda: self._ask_on(peer))

        wait_s = max(self._timers.deadtime_s, 0.3)
        cluster.bus.ask(self._host, cluster.hosts[peer], answered, wait_s)

    def _publish_state(self) -> None:
        host = self._host
        self._state_wanted = False
        self._next_state_s = host.clock.now_s + STATE_PERIOD_S
        news = LeaseNews(written_s=host.clock.now_s, leases=self._leases())

        def learn() -> None:
            if host.vip is not None:
                host.vip.news_received(news)

        self._cluster.bus.tell_vip(host, learn)

    def _hint_grant(self) -> None:
        if self._host.vip is not None:
            self._host.vip.grant_hinted()

    def _hint_revoke(self, effect: Revoke) -> Callable[[], None]:
        host, said_s = self._host, self._host.clock.now_s

        def hint() -> None:
            if host.vip is not None:
                host.vip.group_revoked(effect.group, epoch=effect.epoch, said_s=said_s)

        return hint

    # --- a clean stop ----------------------------------------------------------------------------

    def stop(self) -> None:
        """Hand everything over, wait for vip, say that we leave, and exit."""
        if self._leave_begun_s is not None:
            return
        self._leave_begun_s = self._host.clock.now_s
        heard = self.ownership.readiness.vip_can_be_heard
        self._calm_s = STOP_WAIT_S if heard else STOP_BLIND_WAIT_S
        try:
            self._carry_out(self.ownership.stop(now_s=self._host.clock.now_s))
        except DiedError:
            return
        self.wake()
        self._go_on_leaving()

    def _go_on_leaving(self) -> None:
        if not self.alive:
            return
        timeline, now_s = self._cluster.timeline, self._host.clock.now_s
        if not self._host.membership_runs:
            timeline.after(STOP_LOOK_S, self._go_on_leaving)
            return
        assert self._leave_begun_s is not None
        readiness = self.ownership.readiness
        busy = readiness.vip_has(now_s=now_s)
        ended = self.ownership.released or readiness.vip_is_stopping
        if not ended or busy:
            wait_s = STOP_BUSY_WAIT_S if busy else self._calm_s
            if now_s - self._leave_begun_s < wait_s:
                timeline.after(STOP_LOOK_S, self._go_on_leaving)
                return
            if busy:
                self._exit()
                return
        self._say_leaving()

    def _say_leaving(self) -> None:
        if not self.alive:
            return
        if not self._host.membership_runs:
            self._cluster.timeline.after(STOP_LOOK_S, self._say_leaving)
            return
        if self._beats_left == 0:
            self._exit()
            return
        if self._beats_left == LEAVING_BEATS:
            self._cluster.left(self._host)
            self._leases_changed = True
        self._beats_left -= 1
        try:
            self._write_leases(self._host.clock.now_s)
            self.beats.leaving = True
            self._send_heartbeat(self._host.clock.now_s)
        except DiedError:
            return
        self._cluster.timeline.after(LEAVING_SPACING_S, self._say_leaving)

    def _exit(self) -> None:
        self._host.forget_process()
        self._cluster.note(f"{self._host.name}: membership has stopped")
        self._cluster.exited(self._host)
