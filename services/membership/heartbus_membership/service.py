"""The shell of membership: sends and hears heartbeats, carries out what the cores decide.

One turn at a time: read the sockets, ask for deadlines, carry out, tell. Without the bus it goes
on over its own links, and vip follows the lease file. A clean stop hands everything over and says
so; anything else leaves the leases standing for the next process of ours to resume.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from heartbus import subjects
from heartbus.bus import Bus, Inbox
from heartbus.events import (
    IpvsDiffers,
    IpvsState,
    MembershipState,
    Message,
    NodeAlive,
    NodeDead,
    NodeLate,
    NodeLeft,
    VipMoved,
    VipState,
)
from heartbus.log import RateLimit
from heartbus.model import (
    EXPIRY_TAIL_S,
    Cluster,
    Failback,
    Takeover,
)
from heartbus_membership import leases as files
from heartbus_membership import snapshot
from heartbus_membership.agreement import Agreement
from heartbus_membership.arrivals import Arrivals
from heartbus_membership.asking import Asking
from heartbus_membership.beats import Beats
from heartbus_membership.claims import (
    Effect,
    Grant,
    PersistEpoch,
    PersistStandby,
    PersistVote,
    Revoke,
    SendHeartbeat,
)
from heartbus_membership.cpu_wait import CpuWait
from heartbus_membership.detector import FailureDetector, NodeEvent
from heartbus_membership.doubts import Doubts
from heartbus_membership.granting import Granting
from heartbus_membership.guard import Guard
from heartbus_membership.hearing import Dropped, Hearing
from heartbus_membership.keeping import Keeping
from heartbus_membership.likeness import Likeness
from heartbus_membership.link_remarks import LinkRemarks
from heartbus_membership.links import Links, Received
from heartbus_membership.orders import Orders
from heartbus_membership.ownership import Ownership
from heartbus_membership.pinging import Pinger
from heartbus_membership.relay import Relay
from heartbus_membership.signing import Keyring
from heartbus_membership.taking_up import TakingUp, group_rules
from heartbus_membership.turn import Turn
from heartbus_membership.wire import Heartbeat, name_id

TICK_S_MAX: Final = 0.25
REPAIR_PERIOD_S: Final = 1.0
BUS_MESSAGES_MAX: Final = 256
"""Taken in during one turn; the inbox holds no more than a few of them in steady state."""
STOP_WAIT_S: Final = 2.0
STOP_BUSY_WAIT_S: Final = 10.0
"""While vip says that it has anything yet; a clean stop of vip takes no longer either."""
STOP_LOOK_S: Final = 0.1
STOP_BLIND_WAIT_S: Final = 0.6
"""vip looks at the lease file every 0.25 s: twice that and a margin, where we cannot hear it."""
LEAVING_BEATS: Final = 3
LEAVING_SPACING_S: Final = 0.01
LAG_MEMORY_S: Final = 10.0
SIGNS_OF_LIFE: Final = ("vip", "checker", "ipvs-agent")
"""Services whose messages show that the host of a silent membership lives."""


class MembershipService:
    """One director's membership. ``run`` is its whole life."""

    def __init__(
        self,
        *,
        node: str,
        cluster: Cluster,
        incarnation: int,
        boot_id: str,
        bus: Bus,
        links: Links,
        lease_file: files.LeaseFile,
        state_file: files.StateFile,
        vote_file: files.VoteFile,
        log: structlog.typing.FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = cluster.membership
        self._node = node
        self._timers = settings.timers
        self._incarnation = incarnation
        self._boot_id = boot_id
        self._bus = bus
        self._links = links
        self._log = log
        self._clock = clock
        self._keyring = Keyring(settings.authentication)
        self._peers = tuple(d.name for d in cluster.peers_of(node))
        now_s = clock()
        standing = lease_file.standing(now_s=now_s)
        tail_s = EXPIRY_TAIL_S if settings.takeover is Takeover.STRICT else 0.0
        self._detector = FailureDetector(
            peers=self._peers,
            timers=self._timers,
            restart_grace_s=settings.restart_grace_s,
            lease_s=settings.lease_s + tail_s,
            started_s=now_s,
        )
        self._ownership = Ownership(
            node=node,
            directors=tuple(d.name for d in cluster.directors),
            groups=group_rules(cluster),
            failback=settings.failback is Failback.ON,
            timers=self._timers,
            lease_s=settings.lease_s,
            lifetime_s=cluster.vip.lifetime_s,
            started_s=now_s,
            epochs=state_file.epochs,
            standby=state_file.standby,
            standing=lease_file.claims(now_s=now_s),
            witnesses=tuple(w.name for w in cluster.witnesses),
            tail_s=tail_s,
            incarnation=incarnation,
            votes=vote_file.earlier,
            fences=[fence.director for fence in settings.fences],
        )
        self._orders = Orders(
            node=node,
            groups=cluster.groups,
            ownership=self._ownership,
            carry_out=self._carry_out,
            unlike=self.unlike,
            clock=clock,
        )
        self._likeness = Likeness(node, self._peers)
        self._witnesses = frozenset(w.name for w in cluster.witnesses)
        self._deaths: dict[str, str] = {}
        self._hearing = Hearing(
            node=node,
            incarnation=incarnation,
            peers=self._peers,
            keyring=self._keyring,
            groups_by_id={name_id(group.name): group.name for group in cluster.groups},
            remembered=state_file.heard,
        )
        self._arrivals = Arrivals(
            self._peers, keepalive_s=self._timers.keepalive_s, started_s=now_s
        )
        self._keeping = Keeping(
            state_file,
            vote_file,
            replays=self._hearing.replays,
            keepalive_s=self._timers.keepalive_s,
            say=self._say_error,
        )
        self._granting = Granting(
            node=node,
            voters=len(cluster.voters),
            ownership=self._ownership,
            lease_file=lease_file,
            bus=bus,
            say=self._say_error,
            standing=standing,
        )
        self._turning = Turn(
            detector=self._detector,
            ownership=self._ownership,
            announce=self._announce,
            carry_out=self._carry_out,
        )
        self._beats = Beats(
            node=node,
            incarnation=incarnation,
            timers=self._timers,
            keyring=self._keyring,
            ownership=self._ownership,
            hearing=self._hearing,
            write_votes=self._keeping.write_votes,
            started_s=now_s,
        )
        self._has_ping_nodes = bool(settings.ping_nodes)
        self._doubts = Doubts(
            peers=[d.name for d in cluster.directors if d.name != node],
            settings=settings,
            ownership=self._ownership,
        )
        self._pinger = Pinger(settings, bus=bus, log=log, clock=clock)
        self._relay = Relay(directors=len(cluster.voters))
        self._tick_s = min(self._timers.keepalive_s, settings.lease_s / 4, TICK_S_MAX)
        self._next_tick_s = now_s
        self._lag_s = 0.0
        self._cpu_wait = CpuWait()
        self._agreement = Agreement(cluster)
        self.taking_up = TakingUp(
            cluster,
            keyring=self._keyring,
            agreement=self._agreement,
            ownership=self._ownership,
            hearing=self._hearing,
            orders=self._orders,
            state_file=state_file,
            carry_out=self._carry_out,
            clock=clock,
        )
        self._lag_seen_s = now_s
        self._woken: asyncio.Future[None] | None = None
        self._wake_wanted = False
        self._released = asyncio.Event()
        self._inbox = Inbox()
        self._asking = Asking(
            bus=bus,
            detector=self._detector,
            keepalive_s=self._timers.keepalive_s,
            deadtime_s=self._timers.deadtime_s,
            clock=clock,
        )
        self._lines = RateLimit(period_s=10.0)
        self._link_remarks = LinkRemarks(log)
        self.guard = Guard(
            node=node, settings=settings, bus=bus, log=log, clock=clock, wake_up=self._wake_up
        )

    # --- life ------------------------------------------------------------------------------------

    async def run(self, stopping: asyncio.Event, *, on_ready: Callable[[], None]) -> None:
        """Work until ``stopping`` is set, then hand over and leave.

        Raises:
            MachineError: the sockets cannot be opened for want of privilege or a free port.

        """
        self._links.open(self._wake_up)
        try:
            self._link_remarks.tell(self._links.conditions())
            self._join_bus()
            self._turn(due_s=self._clock())
            on_ready()
            async with asyncio.TaskGroup() as tasks:
                self._asking.start(tasks)
                work = [self._beat(), self._follow_bus(), self._repair_links(), self._pinger.run()]
                running = [tasks.create_task(job) for job in work]
                self.guard.start(tasks)
                await stopping.wait()
                await self._leave()
                await self.guard.stop()
                self._asking.close()
                for task in running:
                    task.cancel()
        finally:
            self.guard.close()
            self._links.close()

    def _join_bus(self) -> None:
        self._bus.serve_state(self.snapshot)
        self._orders.serve(self._bus)
        wanted = [subjects.state(self._node, service) for service in ("vip", "ipvs-agent")]
        wanted += [VipMoved.kind, IpvsDiffers.kind]
        for peer in self._peers:
            wanted += [subjects.state(peer, service) for service in SIGNS_OF_LIFE]
        self._bus.subscribe(wanted, self._inbox)
        self._bus.on_connection(lambda _connected: self._wake_up())

    async def _beat(self) -> None:
        while True:
            due_s = min(self._next_tick_s, self._beats.next_s, self._detector.next_deadline_s)
            await self._sleep_until(due_s)
            self._turn(due_s=due_s)

    async def _follow_bus(self) -> None:
        async for message in self._inbox:
            self._bus_message_received(message)
            self._wake_up()  # the turn takes what waits behind it

    async def _repair_links(self) -> None:
        while True:
            await asyncio.sleep(REPAIR_PERIOD_S)
            waiting = self._cpu_wait.share(self._clock())
            if waiting is not None:
                self._detector.health.pressure(waiting, self._clock())
            await self._links.repair()
            self._link_remarks.tell(self._links.conditions())

    async def _leave(self) -> None:
        self._tell_arrivals(self._clock())
        self._carry_out(self._ownership.stop(now_s=self._clock()))
        self._turn(due_s=self._clock())
        readiness = self._ownership.readiness
        calm_s = STOP_WAIT_S if readiness.vip_can_be_heard else STOP_BLIND_WAIT_S
        begun_s = self._clock()
        while not self._released.is_set():
            busy = readiness.vip_has(now_s=self._clock())
            left_s = begun_s + (STOP_BUSY_WAIT_S if busy else calm_s) - self._clock()
            if left_s <= 0:
                waited_s = round(self._clock() - begun_s, 1)
                self._log.warning("stop.unreleased", waited_s=waited_s, vip_is_busy=busy)
                if busy:
                    return  # our silence gives vip restart_grace more, leaving would give nothing
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, STOP_LOOK_S)):
                    await self._released.wait()
        self._granting.changed = True
        self._granting.write(now_s=self._clock())
        self._beats.leaving = True
        for _ in range(LEAVING_BEATS):
            self._send_heartbeat(self._clock())
            await asyncio.sleep(LEAVING_SPACING_S)

    async def _sleep_until(self, due_s: float) -> None:
        delay_s = due_s - self._clock()
        if self._wake_wanted or delay_s <= 0:
            self._wake_wanted = False
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        # uvloop counts whole milliseconds: round up, or the last one is spent spinning.
        timer = loop.call_later(math.ceil(delay_s * 1000) / 1000, self._wake_up)
        try:
            await self._woken
        finally:
            timer.cancel()
            self._woken = None
            self._wake_wanted = False

    def _wake_up(self) -> None:
        self._wake_wanted = True
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    # --- one turn --------------------------------------------------------------------------------

    def _turn(self, *, due_s: float) -> None:
        now_s = self._clock()
        self._note_lag(now_s - due_s, now_s)
        self._hear()
        now_s = self._clock()  # a promise begins when we have heard, not before
        self._decide(now_s)
        self._tell(now_s)
        self.guard.turn_finished(now_s=now_s)

    def _hear(self) -> None:
        waiting = self._links.drain()
        now_s = self._clock()
        for received in waiting:
            self._datagram_received(received, now_s)
        for _ in range(BUS_MESSAGES_MAX):
            if (message := self._inbox.get_nowait()) is None:
                break
            self._bus_message_received(message)

    def _decide(self, now_s: float) -> None:
        self._turning.all_heard(bus_connected=self._bus.connected, now_s=now_s)
        barred = self._detector.health.barred(now_s)
        self._carry_out(self._doubts.look(self._pinger.reach, barred=barred, now_s=now_s))
        self._ownership.unlike([p for p in self._peers if self.unlike(p) is not None])
        self._turning.decide(now_s=now_s)
        for peer in self._ownership.fence_wanted:
            self.guard.fence_wanted(peer, cause=self._deaths.get(peer))
            if self.guard.fences.is_fenced(peer):
                self._carry_out(self._ownership.fenced(peer, now_s=now_s))

    def _tell(self, now_s: float) -> None:
        self._granting.tell_quorum()
        self._orders.turned()
        self._granting.write(now_s=now_s)
        self._keeping.write_marks(now_s=now_s)
        if self._beats.due(now_s=now_s):
            self._send_heartbeat(now_s)
        if now_s >= self._next_tick_s:
            self._next_tick_s = max(self._next_tick_s + self._tick_s, now_s)
        if self._arrivals.due(now_s=now_s):
            self._tell_arrivals(now_s)
        readiness = self._ownership.readiness
        ended = self._ownership.released or readiness.vip_is_stopping
        if ended and not readiness.vip_has(now_s=now_s):
            self._released.set()
        else:
            self._released.clear()

    def _tell_arrivals(self, now_s: float) -> None:
        """Tell the recorders how heartbeats arrived since the last time."""
        for gaps in self._arrivals.take(now_s=now_s):
            self._bus.publish(gaps)

    def _note_lag(self, late_s: float, now_s: float) -> None:
        late_s = max(0.0, late_s)
        if late_s >= self._lag_s or now_s - self._lag_seen_s > LAG_MEMORY_S:
            self._lag_s, self._lag_seen_s = late_s, now_s
        if self._turning.woke(late_s=late_s, now_s=now_s):
            self._arrivals.stalled(now_s=now_s)
            self._say("self.stalled", "stall", late_s=round(late_s, 3))

    def _datagram_received(self, received: Received, now_s: float) -> None:
        heard = self._hearing.judge(received.datagram, link=received.link)
        if heard is None:
            return
        if isinstance(heard, Dropped):
            source, detail = received.source, heard.detail
            self._say("heartbeat.dropped", heard.reason, source=source, detail=detail)
            return
        if hops := self._relay.onward_hops(heard, hops=received.hops):
            self._links.relay(received.datagram, origin=heard.peer, heard_on=heard.link, hops=hops)
        self._turning.heard(heard, now_s=now_s)
        if heard.leaving:
            self._agreement.silent(heard.peer)
            self._doubts.peer_gone(heard.peer)
            self._arrivals.left(heard.peer)
        elif heard.report is not None:
            beat = self._hearing.newest[heard.peer]
            self._arrivals.heard(heard.peer, incarnation=beat.incarnation, now_s=now_s)
            self._doubts.peer_heard(heard.peer, beat.reach, now_s=now_s)
            self._compare(heard.peer, beat, now_s)

    def _compare(self, peer: str, beat: Heartbeat, now_s: float) -> None:
        """Tell when a peer's configuration is another one than ours; it changes nothing else."""
        skew = self._agreement.heard(peer, beat.config_digest, beat.config_parts, now_s=now_s)
        if skew is None:
            return
        self._bus.publish(skew)
        self._bus.publish_state()
        event = "config.agrees" if skew.agreed else "config.differs"
        self._log.warning(event, director=peer, differs=", ".join(skew.differs))

    def unlike(self, peer: str) -> str | None:
        """Return in what another director differs from us, None for nothing."""
        return self._likeness.why_not(peer, self._agreement.differences)

    def _announce(self, event: NodeEvent) -> str:
        """Tell the bus of an event and return its id; do what else it makes necessary."""
        cause = self._bus.publish(event)
        self._bus.publish_state()
        match event:
            case NodeLate():
                self._asking.peer_late(event.director)
            case NodeDead():
                self._deaths[event.director] = cause
                self._agreement.silent(event.director)
                self._likeness.gone(event.director)
                self._doubts.peer_gone(event.director)
            case NodeAlive() | NodeLeft():
                self.guard.peer_returned(event.director)
            case _:
                pass  # links do not matter here
        return cause

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case PersistEpoch():
                    self._keeping.epoch(effect)
                case PersistVote():
                    self._keeping.vote(effect)
                case PersistStandby():
                    self._keeping.standby(effect)
                case Grant():
                    self._granting.granted(effect)
                case Revoke():
                    self._granting.revoked(effect)
                case SendHeartbeat():
                    self._beats.wanted = self._granting.changed = True  # or a release has ended
                    self._wake_up()

    def _send_heartbeat(self, now_s: float) -> None:
        datagram = self._beats.compose(
            digest=bytes.fromhex(self._agreement.digest),
            parts=self._agreement.parts,
            reach=self._pinger.reach if self._has_ping_nodes else None,
            now_s=now_s,
        )
        self._links.send(datagram)

    # --- the bus ---------------------------------------------------------------------------------

    def _bus_message_received(self, message: Message) -> None:
        sender = message.envelope.node
        if isinstance(message.body, VipMoved):
            self._orders.moved(message.body)
        if isinstance(message.body, IpvsDiffers) and sender == self._node:
            self._likeness.table_told(message.body)
        if sender in self._peers:
            self._turning.bus_evidence(sender, now_s=self._clock())
        elif isinstance(message.body, VipState) and sender == self._node:
            self._vip_reported(message.body)
        elif isinstance(message.body, IpvsState) and sender == self._node:
            self._ownership.readiness.ipvs_reported(message.body, now_s=self._clock())

    def _vip_reported(self, state: VipState) -> None:
        self._turning.vip_reported(state, now_s=self._clock())
        if state.stopping:
            # The report that makes us withdraw may be the last one, and say already that all is
            # released. The peers must see the withdrawal before its end, so that they wait for us
            # no more.
            self._decide(self._clock())
            self._tell(self._clock())
            self._turning.vip_reported(state, now_s=self._clock())

    # --- what is told ----------------------------------------------------------------------------

    def snapshot(self) -> MembershipState:
        """Return the whole truth, as far as we know it."""
        now_s = self._clock()
        newest = self._hearing.newest
        ourselves = snapshot.own_view(
            self._node,
            incarnation=self._incarnation,
            digest=self._agreement.digest,
            ready=self._ownership.is_ready(now_s=now_s),
            witness=self._node in self._witnesses,
        )
        others = (
            snapshot.peer_view(
                p,
                detector=self._detector,
                beat=newest.get(p),
                witness=p in self._witnesses,
                now_s=now_s,
            )
            for p in self._peers
        )
        return MembershipState(
            settled=self._ownership.settled,
            directors=(ourselves, *others),
            groups=self._ownership.views(),
            leases=self._granting.leases,
            links=snapshot.link_views(self._links.conditions(), detector=self._detector),
            boot_id=self._boot_id,
            config_digest=self._agreement.digest,
            lag_s=self._lag_s,
            quorum=self._ownership.quorum,
            rung=self._ownership.rung(bus=self._bus.connected),
            ping_nodes=self._pinger.views(),
            dropped={**self._hearing.dropped, **self._links.dropped()},
            watchdog=self.guard.watchdog_view(),
            fences=self.guard.fence_views(),
            clients=self.guard.client_views(),
            local_health=self._detector.health.score,
            config_differences=self._agreement.differences,
        )

    def _say_error(self, event: str, key: str, error: str) -> None:
        self._say(event, key, level="error", error=error)

    def _say(self, event: str, key: str, *, level: str = "warning", **fields: object) -> None:
        held_back = self._lines.passes(key, now_s=self._clock())
        if held_back is not None:
            getattr(self._log, level)(event, why=key, similar=held_back, **fields)
