"""``heartbus standby``, ``takeover`` and ``failback``: move resource groups on purpose."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
import msgspec

from heartbus import log, subjects
from heartbus.bus import Inbox, bus_of_people
from heartbus.cli.options import json_option, nats_option, observer_name
from heartbus.events import (
    Command,
    CommandOutcome,
    FailBack,
    GroupScope,
    MembershipState,
    Standby,
    TakeOver,
)
from heartbus.observer import ClusterView
from heartbus.runner import EXIT_CONFIG, EXIT_MACHINE

FIND_S: Final = 2.5
"""Snapshots come every second; who has not spoken by then is not there."""

EXIT_REFUSED: Final = 1

F = TypeVar("F", bound=Callable[..., Any])

_EXIT_CODES: Final = """
    Exit code: 0 done, 1 refused or not done in time, 2 no such director, 3 the bus cannot be
    reached or the director does not answer.
"""


def _move_options(function: F) -> F:
    for option in (
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0.1, max=3600),
            default=30.0,
            show_default=True,
            metavar="SECONDS",
            help="Wait so long for the outcome; after it the command is not carried out any more.",
        ),
        json_option,
        nats_option,
        click.option(
            "--force",
            is_flag=True,
            help="Also to a director whose configuration or IPVS table differs.",
        ),
        click.option(
            "--node",
            envvar="HEARTBUS_NODE",
            help="Which director is told; this host if not given. A unique short name will do.",
        ),
    ):
        function = option(function)
    return function


scope_argument = click.argument(
    "scope", type=click.Choice([str(scope) for scope in GroupScope]), default="all"
)


@click.command(epilog="Example: heartbus standby --node linuxha1")
@scope_argument
@_move_options
def standby(scope: str, *, force: bool, **options: Any) -> None:
    """Give resource groups of a director to the others, and leave them there.

    SCOPE: all (the default), local (groups that prefer this director) or foreign (the others).
    They come back when a takeover or failback says so, or when no other director can hold them.
    """
    _send(Standby(scope=GroupScope(scope), force=force), "heartbus standby", **options)


@click.command(epilog="Example: heartbus takeover local --node linuxha1")
@scope_argument
@_move_options
def takeover(scope: str, *, force: bool, **options: Any) -> None:
    """Make a director take resource groups over from the others.

    SCOPE: all (the default), local (groups that prefer this director) or foreign (the others).
    """
    _send(TakeOver(scope=GroupScope(scope), force=force), "heartbus takeover", **options)


@click.command(epilog="Example: heartbus failback --node linuxha2")
@_move_options
def failback(*, force: bool, **options: Any) -> None:
    """Make a director give back the groups that prefer another one."""
    _send(FailBack(force=force), "heartbus failback", **options)


for _command in (standby, takeover, failback):
    _command.help = (_command.help or "") + _EXIT_CODES


def _send(
    command: Command,
    program: str,
    *,
    node: str | None,
    nats: str,
    as_json: bool,
    timeout_s: float,
) -> None:
    log.configure(level="error")
    code, outcome = asyncio.run(_ask(command, program, node, nats, timeout_s))
    if outcome is None:
        sys.exit(code)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(outcome), indent=2))
    else:
        click.echo(text(outcome), err=not outcome.done)
    sys.exit(0 if outcome.done else EXIT_REFUSED)


def text(outcome: CommandOutcome) -> str:
    """Return an outcome as people read it: one line, and one more for each group."""
    took = f" in {outcome.took_s * 1000:.0f} ms" if outcome.took_s else ""
    lines = [f"{outcome.message}{took}"]
    lines += [f"  {group}: {holder or 'unknown'}" for group, holder in outcome.holders.items()]
    lines += [f"  {line}" for line in outcome.details]
    return "\n".join(lines)


async def _ask(
    command: Command, program: str, node: str | None, url: str, timeout_s: float
) -> tuple[int, CommandOutcome | None]:
    inbox, view = Inbox(), ClusterView()
    bus = bus_of_people(url, observer_name(), commands=True)
    bus.subscribe((subjects.states_of_service("membership"),), inbox)
    run = asyncio.create_task(bus.run())
    wanted = node or os.uname().nodename
    try:
        told = await _find(wanted, inbox, view)
        if not bus.connected:
            click.echo(f"{program}: {bus.unreachable}", err=True)
            return EXIT_MACHINE, None
        if told is None:
            known = ", ".join(view.nodes()) or "nobody is heard"
            click.echo(
                f"{program}: {wanted} is no director of this cluster; known: {known}; "
                "say which one with --node NAME",
                err=True,
            )
            return EXIT_CONFIG, None
        outcome = await bus.request(told, "membership", command, timeout_s=timeout_s)
        if outcome is None:
            click.echo(
                f"{program}: membership of {told} does not answer within {timeout_s:g} s: "
                "see heartbus status",
                err=True,
            )
        return EXIT_MACHINE, outcome
    finally:
        run.cancel()
        await asyncio.wait({run})


async def _find(wanted: str, inbox: Inbox, view: ClusterView) -> str | None:
    """Return the director that a name means, as soon as a snapshot names it."""
    try:
        async with asyncio.timeout(FIND_S):
            async for message in inbox:
                if isinstance(message.body, MembershipState):
                    view.see(message, now_s=time.monotonic())
                    found = match_node(wanted, view.nodes())
                    if found is not None:
                        return found
    except TimeoutError:
        pass
    return None


def match_node(wanted: str, known: tuple[str, ...]) -> str | None:
    """Return the known name that is meant: the same, or the only one with that short name."""
    if wanted in known:
        return wanted
    short = [name for name in known if name.split(".")[0] == wanted.split(".")[0]]
    return short[0] if len(short) == 1 else None
