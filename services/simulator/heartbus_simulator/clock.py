"""One virtual time for all hosts, and the monotonic clock that each of them reads."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

Action = Callable[[], None]


class Timeline:
    """Runs actions in the order of their times; nothing happens in between, so nothing waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.steps = 0
        self.after_step: Action = lambda: None
        self._numbers = itertools.count()
        self._queue: list[tuple[float, int, Action]] = []

    def at(self, time_s: float, action: Action) -> None:
        """Do something at a time; at once if that has passed."""
        heapq.heappush(self._queue, (max(time_s, self.now_s), next(self._numbers), action))

    def after(self, delay_s: float, action: Action) -> None:
        """Do something later."""
        heapq.heappush(self._queue, (self.now_s + delay_s, next(self._numbers), action))

    def run_until(self, end_s: float) -> None:
        """Let time pass."""
        queue = self._queue
        while queue and queue[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(queue)
            action()
            self.steps += 1
            self.after_step()
        self.now_s = end_s


class HostClock:
    """CLOCK_MONOTONIC of one host: its own zero, a little too fast or too slow.

    It goes on while a process is stopped, and stands while the whole machine is suspended.
    """

    def __init__(self, timeline: Timeline, *, offset_s: float, drift: float) -> None:
        self._timeline = timeline
        self._rate = 1.0 + drift
        self._base_s = offset_s
        self._real_s = timeline.now_s
        self._stands = False

    @property
    def now_s(self) -> float:
        """What the host reads now."""
        if self._stands:
            return self._base_s
        return self._base_s + (self._timeline.now_s - self._real_s) * self._rate

    def real_s(self, monotonic_s: float) -> float:
        """Return the virtual time at which this clock will show, or showed, something."""
        return self._real_s + (monotonic_s - self._base_s) / self._rate

    def stand(self) -> None:
        """Stop: the machine is suspended."""
        self._base_s, self._stands = self.now_s, True

    def go(self) -> None:
        """Go on from where it stood."""
        if self._stands:
            self._real_s, self._stands = self._timeline.now_s, False
