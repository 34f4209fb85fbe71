"""``heartbus config push``: one document to all directors over the bus, or to none."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import tomli_w

from heartbus import log, subjects
from heartbus.bus import Inbox, bus_of_people
from heartbus.cli.options import observer_name
from heartbus.cli.watch import printable
from heartbus.config import ConfigError, Loaded, load, source
from heartbus.config.digest import config_digest
from heartbus.config.includes import read_joined
from heartbus.config.report import Report
from heartbus.config.source import content_digest
from heartbus.events import (
    CommandOutcome,
    DirectorStatus,
    DryRun,
    MembershipState,
    PushConfig,
    PushStep,
)
from heartbus.observer import ClusterView
from heartbus.push.round import PushRound, Verdict
from heartbus.push.staging import CONFIRM_S, PART_CHARS_MAX, TEXT_CHARS_MAX
from heartbus.push.trust import signed, signing_secret, text_digest
from heartbus.runner import EXIT_CONFIG, EXIT_MACHINE, fail

PROGRAM: Final = "heartbus config push"
FIND_S: Final = 2.5
EXIT_REFUSED: Final = 1
QUICK_S: Final = 5.0
"""How long an answer is waited for that needs no file to be read."""

PLANNERS: Final = ("vip", "checker", "ipvs-agent")


class PushError(Exception):
    """It cannot even be begun; ``code`` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True, kw_only=True)
class Said:
    """What one director said while it prepared: of itself, and of each of its planners."""

    digest: str = ""
    notes: tuple[str, ...] = ()
    plans: dict[str, CommandOutcome] = dataclasses.field(default_factory=dict)


def push(
    file: str,
    *,
    config: str,
    nats: str,
    dry_run: bool,
    without: tuple[str, ...],
    timeout_s: float,
    as_json: bool,
    join: bool = False,
) -> int:
    """Distribute a file, with what it includes if ``join``; return the exit code."""
    log.configure(level="error")
    try:
        text, loaded = document(file, join=join)
        secret = _secret(config)
    except ConfigError as error:
        return fail(PROGRAM, error, EXIT_CONFIG)
    except PushError as error:
        click.echo(f"{PROGRAM}: {error}", err=True)
        return error.code
    pusher = _Pusher(text=text, secret=secret, url=nats, timeout_s=timeout_s)
    try:
        asyncio.run(pusher.run(without, test_only=dry_run))
    except PushError as error:
        click.echo(f"{PROGRAM}: {error}", err=True)
        return error.code
    assert pusher.round is not None
    # Directors may run with another profile of times (--timers), so theirs is the version.
    digests = [said.digest for said in pusher.said.values()]
    version = digests[0] if digests else config_digest(loaded.cluster)
    _print(file, version, pusher, local_files(file, loaded), as_json=as_json)
    return 0 if pusher.round.verdict in (Verdict.KEPT, Verdict.TESTED) else EXIT_REFUSED


