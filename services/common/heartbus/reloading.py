"""Reads the files of a running service anew: one way, whoever asks, and one answer.

Shell. SIGHUP, ``heartbus reload`` and the watch over the files all end in the same reload: beside
the loop, whole, and without effect if anything in the files is wrong or nothing in them is new. A
service that ``heartbus up`` started leaves the watch to it, and passes a command on to it, because
the supervisor gives its own copy of the configuration to every service that it starts anew
(docs/decisions/0035-reload-in-one-way.md).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heartbus.autoreload import Autoreload
from heartbus.commands import refused
from heartbus.config import ConfigError, Loaded
from heartbus.config.digest import config_digest
from heartbus.config.own_name import known_node
from heartbus.events import Command, CommandOutcome, ConfigApplied, ConfigRejected, Reload
from heartbus.file_watch import LOOK_PERIOD_S, FileWatch
from heartbus.model import Cluster
from heartbus.reload import told_of_restart, waits_for_restart, with_live_parts

if TYPE_CHECKING:
    from heartbus.runner import Context

REASONS_MAX: Final = 20
"""Errors that are told of one configuration; the log has them all."""

UNCHANGED: Final = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What a reload found; ``wanted`` is what is to run from now on."""

    files: Mapping[str, str]
    wanted: Cluster
    digest: str
    is_new: bool
    waiting: tuple[str, ...]
    told: tuple[str, ...]


class Reloading:
    """The reloads of one service, one after the other.

    ``load`` reads the files; ``files``: what the configuration that runs was read from.
    """

    def __init__(
        self,
        context: Context,
        *,
        load: Callable[[], Loaded],
        files: Mapping[str, str],
        supervised: bool,
    ) -> None:
        self._context = context
        self._load = load
        self._supervised = supervised
        self._autoreload = Autoreload(files)
        self._watch = FileWatch()
        self._told = asyncio.Event()
        self._busy = False
        self._waiting: list[asyncio.Future[CommandOutcome]] = []
        self._cause: str | None = None
        context.bus.serve_command(Reload, self.asked)

    def hang_up(self) -> None:
        """Reload soon: SIGHUP."""
        self._told.set()

    async def asked(self, _command: Command, within_s: float, cause: str) -> CommandOutcome:
        """Return the outcome of a reload that begins after this, at most ``within_s`` later."""
        self._cause = cause
        following: asyncio.Future[CommandOutcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(following)
        if self._supervised:
            os.kill(os.getppid(), signal.SIGHUP)
        else:
            self.hang_up()
        try:
            async with asyncio.timeout(within_s):
                return await following
        except TimeoutError:
            return refused(f"no reload came to an end within {within_s:g} s; see the log")

    async def run(self) -> None:
        """Serve the command and reload whenever told, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if not self._supervised:
                tasks.create_task(self._look_on())
            while True:
                await self._told.wait()
                self._told.clear()
                waiting, self._waiting = self._waiting, []
                cause, self._cause = self._cause, None
                self._busy = True
                outcome = await self._guarded(cause)
                self._busy = False
                for future in waiting:
                    if not future.done():
                        future.set_result(outcome)

    async def _guarded(self, cause: str | None) -> CommandOutcome:
        """Reload; a defect of ours in what reads files must not end a service that works."""
        context = self._context
        try:
            return await self._reload(cause)
        except Exception as error:
            context.log.exception("reload.failed", then="goes on as before")
            return refused(f"a defect of {context.service}: {error!r}; see its log")

    async def _reload(self, cause: str | None) -> CommandOutcome:
        context, started_s = self._context, time.monotonic()
        if context.take_up is None:
            context.log.warning("reload.ignored", reason="not ready yet")
            return refused(f"{context.service} is not ready yet; it reads the files when it starts")
        try:
            # Beside the loop: reading thousands of services takes longer than a keepalive.
            read = await asyncio.to_thread(self._read)
            if read.is_new:
                context.take_up(read.wanted)
        except ConfigError as error:
            self._autoreload.refused(error.files)
            return self._rejected(error, cause)
        changed = self._autoreload.differing(read.files)
        self._autoreload.loaded(read.files)
        context.cluster, context.digest = read.wanted, read.digest
        waiting = ", ".join(read.waiting)
        if read.is_new:
            applied = ConfigApplied(source=read.wanted.source, digest=read.digest)
            context.bus.publish(applied, cause=cause)
            context.bus.publish_state()
        result = "applied" if read.is_new else UNCHANGED
        event = "config.applied" if read.is_new else "config.unchanged"
        context.log.info(event, config=read.digest, restart_for=waiting)
        if changed and context.files_changed is not None:
            context.files_changed(changed)
        return CommandOutcome(
            done=True,
            message=result,
            details=read.told,
            digest=read.digest,
            took_s=time.monotonic() - started_s,
        )

    def _read(self) -> _Read:
        running = self._context.cluster
        loaded = self._load()
        try:
            known_node(loaded.cluster, self._context.node)
        except ConfigError as error:
            raise ConfigError.plain(str(error), files=loaded.files) from error
        wanted = with_live_parts(running, loaded.cluster)
        return _Read(
            files=loaded.files,
            wanted=wanted,
            digest=config_digest(wanted),
            is_new=wanted != running,
            waiting=waits_for_restart(running, loaded.cluster),
            told=told_of_restart(running, loaded.cluster),
        )

    def _rejected(self, error: ConfigError, cause: str | None) -> CommandOutcome:
        context = self._context
        reasons = tuple(str(error).splitlines())[:REASONS_MAX]
        rejected = ConfigRejected(source=context.cluster.source, reasons=reasons)
        context.bus.publish(rejected, cause=cause)
        context.log.error("reload.rejected", problem=str(error), then="goes on as before")
        return CommandOutcome(
            done=False,
            message="rejected: goes on as before",
            details=reasons,
            digest=context.digest,
        )

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            if not self._context.cluster.reload.autoreload or self._context.take_up is None:
                continue
            found = await asyncio.to_thread(self._watch.look, self._autoreload.files)
            if not self._busy and self._autoreload.looked(found, now_s=time.monotonic()):
                self._context.log.info(
                    "files.changed", files=", ".join(self._autoreload.differing(found))
                )
                self.hang_up()
