"""``heartbus drain``, ``enable``, ``disable``, ``maintenance`` and ``weight``: real servers.

Each is told to every director.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import click
import msgspec

from heartbus import log, subjects
from heartbus.bus import Inbox, bus_of_people
from heartbus.cli.options import json_option, nats_option, observer_name
from heartbus.cli.watch import printable
from heartbus.events import (
    CommandOutcome,
    DirectorStatus,
    Disable,
    Drain,
    Enable,
    IpvsState,
    Maintain,
    MembershipState,
    OverrideCommand,
    SetWeight,
    TableRealServer,
)
from heartbus.model_ipvs import WEIGHT_MAX
from heartbus.observer import ClusterView
from heartbus.runner import EXIT_MACHINE

AGENT: Final = "ipvs-agent"
FIND_S: Final = 2.5
"""Snapshots come every second; who has not spoken by then is not there."""
ANSWER_S: Final = 10.0
EXIT_REFUSED: Final = 1

F = TypeVar("F", bound=Callable[..., Any])

_EPILOG: Final = """
    SERVER: an address (each of its ports) or address:port. Every director that is heard is told at
    once; others learn it from these when they are back. It outlives restarts and failover.

    Exit code: 0 done on every director that is heard, 1 refused or not done in time, 3 the bus
    cannot be reached or no director answers.
