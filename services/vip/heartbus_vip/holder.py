"""Hold the resource groups whose lease stands, and let go of all others.

Sans-I/O. Times are monotonic seconds of this host. One group::

                 lease stands            all resources started
      RELEASED ───────────────► STARTING ─────────────────────► HELD
       ▲    ▲                      │   │                        │ │
       │    │ all stopped          │   │ a start failed, or     │ │ lease gone,
       │    └─────── STOPPING ◄────┘   │ an address was lost ◄──┘ │ or asked to stop
       │                ▲  └───────────│──────────────────────────┘
       │ lease gone     │              ▼
       └──────────── FAILED ◄──── STOPPING      FAILED ──► STARTING with a new epoch

Resources start left to right and stop right to left, as in haresources; a stop covers the whole
group, because a start may have been cut short, or have happened in an earlier life of this process.

How long an address may stay once its group is let go:

- It is refreshed no more from that moment on, so that the kernel drops it within its lifetime,
  whatever becomes of this process and of the scripts.
- It is removed at its turn from right to left; but when the deadline of the lease passes while a
  script still stops, all addresses go at once. If that deadline has passed already (that is why the
  group is let go), they go first, before any script.
- A lifetime never reaches further than the first whole second after the lease's deadline.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Final

from heartbus.events import (
    HoldStatus,
    Lease,
    ResourceStatus,
    VipState,
)
from heartbus.model import (
    AddressResource,
    ResourceGroup,
    ScriptResource,
    StopFailure,
    VipSettings,
)
from heartbus_vip.actions import (
    AbortScript,
    Action,
    Announce,
    AskNetwork,
    CallScript,
    FenceSelf,
    PutAddress,
    RemoveAddress,
)
from heartbus_vip.group import Group
from heartbus_vip.news import LeaseBook, LeaseNews
from heartbus_vip.regrouping import begun, forget_retired, planned, regroup
from heartbus_vip.resource import ScriptEnd, ScriptResult, Verb
from heartbus_vip.stopping import Next, Stopping

STOP_S_MAX: Final = 10.0
"""A clean stop of the process takes no longer than this, whatever the scripts do."""


class Holder:
    """All groups of the configuration, on one director.

    ``present``: configured addresses that the kernel has already; ``left_over``: groups whose
    scripts an earlier life of this process may have started. Both are adopted if their lease
    stands, and stopped once membership spoke and gave none.
    """

    def __init__(
        self,
        *,
        node: str,
        groups: Collection[ResourceGroup],
        settings: VipSettings,
        present: Collection[AddressResource] = (),
        left_over: Collection[str] = (),
    ) -> None:
        self._node = node
        self._settings = settings
        self._book = LeaseBook()
        self._stop_ends_s: float | None = None
        self._groups = {spec.name: begun(spec, settings, present, left_over) for spec in groups}

    def use_groups(
        self,
        groups: Collection[ResourceGroup],
        *,
        present: Collection[AddressResource] = (),
        now_s: float,
    ) -> list[Action]:
        """Go on with these groups; ``present`` as at a start. What is held is not touched."""
        actions = self.deadline_passed(now_s=now_s)
        changes = regroup(self._groups, groups, settings=self._settings, present=present)
        for change in changes:
            for address in change.gone:
                self._remove(change.group, address, actions)
            if change.new and change.group.status is HoldStatus.HELD:
                self._join(change.group, change.new, actions, now_s=now_s)
        return [*actions, *self.deadline_passed(now_s=now_s)]

    def planned(self, groups: Collection[ResourceGroup]) -> tuple[str, ...]:
        """Say what ``use_groups`` would change here."""
        return tuple(planned(self._groups, groups))

    # --- what happened ---------------------------------------------------------------------------

    def woke(self, *, now_s: float) -> None:
        """Note that we did not run for a while: the kernel may have ended our addresses since.

        Another director may hold them, and announcing them once more would turn its clients away
        from it. Nothing is refreshed or put before membership has written its leases anew.
        """
        self._book.woke(now_s=now_s)

    def news_received(self, news: LeaseNews, *, now_s: float) -> list[Action]:
        """Membership said which leases there are, over the bus or by its file."""
        self._book.news_received(news, now_s=now_s)
        return self.deadline_passed(now_s=now_s)

    def group_revoked(self, group: str, *, epoch: int, said_s: float, now_s: float) -> list[Action]:
        """Membership told of a revocation; a hint that comes before the news that shows it."""
        self._book.group_revoked(group, epoch=epoch, said_s=said_s)
        return self.deadline_passed(now_s=now_s)

    def deadline_passed(self, *, now_s: float) -> list[Action]:
        """Act on time alone: leases and stops that have ended. Call it before any refresh."""
        actions: list[Action] = []
        for group in self._groups.values():
            self._follow_lease(group, actions, now_s=now_s)
            if group.status is HoldStatus.STOPPING:
                self._bound_stop(group, actions, now_s=now_s)
            if group.status is HoldStatus.STOPPING:
                self._stop_again(group, actions, now_s=now_s)
            if group.status is HoldStatus.HELD:
                self._ask_for_state(group, actions, now_s=now_s)
        forget_retired(self._groups, now_s=now_s)
        self._check()
        return actions

    def address_put(
        self, group: str, step: int, *, problem: str | None, now_s: float
    ) -> list[Action]:
        """Answer to PutAddress; ``problem`` None: the kernel has the address."""
        state, actions = self._groups[group], self.deadline_passed(now_s=now_s)
        if step != state.step or state.status is not HoldStatus.STARTING:
            return actions
        address = state.todo[0]
        assert isinstance(address, AddressResource)
        if problem is not None:
            self._cannot_have(state, address, problem, actions, now_s=now_s)
            return actions
        state.todo.pop(0)
        actions.append(Announce(address=address))
        self._start_next(state, actions, now_s=now_s)
        return actions

    def put_stalled(self, group: str, step: int, *, now_s: float) -> list[Action]:
        """Answer to PutAddress: nothing was done, we were not running; decide anew."""
        state, actions = self._groups[group], self.deadline_passed(now_s=now_s)
        if step == state.step and state.status is HoldStatus.STARTING:
            self._start_next(state, actions, now_s=now_s)
        return actions

    def network_asked(
        self, group: str, step: int, *, address: AddressResource, problem: str | None, now_s: float
    ) -> list[Action]:
        """Answer to AskNetwork; ``problem``: who has ``address``, and that we yield to it."""
        state, actions = self._groups[group], self.deadline_passed(now_s=now_s)
        if step != state.step or state.status is not HoldStatus.STARTING:
            return actions
        if problem is not None:
            self._cannot_have(state, address, problem, actions, now_s=now_s)
        else:
            self._start_next(state, actions, now_s=now_s)
        return actions

    def yielded(
        self, group: str, *, address: AddressResource, problem: str, now_s: float
    ) -> list[Action]:
        """Let go of a group because another machine has ``address``, as ``problem`` says."""
        state, actions = self._groups[group], self.deadline_passed(now_s=now_s)
        if state.running:
            self._fail(state, address.name, problem, actions, now_s=now_s)
        return actions

    def refreshed(self, problems: Mapping[AddressResource, str], *, now_s: float) -> list[Action]:
        """Outcome of a refresh of what was ``wanted``: why those are not there that could not be.

        What cannot be put back for a whole lifetime is lost here, whoever took it: the group fails,
        so that membership can give it to a director that can hold it.
        """
        actions = self.deadline_passed(now_s=now_s)
        for group in self._groups.values():
            if group.status is not HoldStatus.HELD:
                continue
            missing = [a for a in group.spec.addresses if a in group.installed and a in problems]
            group.missing_since_s = {a: group.missing_since_s.get(a, now_s) for a in missing}
            for address, since_s in group.missing_since_s.items():
                if now_s - since_s >= self._settings.lifetime_s:
                    self._fail(group, address.name, problems[address], actions, now_s=now_s)
                    break
        self._check()
        return actions

    def script_finished(
        self, group: str, step: int, *, result: ScriptResult, now_s: float
    ) -> list[Action]:
        """Answer to CallScript."""
        state, actions = self._groups[group], self.deadline_passed(now_s=now_s)
        call = state.called
        if call is None or step != call.step:
            return actions
        state.called = None
        if state.status is HoldStatus.HELD:
            self._watched(state, call.script, result, actions, now_s=now_s)
        elif state.status is HoldStatus.STOPPING:
            self._stop_answered(state, call, result, actions, now_s=now_s)
        elif call.verb is Verb.STATUS and not result.says_held:
            self._call(state, call.script, Verb.START, actions)
        elif call.verb is Verb.START and result.problem is not None:
            state.note(call.script, ResourceStatus.FAILED, f"start: {result.problem}")
            self._fail(state, call.script.name, f"start: {result.problem}", actions, now_s=now_s)
        else:
            missing = result.end is ScriptEnd.MISSING
            status = ResourceStatus.UNWATCHED if missing else ResourceStatus.RUNNING
            state.note(call.script, status, result.detail)
            state.todo.pop(0)
            self._start_next(state, actions, now_s=now_s)
        return actions

    def fence_ended(
        self, group: str, step: int, *, problem: str | None, now_s: float
    ) -> list[Action]:
        """Answer to FenceSelf, for as long as we are there to give one."""
        state, actions = self._groups[group], self.deadline_passed(now_s=now_s)
        if step != state.step or state.status is not HoldStatus.STOPPING:
            return actions
        if problem is not None:
            self._tell_failure(state, state.todo[0].name, f"fence: {problem}", actions)
        state.todo.pop(0)
        self._stop_next(state, actions, now_s=now_s)
        return actions

    def removal_failed(self, group: str, address: AddressResource, problem: str) -> list[Action]:
        """Tell of a RemoveAddress that did not work; the kernel ends the address by itself."""
        actions: list[Action] = []
        self._tell_failure(self._groups[group], address.name, problem, actions)
        return actions

    def stop_asked(self, *, now_s: float) -> list[Action]:
        """Let go of everything, in order, and take nothing any more."""
        if self._stop_ends_s is None:
            self._stop_ends_s = now_s + min(self._settings.script_timeout_s, STOP_S_MAX)
        return self.deadline_passed(now_s=now_s)

    # --- what is to be seen ----------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether a stop was asked for and nothing is held or on its way any more."""
        ended = (HoldStatus.RELEASED, HoldStatus.FAILED)
        return self._stop_ends_s is not None and all(
            g.status in ended for g in self._groups.values()
        )

    def wanted(self, *, now_s: float) -> list[tuple[AddressResource, int]]:
        """Return the addresses to refresh now, each with its lifetime in whole seconds."""
        result: list[tuple[AddressResource, int]] = []
        if not self._book.fresh:
            return result
        for group in self._groups.values():
            lease = self._book.standing(group.spec.name, now_s=now_s)
            if lease is None or not group.running:
                continue
            lifetime_s = self._lifetime_s(lease, now_s=now_s)
            result.extend((a, lifetime_s) for a in group.spec.addresses if a in group.installed)
        return result

    def state(self) -> VipState:
        """Return the snapshot to publish."""
        return VipState(
            stopping=self._stop_ends_s is not None,
            groups=tuple(group.view() for group in self._groups.values()),
        )

    @property
    def names(self) -> frozenset[str]:
        """The groups that we know, those that are being let go for good included."""
        return frozenset(self._groups)

    @property
    def spoken(self) -> bool:
        """Whether membership was heard: before, nobody knows what is to be held."""
        return self._book.spoken

    @property
    def started_groups(self) -> frozenset[str]:
        """Groups of which something may run: what a next life must stop if it gets no lease."""
        idle = (HoldStatus.RELEASED, HoldStatus.FAILED)
        return frozenset(
            name for name, g in self._groups.items() if g.left_over or g.status not in idle
        )

    @property
    def next_deadline_s(self) -> float | None:
        """When to call ``deadline_passed`` if nothing happens before."""
        deadlines: list[float] = []
        for group in self._groups.values():
            if group.lease is not None:
                deadlines.append(group.lease.deadline_monotonic_s)
            if group.status is HoldStatus.HELD and group.called is None:
                deadlines.extend(filter(None, (group.monitor.next_deadline_s,)))
            if group.status is HoldStatus.STOPPING:
                if group.stopping is not None and group.stopping.again_s is not None:
                    deadlines.append(group.stopping.again_s)
                if group.installed:
                    deadlines.append(group.lease_ends_s)
                if self._stop_ends_s is not None:
                    deadlines.append(self._stop_ends_s)
        return min(deadlines, default=None)

    # --- transitions -----------------------------------------------------------------------------

    def _follow_lease(self, group: Group, actions: list[Action], *, now_s: float) -> None:
        lease = self._book.standing(group.spec.name, now_s=now_s)
        before, group.lease = group.lease, lease
        if lease is not None:
            group.lease_ends_s = lease.deadline_monotonic_s
        if self._stop_ends_s is not None:
            if group.running:
                self._stop(group, "clean stop of this process", actions, now_s=now_s)
            return
        if lease is None:
            self._without_lease(group, actions, now_s=now_s)
        elif group.status is HoldStatus.RELEASED:
            if self._book.fresh:
                self._start(group, lease, actions, now_s=now_s)
        elif group.status is HoldStatus.FAILED:
            if before is None or lease.epoch != group.epoch:
                self._start(group, lease, actions, now_s=now_s)
        elif group.running:
            if lease.epoch > group.epoch:  # somebody else held it too: tell the network again
                actions.extend(
                    Announce(address=a) for a in group.spec.addresses if a in group.installed
                )
            group.epoch, group.cause = lease.epoch, lease.cause

    def _without_lease(self, group: Group, actions: list[Action], *, now_s: float) -> None:
        if group.running:
            expired = now_s >= group.lease_ends_s
            reason = "the lease has expired" if expired else "the lease was revoked"
            self._stop(group, reason, actions, now_s=now_s)
        elif group.status is HoldStatus.FAILED:
            group.status, group.failure, group.reason = HoldStatus.RELEASED, None, ""
        elif group.status is HoldStatus.RELEASED and group.left_over and self._book.spoken:
            group.lease_ends_s = now_s
            self._stop(group, "left over from an earlier life", actions, now_s=now_s)

    def _start(self, group: Group, lease: Lease, actions: list[Action], *, now_s: float) -> None:
        group.status = HoldStatus.STARTING
        group.epoch, group.cause = lease.epoch, lease.cause
        group.began_s, group.reason, group.failure, group.left_over = now_s, "", None, False
        group.todo = list(group.spec.resources)
        new = tuple(a for a in group.spec.addresses if a not in group.installed)
        if lease.ask_first and new:
            group.step += 1
            actions.append(AskNetwork(group=group.spec.name, step=group.step, addresses=new))
        else:
            self._start_next(group, actions, now_s=now_s)

    def _start_next(self, group: Group, actions: list[Action], *, now_s: float) -> None:
        while group.todo:
            resource = group.todo[0]
            if isinstance(resource, AddressResource):
                assert group.lease is not None
                group.step += 1
                group.installed.add(resource)  # even if the answer is a failure, it may be there
                actions.append(
                    PutAddress(
                        group=group.spec.name,
                        step=group.step,
                        address=resource,
                        lifetime_s=self._lifetime_s(group.lease, now_s=now_s),
                        decided_s=now_s,
                    )
                )
                return
            if isinstance(resource, ScriptResource):
                self._call(group, resource, Verb.STATUS, actions)
                return
            group.todo.pop(0)  # virtual services are kept warm everywhere: nothing to start
        group.status, group.missing_since_s = HoldStatus.HELD, {}
        group.joining.clear()
        group.monitor.begin(now_s=now_s)
        actions.append(group.acquired(self._node, now_s=now_s))

    def _join(
        self,
        group: Group,
        new: Collection[AddressResource],
        actions: list[Action],
        *,
        now_s: float,
    ) -> None:
        """Start what came to a group that is held; nobody had it, so the network is asked first."""
        if group.called is not None:
            actions.append(AbortScript(group=group.spec.name))
            group.called = None
        group.status, group.began_s = HoldStatus.STARTING, now_s
        group.todo, group.joining = list(new), set(new)
        group.step += 1
        actions.append(AskNetwork(group=group.spec.name, step=group.step, addresses=tuple(new)))

    def _cannot_have(
        self,
        group: Group,
        address: AddressResource,
        problem: str,
        actions: list[Action],
        *,
        now_s: float,
    ) -> None:
        """Fail the group, unless the address joined it: a slip must not move the others."""
        if address not in group.joining:
            self._fail(group, address.name, problem, actions, now_s=now_s)
            return
        self._tell_failure(group, address.name, problem, actions)
        group.note(address, ResourceStatus.FAILED, problem)
        group.installed.discard(address)
        group.todo.remove(address)
        self._start_next(group, actions, now_s=now_s)

    def _stop(self, group: Group, reason: str, actions: list[Action], *, now_s: float) -> None:
        if group.called is not None:
            actions.append(AbortScript(group=group.spec.name))
            group.called = None
        group.status = HoldStatus.STOPPING
        group.monitor.end()
        group.joining.clear()
        group.reason, group.left_over = reason, False
        group.todo = list(reversed(group.spec.resources))
        group.step += 1
        if now_s >= group.lease_ends_s:
            self._remove_all(group, actions)
        self._stop_next(group, actions, now_s=now_s)

    def _stop_next(self, group: Group, actions: list[Action], *, now_s: float) -> None:
        group.stopping = None
        while group.todo:
            resource = group.todo[0]
            if isinstance(resource, ScriptResource):
                group.stopping = Stopping(began_s=now_s, may_run=group.may_run(resource))
                self._call(group, resource, Verb.STOP, actions)
                return
            group.todo.pop(0)
            if isinstance(resource, AddressResource) and resource in group.installed:
                self._remove(group, resource, actions)
        if group.failure is not None:
            group.status, group.reason = HoldStatus.FAILED, group.failure
        else:
            group.status = HoldStatus.RELEASED
            actions.append(group.released(self._node))
        self._follow_lease(group, actions, now_s=now_s)

    def _bound_stop(self, group: Group, actions: list[Action], *, now_s: float) -> None:
        if now_s >= group.lease_ends_s:
            self._remove_all(group, actions)
        if self._stop_ends_s is not None and now_s >= self._stop_ends_s:
            if group.called is not None:
                actions.append(AbortScript(group=group.spec.name))
                group.called = None
            for resource in group.todo:
                if isinstance(resource, ScriptResource):
                    group.note(resource, ResourceStatus.FAILED, "stop: not done in time")
                    problem = "stop: not done in the time that a clean stop may take"
                    self._tell_failure(group, resource.name, problem, actions)
            self._remove_all(group, actions)
            group.todo = []
            self._stop_next(group, actions, now_s=now_s)

    # --- scripts that are watched, and that do not stop ------------------------------------------

    def _ask_for_state(self, group: Group, actions: list[Action], *, now_s: float) -> None:
        script = group.monitor.due(now_s=now_s) if group.called is None else None
        if script is not None:
            self._call(group, script, Verb.STATUS, actions)

    def _watched(
        self,
        group: Group,
        script: ScriptResource,
        result: ScriptResult,
        actions: list[Action],
        *,
        now_s: float,
    ) -> None:
        watched = group.monitor.answered(script, result, now_s=now_s)
        group.note(script, watched.status, watched.reason)
        if watched.lost is not None:
            self._fail(group, script.name, watched.lost, actions, now_s=now_s)

    def _stop_answered(
        self,
        group: Group,
        call: CallScript,
        result: ScriptResult,
        actions: list[Action],
        *,
        now_s: float,
    ) -> None:
        stopping, settings = group.stopping, self._settings.resources
        assert stopping is not None
        follows = stopping.answered(
            call.verb,
            result,
            settings=settings,
            script_timeout_s=self._settings.script_timeout_s,
            now_s=now_s,
        )
        complaint = "" if stopping.problem is None else f"stop: {stopping.problem}"
        if follows is Next.ASK:
            self._call(group, call.script, Verb.STATUS, actions)
            return
        if follows is Next.WAIT:
            group.note(call.script, ResourceStatus.STOPPING, f"{complaint}; tried again")
            return
        status = ResourceStatus.STOPPED
        if follows is Next.GIVE_UP:
            complaint += f"; tried {stopping.tries} times, it may still run here"
            status = ResourceStatus.FAILED
            self._tell_failure(group, call.script.name, complaint, actions)
        group.note(call.script, status, complaint)
        fenced = settings.on_stop_failure is StopFailure.FENCE and self._stop_ends_s is None
        if follows is Next.GIVE_UP and fenced:
            group.step += 1
            actions.append(FenceSelf(group=group.spec.name, step=group.step))
            return
        group.todo.pop(0)
        self._stop_next(group, actions, now_s=now_s)

    def _stop_again(self, group: Group, actions: list[Action], *, now_s: float) -> None:
        stopping = group.stopping
        if stopping is None or stopping.again_s is None or now_s < stopping.again_s:
            return
        stopping.again_s = None
        script = group.todo[0]
        assert isinstance(script, ScriptResource)
        self._call(group, script, Verb.STOP, actions)

    # --- one step --------------------------------------------------------------------------------

    def _call(
        self, group: Group, script: ScriptResource, verb: Verb, actions: list[Action]
    ) -> None:
        group.step += 1
        if group.status is HoldStatus.STARTING:
            group.note(script, ResourceStatus.STARTING)
        elif verb is Verb.STOP:
            group.note(script, ResourceStatus.STOPPING)
        group.called = CallScript(group=group.spec.name, step=group.step, script=script, verb=verb)
        actions.append(group.called)

    def _remove_all(self, group: Group, actions: list[Action]) -> None:
        for address in reversed(group.spec.addresses):
            if address in group.installed:
                self._remove(group, address, actions)

    def _remove(self, group: Group, address: AddressResource, actions: list[Action]) -> None:
        group.installed.discard(address)
        actions.append(RemoveAddress(group=group.spec.name, address=address))

    def _fail(
        self, group: Group, resource: str, problem: str, actions: list[Action], *, now_s: float
    ) -> None:
        self._tell_failure(group, resource, problem, actions)
        group.failure = f"{resource}: {problem}"
        self._stop(group, group.failure, actions, now_s=now_s)

    def _tell_failure(
        self, group: Group, resource: str, problem: str, actions: list[Action]
    ) -> None:
        actions.append(group.failed(self._node, resource, problem))

    def _lifetime_s(self, lease: Lease, *, now_s: float) -> int:
        left_s = math.ceil(lease.deadline_monotonic_s - now_s)
        return max(1, min(self._settings.lifetime_s, left_s))

    def _check(self) -> None:
        for group in self._groups.values():
            running = group.running
            assert not running or group.lease is not None, group
            assert not (group.status is HoldStatus.FAILED and group.installed), group
            busy = (HoldStatus.STARTING, HoldStatus.HELD, HoldStatus.STOPPING)
            assert group.called is None or group.status in busy, group