class _Pusher:
    """Asks every director for one step after the other, as ``PushRound`` decides."""

    def __init__(self, *, text: str, secret: bytes, url: str, timeout_s: float) -> None:
        self._text, self._secret, self._url = text, secret, url
        self._timeout_s = timeout_s
        self._id = secrets.token_hex(16)
        self._bus = bus_of_people(url, observer_name(), commands=True)
        self.round: PushRound | None = None
        self.said: dict[str, Said] = {}
        self._writers: dict[str, str] = {}

    async def run(self, without: tuple[str, ...], *, test_only: bool) -> None:
        inbox = Inbox()
        self._bus.subscribe([subjects.states_of_service("membership")], inbox)
        running = asyncio.create_task(self._bus.run())
        try:
            self._writers = await self._find(inbox, without)
            self.round = PushRound(self._writers, test_only=test_only)
            while (step := self.round.step) is not None:
                asked = self.round.asked
                answers = await asyncio.gather(*(self._ask(name, step) for name in asked))
                self.round.answered(dict(zip(asked, answers, strict=True)))
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def _find(self, inbox: Inbox, without: tuple[str, ...]) -> dict[str, str]:
        """Return the service that writes the file of each director.

        Raises:
            PushError: no bus, or a director that cannot take part.

        """
        view = ClusterView()
        try:
            async with asyncio.timeout(FIND_S):
                async for message in inbox:
                    view.see(message, now_s=time.monotonic())
                    awaited = [name for name in view.nodes() if name not in without]
                    if awaited and all(view.state(name, MembershipState) for name in awaited):
                        break
        except TimeoutError:
            pass
        if not self._bus.connected:
            raise PushError(self._bus.unreachable, EXIT_MACHINE)
        states = {n: s for n in view.nodes() if (s := view.state(n, MembershipState)) is not None}
        witnesses = {d.name for s in states.values() for d in s.directors if d.witness}
        known = [name for name in view.nodes() if name not in without]
        if unknown := [name for name in without if name not in view.nodes()]:
            raise PushError(
                f"--without {unknown[0]}: no director of this cluster; known:"
                f" {', '.join(view.nodes())}",
                EXIT_CONFIG,
            )
        dead = {
            d.name
            for s in states.values()
            for d in s.directors
            if d.status not in (DirectorStatus.ALIVE, DirectorStatus.LATE)
        }
        for name in known:
            if name not in states or name in dead:
                raise PushError(
                    f"{name} cannot be reached: nothing is changed anywhere; it must be up, or be"
                    f" left out with --without {name} (and be given the file before it starts)",
                    EXIT_REFUSED,
                )
        if not known:
            raise PushError("no director is heard", EXIT_MACHINE)
        return {name: "membership" if name in witnesses else "vip" for name in known}

    async def _ask(self, name: str, step: PushStep) -> CommandOutcome | None:
        if step is not PushStep.PREPARE:
            message = PushConfig(push=self._id, step=step, sent_s=0.0)
            return _with_reasons(await self._send(name, message))
        outcome = await self._stage(name)
        if outcome is None or not outcome.done:
            return outcome
        digest = text_digest(self._text)
        message = PushConfig(push=self._id, step=step, sent_s=0.0, digest=digest)
        outcome = await self._send(name, message)
        if outcome is None or not outcome.done:
            return _with_reasons(outcome)
        said = self.said[name] = Said(digest=outcome.digest, notes=outcome.details)
        content = content_digest(self._text.encode())
        answers = await asyncio.gather(
            *(
                self._bus.request(name, planner, DryRun(digest=content), timeout_s=self._timeout_s)
                for planner in PLANNERS
            )
        )
        for planner, answer in zip(PLANNERS, answers, strict=True):
            if answer is None:
                continue  # it does not run there, or does not answer: commit will tell
            said.plans[planner] = answer
            if not answer.done:
                refused = _with_reasons(answer)
                assert refused is not None
                return dataclasses.replace(refused, message=f"{planner}: {refused.message}")
        return outcome

    async def _stage(self, name: str) -> CommandOutcome | None:
        parts = [
            self._text[at : at + PART_CHARS_MAX]
            for at in range(0, max(1, len(self._text)), PART_CHARS_MAX)
        ]
        outcome: CommandOutcome | None = None
        for number, text in enumerate(parts):
            message = PushConfig(
                push=self._id,
                step=PushStep.STAGE,
                sent_s=0.0,
                text=text,
                part=number,
                parts=len(parts),
            )
            outcome = await self._send(name, message)
            if outcome is None or not outcome.done:
                break
        return outcome

    async def _send(self, name: str, message: PushConfig) -> CommandOutcome | None:
        message = signed(dataclasses.replace(message, sent_s=time.time()), self._secret)
        quick = message.step in (PushStep.STAGE, PushStep.CONFIRM)
        timeout_s = min(QUICK_S, self._timeout_s) if quick else self._timeout_s
        return await self._bus.request(name, self._writers[name], message, timeout_s=timeout_s)


