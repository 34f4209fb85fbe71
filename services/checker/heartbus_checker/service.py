"""Runs due probes, feeds the verdicts, publishes events and snapshots.

When the bus is gone it goes on checking; the bus client publishes the snapshot when it is back.
After a start every verdict is unknown until its first check: whoever acts on verdicts keeps what
it has until then.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import resource
import time
from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Final

from heartbus.bus import Bus, Inbox
from heartbus.events import (
    CheckerState,
    Health,
    OverrideAction,
    RealServerDown,
    RealServerOverridden,
    RealServerUp,
    RealServerWeight,
    ServiceStopped,
)
from heartbus.log import RateLimit, logger
from heartbus.model import CheckingSettings

from .backoff import Backoff
from .maintenance import Key, file_names
from .memory import Memory
from .paging import SnapshotPages
from .peers import Peers
from .probes import Probe, ProbeResult
from .probes.combined import AlternatingProbe
from .probes.deadline import Deadlines
from .schedule import ProbeSchedule
from .sharing import PERIOD_S as SHARING_PERIOD_S
from .sharing import Sharing
from .targets import CheckPlan, Target
from .vantage import suspicion
from .verdicts import Change, Verdicts
from .weights import WeightChange, Weights

SLACK_S_MAX: Final = 0.05
SLACK_SHARE: Final = 0.05
"""What is due within this share of the shortest interval, and this time, is begun at once: one
timer begins many, and their answers come together too."""

CHECKER: Final = "checker"

DOUBT_PERIOD_S: Final = 0.1
"""All verdicts are looked through to judge our own view: not with each of thousands of changes."""

WEIGHT_TICK_MIN_S: Final = 0.05
"""Weights that grow are told at most so often."""

MEMORY_AFTER_S: Final = 0.2

DESCRIPTORS_KEPT_FREE: Final = 64
"""For the bus, the logs, the epolls and what libraries open."""


class Checker:
    """All checks of one process, on the running event loop. ``probes`` go with ``plan.targets``.

    ``before``: a closed checker of another configuration, whose verdicts are remembered.
    """

    def __init__(
        self,
        plan: CheckPlan,
        probes: Sequence[Probe],
        *,
        node: str,
        bus: Bus,
        deadlines: Deadlines,
        rng: random.Random,
        settings: CheckingSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        memory: Memory | None = None,
        before: Checker | None = None,
    ) -> None:
        self._plan = plan
        self._probes = probes
        self._node = node
        self._bus = bus
        self._deadlines = deadlines
        self._clock = clock
        self._wall_clock = wall_clock
        self._loop = asyncio.get_running_loop()
        self._memory = memory
        self._taken_out: dict[Key, str] = {}
        self._remembered: dict[Key, Health] = {}
        if before is not None:
            self._remembered = before.known_healths()
        elif memory is not None:
            self._remembered = dict(memory.read())
        settings = settings or CheckingSettings()
        self._verdicts = Verdicts(plan, time_s=wall_clock(), remembered=self._remembered)
        self._schedule = ProbeSchedule(
            [target.interval_s for target in plan.targets],
            now_s=clock(),
            rng=rng,
            concurrent_max=affordable_probes(settings.concurrent),
            rate_max=settings.rate,
            slack_s=_slack_s(plan),
        )
        self._backoff = Backoff(after_s=settings.backoff_after_s, intervals_max=settings.backoff)
        self._callbacks: dict[int, partial[None]] = {}
        self._sharing: Sharing | None = None
        if settings.probers:
            self._sharing = Sharing(
                plan,
                node=node,
                probers=settings.probers,
                verdicts=self._verdicts,
                schedule=self._schedule,
            )
        self._sharing_timer: asyncio.TimerHandle | None = None
        self._weights = Weights(plan)
        self._weight_timer: asyncio.TimerHandle | None = None
        self._memory_timer: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_s = 0.0
        self._closed = False
        self._lines = RateLimit(period_s=10.0)
        self._peers = Peers()
        self._doubted_s = float("-inf")
        self._pages = SnapshotPages(key for key, _health in self._verdicts.healths())
        bus.serve_state(lambda: self._pages.due(self._verdicts.snapshot, now_s=clock()))

    @property
    def state(self) -> CheckerState:
        """Every verdict now."""
        return self._verdicts.snapshot

    def known_healths(self) -> dict[Key, Health]:
        """Return what was last decided, by us or before our start."""
        decided = {k: h for k, h in self._verdicts.healths() if h is not Health.UNKNOWN}
        return {**self._remembered, **decided}

    def start(self) -> None:
        """Announce what needs no probe and begin the first round."""
        self._announce(self._verdicts.started(time_s=self._wall_clock()))
        self._bus.publish_state()
        self._arm()
        if self._sharing is not None:
            self._sharing_timer = self._loop.call_later(SHARING_PERIOD_S, self._share)

    async def listen(self, peers: Inbox) -> None:
        """Compare our view with the snapshots of our peers, until cancelled."""
        async for message in peers:
            body, node = message.body, message.envelope.node
            if isinstance(body, RealServerOverridden):
                if body.action is OverrideAction.ENABLE:
                    self._ask_again(self._named(body))
            elif node == self._node:
                continue
            elif isinstance(body, CheckerState):
                self._peers.heard(node, body, now_s=self._clock())
                self._doubt()
            elif isinstance(body, ServiceStopped) and message.envelope.service == CHECKER:
                self._peers.stopped(node)

    def _doubt(self) -> None:
        self._doubted_s = self._clock()
        why = suspicion(self._verdicts.own_healths(), self._peers.lately(now_s=self._clock()))
        if self._verdicts.suspected(why):
            if why is None:
                logger().info("checker.believed")
            else:
                logger().warning("checker.suspect", reason=why)
            self._bus.publish_state()

    def maintenance_changed(self, taken_out: dict[Key, str]) -> None:
        """Take real servers out at once, or let checks decide again."""
        changes = self._verdicts.maintenance_changed(taken_out, time_s=self._wall_clock())
        if changes:
            self._announce(changes)
            self._bus.publish_state()
        back = self._taken_out.keys() - taken_out.keys()
        self._taken_out = dict(taken_out)
        self._ask_again(back)

    def _ask_again(self, servers: Set[Key]) -> None:
        """Ask these now, however long they have failed."""
        numbers = (
            [
                number
                for number, target in enumerate(self._plan.targets)
                if any(
                    (li.virtual_service, li.real_server) in servers
                    for li in self._plan.listeners[target]
                )
            ]
            if servers
            else []
        )
        for number in numbers:
            self._backoff.forget(number)
        self._schedule.ask_soon(numbers, now_s=self._clock())
        self._arm()

    def _named(self, event: RealServerOverridden) -> frozenset[Key]:
        """Return the real servers that an operator means."""
        return frozenset(
            (service, server)
            for (service, server), _health in self._verdicts.healths()
            if event.service in ("", service) and event.server in file_names(server)
        )

    def _share(self) -> None:
        """Take and let go of targets, and show what the others found out of theirs."""
        assert self._sharing is not None
        self._sharing_timer = self._loop.call_later(SHARING_PERIOD_S, self._share)
        now_s = self._clock()
        before = self._verdicts.snapshot
        news = self._sharing.turn(
            self._peers.lately(now_s=now_s), now_s=now_s, time_s=self._wall_clock()
        )
        for service, cause in news:
            self._bus.publish(service, cause=cause)
        if self._verdicts.snapshot is not before:
            self._bus.publish_state()
        self._arm()

    def close(self) -> None:
        """Cancel the probes under way; no verdict changes any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._weight_timer is not None:
            self._weight_timer.cancel()
        if self._sharing_timer is not None:
            self._sharing_timer.cancel()
        if self._memory_timer is not None:
            self._memory_timer.cancel()
            self._remember()
        self._deadlines.close()

    def _arm(self) -> None:
        due_s = self._schedule.next_due_s
        if due_s is None or self._closed:
            return
        if self._timer is not None:
            if self._timer_due_s <= due_s:
                return
            self._timer.cancel()
        self._timer_due_s = due_s
        self._timer = self._loop.call_later(max(0.0, due_s - self._clock()), self._begin_due)

    def _begin_due(self) -> None:
        self._timer = None
        for number in self._schedule.take_due(now_s=self._clock()):
            self._begin(number)
        self._arm()

    def _begin(self, number: int) -> None:
        probe = self._probes[number]
        if isinstance(probe, AlternatingProbe):
            timeout_s = probe.timeout_s
        else:
            timeout_s = self._plan.targets[number].timeout_s
        finished = self._callbacks.get(number)
        if finished is None:
            finished = self._callbacks[number] = partial(self._finished, number)
        self._deadlines.begin(probe, timeout_s=timeout_s, finished=finished)

    def _finished(self, number: int, result: ProbeResult, hung: bool) -> None:
        target = self._plan.targets[number]
        now_s = self._clock()
        if result.conclusive:
            self._judge(target, result, now_s)
        else:
            self._say_inconclusive(result)
        soon_s = target.fast_interval_s
        if soon_s is not None and not self._verdicts.undecided(target):
            soon_s = None
        due_s = self._schedule.probe_finished(
            number,
            now_s=now_s,
            hung=hung,
            soon_s=soon_s,
            intervals=self._backoff.probe_finished(number, passed=result.passed, now_s=now_s),
        )
        if self._timer is None or due_s < self._timer_due_s:
            self._arm()

    def _judge(self, target: Target, result: ProbeResult, now_s: float) -> None:
        changes = self._verdicts.probe_finished(
            target, passed=result.passed, reason=result.reason, time_s=self._wall_clock()
        )
        weights = self._weights.passed(target, result.weight, now_s=now_s) if result.passed else []
        if changes:
            self._announce(changes)
            self._bus.publish_state()
        if weights or changes:
            told = {change.key for change in changes}
            self._weigh([w for w in weights if self._verdicts.is_up(w.key) and w.key not in told])

    def _announce(self, changes: list[Change]) -> None:
        if self._clock() - self._doubted_s >= DOUBT_PERIOD_S:
            self._doubt()
        for change in changes:
            event: RealServerUp | RealServerDown = change.real_server
            if isinstance(event, RealServerUp):
                weight = self._weights.came_up(
                    change.key, recovered=change.recovered, now_s=self._clock()
                )
                event = dataclasses.replace(event, weight=weight)
                self._verdicts.weighed(change.key, weight)
            else:
                self._weights.went_down(change.key)
                self._verdicts.weighed(change.key, None)
            event_id = self._bus.publish(event)
            self._verdicts.announced(change, event_id)
            if change.virtual_service is not None:
                self._bus.publish(change.virtual_service, cause=event_id)
        self._remember_soon()

    def _remember_soon(self) -> None:
        """Write the verdicts down, once for all that change within a moment."""
        if self._memory is not None and self._memory_timer is None and not self._closed:
            self._memory_timer = self._loop.call_later(MEMORY_AFTER_S, self._remember)

    def _remember(self) -> None:
        self._memory_timer = None
        assert self._memory is not None
        error = self._memory.write(self._verdicts.healths())
        if error is None:
            return
        held_back = self._lines.passes("memory", now_s=self._clock())
        if held_back is not None:
            logger().warning("verdicts.unwritten", error=error, similar=held_back)

    def _weigh(self, changes: list[WeightChange]) -> None:
        changes = [change for change in changes if self._verdicts.is_up(change.key)]
        for change in changes:
            self._verdicts.weighed(change.key, change.weight)
            service, real_server = change.key
            self._bus.publish(
                RealServerWeight(
                    virtual_service=service,
                    real_server=real_server,
                    weight=change.weight,
                    reason=change.reason,
                )
            )
        if changes:
            self._bus.publish_state()
        self._arm_weights()

    def _arm_weights(self) -> None:
        if self._weight_timer is not None:
            self._weight_timer.cancel()
            self._weight_timer = None
        due_s = self._weights.next_deadline_s
        if due_s is not None and not self._closed:
            delay_s = max(WEIGHT_TICK_MIN_S, due_s - self._clock())
            self._weight_timer = self._loop.call_later(delay_s, self._grow)

    def _grow(self) -> None:
        self._weight_timer = None
        self._weigh(self._weights.deadline_passed(now_s=self._clock()))

    def _say_inconclusive(self, result: ProbeResult) -> None:
        held_back = self._lines.passes("inconclusive", now_s=self._clock())
        if held_back is not None:
            logger().warning("check.inconclusive", reason=result.reason, similar=held_back)


def _slack_s(plan: CheckPlan) -> float:
    shortest_s = min((target.interval_s for target in plan.targets), default=0.0)
    return min(SLACK_S_MAX, shortest_s * SLACK_SHARE)


def affordable_probes(wanted: int) -> int:
    """Return how many probes may run at once: each holds one descriptor (RLIMIT_NOFILE)."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - DESCRIPTORS_KEPT_FREE))
