"""Checks that a library of asyncio carries out: a coroutine each, cancelled at the deadline.

The library's own time limits are not trusted: the deadline is outside, as for every probe. What a
library leaves open when it is cancelled it must close itself; the tests count descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Awaitable, Callable, Coroutine

from heartbus.log import logger

from . import Finished, ProbeResult, duration
from .script import Failed

Say = Callable[[str], None]
Exchange = Callable[[Say], Coroutine[None, None, str]]
"""Carries out one check: told a function that names what is going on; returns the reason of a pass,
raises Failed with that of a failure."""


class TaskProbe:
    """A check that is a coroutine; ``label`` begins every reason."""

    def __init__(self, label: str, exchange: Exchange, *, tell: Say | None = None) -> None:
        self._label = label
        self._exchange = exchange
        self._tell = tell

    def begin(self, finished: Finished) -> TaskAttempt:
        """Begin a check."""
        return TaskAttempt(self._label, self._exchange, finished, self._tell)


class TaskAttempt:
    """One run of the coroutine."""

    def __init__(
        self, label: str, exchange: Exchange, finished: Finished, tell: Say | None
    ) -> None:
        self._tell = tell
        self._label = label
        self._step = "connect"
        self._finished: Finished | None = finished
        self._started_s = time.monotonic()
        self._task = asyncio.get_running_loop().create_task(self._run(exchange))

    def expire(self, within_s: float) -> ProbeResult:
        """Cancel it and say how far it came."""
        self._finished = None
        self._task.cancel()
        reason = f"{self._label} {self._step}: no answer within {duration(within_s)}"
        took_s = time.monotonic() - self._started_s
        return ProbeResult(passed=False, reason=reason, took_s=took_s)

    def _say(self, step: str) -> None:
        self._step = step
        if self._tell is not None:
            self._tell(step)

    async def _run(self, exchange: Exchange) -> None:
        passed, conclusive = False, True
        try:
            reason = f"{self._label}: {await exchange(self._say)}"
            passed = True
        except asyncio.CancelledError:
            if self._finished is not None:
                raise
            return
        except Failed as failure:
            reason = f"{self._label} {self._step}: {failure}"
        except OSError as error:
            reason = f"{self._label} {self._step}: {os.strerror(error.errno or errno.EIO)}"
        except Exception as error:  # of a library or of ours: it must not end the other checks
            logger().exception("probe.defect", check=self._label)
            reason = f"{self._label} {self._step}: defect in the probe: {error!r}"
        finished, self._finished = self._finished, None
        took_s = time.monotonic() - self._started_s
        if finished is not None:
            finished(
                ProbeResult(
                    passed=passed,
                    reason=f"{reason} after {duration(took_s)}",
                    took_s=took_s,
                    conclusive=conclusive,
                )
            )


async def closed(closing: Awaitable[object]) -> None:
    """Wait for the end of a connection whose check is decided; how it ends says nothing."""
    with contextlib.suppress(OSError):
        await closing
