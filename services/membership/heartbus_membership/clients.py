"""Runs the programs beside membership: each in a process group of its own, as its user.

They are killed with membership, however it ends. Their output is membership's own.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from heartbus.events import ClientStatus, ClientView
from heartbus.model import SupervisedClient
from heartbus_membership.children import REAP_S, Child
from heartbus_membership.clients_policy import ClientsPolicy, StartClient

STOP_S: Final = 3.0
"""For all clients together at a clean stop; who still runs then is killed."""
SHELL: Final = "/bin/sh"


class Clients:
    """All clients of one director."""

    def __init__(
        self,
        clients: Sequence[SupervisedClient],
        *,
        environment: Mapping[str, str],
        log: structlog.typing.FilteringBoundLogger,
        clock: Callable[[], float],
    ) -> None:
        self._policy = ClientsPolicy(clients)
        self._environment = environment
        self._log = log
        self._clock = clock
        self._children: dict[int, Child] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._refusals: dict[int, str] = {}

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start all of them, within these tasks."""
        for step in self._policy.start(now_s=self._clock()):
            self._tasks[step.index] = tasks.create_task(self._supervise(step))

    async def _supervise(self, step: StartClient) -> None:
        steps: list[StartClient] = [step]
        while steps:
            (step,) = steps
            await asyncio.sleep(max(0.0, step.at_s - self._clock()))
            steps = await self._run(step.index)

    async def _run(self, index: int) -> list[StartClient]:
        """Run a client once."""
        client = self._policy.client(index)
        log = self._log.bind(program=client.command, user=client.user)
        try:
            child = Child.start(
                [SHELL, "-c", f"exec {client.command}"],  # a shell reads it, as in Heartbeat
                program=client.program,
                environment=self._environment,
                user=client.user,
                keep_capabilities=False,
            )
        except OSError as error:
            return self._refused(index, f"no process can be made: {error.strerror}")
        self._children[index] = child
        self._policy.started(index, now_s=self._clock())
        code = await child.end()
        del self._children[index]
        refusal = child.refusal()
        child.close()
        if refusal is not None:
            return self._refused(index, refusal)
        self._refusals.pop(index, None)
        steps = self._policy.ended(index, code, now_s=self._clock())
        view = self._policy.views()[index]
        if view.status is ClientStatus.GIVEN_UP:
            log.error("client.given-up", reason=view.reason)
        elif view.status is not ClientStatus.STOPPED:
            log.warning("client.ended", how=view.reason, exits=view.exits)
        return steps

    def _refused(self, index: int, reason: str) -> list[StartClient]:
        steps = self._policy.refused(index, reason, now_s=self._clock())
        if self._refusals.get(index) != reason:
            self._refusals[index] = reason
            client = self._policy.client(index)
            self._log.error(
                "client.refused", program=client.command, user=client.user, reason=reason
            )
        return steps

    async def stop(self) -> None:
        """End all of them, the last started first; kill who does not end in time."""
        deadline_s = self._clock() + STOP_S
        order = self._policy.stop()
        for index, task in self._tasks.items():
            if index not in order:
                task.cancel()
        for index in order:
            child = self._children[index]
            child.send(signal.SIGTERM)
            if not await child.ended_within(max(0.0, deadline_s - self._clock())):
                command = self._policy.client(index).command
                self._log.warning("client.killed", program=command, waited_s=STOP_S)
            child.send(signal.SIGKILL)  # also to what it left of its group
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=REAP_S)

    def kill(self) -> None:
        """Kill all that are left; membership ends now."""
        for child in self._children.values():
            child.kill()
        self._children.clear()

    def views(self) -> tuple[ClientView, ...]:
        """Return what became of each."""
        return self._policy.views()
