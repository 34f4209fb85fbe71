"""Asks the bus whether the host of a late director lives.

Shell: an answer of its other services goes to the detector as evidence, which may delay what that
director's death would lead to, and causes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from heartbus.bus import Bus
from heartbus.events import DirectorStatus
from heartbus_membership.detector import FailureDetector

ASKED: Final = ("vip", "ipvs-agent")
TIMEOUT_S_MIN: Final = 0.3


class Asking:
    """Asks about each late director until it is heard, dead or gone; ``close`` ends it."""

    def __init__(
        self,
        *,
        bus: Bus,
        detector: FailureDetector,
        keepalive_s: float,
        deadtime_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._detector = detector
        self._period_s = keepalive_s
        self._timeout_s = max(deadtime_s, TIMEOUT_S_MIN)
        self._clock = clock
        self._tasks: asyncio.TaskGroup | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Ask within these tasks from now on."""
        self._tasks = tasks

    def peer_late(self, peer: str) -> None:
        """Begin to ask about a director; changes nothing while it is asked about."""
        if self._tasks is not None and peer not in self._asking:
            task = self._tasks.create_task(self._ask_until_known(peer))
            self._asking[peer] = task
            task.add_done_callback(lambda _done: self._asking.pop(peer, None))

    def close(self) -> None:
        """Ask nothing more."""
        for task in self._asking.values():
            task.cancel()

    async def _ask_until_known(self, peer: str) -> None:
        async with asyncio.TaskGroup() as asking:
            for service in ASKED:
                asking.create_task(self._ask_service(peer, service))

    async def _ask_service(self, peer: str, service: str) -> None:
        while self._detector.status(peer) is DirectorStatus.LATE:
            answer = await self._bus.request_state(peer, service, timeout_s=self._timeout_s)
            if answer is not None:
                self._detector.bus_evidence(peer, now_s=self._clock())
            await asyncio.sleep(self._period_s)