"""


def _options(function: F) -> F:
    for option in (
        json_option,
        nats_option,
        click.option(
            "--service",
            default="",
            metavar="NAME",
            help="In this virtual service only, such as tcp:192.168.7.110:80; else in all.",
        ),
        click.argument("server"),
    ):
        function = option(function)
    return function


@click.command(epilog="Example: heartbus drain 192.168.7.11 --deadline 600 --wait")
@_options
@click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(min=0, max=30 * 86400),
    default=0.0,
    metavar="SECONDS",
    help="Cut what is left after this time; without it, never.",
)
@click.option("--wait", is_flag=True, help="Return when nothing is left on any director.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="With --wait: give up waiting (the drain goes on).",
)
def drain(
    server: str,
    service: str,
    nats: str,
    *,
    as_json: bool,
    deadline_s: float,
    wait: bool,
    timeout_s: float,
) -> None:
    """Give a real server no new connections; those that it has go on."""
    command = Drain(server=server, service=service, deadline_s=deadline_s)
    _send("heartbus drain", command, nats, as_json=as_json, wait_s=timeout_s if wait else None)


@click.command(epilog="Example: heartbus enable 192.168.7.11")
@_options
def enable(server: str, service: str, nats: str, *, as_json: bool) -> None:
    """End drain, disable, maintenance or weight: treat a real server as configured."""
    _send("heartbus enable", Enable(server=server, service=service), nats, as_json=as_json)


@click.command(epilog="Example: heartbus disable 192.168.7.11:80")
@_options
def disable(server: str, service: str, nats: str, *, as_json: bool) -> None:
    """Take a real server out of the table now; its connections end."""
    _send("heartbus disable", Disable(server=server, service=service), nats, as_json=as_json)


@click.command(epilog="Example: heartbus maintenance on 192.168.7.11")
@click.argument("state", type=click.Choice(["on", "off"]))
@_options
def maintenance(state: str, server: str, service: str, nats: str, *, as_json: bool) -> None:
    """Treat a real server as if its check failed, until off: somebody works on it.

    As after a failure it has weight 0 where its service is quiescent, and else no entry. Off is the
    same as enable.
    """
    command = (
        Maintain(server=server, service=service)
        if state == "on"
        else Enable(server=server, service=service)
    )
    _send("heartbus maintenance", command, nats, as_json=as_json)


@click.command(epilog="Example: heartbus weight 192.168.7.11 50")
@_options
@click.argument("weight", type=click.IntRange(0, WEIGHT_MAX), metavar="WEIGHT")
def weight(server: str, service: str, nats: str, *, as_json: bool, weight: int) -> None:
    """Give a real server another weight than the configuration says, while it is up."""
    command = SetWeight(server=server, service=service, weight=weight)
    _send("heartbus weight", command, nats, as_json=as_json)


for _command in (drain, enable, disable, maintenance, weight):
    _command.help = (_command.help or "") + "\n" + _EPILOG


def _send(
    program: str,
    command: OverrideCommand,
    url: str,
    *,
    as_json: bool,
    wait_s: float | None = None,
) -> None:
    log.configure(level="error")
    sys.exit(asyncio.run(_ask(program, command, url, as_json=as_json, wait_s=wait_s)))


async def _ask(
    program: str, command: OverrideCommand, url: str, *, as_json: bool, wait_s: float | None
) -> int:
    inbox, view = Inbox(), ClusterView()
    bus = bus_of_people(url, observer_name(), commands=True)
    bus.subscribe(map(subjects.states_of_service, ("membership", AGENT)), inbox)
    run = asyncio.create_task(bus.run())
    try:
        missing = await _find(inbox, view)
        told = [node for node in view.nodes() if view.state(node, IpvsState) is not None]
        if not told:
            silent = "no ipvs-agent is heard: is the director up?"
            click.echo(f"{program}: {silent if bus.connected else bus.unreachable}", err=True)
            return EXIT_MACHINE
        answers = await asyncio.gather(
            *(bus.request(node, AGENT, command, timeout_s=ANSWER_S) for node in told)
        )
        outcomes = dict(zip(told, answers, strict=True))
        _print(outcomes, missing, as_json=as_json)
        if not any(outcomes.values()):
            return EXIT_MACHINE
        if not all(outcome is not None and outcome.done for outcome in outcomes.values()):
            return EXIT_REFUSED
        if wait_s is None:
            return 0
        ended = await _wait(command, told, inbox, view, wait_s)
        return 0 if ended else EXIT_REFUSED
    finally:
        run.cancel()
        await asyncio.wait({run})


async def _find(inbox: Inbox, view: ClusterView) -> list[str]:
    """Listen until every live director was heard; return those that were not."""
    missing: list[str] = []
    try:
        async with asyncio.timeout(FIND_S):
            async for message in inbox:
                view.see(message, now_s=time.monotonic())
                alive = _alive(view)
                missing = [node for node in alive if view.state(node, IpvsState) is None]
                if alive and not missing:
                    break
    except TimeoutError:
        pass
    return missing


def _alive(view: ClusterView) -> list[str]:
    """Return the directors that any membership sees alive."""
    alive = {
        director.name
        for node in view.nodes()
        if (state := view.state(node, MembershipState)) is not None
        for director in state.directors
        if not director.witness and director.status in (DirectorStatus.ALIVE, DirectorStatus.LATE)
    }
    return sorted(alive)


def _print(
    outcomes: dict[str, CommandOutcome | None], missing: list[str], *, as_json: bool
) -> None:
    if as_json:
        document = {node: msgspec.to_builtins(outcome) for node, outcome in outcomes.items()}
        click.echo(json.dumps(document | dict.fromkeys(missing), indent=2))
        return
    for node, outcome in outcomes.items():
        if outcome is None:
            click.echo(f"{node}: no answer within {ANSWER_S:g} s", err=True)
        else:
            click.echo(printable(outcome.message), err=not outcome.done)
    for node in missing:
        click.echo(f"{node}: its ipvs-agent is not heard; it learns this when it is", err=True)


async def _wait(
    command: OverrideCommand, told: list[str], inbox: Inbox, view: ClusterView, wait_s: float
) -> bool:
    """Print what is left whenever that changes; return whether nothing is left in time."""
    before = ""
    try:
        async with asyncio.timeout(wait_s):
            async for message in inbox:
                view.see(message, now_s=time.monotonic())
                entries = list(_entries(command, told, view))
                left = [e for e in entries if not (e.override == "drain" and e.drained)]
                text = progress(left)
                if text != before:
                    click.echo(text)
                before = text
                if not left:
                    return True
    except TimeoutError:
        click.echo(f"not drained within {wait_s:g} s; it goes on", err=True)
    return False


def progress(left: list[TableRealServer]) -> str:
    """Return in words what is left on draining servers."""
    if not left:
        return "drained"
    active = sum(entry.active_connections for entry in left)
    inactive = sum(entry.inactive_connections for entry in left)
    persistent = sum(entry.persistent_connections for entry in left)
    return (
        f"{active} active connections, {inactive} closing or of UDP,"
        f" {persistent} persistence templates left"
    )


def _entries(
    command: OverrideCommand, told: list[str], view: ClusterView
) -> Iterator[TableRealServer]:
    """Yield the entries that are meant, on every director that was told."""
    for node in told:
        state = view.state(node, IpvsState)
        for service in state.services if state is not None else ():
            if command.service not in ("", service.virtual_service):
                continue
            for entry in service.real_servers:
                address = entry.real_server.rpartition(":")[0].strip("[]")
                if command.server in (entry.real_server, address):
                    yield entry
