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
from dataclasses import dataclass, field
from typing import Final

from heartbus.events import (
    HeldGroup,
    HoldStatus,
    Lease,
    VipAcquired,
    VipFailed,
    VipReleased,
    VipState,
)
from heartbus.model import AddressResource, Resource, ResourceGroup, ScriptResource, VipSettings
from heartbus_vip.actions import (
    AbortScript,
    Action,
    Announce,
    CallScript,
    PutAddress,
    RemoveAddress,
    Tell,
)
from heartbus_vip.news import LeaseBook, LeaseNews
from heartbus_vip.resource import ScriptResult, Verb

STOP_S_MAX: Final = 10.0
"""A clean stop of the process takes no longer than this, whatever the scripts do."""


@dataclass(slots=True)
class _Group:
    spec: ResourceGroup
    status: HoldStatus = HoldStatus.RELEASED
    lease: Lease | None = None
    epoch: int = 0
    cause: str | None = None
    reason: str = ""
    failure: str | None = None
    began_s: float = 0.0
    lease_ends_s: float = 0.0
    todo: list[Resource] = field(default_factory=list)
    step: int = 0
    called: CallScript | None = None
    installed: set[AddressResource] = field(default_factory=set)
    missing_since_s: dict[AddressResource, float] = field(default_factory=dict)
    left_over: bool = False


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
        self._groups = {
            spec.name: _Group(
                spec=spec,
                installed={a for a in spec.addresses if a in present},
                left_over=spec.name in left_over or any(a in present for a in spec.addresses),
            )
            for spec in groups
        }

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
            self._fail(state, address.name, problem, actions, now_s=now_s)
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
        if call.verb is Verb.STATUS and not result.says_held:
            self._call(state, call.script, Verb.START, actions)
        elif call.verb is Verb.START and result.problem is not None:
            self._fail(state, call.script.name, f"start: {result.problem}", actions, now_s=now_s)
        else:
            if call.verb is Verb.STOP and result.problem is not None:
                self._tell_failure(state, call.script.name, f"stop: {result.problem}", actions)
            state.todo.pop(0)
            if call.verb is Verb.STOP:
                self._stop_next(state, actions, now_s=now_s)
            else:
                self._start_next(state, actions, now_s=now_s)
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
            if lease is None or group.status not in (HoldStatus.STARTING, HoldStatus.HELD):
                continue
            lifetime_s = self._lifetime_s(lease, now_s=now_s)
            result.extend((a, lifetime_s) for a in group.spec.addresses if a in group.installed)
        return result

    def state(self) -> VipState:
        """Return the snapshot to publish."""
        return VipState(
            stopping=self._stop_ends_s is not None,
            groups=tuple(
                HeldGroup(
                    name=group.spec.name,
                    status=group.status,
                    epoch=group.epoch,
                    addresses=tuple(
                        a.address for a in group.spec.addresses if a in group.installed
                    ),
                    reason=group.reason,
                )
                for group in self._groups.values()
            ),
        )

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
            if group.status is HoldStatus.STOPPING:
                if group.installed:
                    deadlines.append(group.lease_ends_s)
                if self._stop_ends_s is not None:
                    deadlines.append(self._stop_ends_s)
        return min(deadlines, default=None)

    # --- transitions -----------------------------------------------------------------------------

    def _follow_lease(self, group: _Group, actions: list[Action], *, now_s: float) -> None:
        lease = self._book.standing(group.spec.name, now_s=now_s)
        before, group.lease = group.lease, lease
        if lease is not None:
            group.lease_ends_s = lease.deadline_monotonic_s
        if self._stop_ends_s is not None:
            if group.status in (HoldStatus.STARTING, HoldStatus.HELD):
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
        elif group.status in (HoldStatus.STARTING, HoldStatus.HELD):
            if lease.epoch > group.epoch:  # somebody else held it too: tell the network again
                actions.extend(
                    Announce(address=a) for a in group.spec.addresses if a in group.installed
                )
            group.epoch, group.cause = lease.epoch, lease.cause

    def _without_lease(self, group: _Group, actions: list[Action], *, now_s: float) -> None:
        if group.status in (HoldStatus.STARTING, HoldStatus.HELD):
            expired = now_s >= group.lease_ends_s
            reason = "the lease has expired" if expired else "the lease was revoked"
            self._stop(group, reason, actions, now_s=now_s)
        elif group.status is HoldStatus.FAILED:
            group.status, group.failure, group.reason = HoldStatus.RELEASED, None, ""
        elif group.status is HoldStatus.RELEASED and group.left_over and self._book.spoken:
            group.lease_ends_s = now_s
            self._stop(group, "left over from an earlier life", actions, now_s=now_s)

    def _start(self, group: _Group, lease: Lease, actions: list[Action], *, now_s: float) -> None:
        group.status = HoldStatus.STARTING
        group.epoch, group.cause = lease.epoch, lease.cause
        group.began_s, group.reason, group.failure, group.left_over = now_s, "", None, False
        group.todo = list(group.spec.resources)
        self._start_next(group, actions, now_s=now_s)

    def _start_next(self, group: _Group, actions: list[Action], *, now_s: float) -> None:
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
        event = VipAcquired(
            group=group.spec.name,
            director=self._node,
            epoch=group.epoch,
            addresses=tuple(a.address for a in group.spec.addresses),
            took_s=now_s - group.began_s,
        )
        actions.append(Tell(event=event, cause=group.cause))

    def _stop(self, group: _Group, reason: str, actions: list[Action], *, now_s: float) -> None:
        if group.called is not None:
            actions.append(AbortScript(group=group.spec.name))
            group.called = None
        group.status = HoldStatus.STOPPING
        group.reason, group.left_over = reason, False
        group.todo = list(reversed(group.spec.resources))
        group.step += 1
        if now_s >= group.lease_ends_s:
            self._remove_all(group, actions)
        self._stop_next(group, actions, now_s=now_s)

    def _stop_next(self, group: _Group, actions: list[Action], *, now_s: float) -> None:
        while group.todo:
            resource = group.todo[0]
            if isinstance(resource, ScriptResource):
                self._call(group, resource, Verb.STOP, actions)
                return
            group.todo.pop(0)
            if isinstance(resource, AddressResource) and resource in group.installed:
                self._remove(group, resource, actions)
        if group.failure is not None:
            group.status, group.reason = HoldStatus.FAILED, group.failure
        else:
            group.status = HoldStatus.RELEASED
            event = VipReleased(
                group=group.spec.name,
                director=self._node,
                epoch=group.epoch,
                addresses=tuple(a.address for a in group.spec.addresses),
                reason=group.reason,
            )
            actions.append(Tell(event=event, cause=group.cause))
        self._follow_lease(group, actions, now_s=now_s)

    def _bound_stop(self, group: _Group, actions: list[Action], *, now_s: float) -> None:
        if now_s >= group.lease_ends_s:
            self._remove_all(group, actions)
        if self._stop_ends_s is not None and now_s >= self._stop_ends_s:
            if group.called is not None:
                actions.append(AbortScript(group=group.spec.name))
                group.called = None
            for resource in group.todo:
                if isinstance(resource, ScriptResource):
                    problem = "stop: not done in the time that a clean stop may take"
                    self._tell_failure(group, resource.name, problem, actions)
            self._remove_all(group, actions)
            group.todo = []
            self._stop_next(group, actions, now_s=now_s)

    # --- one step --------------------------------------------------------------------------------

    def _call(
        self, group: _Group, script: ScriptResource, verb: Verb, actions: list[Action]
    ) -> None:
        group.step += 1
        group.called = CallScript(group=group.spec.name, step=group.step, script=script, verb=verb)
        actions.append(group.called)

    def _remove_all(self, group: _Group, actions: list[Action]) -> None:
        for address in reversed(group.spec.addresses):
            if address in group.installed:
                self._remove(group, address, actions)

    def _remove(self, group: _Group, address: AddressResource, actions: list[Action]) -> None:
        group.installed.discard(address)
        actions.append(RemoveAddress(group=group.spec.name, address=address))

    def _fail(
        self, group: _Group, resource: str, problem: str, actions: list[Action], *, now_s: float
    ) -> None:
        self._tell_failure(group, resource, problem, actions)
        group.failure = f"{resource}: {problem}"
        self._stop(group, group.failure, actions, now_s=now_s)

    def _tell_failure(
        self, group: _Group, resource: str, problem: str, actions: list[Action]
    ) -> None:
        event = VipFailed(
            group=group.spec.name,
            director=self._node,
            epoch=group.epoch,
            resource=resource,
            reason=problem,
        )
        actions.append(Tell(event=event, cause=group.cause))

    def _lifetime_s(self, lease: Lease, *, now_s: float) -> int:
        left_s = math.ceil(lease.deadline_monotonic_s - now_s)
        return max(1, min(self._settings.lifetime_s, left_s))

    def _check(self) -> None:
        for group in self._groups.values():
            running = group.status in (HoldStatus.STARTING, HoldStatus.HELD)
            assert not running or group.lease is not None, group
            assert not (group.status is HoldStatus.FAILED and group.installed), group
            assert group.called is None or group.status in (
                HoldStatus.STARTING,
                HoldStatus.STOPPING,
            ), group
