"""When a process that ended is started again.

Sans-I/O. The first restart is immediate, because a VIP outlives it only for seconds; a process
that keeps failing waits twice as long each time, up to a bound, until it ran well for a while.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartSettings:
    """Times in seconds. A run of ``good_run_s`` or more makes the next restart immediate again."""

    first_delay_s: float = 0.1
    delay_max_s: float = 5.0
    good_run_s: float = 10.0


class RestartPolicy:
    """Remembers how often one process failed in a row."""

    def __init__(self, settings: RestartSettings | None = None) -> None:
        self._settings = settings or RestartSettings()
        self._started_s: float | None = None
        self._failures = 0

    @property
    def failures(self) -> int:
        """Short runs in a row."""
        return self._failures

    def started(self, *, now_s: float) -> None:
        """Note the start of a run."""
        self._started_s = now_s

    def ended(self, *, now_s: float) -> float:
        """Return the time in seconds to wait before the next start."""
        settings = self._settings
        started_s = now_s if self._started_s is None else self._started_s
        if now_s - started_s >= settings.good_run_s:
            self._failures = 0
        delay_s = 0.0
        if self._failures:
            exponent = min(self._failures - 1, 32)
            delay_s = min(settings.first_delay_s * 2.0**exponent, settings.delay_max_s)
        self._failures += 1
        return delay_s
