"""``heartbus why``: the chain of causes, on one screen."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click

from heartbus import log
from heartbus.cli.history import run, source_options, warn_of
from heartbus.cli.watch import printable
from heartbus.events import MembershipState
from heartbus.history.asking import Asked, Found, gather
from heartbus.observer import ClusterView
from heartbus.why.groups import Present, why_group
from heartbus.why.nodes import why_node
from heartbus.why.real_servers import why_real_server
from heartbus.why.story import Account, Story, document
from heartbus.why.words import clock, short

EXIT_UNKNOWN: Final = 1
FRESH_S: Final = 3.0

_CODES: Final = """
    Exit code: 0 the cause is known, 1 it is not, and why it is not is said, 3 nobody can be asked
    and there is no file.
"""


@click.group()
def why() -> None:
    """Say why something is as it is, from the history of any director."""


@why.command(epilog="Example: heartbus why vip IPaddr::192.168.7.110/24")
@click.argument("group")
@source_options
def vip(group: str, **options: Any) -> None:
    """Say why the resource group GROUP is where it is. A part of its name will do."""

    async def ask(asked: Asked) -> tuple[Account, Found]:
        kinds = ("group.*", "vip.*")
        found = await gather(asked.history, group, kinds=kinds, around_s=60.0)
        name = _full(group, (getattr(m.body, "group", None) for m in found.messages))
        story = Story(found.messages, gaps=found.gaps, since_s=asked.history.since_s)
        return why_group(name, story, _present(name, asked.view)), found

    _tell(ask, **options)


@why.command(epilog="Example: heartbus why realserver 192.168.7.11:80")
@click.argument("server")
@source_options
def realserver(server: str, **options: Any) -> None:
    """Say why the real server SERVER (ADDRESS or ADDRESS:PORT) is up, down or out of the table."""

    async def ask(asked: Asked) -> tuple[Account, Found]:
        address = server if server.count(":") != 1 else server.partition(":")[0]
        kinds = ("realserver.*",)
        found = await gather(asked.history, address, kinds=kinds, around_s=10.0)
        story = Story(found.messages, gaps=found.gaps, since_s=asked.history.since_s)
        return why_real_server(server, story), found

    _tell(ask, **options)


@why.command(epilog="Example: heartbus why node linuxha1")
@click.argument("name")
@source_options
def node(name: str, **options: Any) -> None:
    """Say why the director NAME is alive, late, dead or gone for the others."""

    async def ask(asked: Asked) -> tuple[Account, Found]:
        kinds = ("node.*",)
        found = await gather(asked.history, name, kinds=kinds, around_s=60.0)
        full = _full(name, (getattr(m.body, "director", None) for m in found.messages))
        story = Story(found.messages, gaps=found.gaps, since_s=asked.history.since_s)
        return why_node(full, story), found

    _tell(ask, **options)


for _command in (vip, realserver, node):
    _command.help = (_command.help or "") + "\n" + _CODES


def _tell(
    ask: Callable[[Asked], Any],
    *,
    nats: str,
    as_json: bool,
    state_dir: Path,
    from_node: str | None,
    file: Path | None,
) -> None:
    log.configure(level="error")
    account, found = run(ask, "heartbus why", nats, from_node, file, state_dir)
    if as_json:
        click.echo(json.dumps({**document(account), "source": found.source}, indent=2))
    else:
        for text in text_lines(account):
            click.echo(text)
        warn_of(found)
    sys.exit(0 if account.unknown is None else EXIT_UNKNOWN)


def text_lines(account: Account) -> Iterable[str]:
    """Return an account as people read it."""
    yield click.style(printable(account.answer), bold=True)
    for number, link in enumerate(account.steps):
        yield "" if number == 0 else click.style("   because", dim=True)
        head = f"{clock(link.at_s)} {printable(short(link.node)):<10} {link.kind:<18}"
        yield f"{head} {printable(link.text)}"
        for evidence in link.evidence:
            yield f"      - {printable(evidence)}"
    if account.unknown is not None:
        yield click.style("   because", dim=True)
        yield click.style(printable(account.unknown), fg="yellow")
    if account.remarks:
        yield ""
    for remark in account.remarks:
        yield f"note: {printable(remark)}"


def _full(wanted: str, names: Iterable[str | None]) -> str:
    """Return the one name that is meant: the same, or the only one that contains it."""
    known = {name for name in names if name}
    if wanted in known:
        return wanted
    near = [name for name in known if wanted in name]
    return near[0] if len(near) == 1 else wanted


def _present(group: str, view: ClusterView) -> Present | None:
    """Return who holds a group by the newest snapshots; None where nobody says it."""
    seen = []
    now_s = time.monotonic()
    for name in view.nodes():
        state = view.state(name, MembershipState)
        age_s = view.age_s(name, MembershipState, now_s=now_s)
        if state is None or age_s is None or age_s > FRESH_S:
            continue
        seen += [g for g in state.groups if g.name == group and g.holder is not None]
    if not seen:
        return None
    newest = max(seen, key=lambda g: g.epoch)
    return Present(holder=newest.holder, epoch=newest.epoch)
