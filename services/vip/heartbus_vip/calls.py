"""Keep the running script of each group: one at a time, and an aborted one ends before the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from heartbus_vip.actions import CallScript
from heartbus_vip.resource import ScriptEnd, ScriptResult
from heartbus_vip.scripts import run_script

LOGGED_CHARS_MAX = 1000


class ScriptCalls:
    """Runs calls as tasks of ``tasks``, so that refreshes go on meanwhile.

    ``ended(call, result)`` is called for each call that was not aborted. ``directories`` are
    searched for scripts in order.
    """

    def __init__(
        self,
        *,
        tasks: asyncio.TaskGroup,
        directories: tuple[str, ...],
        timeout_s: float,
        ended: Callable[[CallScript, ScriptResult], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._tasks, self._directories, self._timeout_s = tasks, directories, timeout_s
        self._ended, self._log = ended, log
        self._running: dict[str, set[asyncio.Task[None]]] = {}
        self._missing: set[str] = set()

    def start(self, call: CallScript) -> None:
        """Begin a call once the calls of the same group before it have ended."""
        running = self._running.setdefault(call.group, set())
        task = self._tasks.create_task(self._run(call, frozenset(running)))
        running.add(task)
        task.add_done_callback(running.discard)

    def abort(self, group: str) -> None:
        """End the running call of a group: its processes are told to end, then killed."""
        for task in self._running.get(group, ()):
            task.cancel()

    async def _run(self, call: CallScript, before: frozenset[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before)
        result = await run_script(
            call.script, call.verb, directories=self._directories, timeout_s=self._timeout_s
        )
        self._note(call, result)
        self._ended(call, result)

    def _note(self, call: CallScript, result: ScriptResult) -> None:
        if result.end is not ScriptEnd.MISSING:
            self._log.info(
                "script.called",
                script=call.script.name,
                verb=str(call.verb),
                end=result.end.value,
                code=result.code,
                output=result.output[-LOGGED_CHARS_MAX:],
            )
        elif call.script.script not in self._missing:
            self._missing.add(call.script.script)
            self._log.warning(
                "script.missing",
                script=call.script.script,
                tried=result.detail,
                reason="the group goes on without it; install it, or take it out of the group",
            )
