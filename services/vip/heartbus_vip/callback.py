"""Runs the program that wants to know of changed files (ldirectord ``callback``).

Shell. vip does it, because it is the one service of a director that runs programs of the
administrator with all rights, as ldirectord did; the program is one for each director, and one call
at a time: what changes meanwhile is told by the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog

from heartbus_vip.resource import Command, ScriptEnd
from heartbus_vip.scripts import run

CALLBACK_S: Final = 30.0
OUTPUT_CHARS_SHOWN: Final = 200


class Callback:
    """``program``: says what to run now; None: nothing."""

    def __init__(
        self,
        program: Callable[[], str | None],
        *,
        log: structlog.typing.FilteringBoundLogger,
        timeout_s: float = CALLBACK_S,
    ) -> None:
        self._program = program
        self._log = log
        self._timeout_s = timeout_s
        self._due: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    def files_changed(self, files: tuple[str, ...]) -> None:
        """Run the program soon, with the names of these files as its arguments."""
        self._due |= dict.fromkeys(files)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End a program that still runs."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self._due:
            files, self._due = tuple(self._due), {}
            program = self._program()
            if program is None:
                continue
            called = Command(argv=(program, *files), environment={})
            result = await run(called, timeout_s=self._timeout_s)
            if result.end is ScriptEnd.EXITED and result.code == 0:
                self._log.info("callback.done", program=program, files=", ".join(files))
                continue
            self._log.warning(
                "callback.failed",
                program=program,
                problem=result.detail or f"exit code {result.code}",
                output=result.output[-OUTPUT_CHARS_SHOWN:],
            )
