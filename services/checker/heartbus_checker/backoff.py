"""Decides how rarely a target is asked that has failed for long.

Sans-I/O. After ``after_s`` of failures every second interval, after twice that every fourth, and so
on, but at least every ``intervals_max``; one pass, or the end of a maintenance, ends it. Times are
monotonic seconds.
"""

from __future__ import annotations


class Backoff:
    """Since when each target, by number, has failed. ``intervals_max`` 1: nothing is ever rarer."""

    def __init__(self, *, after_s: float, intervals_max: int) -> None:
        self._after_s = after_s
        self._intervals_max = intervals_max
        self._failing_s: dict[int, float] = {}

    def probe_finished(self, number: int, *, passed: bool, now_s: float) -> int:
        """Return in how many intervals it is due again."""
        if passed or self._intervals_max == 1:
            self._failing_s.pop(number, None)
            return 1
        failing_s = now_s - self._failing_s.setdefault(number, now_s)
        doublings = min(int(failing_s / self._after_s), self._intervals_max.bit_length())
        return int(min(2**doublings, self._intervals_max))

    def forget(self, number: int) -> None:
        """Ask it again as often as any other."""
        self._failing_s.pop(number, None)
