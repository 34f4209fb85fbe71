"""Decides which probe is due next.

Sans-I/O. Probes are numbers from 0. Each has a slot that repeats every interval, from start to
start, so slow answers do not stretch the period; slots of all probes are spread evenly, jitter
keeps two directors from falling into step. The first round is quicker than the others, so that
verdicts come soon after a start. A probe is never begun while it still runs: it misses that slot.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Sequence
from typing import Final

FIRST_ROUND_S_MAX: Final = 1.0
CONCURRENT_MAX: Final = 256
JITTER: Final = 0.05
"""A probe begins at most this share of its interval after its slot."""

HUNG_SHARE_MAX: Final = 0.75
"""Probes whose last check ran into its deadline may fill this share of what may run at once: the
rest stays free for those that answer, however many others hang."""

_GOLDEN: Final = 0.6180339887498949
"""Fractional parts of its multiples are spread evenly, whichever run of them one takes."""


class ProbeSchedule:
    """Due times of probes 0 … n-1; one heap, nothing per probe while it is idle.

    ``slack_s``: what is due within this time is begun at once, so that many probes cost one timer.
    """

    def __init__(
        self,
        intervals_s: Sequence[float],
        *,
        now_s: float,
        rng: random.Random,
        concurrent_max: int = CONCURRENT_MAX,
        slack_s: float = 0.0,
    ) -> None:
        if concurrent_max < 1:
            raise ValueError(f"concurrent_max {concurrent_max} must be at least 1")
        self._intervals_s = tuple(intervals_s)
        self._rng = rng
        self._slack_s = slack_s
        self._running_max = concurrent_max
        self._hung_max = max(1, int(concurrent_max * HUNG_SHARE_MAX))
        self._running: set[int] = set()
        self._hung: set[int] = set()
        self._hung_running = 0
        self._held_back: deque[tuple[float, int]] = deque()
        self._slot_s: list[float] = []
        self._due: list[tuple[float, int]] = []
        offset = rng.random()
        for number, interval_s in enumerate(self._intervals_s):
            if interval_s <= 0:
                raise ValueError(f"interval {interval_s} s must be more than 0")
            phase = (offset + number * _GOLDEN) % 1.0
            order = number / len(self._intervals_s)
            self._slot_s.append(now_s + phase * interval_s)
            self._due.append((now_s + order * min(interval_s, FIRST_ROUND_S_MAX), number))
        heapq.heapify(self._due)

    @property
    def running(self) -> int:
        """Probes that were begun and have not finished."""
        return len(self._running)

    @property
    def next_due_s(self) -> float | None:
        """When to call ``take_due``; None while nothing more may run at once."""
        if not self._due or len(self._running) >= self._running_max:
            return None
        return self._due[0][0]

    def take_due(self, *, now_s: float) -> list[int]:
        """Return the probes to begin now; each counts as running until it has finished."""
        begun: list[int] = []
        until_s = now_s + self._slack_s
        while self._due and self._due[0][0] <= until_s and len(self._running) < self._running_max:
            due = heapq.heappop(self._due)
            number = due[1]
            if number in self._hung:
                if self._hung_running >= self._hung_max:
                    self._held_back.append(due)
                    continue
                self._hung_running += 1
            self._running.add(number)
            begun.append(number)
        return begun

    def probe_finished(
        self, number: int, *, now_s: float, hung: bool, soon_s: float | None = None
    ) -> None:
        """Take note that a probe has finished; ``hung``: it ran into its deadline.

        ``soon_s``: it is due again after this time, where its slot comes later: a verdict is about
        to change.

        Raises:
            ValueError: it was not running.

        """
        if number not in self._running:
            raise ValueError(f"probe {number} is not running")
        self._running.remove(number)
        if number in self._hung:
            self._hung_running -= 1
            if self._held_back:
                heapq.heappush(self._due, self._held_back.popleft())
        (self._hung.add if hung else self._hung.discard)(number)
        due_s = self._next_due_s(number, now_s)
        if soon_s is not None:
            due_s = min(due_s, now_s + soon_s)
        heapq.heappush(self._due, (due_s, number))

    def _next_due_s(self, number: int, now_s: float) -> float:
        interval_s = self._intervals_s[number]
        slot_s = self._slot_s[number]
        # A probe that was begun early, within the slack, must not run twice in its slot.
        earliest_s = now_s + self._slack_s
        if slot_s <= earliest_s:
            slot_s += (int((earliest_s - slot_s) / interval_s) + 1) * interval_s
            self._slot_s[number] = slot_s
        return slot_s + self._rng.random() * JITTER * interval_s
