"""``heartbus reload``: make the services of a director read their files anew, and say what came."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Final

import click
import msgspec

from heartbus import log, subjects
from heartbus.bus import Inbox, bus_of_people
from heartbus.cli.move import match_node
from heartbus.cli.options import json_option, nats_option, observer_name
from heartbus.cli.watch import printable
from heartbus.events import CommandOutcome, Reload
from heartbus.observer import ClusterView
from heartbus.runner import EXIT_CONFIG, EXIT_MACHINE

SERVICES: Final = ("membership", "vip", "checker", "ipvs-agent")
FIND_S: Final = 2.5
"""Snapshots come every second; who has not spoken by then is not there."""
OTHERS_S: Final = 1.2
"""So long after the first service of a director the others have spoken too, if they run."""
EXIT_REFUSED: Final = 1


@click.command(epilog="Example: heartbus reload --node linuxha1")
@click.option(
    "--node",
    envvar="HEARTBUS_NODE",
    help="Which director is told; this host if not given. A unique short name will do.",
)
@nats_option
@json_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1, max=3600),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for the outcome; thousands of services take some seconds to read.",
)
def reload(node: str | None, nats: str, *, as_json: bool, timeout_s: float) -> None:
    """Make the services of a director read their files anew.

    Keys, virtual services and settings of IPVS are used at once; the answer says what waits for a
    restart. Files that cannot be used change nothing, equal ones do nothing.

    Exit code: 0 every service runs with what the files say, 1 refused (with file and line), 2 no
    such director, 3 the bus cannot be reached or nobody answers.
    """
    log.configure(level="error")
    sys.exit(asyncio.run(_reload(node or os.uname().nodename, nats, timeout_s, as_json=as_json)))


async def _reload(wanted: str, url: str, timeout_s: float, *, as_json: bool) -> int:
    bus = bus_of_people(url, observer_name(), commands=True)
    inbox, view = Inbox(), ClusterView()
    bus.subscribe(map(subjects.states_of_service, SERVICES), inbox)
    run = asyncio.create_task(bus.run())
    try:
        heard = await services_heard(wanted, inbox, view)
        if not bus.connected:
            click.echo(f"heartbus reload: {bus.unreachable}", err=True)
            return EXIT_MACHINE
        if heard is None:
            known = ", ".join(view.nodes()) or "nobody is heard"
            click.echo(
                f"heartbus reload: {wanted} is no director of this cluster; known: {known}; "
                "say which one with --node NAME",
                err=True,
            )
            return EXIT_CONFIG
        node, services = heard
        answers = await asyncio.gather(
            *(bus.request(node, service, Reload(), timeout_s=timeout_s) for service in services)
        )
        outcomes = dict(zip(services, answers, strict=True))
        _print(node, outcomes, as_json=as_json)
        if all(outcome is None for outcome in answers):
            return EXIT_MACHINE
        done = all(outcome is not None and outcome.done for outcome in answers)
        return 0 if done else EXIT_REFUSED
    finally:
        run.cancel()
        await asyncio.wait({run})


async def services_heard(
    wanted: str, inbox: Inbox, view: ClusterView
) -> tuple[str, tuple[str, ...]] | None:
    """Return the director that a name means and its services that speak; None: nobody's name."""
    heard: dict[str, set[str]] = {}
    loop, found = asyncio.get_running_loop(), False
    try:
        async with asyncio.timeout(FIND_S) as limit:
            async for message in inbox:
                view.see(message, now_s=time.monotonic())
                heard.setdefault(message.envelope.node, set()).add(message.envelope.service)
                node = match_node(wanted, tuple(heard))
                if node is not None and len(heard[node]) == len(SERVICES):
                    break
                if node is not None and not found:
                    found = True
                    limit.reschedule(loop.time() + OTHERS_S)
    except TimeoutError:
        pass
    node = match_node(wanted, tuple(heard))
    if node is None:
        return None
    return node, tuple(service for service in SERVICES if service in heard[node])


def _print(node: str, outcomes: dict[str, CommandOutcome | None], *, as_json: bool) -> None:
    if as_json:
        services = {name: msgspec.to_builtins(outcome) for name, outcome in outcomes.items()}
        click.echo(json.dumps({"node": node, "services": services}, indent=2))
        return
    for service, outcome in outcomes.items():
        click.echo(text(node, service, outcome), err=outcome is None or not outcome.done)


def text(node: str, service: str, outcome: CommandOutcome | None) -> str:
    """Return what became of it as people read it: a line, and one for each detail."""
    if outcome is None:
        return f"{node} {service}: no answer"
    took = f" in {outcome.took_s * 1000:.0f} ms" if outcome.took_s else ""
    digest = f" (digest {outcome.digest})" if outcome.digest else ""
    lines = [f"{node} {service}: {outcome.message}{took}{digest}"]
    lines += [f"  {detail}" for detail in outcome.details]
    return "\n".join(map(printable, lines))
