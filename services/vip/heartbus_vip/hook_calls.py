"""Runs the hooks: each has a task of its own, so a slow one keeps nobody waiting but itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from heartbus.events import HeldGroup
from heartbus.model import Hook
from heartbus_vip.hooks import HookCall, HookQueue
from heartbus_vip.resource import Command
from heartbus_vip.scripts import run

LAST_WORDS_S: Final = 5.0
"""When we stop, hooks are told the last states for at most so long."""


class HookCalls:
    """All hooks of this director."""

    def __init__(
        self, *, node: str, hooks: Sequence[Hook], log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._node, self._log = node, log
        self._told = asyncio.Event()
        self._queues = [(hook, HookQueue(hook), asyncio.Event()) for hook in hooks]

    def start(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Begin to call; cancel what is returned to end it."""
        return [tasks.create_task(self._serve(*served)) for served in self._queues]

    def seen(self, groups: Sequence[HeldGroup]) -> None:
        """Tell every hook how the groups stand now."""
        for _, queue, changed in self._queues:
            queue.seen(groups)
            changed.set()

    async def last_words(self) -> None:
        """Return when everything was told, and after LAST_WORDS_S in any case."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                for _, queue, _ in self._queues:
                    while not queue.idle:
                        self._told.clear()
                        await self._told.wait()
        except TimeoutError:
            self._log.warning("hook.untold", reason=f"not done within {LAST_WORDS_S:g} s")

    async def _serve(self, hook: Hook, queue: HookQueue, changed: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while True:
            call = queue.next(now_s=loop.time())
            if call is not None:
                queue.finished(ok=await self._call(hook, call), now_s=loop.time())
                self._told.set()
                continue
            due_s = queue.next_deadline_s
            try:
                async with asyncio.timeout(None if due_s is None else due_s - loop.time()):
                    await changed.wait()
            except TimeoutError:
                pass
            changed.clear()

    async def _call(self, hook: Hook, call: HookCall) -> bool:
        command = Command(
            argv=(hook.command, str(call.state), call.group, str(call.epoch)),
            environment={
                "HEARTBUS_STATE": str(call.state),
                "HEARTBUS_GROUP": call.group,
                "HEARTBUS_EPOCH": str(call.epoch),
                "HEARTBUS_ADDRESSES": " ".join(call.addresses),
                "HEARTBUS_REASON": call.reason.replace("\0", ""),
                "HEARTBUS_DIRECTOR": self._node,
            },
        )
        result = await run(command, timeout_s=hook.timeout_s)
        say = self._log.info if result.problem is None else self._log.warning
        say(
            "hook.called",
            hook=hook.command,
            state=str(call.state),
            group=call.group,
            epoch=call.epoch,
            problem=result.problem,
        )
        return result.problem is None