def document(file: str, *, join: bool) -> tuple[str, Loaded]:
    """Return a file that can be pushed, as it is or joined with what it includes.

    Raises:
        ConfigError: it cannot be used.
        PushError: it can, but not be pushed.

    """
    loaded = load(file)
    if not Path(file).is_file():
        raise PushError(
            f"{file} is a directory: one TOML file is pushed; heartbus config convert writes one",
            EXIT_CONFIG,
        )
    if loaded.included and not join:
        raise PushError(
            f"{file}: with include ({len(loaded.included)} more); the other directors have not"
            " got what it includes. Allowed is one file: --join pushes all of them as one, without"
            " their comments, and every director, this one too, has that one then",
            EXIT_CONFIG,
        )
    for place in loaded.secrets:
        raise PushError(
            f"{place.file}:{place.line}: {place.directive}: a secret; whoever listens to the bus"
            f" would read it. Allowed is {(place.directive or '').rpartition('.')[2]}_file, with"
            " that file on every director",
            EXIT_CONFIG,
        )
    joined = joined_text(file) if loaded.included else None
    text = Path(file).read_bytes().decode() if joined is None else joined
    if len(text) > TEXT_CHARS_MAX:
        raise PushError(f"{file}: at most {TEXT_CHARS_MAX} characters are pushed", EXIT_CONFIG)
    return text, loaded


def joined_text(file: str) -> str | None:
    """Return a file with all that it includes as one TOML text; None if it cannot be read so.

    It means the same beside the file itself: names in included files are relative to that too.
    """
    report = Report()
    main = source.read(file, report)
    read = None if main is None else read_joined(main, report)
    return None if read is None else tomli_w.dumps(read[0].content)


def local_files(file: str, loaded: Loaded) -> tuple[str, ...]:
    """Return what a configuration reads besides itself: it is not pushed, and each has its own."""
    pushed = {os.path.realpath(each) for each in (file, *loaded.included)}
    return tuple(
        name
        for name, digest in loaded.files.items()
        if digest and os.path.isfile(name) and os.path.realpath(name) not in pushed
    )


def _secret(config: str) -> bytes:
    """Return the secret that signs: that of this director's own configuration.

    Raises:
        ConfigError: it cannot be read, by this user perhaps.
        PushError: its key has none.

    """
    secret = signing_secret(load(config).cluster.membership.authentication)
    if not secret:
        raise PushError(
            f"{config}: the signing key is crc and has no secret; allowed is sha256", EXIT_CONFIG
        )
    return secret


def _with_reasons(outcome: CommandOutcome | None) -> CommandOutcome | None:
    if outcome is None or outcome.done or not outcome.details:
        return outcome
    return dataclasses.replace(outcome, message="\n".join((outcome.message, *outcome.details)))


def _print(
    file: str, version: str, pusher: _Pusher, local: tuple[str, ...], *, as_json: bool
) -> None:
    round_ = pusher.round
    assert round_ is not None
    if as_json:
        click.echo(json.dumps({**_json(version, pusher), "local_files": list(local)}, indent=2))
        return
    if local:
        click.echo(printable(f"not pushed, each director has its own: {', '.join(local)}"))
    for name, said in pusher.said.items():
        for note in said.notes:
            click.echo(printable(f"{name}: {note}"))
        for planner, plan in said.plans.items():
            click.echo(printable(f"{name} {planner}: {plan.message}"))
            for line in plan.details:
                click.echo(printable(f"    {line}"))
    for name, why in round_.problems.items():
        for line in why.splitlines():
            click.echo(printable(f"{name}: {line}"), err=True)
    words = {
        Verdict.KEPT: f"{file}: every director runs version {version}",
        Verdict.TESTED: f"{file}: version {version} can be used by every director; nothing changed",
        Verdict.REFUSED: f"{file}: refused, nothing changed",
        Verdict.ROLLED_BACK: f"{file}: not taken up everywhere, so taken back everywhere; a"
        f" director that does not answer goes back by itself within {CONFIRM_S:g} s",
        Verdict.PARTLY: f"{file}: version {version} is kept, but not every director has answered:"
        " heartbus status shows who runs what; push it again",
    }
    assert round_.verdict is not None
    done = round_.verdict in (Verdict.KEPT, Verdict.TESTED)
    click.echo(words[round_.verdict], err=not done)


def _json(version: str, pusher: _Pusher) -> dict[str, Any]:
    assert pusher.round is not None
    return {
        "verdict": pusher.round.verdict,
        "version": version,
        "problems": pusher.round.problems,
        "directors": {
            name: {
                "digest": said.digest,
                "notes": list(said.notes),
                "plans": {planner: list(p.details) for planner, p in said.plans.items()},
            }
            for name, said in pusher.said.items()
        },
    }
