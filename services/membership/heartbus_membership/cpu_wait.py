"""How long we waited for a CPU, as the kernel counts it.

``/proc/self/schedstat`` (proc(5), sched-stats) has the nanoseconds that our main thread was ready
to run and did not: exactly what delays heartbeats. Where a kernel has none, ``/proc/pressure/cpu``
says which share of the time somebody waited, and ``/proc/loadavg`` is a last resort.
"""

from __future__ import annotations

import os
from pathlib import Path


class CpuWait:
    """Reads one of the three, the best that is there."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._waited: tuple[float, float] | None = None

    def share(self, now_s: float) -> float | None:
        """Return the share of the time spent waiting, 0 to 1; None: nothing known (yet)."""
        try:
            waited_s = int((self._proc / "self/schedstat").read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return self._of_the_host()
        before, self._waited = self._waited, (now_s, waited_s)
        if before is None or now_s <= before[0]:
            return None
        return min(1.0, max(0.0, (waited_s - before[1]) / (now_s - before[0])))

    def _of_the_host(self) -> float | None:
        try:
            some = (self._proc / "pressure/cpu").read_text().split()
            return float(some[1].removeprefix("avg10=")) / 100
        except (OSError, ValueError, IndexError):
            pass
        try:
            running = float((self._proc / "loadavg").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        # Of n who want a CPU, each waits for what the CPUs cannot give.
        return max(0.0, 1 - (os.cpu_count() or 1) / running) if running > 0 else 0.0
