"""Join the holder with the kernel, the scripts, the bus and the lease file.

One rule orders everything: news first, then deadlines, then refreshes. So a process that was
stopped for a while looks at its lease before it touches an address.

The lease file says the same as the bus, and sooner: its replacement wakes us up. When membership is
silent on both ways, what is held stays until the deadline of the last lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, assert_never

import structlog

from heartbus import subjects
from heartbus.bus import Bus, Inbox
from heartbus.events import GroupGranted, GroupRevoked, MembershipState, Message, VipState
from heartbus.log import RateLimit
from heartbus.model import Cluster, ResourceGroup, ScriptResource
from heartbus.runner import Context, MachineError
from heartbus_vip.actions import (
    AbortScript,
    Action,
    Announce,
    AskNetwork,
    CallScript,
    FenceSelf,
    PutAddress,
    RemoveAddress,
    Tell,
)
from heartbus_vip.address import AddressTable, StalledError
from heartbus_vip.announce import AnnounceError, Announcer
from heartbus_vip.builtin import Announce as SendArp
from heartbus_vip.builtin import BuiltIns
from heartbus_vip.callback import Callback
from heartbus_vip.calls import ScriptCalls
from heartbus_vip.conflict_watch import ConflictWatch, Tap, open_tap
from heartbus_vip.frames import ArpForm
from heartbus_vip.holder import Holder
from heartbus_vip.hook_calls import HookCalls
from heartbus_vip.kernel_news import KernelNews
from heartbus_vip.kernel_watch import KernelWatch
from heartbus_vip.leases import LEASE_FILE, LeaseFile, boot_id
from heartbus_vip.looks import TrackerLooks
from heartbus_vip.marks import StartedMarks
from heartbus_vip.network import SIMILAR_LINES_S, Network
from heartbus_vip.news import LeaseNews
from heartbus_vip.outlook import remarks
from heartbus_vip.repairs import Repairs
from heartbus_vip.resource import ScriptResult
from heartbus_vip.scripts import Programs
from heartbus_vip.self_fence import fence_self
from heartbus_vip.tracking import Tracking
from heartbus_vip.watch import FileWatch

Inbound = MembershipState | GroupGranted | GroupRevoked

PRIVILEGE_ADVICE: Final = (
    "run as root, or give the unit AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"
)


class VipService:
    """The groups of one director, while the process runs. ``clock`` is CLOCK_MONOTONIC."""

    def __init__(
        self,
        *,
        node: str,
        cluster: Cluster,
        bus: Bus,
        runtime_dir: Path,
        network: Network,
        log: structlog.typing.FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
        send_arp: SendArp | None = None,
        kernel_news: KernelNews | None = None,
        tap: Tap | None = None,
    ) -> None:
        self._send_arp = send_arp or _no_arp
        self._node, self._cluster, self._bus, self._log = node, cluster, bus, log
        self._network, self._clock = network, clock
        self._boot_id = boot_id()
        self._lease_file = LeaseFile(runtime_dir, boot_id=self._boot_id)
        self._lease_path = runtime_dir / LEASE_FILE
        self._file_replaced = False
        self._marks = StartedMarks(runtime_dir, boot_id=self._boot_id)
        self._marked = self._marks.read()
        self._lines = RateLimit(period_s=SIMILAR_LINES_S)
        self._holder = Holder(
            node=node,
            groups=cluster.groups,
            settings=cluster.vip,
            present=network.present(a for g in cluster.groups for a in g.addresses),
            left_over=self._marked,
        )
        self._kernel = KernelWatch(
            kernel_news,
            addresses=(a.address for g in cluster.groups for a in g.addresses),
            network=network,
            held=lambda: [a for a, _ in self._holder.wanted(now_s=clock())],
            changed=self._kernel_changed,
            keepalive_s=cluster.membership.timers.keepalive_s,
            clock=clock,
        )
        self._repairs = Repairs(node, cluster.groups)
        self._conflicts = ConflictWatch(
            node=node,
            cluster=cluster,
            bus=bus,
            network=network,
            holder=self._holder,
            tap=tap,
            log=log,
            clock=clock,
        )
        self._with_scripts = _with_scripts(cluster.groups)
        resources = cluster.vip.resources
        self._hooks = HookCalls(node=node, hooks=resources.hooks, log=log)
        self._tracking = Tracking(resources.trackers)
        self._looks = TrackerLooks(resources.trackers, self._tracking, changed=self._tell_changes)
        self._inbox = Inbox()
        self._refresh_due_s = self._awake_s = clock()
        self._changed = asyncio.Event()
        self._all_stopped = asyncio.Event()
        self._published: VipState | None = None

    def take_up(self, wanted: Cluster) -> None:
        """Go on with these groups: what is held and configured still is not touched."""
        groups = wanted.groups
        if groups == self._cluster.groups:
            self._cluster = wanted
            return
        self._cluster = wanted
        self._network.use_groups(groups)
        self._repairs.use_groups(groups)
        self._conflicts.use_groups(groups)
        self._kernel.use_addresses(a.address for g in groups for a in g.addresses)
        self._with_scripts |= _with_scripts(groups)
        new = [a for g in groups if g.name not in self._holder.names for a in g.addresses]
        present = self._network.present(new)
        self._carry_out(self._holder.use_groups(groups, present=present, now_s=self._clock()))
        self._tell_changes()
        self._changed.set()

    def planned(self, wanted: Cluster) -> tuple[str, ...]:
        """Say what ``take_up`` would change of the groups."""
        return self._holder.planned(wanted.groups)

    async def run(self, *, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        """Hold and let go until ``stopping`` is set, then let go of everything."""
        with (
            self._lease_file_watched(),
            self._kernel.watched(),
            self._conflicts.listening(self._changed.set),
        ):
            await self._run(stopping, ready)

    @contextlib.contextmanager
    def _lease_file_watched(self) -> Iterator[None]:
        try:
            watch = FileWatch.open(self._lease_path)
        except OSError as error:
            # The bus and the refresh period remain.
            self._log.warning("leases.unwatched", reason=error.strerror)
            yield
            return
        loop = asyncio.get_running_loop()

        def look() -> None:
            if watch.replaced():
                self._file_replaced = True
                self._changed.set()

        loop.add_reader(watch.fileno(), look)
        try:
            yield
        finally:
            loop.remove_reader(watch.fileno())
            watch.close()

    def _kernel_changed(self, refresh_s: float | None) -> None:
        if refresh_s is not None:
            self._refresh_due_s = min(self._refresh_due_s, refresh_s)
        self._changed.set()

    async def _run(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._scripts = ScriptCalls(
                tasks=tasks,
                programs=Programs(self._cluster.resource_path),
                built_ins=BuiltIns(node=self._node, announce=self._send_arp),
                timeout_s=self._cluster.vip.script_timeout_s,
                ended=self._script_ended,
                log=self._log,
            )
            self._turn()  # adopts by the lease file, before anything else may take its time
            self._bus.serve_state(self._state)
            of_membership = subjects.state(self._node, "membership")
            of_ours = (of_membership, GroupGranted.kind, GroupRevoked.kind)
            self._bus.subscribe((*of_ours, *self._conflicts.subjects), self._inbox)
            ready()
            forever = [tasks.create_task(self._receive()), tasks.create_task(self._turns())]
            forever += [*self._looks.start(tasks), *self._hooks.start(tasks)]
            await stopping.wait()
            self._carry_out(self._holder.stop_asked(now_s=self._clock()))
            self._changed.set()
            await self._all_stopped.wait()
            await self._hooks.last_words()
            for task in forever:
                task.cancel()

    # --- turning ---------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            self._hear(await self._inbox.get())
            self._turn()

    async def _turns(self) -> None:
        while True:
            self._turn()
            try:
                async with asyncio.timeout(max(0.0, self._next_due_s() - self._clock())):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    def _turn(self) -> None:
        self._notice_sleep()
        while (message := self._inbox.get_nowait()) is not None:
            self._hear(message)
        refresh = self._clock() >= self._refresh_due_s
        if refresh:
            self._refresh_due_s = self._clock() + self._cluster.vip.refresh_s
        if refresh or self._file_replaced:
            self._file_replaced = False
            self._read_lease_file()
        self._carry_out(self._holder.deadline_passed(now_s=self._clock()))
        if refresh:
            self._refresh()
        self._network.announce_due()
        self._carry_out(self._conflicts.turn())
        self._tell_changes()

    def _notice_sleep(self) -> None:
        """Tell the holder if we did not run for so long that the kernel may have ended addresses.

        One that was due for a refresh when we fell asleep ends a refresh period earlier than we
        could count; half a lifetime is on the safe side and far more than a busy machine takes.
        """
        before_s, self._awake_s = self._awake_s, self._clock()
        if self._awake_s - before_s >= self._cluster.vip.lifetime_s / 2:
            self._log.warning("self.slept", slept_s=round(self._awake_s - before_s, 1))
            self._holder.woke(now_s=self._awake_s)

    def _next_due_s(self) -> float:
        due = (
            self._refresh_due_s,
            self._holder.next_deadline_s,
            self._network.next_deadline_s,
            self._conflicts.next_deadline_s,
        )
        return min(d for d in due if d is not None)

    # --- news ------------------------------------------------------------------------------------

    def _hear(self, message: Message) -> None:
        self._notice_sleep()
        body, said_s = message.body, message.envelope.uptime_s
        if isinstance(body, VipState):
            self._conflicts.peer_heard(message.envelope.node, body)
        if not isinstance(body, Inbound) or message.envelope.node != self._node:
            return
        match body:
            case MembershipState():
                if body.boot_id == self._boot_id:
                    self._learn(LeaseNews(written_s=said_s, leases=body.leases))
            case GroupGranted():
                self._read_lease_file()  # the hint has no deadline; the file has it already
            case GroupRevoked():
                if body.director == self._node:
                    if body.handover:
                        self._conflicts.handed_over(body.group, body.epoch)
                    actions = self._holder.group_revoked(
                        body.group, epoch=body.epoch, said_s=said_s, now_s=self._clock()
                    )
                    self._carry_out(actions)
            case _:
                assert_never(body)

    def _read_lease_file(self) -> None:
        news = self._lease_file.read()
        if news is not None:
            self._learn(news)
        elif self._lease_file.problem is not None:
            self._say("leases.unreadable", reason=self._lease_file.problem)

    def _learn(self, news: LeaseNews) -> None:
        self._carry_out(self._holder.news_received(news, now_s=self._clock()))

    # --- doing -----------------------------------------------------------------------------------

    def _carry_out(self, actions: Iterable[Action]) -> None:
        queue = deque(actions)
        self._mark_started()  # before a script runs: we may be killed while it does
        while queue:
            queue.extend(self._carry_out_one(queue.popleft()))
        if self._holder.stopped:
            self._tell_changes()
            self._all_stopped.set()

    def _carry_out_one(self, action: Action) -> list[Action]:
        match action:
            case PutAddress():
                return self._put(action)
            case RemoveAddress():
                problem = self._network.remove(action.address)
                self._conflicts.removed(action.address)
                if problem is not None:
                    return self._holder.removal_failed(action.group, action.address, problem)
            case Announce():
                self._network.announce(action.address)
                self._conflicts.announced(action.address)
            case AskNetwork():
                self._conflicts.ask_first(action)
                self._changed.set()
            case CallScript():
                self._scripts.start(action)
            case AbortScript():
                self._scripts.abort(action.group)
            case FenceSelf():
                self._tasks.create_task(self._fence(action))
            case Tell():
                self._bus.publish(action.event, cause=action.cause)
            case _:
                assert_never(action)
        return []

    def _put(self, action: PutAddress) -> list[Action]:
        group, step, holder = action.group, action.step, self._holder
        try:
            problem = self._network.put(
                action.address, lifetime_s=action.lifetime_s, decided_s=action.decided_s
            )
        except StalledError:
            self._read_lease_file()
            return holder.put_stalled(group, step, now_s=self._clock())
        return holder.address_put(group, step, problem=problem, now_s=self._clock())

    def _refresh(self) -> None:
        now_s = self._clock()
        try:
            upheld = self._network.refresh(self._holder.wanted(now_s=now_s), decided_s=now_s)
        except StalledError:
            self._refresh_due_s = self._clock()  # at once, but news first
            return
        now_s = self._clock()
        self._kernel.refreshed(now_s=now_s)
        for event in self._repairs.repaired(upheld.repaired, self._holder.state(), now_s=now_s):
            self._bus.publish(event)
        self._carry_out(self._holder.refreshed(upheld.problems, now_s=now_s))

    def _script_ended(self, call: CallScript, result: ScriptResult) -> None:
        now_s = self._clock()
        self._carry_out(
            self._holder.script_finished(call.group, call.step, result=result, now_s=now_s)
        )
        self._tell_changes()
        self._changed.set()

    async def _fence(self, action: FenceSelf) -> None:
        self._log.error("self.fencing", group=action.group)
        own = [f for f in self._cluster.membership.fences if f.director == self._node]
        problem = await fence_self(own)
        self._carry_out(
            self._holder.fence_ended(
                action.group, action.step, problem=problem, now_s=self._clock()
            )
        )
        self._tell_changes()
        self._changed.set()

    # --- telling ---------------------------------------------------------------------------------

    def _mark_started(self) -> None:
        started = self._holder.started_groups & self._with_scripts
        if started == self._marked:
            return
        self._marked = started
        try:
            self._marks.write(started)
        except OSError as error:
            self._say("marks.unwritable", reason=str(error))

    def _tell_changes(self) -> None:
        self._mark_started()
        state = self._state()
        lasting = replace(state, unread={})
        if lasting != self._published:
            self._published = lasting
            self._bus.publish_state()
        if self._holder.spoken:
            self._hooks.seen(state.groups)

    def _state(self) -> VipState:
        state = self._holder.state()
        groups = []
        for group in state.groups:
            standing = self._tracking.standing(group.name)
            able, barred = standing.able, standing.barred
            if group.name in self._conflicts.barred:
                able, barred = False, self._conflicts.barred[group.name]
            groups.append(replace(group, able=able, barred=barred, score=standing.score))
        return replace(
            state,
            groups=tuple(groups),
            trackers=self._tracking.views(),
            conflicts=self._conflicts.views,
            macs=self._conflicts.macs,
            unread=self._conflicts.unread,
        )

    def _say(self, event: str, *, reason: str) -> None:
        held_back = self._lines.passes(event, now_s=self._clock())
        if held_back is not None:
            self._log.warning(event, reason=reason, similar=held_back)


def _with_scripts(groups: Iterable[ResourceGroup]) -> frozenset[str]:
    return frozenset(
        group.name
        for group in groups
        if any(isinstance(resource, ScriptResource) for resource in group.resources)
    )


def _no_arp(address: str, interface: str) -> str | None:
    return f"cannot announce {address} on {interface}: no socket"


async def vip(context: Context) -> None:
    """Run the service in the frame of a process.

    Raises:
        MachineError: we may not change addresses or send frames here.

    """
    table = AddressTable()
    if not table.may_change():
        raise MachineError(f"cannot change addresses: CAP_NET_ADMIN is missing; {PRIVILEGE_ADVICE}")
    try:
        announcer = Announcer()
    except PermissionError as error:
        raise MachineError(
            f"cannot announce addresses: CAP_NET_RAW is missing; {PRIVILEGE_ADVICE}"
        ) from error

    def send_arp(address: str, interface: str) -> str | None:
        try:
            announcer.announce(address=address, interface=interface, form=ArpForm.REQUEST)
        except (AnnounceError, ValueError) as error:
            return str(error)
        return None

    groups, services = context.cluster.groups, context.cluster.virtual_services
    for remark in remarks(table, [a for g in groups for a in g.addresses], services):
        context.log.warning(remark.event, reason=remark.reason)
    service = VipService(
        node=context.node,
        cluster=context.cluster,
        bus=context.bus,
        runtime_dir=context.runtime_dir,
        network=Network(
            addresses=table,
            announcer=announcer,
            settings=context.cluster.vip.announce,
            groups=groups,
            log=context.log,
        ),
        log=context.log,
        send_arp=send_arp,
        kernel_news=KernelNews(),
        tap=open_tap(context.cluster, interface=table.interface_to_ask, log=context.log),
    )
    callback = Callback(lambda: context.cluster.reload.callback, log=context.log)
    context.files_changed = callback.files_changed
    context.take_up, context.dry_run = service.take_up, service.planned
    try:
        await service.run(stopping=context.stopping, ready=context.ready)
    finally:
        await callback.stop()
