"""Tells when virtual services are lost and gained, and runs the commands that are wanted then.

Shell around ``quorum`` and ``commands``. Programs run as children of the agent, at most
CHILDREN_MAX at once and each for COMMAND_S at most, so that thousands of services that are lost
together do not start thousands of programs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Set
from typing import Final

import structlog

from heartbus.bus import Bus
from heartbus.child import ChildError, run_child
from heartbus.events import IpvsFailed, VirtualServiceGained, VirtualServiceLost
from heartbus.model import VirtualService, VirtualServiceName
from heartbus_ipvs_agent.commands import Call, CommandQueues, calls
from heartbus_ipvs_agent.desired import sorry_server_key
from heartbus_ipvs_agent.entries import ServiceEntry
from heartbus_ipvs_agent.quorum import QuorumBook, QuorumChange, Weights

CHILDREN_MAX: Final = 8
COMMAND_S: Final = 30.0
LAST_COMMANDS_S: Final = 10.0
"""How long a stop waits for commands; what waits still is not run."""
OUTPUT_CHARS_MAX: Final = 200


class Standings:
    """How the virtual services of one director stand."""

    def __init__(
        self,
        services: Iterable[VirtualService],
        *,
        node: str,
        bus: Bus,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._node = node
        self._bus = bus
        self._log = log
        self._book = QuorumBook(services)
        self._queues = CommandQueues()
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()

    def use(self, services: Iterable[VirtualService]) -> None:
        """Go on with these services."""
        self._book.use(services)

    def is_watched(self, service: VirtualService) -> bool:
        """Return whether anything depends on how a service stands."""
        return service.name in self._book.watched

    @property
    def short(self) -> Set[VirtualServiceName]:
        """Services that have no quorum now."""
        return self._book.short

    def weigh(
        self,
        service: VirtualService,
        weights: Weights,
        observed: ServiceEntry | None,
        *,
        cause: str | None,
    ) -> None:
        """Take in the weight of a service; tell and run what follows.

        ``observed``: its entry before anything is changed. At the first look that is what an
        earlier process left, and told.
        """
        if observed is not None and self._book.is_new(service.name):
            sorry = sorry_server_key(service)
            others = any(d.answers for key, d in observed.destinations.items() if key != sorry)
            self._book.found(service.name, stood=others and sorry not in observed.destinations)
        change = self._book.weighed(service.name, weights)
        if change is not None:
            self._tell(service, change, cause)

    def stopped(self, service: VirtualService) -> None:
        """Take in that a service left the table for good: the fallback is gone, no server is up."""
        if self._book.is_lost(service.name):
            gone = QuorumChange(virtual_service=service.name, gained=True, weight=0, first=False)
            turn = tuple(c for c in calls(service, gone) if c.what == "fallback_command")
        else:
            lost = QuorumChange(virtual_service=service.name, gained=False, weight=0, first=False)
            turn = tuple(c for c in calls(service, lost) if c.what == "quorum_down")
        self._queues.add(turn)
        self._arrived.set()

    def _tell(self, service: VirtualService, change: QuorumChange, cause: str | None) -> None:
        event = VirtualServiceGained if change.gained else VirtualServiceLost
        self._bus.publish(
            event(
                virtual_service=service.name,
                weight=change.weight,
                quorum=service.policy.quorum,
                hysteresis=service.policy.hysteresis,
            ),
            cause=cause,
        )
        self._queues.add(calls(service, change))
        self._arrived.set()

    # --- running ---------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Run commands as they come."""
        slots = asyncio.Semaphore(CHILDREN_MAX)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                for name in self._queues.ready():
                    tasks.create_task(self._work(name, slots))

    async def finish(self) -> None:
        """Wait until all commands have run, for LAST_COMMANDS_S at most; ``serve`` runs beside."""
        try:
            async with asyncio.timeout(LAST_COMMANDS_S):
                while not self._queues.idle:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            self._log.warning("command.unfinished", reason=f"not done within {LAST_COMMANDS_S:g} s")

    async def _work(self, name: VirtualServiceName, slots: asyncio.Semaphore) -> None:
        while turn := self._queues.next_turn(name):
            for call in turn:
                async with slots:
                    await self._run(call)
        self._ended.set()

    async def _run(self, call: Call) -> None:
        problem: str | None = None
        try:
            end = await run_child(
                call.argv, environment=self._environment(call), timeout_s=COMMAND_S
            )
        except ChildError as error:
            problem = str(error)
        else:
            said = " ".join(end.output.split())[-OUTPUT_CHARS_MAX:]
            if end.code is None:
                problem = f"ended after {COMMAND_S:g} s: {said}".removesuffix(": ")
            elif end.code != 0:
                problem = f"exit code {end.code}: {said}".removesuffix(": ")
        self._log.info("command.run", what=str(call), argv=call.argv, problem=problem)
        if problem is not None:
            self._bus.publish(IpvsFailed(action=str(call), reason=problem))

    def _environment(self, call: Call) -> dict[str, str]:
        return {
            "HEARTBUS_DIRECTOR": self._node,
            "HEARTBUS_VIRTUAL_SERVICE": call.virtual_service,
            "HEARTBUS_STATE": "gained" if call.gained else "lost",
        }
