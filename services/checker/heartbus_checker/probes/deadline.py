"""The one deadline of every probe, outside of any protocol code.

Whatever a probe does, its check ends once, with a result, no later than its timeout. The one
exception: this process itself stood still, and nobody had a chance to answer, see ``STALL_S``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from heartbus.log import logger

from . import Attempt, Probe, ProbeResult, duration

STALL_S: Final = 0.25
"""A timer later than this is evidence about us (paused, starved): checks under way begin their
time anew."""


class Deadlines:
    """Begins checks and ends those that are late; one timer for all.

    Checks with equal timeouts end in the order in which they began, so each timeout has a queue.

    ``drain`` takes what has arrived already, so that an answer that waits in a socket counts
    before the deadline does. ``finished`` of a check gets ``hung`` True if it ran into it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        drain: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._drain = drain
        self._clock = clock
        self._queues: dict[float, deque[_Check]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_s = 0.0
        self._closed = False

    def begin(
        self, probe: Probe, *, timeout_s: float, finished: Callable[[ProbeResult, bool], None]
    ) -> None:
        """Begin a check; ``finished(result, hung)`` is called once, never from within."""
        check = _Check(timeout_s, self._clock() + timeout_s, finished)
        try:
            check.attempt = probe.begin(check.probe_finished)
        except Exception as error:  # a defect of ours: it must not end the other checks
            logger().exception("probe.defect")
            defect = ProbeResult(
                passed=False, reason=f"defect in the probe: {error!r}", took_s=0.0, conclusive=False
            )
            self._loop.call_soon(check.probe_finished, defect)
            return
        queue = self._queues.get(timeout_s)
        if queue is None:
            queue = self._queues[timeout_s] = deque()
        queue.append(check)
        while queue and queue[0].finished is None:
            queue.popleft()
        if self._timer is None or (queue and queue[0].due_s < self._timer_due_s):
            self._arm()

    def close(self) -> None:
        """End everything; nothing is reported any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for queue in self._queues.values():
            for check in queue:
                check.give_up()
        self._queues.clear()

    def _arm(self) -> None:
        """Set the timer for the first that is under way.

        Those that have finished stay in their queue until they come to its head: removing them
        there would cost more than the timer that they may cause, about one per timeout.
        """
        if self._closed:
            return
        due_s = None
        for timeout_s, queue in list(self._queues.items()):
            while queue and queue[0].finished is None:
                queue.popleft()
            if not queue:
                del self._queues[timeout_s]
            elif due_s is None or queue[0].due_s < due_s:
                due_s = queue[0].due_s
        if due_s is None:
            return
        if self._timer is not None:
            if self._timer_due_s <= due_s:
                return
            self._timer.cancel()
        self._timer_due_s = due_s
        self._timer = self._loop.call_later(max(0.0, due_s - self._clock()), self._timer_fired)

    def _timer_fired(self) -> None:
        late_s = self._clock() - self._timer_due_s
        self._timer = None
        self._drain()
        if late_s > STALL_S:
            logger().warning("checker.stalled", stalled_s=round(late_s, 3))
            self._begin_anew()
        now_s = self._clock()
        for queue in list(self._queues.values()):
            while queue and queue[0].due_s <= now_s:
                queue.popleft().expire()
        self._arm()

    def _begin_anew(self) -> None:
        """Give every check its whole time again, but only once: hung servers are found out."""
        now_s = self._clock()
        for queue in self._queues.values():
            for check in queue:
                if check.finished is not None and not check.anew:
                    check.due_s = now_s + check.timeout_s
                    check.anew = True


class _Check:
    """One check under way; ``finished`` None once it is over, ``anew`` after a stall of ours."""

    __slots__ = ("anew", "attempt", "due_s", "finished", "timeout_s")

    def __init__(
        self, timeout_s: float, due_s: float, finished: Callable[[ProbeResult, bool], None]
    ) -> None:
        self.timeout_s = timeout_s
        self.due_s = due_s
        self.finished: Callable[[ProbeResult, bool], None] | None = finished
        self.attempt: Attempt | None = None
        self.anew = False

    def probe_finished(self, result: ProbeResult) -> None:
        finished, self.finished = self.finished, None
        self.attempt = None
        if finished is not None:
            finished(result, False)

    def expire(self) -> None:
        finished, self.finished = self.finished, None
        if finished is not None:
            finished(self._expired(), True)

    def give_up(self) -> None:
        if self.finished is not None:
            self.finished = None
            self._expired()

    def _expired(self) -> ProbeResult:
        assert self.attempt is not None
        try:
            return self.attempt.expire(self.timeout_s)
        except Exception as error:  # a defect of ours: the deadline holds all the same
            logger().exception("probe.defect")
            reason = f"no answer within {duration(self.timeout_s)} (defect: {error!r})"
            return ProbeResult(passed=False, reason=reason, took_s=self.timeout_s)
        finally:
            self.attempt = None
