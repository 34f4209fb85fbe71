"""Draws conclusions about ourselves: how far our own lateness may look like a peer's silence.

Sans-I/O; times are seconds on our monotonic clock. The score goes from 0 (well) to SCORE_MAX. It
grows with each late turn and with each look at the CPU that found us waiting, and loses one for
each ``heal_s`` without evidence (a deadtime, so that a lag of our start is soon forgotten); while
the last look found us waiting for a CPU, nothing heals. The deadtime that the detector uses is

    min(deadtime * (1 + score), deadtime + EXTRA_S_MAX)

so a real death is found at most EXTRA_S_MAX later than by a healthy director, whatever happens.
"""

from __future__ import annotations

from typing import Final

from heartbus.model import Timers

SCORE_MAX: Final = 7
EXTRA_S_MAX: Final = 2.1
"""Seven deadtimes more at the default of 0.3 s; the bound at every longer one."""
SLOW_SHARE: Final = 0.5
"""A turn that is late by more than this share of keepalive is evidence; a whole one is a stall."""
WAITING_SHARE: Final = 0.25
"""Waiting for a CPU for more than this share of the time is evidence."""
HEAL_S_MIN: Final = 0.25
BAR_SHARE: Final = 0.5
"""Late by more than this share of deadtime bars takeover for ``bar_s``."""
BAR_S_MAX: Final = 5.0
"""A director that always lags may be the last one: it is barred this long in one go at most."""


class LocalHealth:
    """The health of one director, as far as it can tell."""

    def __init__(self, timers: Timers) -> None:
        self._keepalive_s = timers.keepalive_s
        self._deadtime_s = timers.deadtime_s
        self._heal_s = max(HEAL_S_MIN, timers.deadtime_s)
        self._bar_s = min(2 * timers.deadtime_s, BAR_S_MAX)
        self._score = 0
        self._waiting = False
        self._changed_s = float("-inf")
        self._lagged_s = float("-inf")
        self._lag_s = 0.0
        self._barred_since_s = float("-inf")

    def turned(self, late_s: float, now_s: float) -> bool:
        """Take in how late a turn was; return whether that was a stall of ours."""
        self._heal(now_s)
        if late_s > self._deadtime_s * BAR_SHARE:
            if now_s - self._lagged_s > self._bar_s:
                self._barred_since_s = now_s
            self._lagged_s, self._lag_s = now_s, late_s
        stalled = late_s > self._keepalive_s
        if stalled:
            self._worse(2, now_s)
        elif late_s > self._keepalive_s * SLOW_SHARE:
            self._worse(1, now_s)
        return stalled

    def pressure(self, waiting_share: float, now_s: float) -> None:
        """Take in which share of the time (0 to 1) we waited for a CPU since the last look."""
        self._heal(now_s)
        self._waiting = waiting_share > WAITING_SHARE
        if self._waiting:
            self._worse(1, now_s)

    @property
    def score(self) -> int:
        """0: well; SCORE_MAX: do not trust our clock."""
        return self._score

    @property
    def stretch(self) -> float:
        """Factor on deadtime; exactly 1.0 when well."""
        if self._score == 0:
            return 1.0
        return min(1.0 + self._score, 1.0 + EXTRA_S_MAX / self._deadtime_s)

    def barred(self, now_s: float) -> str | None:
        """Return why we should not take anything over now; None: we may."""
        lately = now_s - self._lagged_s <= self._bar_s
        if not lately or now_s - self._barred_since_s > BAR_S_MAX:
            return None
        return f"we were {self._lag_s:.3g} s late {now_s - self._lagged_s:.3g} s ago"

    def _worse(self, by: int, now_s: float) -> None:
        self._score = min(SCORE_MAX, self._score + by)
        self._changed_s = now_s

    def _heal(self, now_s: float) -> None:
        if self._waiting:
            self._changed_s = now_s
        if self._score == 0:
            return
        healed = int((now_s - self._changed_s) / self._heal_s)
        if healed > 0:
            self._score = max(0, self._score - healed)
            self._changed_s += healed * self._heal_s
