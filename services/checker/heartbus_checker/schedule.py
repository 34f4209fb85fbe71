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
from collections.abc import Iterable, Sequence
from typing import Final

FIRST_ROUND_S_MAX: Final = 1.0
CONCURRENT_MAX: Final = 256
JITTER: Final = 0.05
"""A probe begins at most this share of its interval after its slot."""

HUNG_SHARE_MAX: Final = 0.75
"""Probes whose last check ran into its deadline may fill this share of what may run at once: the
rest stays free for those that answer, however many others hang."""

BURST_S: Final = 0.05
"""What may be begun in so long may be begun at once, where the rate is limited."""

_GOLDEN: Final = 0.6180339887498949
"""Fractional parts of its multiples are spread evenly, whichever run of them one takes."""


class ProbeSchedule:
    """Due times of probes 0 … n-1; one heap, nothing per probe while it is idle.

    ``slack_s``: what is due within this time is begun at once, so that many probes cost one timer.
    ``rate_max``: probes begun in a second; 0: any number.
    """

    def __init__(
        self,
        intervals_s: Sequence[float],
        *,
        now_s: float,
        rng: random.Random,
        concurrent_max: int = CONCURRENT_MAX,
        rate_max: int = 0,
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
        self._budget = _Budget(rate_max, now_s=now_s) if rate_max else None
        self._left: set[int] = set()
        self._slot_s: list[float] = []
        self._due_s: list[float] = []
        self._due: list[tuple[float, int]] = []
        offset = rng.random()
        for number, interval_s in enumerate(self._intervals_s):
            if interval_s <= 0:
                raise ValueError(f"interval {interval_s} s must be more than 0")
            phase = (offset + number * _GOLDEN) % 1.0
            self._slot_s.append(now_s + phase * interval_s)
        self._due_s = self._spread(range(len(self._intervals_s)), now_s)
        self._due = [(due_s, number) for number, due_s in enumerate(self._due_s)]
        heapq.heapify(self._due)

    @property
    def running(self) -> int:
        """Probes that were begun and have not finished."""
        return len(self._running)

    @property
    def next_due_s(self) -> float | None:
        """When to call ``take_due``; None while nothing more may run at once."""
        self._drop_stale()
        if not self._due or len(self._running) >= self._running_max:
            return None
        due_s = self._due[0][0]
        return due_s if self._budget is None else max(due_s, self._budget.next_s)

    def take_due(self, *, now_s: float) -> list[int]:
        """Return the probes to begin now; each counts as running until it has finished."""
        begun: list[int] = []
        until_s = now_s + self._slack_s
        while self._due and self._due[0][0] <= until_s and len(self._running) < self._running_max:
            due = heapq.heappop(self._due)
            number = due[1]
            if self._is_stale(due):
                continue
            if number in self._hung and self._hung_running >= self._hung_max:
                self._held_back.append(due)
                continue
            if self._budget is not None and not self._budget.spend(now_s=now_s):
                heapq.heappush(self._due, due)
                break
            if number in self._hung:
                self._hung_running += 1
            self._running.add(number)
            begun.append(number)
        return begun

    def probe_finished(
        self,
        number: int,
        *,
        now_s: float,
        hung: bool,
        soon_s: float | None = None,
        intervals: int = 1,
    ) -> float:
        """Take note that a probe has finished; ``hung``: it ran into its deadline.

        Returns when it is due again, or now if that lets another begin. ``soon_s``: it is due again
        after this time, where its slot comes later: a verdict is about to change. ``intervals``: it
        is due in its slot after so many of them.

        Raises:
            ValueError: it was not running.

        """
        if number not in self._running:
            raise ValueError(f"probe {number} is not running")
        was_full = len(self._running) >= self._running_max
        self._running.remove(number)
        if hung or number in self._hung:
            if number in self._hung:
                self._hung_running -= 1
                self._release()
                was_full = True
            (self._hung.add if hung else self._hung.discard)(number)
        due_s = self._next_due_s(number, now_s)
        if intervals > 1:
            due_s += (intervals - 1) * self._intervals_s[number]
        if soon_s is not None:
            due_s = min(due_s, now_s + soon_s)
        self._due_again(number, due_s)
        return now_s if was_full else due_s

    def leave(self, numbers: Iterable[int]) -> None:
        """Begin these no more; those that run may finish."""
        self._left.update(numbers)

    def take(self, numbers: Sequence[int], *, now_s: float) -> None:
        """Begin these again, as in a first round."""
        self._left.difference_update(numbers)
        self.ask_soon(numbers, now_s=now_s)

    def ask_soon(self, numbers: Sequence[int], *, now_s: float) -> None:
        """Let these be due as in a first round, whenever their slots are."""
        for number, due_s in zip(numbers, self._spread(numbers, now_s), strict=True):
            if number not in self._running:
                self._due_again(number, due_s)

    def _release(self) -> None:
        """Let one of those that hang have its turn."""
        while self._held_back:
            due = self._held_back.popleft()
            if not self._is_stale(due):
                heapq.heappush(self._due, due)
                return

    def _spread(self, numbers: Sequence[int], now_s: float) -> list[float]:
        """Return when each is due in a round that is quicker than the others."""
        return [
            now_s + order / len(numbers) * min(self._intervals_s[number], FIRST_ROUND_S_MAX)
            for order, number in enumerate(numbers)
        ]

    def _due_again(self, number: int, due_s: float) -> None:
        self._due_s[number] = due_s
        heapq.heappush(self._due, (due_s, number))

    def _is_stale(self, due: tuple[float, int]) -> bool:
        """Return whether it was given another time since, runs by now, or was left."""
        due_s, number = due
        return due_s != self._due_s[number] or number in self._running or number in self._left

    def _drop_stale(self) -> None:
        while self._due and self._is_stale(self._due[0]):
            heapq.heappop(self._due)

    def _next_due_s(self, number: int, now_s: float) -> float:
        interval_s = self._intervals_s[number]
        slot_s = self._slot_s[number]
        # A probe that was begun early, within the slack, must not run twice in its slot.
        earliest_s = now_s + self._slack_s
        if slot_s <= earliest_s:
            slot_s += (int((earliest_s - slot_s) / interval_s) + 1) * interval_s
            self._slot_s[number] = slot_s
        return slot_s + self._rng.random() * JITTER * interval_s


class _Budget:
    """How many probes may begin: ``rate`` in a second, BURST_S of that at once."""

    def __init__(self, rate: int, *, now_s: float) -> None:
        self._rate = rate
        self._burst = max(1.0, rate * BURST_S)
        self._left = self._burst
        self._counted_s = now_s

    @property
    def next_s(self) -> float:
        """When one more may begin."""
        return self._counted_s + max(0.0, 1.0 - self._left) / self._rate

    def spend(self, *, now_s: float) -> bool:
        """Return whether one more may begin now; if so it counts."""
        earned = max(0.0, now_s - self._counted_s) * self._rate
        self._left = min(self._burst, self._left + earned)
        self._counted_s = max(now_s, self._counted_s)
        if self._left < 1.0 - 1e-9:
            return False
        self._left -= 1.0
        return True
