"""``heartbus watch``: every event of every director, as it happens."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime

import click

from heartbus import codec, log
from heartbus.bus import Inbox, bus_of_people
from heartbus.cli.options import json_option, nats_option, observer_name, tell_if_unreachable
from heartbus.events import EVENT_CLASSES, Message
from heartbus.observer import PERIODIC_KINDS, RECORD_KINDS, all_subjects
from heartbus.runner import EXIT_MACHINE

_COLOURS = {
    "dead": "red",
    "unfenced": "red",
    "down": "red",
    "failed": "red",
    "conflict": "red",
    "revoked": "yellow",
    "lost": "red",
    "gained": "green",
    "late": "yellow",
    "fenced": "yellow",
    "released": "yellow",
    "repaired": "yellow",
    "up": "green",
    "alive": "green",
    "acquired": "green",
    "granted": "green",
}


@click.command(epilog="Example: heartbus watch --json | jq 'select(.kind == \"node.dead\")'")
@nats_option
@json_option
@click.option("--states", is_flag=True, help="Print the periodic snapshots too.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many messages.")
@click.option("--for", "for_s", type=float, metavar="SECONDS", help="Stop after this time.")
def watch(
    nats: str, *, as_json: bool, states: bool, count: int | None, for_s: float | None
) -> None:
    """Print events as they happen, until Ctrl-C.

    Exit code: 0; 3 if the bus was never reached.
    """
    log.configure(level="error")
    try:
        problem = asyncio.run(
            _watch(nats, as_json=as_json, states=states, count=count, for_s=for_s)
        )
    except KeyboardInterrupt:
        return
    if problem is not None:
        click.echo(f"heartbus watch: {problem}", err=True)
        sys.exit(EXIT_MACHINE)


async def _watch(
    url: str, *, as_json: bool, states: bool, count: int | None, for_s: float | None
) -> str | None:
    inbox = Inbox()
    bus = bus_of_people(url, observer_name())
    reached = asyncio.Event()
    bus.on_connection(lambda connected: _tell(connected=connected, reached=reached, url=url))
    bus.subscribe(all_subjects(states=states), inbox)
    run = asyncio.create_task(bus.run())
    tell_if_unreachable(bus, "heartbus watch", url)
    try:
        async with asyncio.timeout(for_s):
            printed = 0
            async for message in inbox:
                if message.body.kind in PERIODIC_KINDS | RECORD_KINDS and not states:
                    continue
                click.echo(_json_line(message) if as_json else text_line(message))
                printed += 1
                if printed == count:
                    break
    except TimeoutError:
        pass
    finally:
        run.cancel()
        await asyncio.wait({run})
    return None if reached.is_set() else bus.unreachable


def _tell(*, connected: bool, reached: asyncio.Event, url: str) -> None:
    if connected:
        reached.set()
    elif reached.is_set():
        click.echo(f"heartbus watch: lost {url}, trying again", err=True)


def _json_line(message: Message) -> str:
    return json.dumps(codec.to_map(message), separators=(",", ":"))


def text_line(message: Message, *, colour: bool = True) -> str:
    """Return one line for people: time, director, kind and what it says."""
    envelope = message.envelope
    at = datetime.fromtimestamp(envelope.time_s).astimezone().strftime("%H:%M:%S.%f")[:-3]
    kind = f"{envelope.kind:<18}"
    if colour:
        kind = click.style(kind, fg=_COLOURS.get(envelope.kind.rpartition(".")[2], "cyan"))
    # What concerns a process does not name it.
    own = envelope.kind.partition(".")[0] in ("service", "config", "operator")
    who = f"service={printable(envelope.service)} " if own else ""
    return f"{at} {printable(envelope.node.split('.')[0]):<10} {kind} {who}{describe(message)}"


def printable(text: str) -> str:
    """Return text that cannot move the cursor or change colours of a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def describe(message: Message) -> str:
    """Return what a message says, as ``name=value`` words; a snapshot by its size only."""
    if not isinstance(message.body, EVENT_CLASSES):
        return f"({len(codec.encode(message))} bytes)"
    words = []
    for name in codec.field_names(type(message.body)):
        value = getattr(message.body, name)
        if isinstance(value, tuple):
            value = ", ".join(map(str, value))
        elif isinstance(value, float):
            value = f"{value:.3f}"
        text = printable(str(value))
        words.append(f"{name}={json.dumps(text) if ' ' in text or not text else text}")
    return " ".join(words)
