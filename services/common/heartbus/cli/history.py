"""``heartbus history``: what happened, as any director remembers it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from heartbus import codec, log
from heartbus.cli.options import json_option, nats_option, observer_name
from heartbus.cli.watch import text_line
from heartbus.events import AskEvents, Message
from heartbus.history.asking import Asked, Found, NobodyError, opened
from heartbus.observer import RECORD_KINDS
from heartbus.recording import ANSWER_EVENTS_MAX
from heartbus.runner import EXIT_MACHINE

UNITS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])")
_KIND = re.compile(r"[a-z]+(\.[a-z-]+|\.\*|\.>)")

F = TypeVar("F", bound=Callable[..., Any])


class Moment(click.ParamType[float]):
    """A time: so long ago (``90s``, ``15m``, ``2h``, ``3d``, ``1w``), or a date."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return a wall clock time (Unix epoch)."""
        if isinstance(value, float):
            return value
        ago = _AGO.fullmatch(str(value))
        if ago is not None:
            return max(0.0, time.time() - float(ago[1]) * UNITS_S[ago[2]])
        try:
            return datetime.fromisoformat(str(value)).astimezone().timestamp()
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r} is not allowed; allowed is a time ago such as 90s, 15m, 2h, 3d, 1w,"
                ' or a date such as 2026-11-25 or "2026-11-25 10:30"',
                param,
                ctx,
            )


def _kind(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _KIND.fullmatch(value):
            raise click.BadParameter(
                f"{value!r} is not allowed; allowed is a subject such as vip.acquired or vip.*"
            )
    return tuple(value.replace(".>", ".*") for value in values)


def source_options(function: F) -> F:
    """Add the options that say whose history is asked."""
    for option in (
        click.option(
            "--file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="Read this file of a recorder; nobody is asked.",
        ),
        click.option(
            "--from",
            "from_node",
            metavar="DIRECTOR",
            help="Whose history is asked; that of this host, else any, if not given.",
        ),
        click.option(
            "--state-dir",
            type=click.Path(path_type=Path),
            default=Path("/var/lib/heartbus"),
            envvar="HEARTBUS_STATE_DIR",
            show_default=True,
            help="Where the file of this host is, which is read where no recorder answers.",
        ),
        json_option,
        nats_option,
    ):
        function = option(function)
    return function


@click.command(epilog="Example: heartbus history --since 2h --subject 'vip.*'")
@source_options
@click.option("--since", type=Moment(), default=0.0, help="No older ones: 90s, 2h, 2026-11-25.")
@click.option("--until", type=Moment(), default=0.0, help="No newer ones.")
@click.option(
    "--subject",
    "subjects_",
    multiple=True,
    callback=_kind,
    help="Only this kind, such as realserver.down or 'vip.*'; may be given again.",
)
@click.option("--node", default="", help="Only what this director said, by its full name.")
@click.option("--about", default="", metavar="WORD", help="Only what names this word.")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=ANSWER_EVENTS_MAX),
    default=100,
    show_default=True,
    help="The newest ones.",
)
def history(
    nats: str,
    *,
    as_json: bool,
    state_dir: Path,
    from_node: str | None,
    file: Path | None,
    since: float,
    until: float,
    subjects_: tuple[str, ...],
    node: str,
    about: str,
    limit: int,
) -> None:
    """Print what happened, the oldest first, as a director remembers it.

    Every director remembers the events of all. --json prints one document for each line.

    Exit code: 0; 3 if nobody can be asked and there is no file.
    """
    log.configure(level="error")
    query = AskEvents(
        since_s=since, until_s=until, kinds=subjects_, node=node, about=about, limit=limit
    )

    async def ask(asked: Asked) -> Found:
        return await asked.history.find(query)

    found = run(ask, "heartbus history", nats, from_node, file, state_dir)
    for message in found.messages:
        if message.body.kind in RECORD_KINDS and not subjects_:
            continue
        if message.envelope.id in found.gaps and not as_json:
            service, node_ = message.envelope.service, message.envelope.node
            click.echo(f"(events of {service} on {node_} are missing here)")
        click.echo(json.dumps(_document(message, found)) if as_json else dated_line(message))
    if found.more and not as_json:
        click.echo(f"(only the newest {limit}; --limit gives more)", err=True)
    warn_of(found)


def run(
    ask: Callable[[Asked], Any],
    program: str,
    nats: str,
    from_node: str | None,
    file: Path | None,
    state_dir: Path,
) -> Any:
    """Return what ``ask`` finds in the history; end the program where nobody can be asked."""

    async def whole() -> Any:
        async with opened(
            nats=nats,
            observer=observer_name(),
            node=from_node,
            file=file,
            fallback=state_dir / "history.db",
        ) as asked:
            return await ask(asked)

    try:
        return asyncio.run(whole())
    except NobodyError as error:
        click.echo(f"{program}: {error}", err=True)
        sys.exit(EXIT_MACHINE)


def warn_of(found: Found) -> None:
    """Say on stderr whose history this is, where that is not what one expects."""
    if found.problem is not None:
        click.echo(f"({found.source} may lack something: {found.problem})", err=True)
    if found.source.startswith("the file"):
        click.echo(f"(from {found.source}: no recorder was asked)", err=True)


def dated_line(message: Message) -> str:
    """Return an event as one line with its date."""
    at = datetime.fromtimestamp(message.envelope.time_s).astimezone()
    return f"{at:%Y-%m-%d} {text_line(message)}"


def _document(message: Message, found: Found) -> dict[str, Any]:
    return {**codec.to_map(message), "missing_before": message.envelope.id in found.gaps}
