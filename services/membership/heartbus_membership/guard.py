"""The shell of what stands beside membership: watchdog device, fence commands, clients.

Joins their cores and adapters. ``turn_finished`` is called at the end of every turn of membership
and nowhere else. A clean stop disarms the watchdog and ends the clients; any other end leaves the
watchdog counting, which the next process of ours feeds again if it is there in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import assert_never

import structlog

from heartbus.bus import Bus
from heartbus.events import ClientView, FenceView, NodeFenced, WatchdogView
from heartbus.model import Membership
from heartbus_membership.clients import Clients
from heartbus_membership.fence_policy import (
    EndFence,
    FenceEffect,
    FencePolicy,
    RunFence,
    TellFence,
)
from heartbus_membership.fencing import FenceResult, run_fence
from heartbus_membership.watchdog import Watchdog, WatchdogDevice, WatchdogError
from heartbus_membership.watchdog_policy import Remark, WatchdogPolicy, WatchdogStep


class Guard:
    """All of it for one director. ``fences`` answers ``needed`` and ``is_fenced``."""

    def __init__(
        self,
        *,
        node: str,
        settings: Membership,
        bus: Bus,
        log: structlog.typing.FilteringBoundLogger,
        clock: Callable[[], float],
        wake_up: Callable[[], None],
        device: Callable[[str], Watchdog] = WatchdogDevice,
    ) -> None:
        self._bus = bus
        self._log = log
        self._clock = clock
        self._wake_up = wake_up
        # HA_CURHOST is what Heartbeat called it.
        self._environment = {"HEARTBUS_NODE": node, "HA_CURHOST": node}
        self._watchdog: Watchdog | None = None
        self._feeding: WatchdogPolicy | None = None
        if settings.watchdog is not None:
            self._watchdog = device(settings.watchdog)
            self._feeding = WatchdogPolicy(
                device=settings.watchdog, deadtime_s=settings.timers.deadtime_s
            )
        # All directors share one file: what would fence ourselves is for the others.
        self.fences = FencePolicy([f for f in settings.fences if f.director != node])
        self._fencing: dict[str, asyncio.Task[FenceResult]] = {}
        self._clients = Clients(
            settings.clients, environment=self._environment, log=log, clock=clock
        )
        self._tasks: asyncio.TaskGroup | None = None
        self._early: list[RunFence] = []
        self._closed = False

    # --- life ------------------------------------------------------------------------------------

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Membership is ready: start the clients, within these tasks."""
        self._tasks = tasks
        self._clients.start(tasks)
        early, self._early = self._early, []
        for effect in early:
            self._run_fence(effect)

    def turn_finished(self, *, now_s: float) -> None:
        """Feed the watchdog, try failed fences again: a turn of membership ended well."""
        self._carry_out(self.fences.deadline_passed(now_s=now_s))
        if self._feeding is not None and self._watchdog is not None:
            step = self._feeding.turn_finished(now_s=now_s)
            if step is not None:
                self._tell(self._watch(self._watchdog, self._feeding, step, now_s))

    async def stop(self) -> None:
        """Stop cleanly: disarm the watchdog and end the clients, last first."""
        self._end_fencing()
        # First: clients take their time, and who waits for us may lose patience and kill us.
        if self._feeding is not None and self._watchdog is not None and self._feeding.stop():
            self._watchdog.close(disarm=True)
            self._log.info("watchdog.disarmed")
        await self._clients.stop()

    def close(self) -> None:
        """End whatever still runs. The watchdog, unless it was disarmed, goes on counting."""
        self._end_fencing()
        self._clients.kill()
        if self._watchdog is not None:
            self._watchdog.close(disarm=False)

    def _end_fencing(self) -> None:
        self._closed = True
        for task in self._fencing.values():
            task.cancel()

    # --- watchdog --------------------------------------------------------------------------------

    def _watch(
        self, device: Watchdog, policy: WatchdogPolicy, step: WatchdogStep, now_s: float
    ) -> Remark | None:
        try:
            match step:
                case WatchdogStep.OPEN:
                    counted_s = device.open(policy.wanted_s)
                    return policy.opened(timeout_s=counted_s, now_s=now_s)
                case WatchdogStep.FEED:
                    device.feed()
                    return None
                case _:
                    assert_never(step)
        except WatchdogError as error:
            return policy.failed(str(error), now_s=now_s)

    def _tell(self, remark: Remark | None) -> None:
        if remark is None:
            return
        if remark.usable:
            self._log.info("watchdog.armed", what=remark.text)
        else:
            self._log.warning("watchdog.unusable", problem=remark.text, then="tried again")
        self._bus.publish_state()

    # --- fencing ---------------------------------------------------------------------------------

    def fence_wanted(self, peer: str, *, cause: str | None) -> None:
        """Fence a dead director that may hold something; ``cause``: id of the event that says so.

        Changes nothing if it is being fenced, is fenced, or has no fence.
        """
        self._carry_out(self.fences.wanted(peer, cause=cause, now_s=self._clock()))

    def peer_returned(self, peer: str) -> None:
        """Want no fence for a director (any more): it is heard, or said that it leaves."""
        self._carry_out(self.fences.peer_returned(peer))

    def _carry_out(self, effects: Iterable[FenceEffect]) -> None:
        for effect in effects:
            match effect:
                case RunFence():
                    self._run_fence(effect)
                case EndFence():
                    self._end_fence(effect.director)
                case TellFence():
                    self._tell_fence(effect)
                case _:
                    assert_never(effect)

    def _run_fence(self, effect: RunFence) -> None:
        if self._closed:
            return
        if self._tasks is None:
            self._early.append(effect)
            return
        fence = effect.fence
        self._log.warning(
            "fence.started", director=fence.director, program=fence.command, action=fence.action
        )
        task = self._tasks.create_task(run_fence(fence, environment=self._environment))
        self._fencing[fence.director] = task
        task.add_done_callback(lambda done: self._fence_ended(fence.director, done))

    def _end_fence(self, peer: str) -> None:
        if (task := self._fencing.get(peer)) is not None:
            task.cancel()

    def _fence_ended(self, peer: str, task: asyncio.Task[FenceResult]) -> None:
        del self._fencing[peer]
        if self._closed or (not task.cancelled() and task.exception() is not None):
            return  # a defect ends membership, by its task group
        result = FenceResult(ok=False, output="was ended") if task.cancelled() else task.result()
        self._carry_out(
            self.fences.finished(peer, ok=result.ok, output=result.output, now_s=self._clock())
        )
        self._wake_up()  # whoever waits for it asks in the next turn

    def _tell_fence(self, effect: TellFence) -> None:
        event = effect.event
        self._bus.publish(event, cause=effect.cause)
        self._bus.publish_state()
        if isinstance(event, NodeFenced):
            self._log.warning("fence.done", director=event.director, program=event.command)
        else:
            self._log.error("fence.failed", director=event.director, reason=event.reason)

    # --- what is told ----------------------------------------------------------------------------

    def watchdog_view(self) -> WatchdogView | None:
        """Return how the watchdog is, None if there is none."""
        return self._feeding.view() if self._feeding is not None else None

    def fence_views(self) -> tuple[FenceView, ...]:
        """Return where fencing of each director stands."""
        return self.fences.views()

    def client_views(self) -> tuple[ClientView, ...]:
        """Return what became of each client."""
        return self._clients.views()
