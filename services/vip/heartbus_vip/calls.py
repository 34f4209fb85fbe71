"""Keep the running script of each group: one at a time, and an aborted one ends before the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from heartbus.resource_programs import BUILT_IN
from heartbus_vip.actions import CallScript
from heartbus_vip.builtin import BuiltIns
from heartbus_vip.resource import ScriptEnd, ScriptResult, Verb
from heartbus_vip.scripts import Programs

LOGGED_CHARS_MAX = 1000


class ScriptCalls:
    """Runs calls as tasks of ``tasks``, so that refreshes go on meanwhile.

    ``ended(call, result)`` is called for each call that was not aborted.
    """

    def __init__(
        self,
        *,
        tasks: asyncio.TaskGroup,
        programs: Programs,
        built_ins: BuiltIns,
        timeout_s: float,
        ended: Callable[[CallScript, ScriptResult], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._tasks, self._programs, self._built_ins = tasks, programs, built_ins
        self._timeout_s = timeout_s
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
        doer = self._built_ins if call.script.script in BUILT_IN else self._programs
        result = await doer.call(call.script, call.verb, timeout_s=self._timeout_s)
        self._note(call, result)
        self._ended(call, result)

    def _note(self, call: CallScript, result: ScriptResult) -> None:
        if result.end is not ScriptEnd.MISSING:
            quiet = call.verb is Verb.STATUS and result.trouble is None
            say = self._log.debug if quiet else self._log.info
            say(
                "script.called",
                script=call.script.name,
                verb=str(call.verb),
                end=result.end.value,
                code=result.code,
                output=result.output[-LOGGED_CHARS_MAX:],
                detail=result.detail,
            )
        elif call.script.script not in self._missing:
            self._missing.add(call.script.script)
            self._log.warning(
                "script.missing",
                script=call.script.script,
                tried=result.detail,
                reason="the group goes on without it; install it, or take it out of the group",
            )
