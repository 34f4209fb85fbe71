"""Takes part in a push on one director: the shell around ``staging``, and the dry runs.

One service writes the file: vip, which may (on a witness membership, the only one there). It makes
the whole director reload, itself through its supervisor or the others over the bus.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from heartbus.commands import refused
from heartbus.config import ConfigError, Loaded
from heartbus.config.digest import config_digest
from heartbus.config.own_name import known_node
from heartbus.events import Command, CommandOutcome, DryRun, PushConfig, Reload
from heartbus.push import files, staging
from heartbus.push.files import PushFileError
from heartbus.push.staging import Act, Answer, Staging
from heartbus.push.trust import distrust
from heartbus.reload import told_of_restart, with_live_parts

if TYPE_CHECKING:
    from heartbus.runner import Context

SERVICES: Final = ("membership", "vip", "checker", "ipvs-agent")
RELOAD_S: Final = 30.0
DETAILS_MAX: Final = 200
"""Lines of one answer; of more, the first ones and how many there are."""

LoadFile = Callable[[str], Loaded]
ReloadSelf = Callable[[Command, float, str], Awaitable[CommandOutcome]]


class PushDesk:
    """What the service that writes the file does of pushes. ``load`` reads a file."""

    def __init__(self, context: Context, *, load: LoadFile, reload: ReloadSelf) -> None:
        self._context = context
        self._load = load
        self._reload = reload
        self._staging = Staging()
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self._file = ""
        self._secrets: tuple[bytes, ...] = ()
        self._secrets_until_s = 0.0
        context.bus.serve_command(PushConfig, self.asked)

    async def run(self) -> None:
        """Take back what nobody goes on with, until cancelled; begin without what is left over."""
        left_over = files.pushed_to(self._context.config)
        async with self._lock:
            # Not what a push that was quicker than we has just put there.
            if left_over is not None and self._staging.phase is staging.Phase.IDLE:
                await asyncio.to_thread(files.discard, left_over)
        while True:
            self._changed.clear()
            due_s = self._staging.next_deadline_s
            try:
                async with asyncio.timeout_at(due_s):
                    await self._changed.wait()
            except TimeoutError:
                await self._give_up()

    async def _give_up(self) -> None:
        async with self._lock:
            answer = self._staging.deadline_passed(now_s=self._now_s())
            if answer is None:
                return
            self._context.log.warning("push.ended", why=answer.message)
            try:
                await self._act(answer, "", RELOAD_S, "")
            except Exception:
                # A defect of ours must not end the service that holds the addresses.
                self._context.log.exception("push.failed", file=self._file)

    async def asked(self, command: Command, within_s: float, cause: str) -> CommandOutcome:
        """Carry out one step; the answer says why not, or what there is to know."""
        assert isinstance(command, PushConfig)
        async with self._lock:
            why = distrust(command, self._accepted(), wall_s=time.time())
            if why is not None:
                self._context.log.warning("push.distrusted", step=str(command.step), why=why)
                return refused(why)
            answer = self._staging.received(command, now_s=self._now_s())
            try:
                return await self._act(answer, command.push, within_s, cause)
            finally:
                self._changed.set()

    def _accepted(self) -> tuple[bytes, ...]:
        """Return the secrets that are believed: those of the running keys, and of this push.

        The document itself may bring other keys, and is confirmed by who sent it. A key that it
        removes is believed no longer than that takes.
        """
        keys = self._context.cluster.membership.authentication.keys
        before = self._secrets if self._now_s() < self._secrets_until_s else ()
        return (*(key.secret for key in keys), *before)

    async def _act(self, answer: Answer, push: str, within_s: float, cause: str) -> CommandOutcome:
        match answer.act:
            case Act.REFUSE:
                return refused(answer.message)
            case Act.NOTHING:
                return _done(answer.message)
            case Act.PREPARE:
                return await self._prepare(answer.text)
            case Act.COMMIT:
                return await self._commit(min(within_s, RELOAD_S), cause)
            case Act.KEEP:
                self._context.log.info("push.kept", push=push, file=self._file)
                return _done(answer.message)
            case Act.DISCARD:
                if self._file:
                    await asyncio.to_thread(files.discard, self._file)
                return _done(answer.message)
            case Act.RESTORE:
                return await self._restore(answer.message, cause)

    async def _prepare(self, text: str) -> CommandOutcome:
        context = self._context
        file = files.pushed_to(context.config)
        if file is None:
            self._staging.failed()
            return refused(
                f"{context.config} has the old form; allowed is a heartbus.toml, as heartbus"
                " config convert writes it"
            )
        self._file = file
        running = context.cluster
        try:
            path = await asyncio.to_thread(files.write_pushed, file, text)
            loaded = await asyncio.to_thread(self._load, path)
            known_node(loaded.cluster, context.node)
            _require_signer(loaded, running_secrets=self._accepted())
        except (PushFileError, ConfigError) as error:
            self._staging.failed()
            await asyncio.to_thread(files.discard, file)
            lines = tuple(str(error).splitlines())
            return dataclasses.replace(refused("it cannot be used here"), details=bounded(lines))
        keys = running.membership.authentication.keys
        self._secrets = tuple(key.secret for key in keys)
        self._secrets_until_s = self._now_s() + staging.PREPARE_S + staging.CONFIRM_S
        self._staging.prepared(now_s=self._now_s())
        details = told_of_restart(running, loaded.cluster)
        return CommandOutcome(
            done=True, message="prepared", details=details, digest=config_digest(loaded.cluster)
        )

    async def _commit(self, within_s: float, cause: str) -> CommandOutcome:
        try:
            await asyncio.to_thread(files.put_in_place, self._file)
        except PushFileError as error:
            self._staging.failed()
            await asyncio.to_thread(files.discard, self._file)
            return refused(str(error))
        self._context.log.info("push.committed", file=self._file)
        self._staging.committed(now_s=self._now_s())  # from here on it goes back by itself
        outcome = await self._reload_all(within_s, cause)
        if outcome.done:
            self._staging.committed(now_s=self._now_s())
            return outcome
        self._staging.failed()
        await self._restore("it could not be taken up", cause)
        return outcome

    async def _restore(self, why: str, cause: str) -> CommandOutcome:
        self._context.log.warning("push.restored", file=self._file, why=why)
        try:
            await asyncio.to_thread(files.put_back, self._file)
        except PushFileError as error:
            return refused(f"cannot be taken back: {error}")
        outcome = await self._reload_all(RELOAD_S, cause)
        return dataclasses.replace(outcome, message=f"{why}; {outcome.message}")

    async def _reload_all(self, within_s: float, cause: str) -> CommandOutcome:
        """Let every service of this director read the file; return what stands in the way."""
        context = self._context
        others = [service for service in SERVICES if service != context.service]
        own, *answers = await asyncio.gather(
            self._reload(Reload(), within_s, cause),
            *(
                context.bus.request(context.node, service, Reload(), timeout_s=within_s)
                for service in others
            ),
        )
        outcomes = {context.service: own, **dict(zip(others, answers, strict=True))}
        # Who does not run reads the files when it starts.
        bad = {name: outcome for name, outcome in outcomes.items() if outcome and not outcome.done}
        if not bad:
            return own if own is not None else refused("vip itself did not reload")
        details = [f"{name}: {o.message}" for name, o in bad.items()]
        details += [f"{name}: {line}" for name, o in bad.items() for line in o.details]
        return CommandOutcome(
            done=False, message="it could not be taken up", details=bounded(tuple(details))
        )

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def serve_dry_run(context: Context, load: LoadFile) -> None:
    """Let a service say what the prepared document would make it do."""

    async def asked(command: Command, _within_s: float, _cause: str) -> CommandOutcome:
        assert isinstance(command, DryRun)
        file = files.pushed_to(context.config)
        if context.dry_run is None or file is None:
            return refused(f"{context.service} is not ready")
        try:
            loaded = await asyncio.to_thread(load, file + files.PUSHED)
            digest = loaded.files.get(file + files.PUSHED)
            if digest != command.digest:
                return refused("another document is prepared here")
            lines = context.dry_run(with_live_parts(context.cluster, loaded.cluster))
        except ConfigError as error:
            details = tuple(str(error).splitlines())
            return dataclasses.replace(refused("it cannot be used here"), details=bounded(details))
        message = f"{len(lines)} changes" if len(lines) != 1 else "1 change"
        return CommandOutcome(done=True, message=message, details=bounded(lines))

    context.bus.serve_command(DryRun, asked)


def bounded(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first lines, and how many there are."""
    if len(lines) <= DETAILS_MAX:
        return lines
    return (*lines[:DETAILS_MAX], f"... {len(lines)} in all")


def _require_signer(loaded: Loaded, *, running_secrets: tuple[bytes, ...]) -> None:
    """See that heartbeats signed as the document says are believed by who has not it yet.

    Raises:
        ConfigError: the signing key is new.

    """
    authentication = loaded.cluster.membership.authentication
    signer = authentication.key(authentication.signing_key)
    if signer is not None and signer.secret and signer.secret not in running_secrets:
        raise ConfigError.plain(
            f"signing_key = {authentication.signing_key} is a new key: add it in one push, let it"
            " sign in the next, remove the old one in a third"
        )


def _done(message: str) -> CommandOutcome:
    return CommandOutcome(done=True, message=message)
