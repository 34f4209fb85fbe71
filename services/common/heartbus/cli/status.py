"""``heartbus status``: the cluster as its directors describe it, with the age of what is shown."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, Final

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from heartbus import log, subjects
from heartbus.bus import Inbox, NatsBus
from heartbus.cli.options import json_option, nats_option, observer_name, tell_if_unreachable
from heartbus.cli.watch import printable
from heartbus.events import (
    CheckerState,
    Health,
    IpvsState,
    MembershipState,
    TableRealServer,
    Verdict,
    VipState,
)
from heartbus.observer import ClusterView, S
from heartbus.runner import EXIT_MACHINE

COLLECT_S: Final = 1.5
"""Snapshots come every second; after this whoever has not spoken is shown as unknown."""

STALE_S: Final = 3.0
UNKNOWN: Final = "unknown"

_HEALTH_STYLE: Final = {Health.UP: "green", Health.DOWN: "red", Health.UNKNOWN: "yellow"}


@click.command(epilog="Example: heartbus status --json | jq '.groups'")
@nats_option
@json_option
@click.option("--watch", "keep_on", is_flag=True, help="Keep the screen up to date until Ctrl-C.")
def status(nats: str, *, as_json: bool, keep_on: bool) -> None:
    """Show directors, who holds each resource group, and the real servers.

    Exit code: 0 every group has a holder, 1 one has none, 3 the bus cannot be reached.
    """
    log.configure(level="error")
    try:
        view = asyncio.run(_follow(nats) if keep_on else _collect(nats))
    except KeyboardInterrupt:
        return
    if view is None:
        click.echo(f"heartbus status: no nats-server at {nats}: is the director up?", err=True)
        sys.exit(EXIT_MACHINE)
    now_s = time.monotonic()
    if as_json:
        click.echo(json.dumps(document(view, now_s=now_s), indent=2))
    else:
        Console().print(screen(view, now_s=now_s))
    holders = [group["holder"] for group in document(view, now_s=now_s)["groups"]]
    sys.exit(0 if holders and UNKNOWN not in holders else 1)


async def _collect(url: str) -> ClusterView | None:
    view, inbox, bus = _observe(url)
    run = asyncio.create_task(bus.run())
    reached = False
    try:
        async with asyncio.timeout(COLLECT_S):
            while not view.is_complete():
                view.see(await inbox.get(), now_s=time.monotonic())
    except TimeoutError:
        pass
    finally:
        reached = bus.connected
        run.cancel()
        await asyncio.wait({run})
    return view if reached else None


async def _follow(url: str) -> ClusterView | None:
    view, inbox, bus = _observe(url)
    run = asyncio.create_task(bus.run())
    tell_if_unreachable(bus, "heartbus status", url)
    try:
        with Live(console=Console(), screen=True, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(0.25)
                now_s = time.monotonic()
                while (message := inbox.get_nowait()) is not None:
                    view.see(message, now_s=now_s)
                live.update(screen(view, now_s=now_s), refresh=True)
    finally:
        run.cancel()
        await asyncio.wait({run})


def _observe(url: str) -> tuple[ClusterView, Inbox, NatsBus]:
    inbox = Inbox()
    bus = NatsBus(url=url, node="observer", service=observer_name(), incarnation=time.time_ns())
    bus.subscribe((subjects.ALL_STATES,), inbox)
    return ClusterView(), inbox, bus


# --- what is shown -------------------------------------------------------------------------------


def document(view: ClusterView, *, now_s: float) -> dict[str, Any]:
    """Return the status as plain values: directors, groups, virtual services.

    What no fresh snapshot says is the word ``unknown``, never a guess.
    """
    return {
        "directors": [_director(view, node, now_s) for node in view.nodes()],
        "groups": _groups(view, now_s),
        "virtual_services": _services(view, now_s),
    }


def _fresh(view: ClusterView, node: str, state_class: type[S], now_s: float) -> S | None:
    """Return a snapshot only if it is young enough to be shown as what is."""
    age_s = view.age_s(node, state_class, now_s=now_s)
    if age_s is None or age_s > STALE_S:
        return None
    return view.state(node, state_class)


def _director(view: ClusterView, node: str, now_s: float) -> dict[str, Any]:
    opinions = {}
    for observer in view.nodes():
        state = _fresh(view, observer, MembershipState, now_s)
        for director in state.directors if state else ():
            if director.name == node:
                opinions[observer] = str(director.status)
    own = _fresh(view, node, MembershipState, now_s)
    age_s = view.age_s(node, MembershipState, now_s=now_s)
    vip = _fresh(view, node, VipState, now_s)
    return {
        "name": node,
        "seen_by": opinions,
        "age_s": None if age_s is None else round(age_s, 3),
        "config_digest": own.config_digest if own else None,
        "lag_s": own.lag_s if own else None,
        "local_health": own.local_health if own else None,
        "holds": [g.name for g in vip.groups if g.status == "held"] if vip else None,
    }


def _groups(view: ClusterView, now_s: float) -> list[dict[str, Any]]:
    best: dict[str, dict[str, Any]] = {}
    for node in view.nodes():
        state = _fresh(view, node, MembershipState, now_s)
        age_s = view.age_s(node, MembershipState, now_s=now_s)
        for group in state.groups if state else ():
            row = {
                "name": group.name,
                "holder": group.holder or UNKNOWN,
                "epoch": group.epoch,
                "reason": group.reason,
                "according_to": node,
                "age_s": None if age_s is None else round(age_s, 3),
            }
            if group.name not in best or group.epoch > best[group.name]["epoch"]:
                best[group.name] = row
    return [best[name] for name in sorted(best)]


def _services(view: ClusterView, now_s: float) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for node in view.nodes():
        table = _fresh(view, node, IpvsState, now_s)
        checker = _fresh(view, node, CheckerState, now_s)
        verdicts = {
            (v.virtual_service, v.real_server): v for v in (checker.verdicts if checker else ())
        }
        for service in table.services if table else ():
            row = rows.setdefault(
                service.virtual_service,
                {"name": service.virtual_service, "scheduler": service.scheduler, "tables": {}},
            )
            row["tables"][node] = [
                _real_server(service.virtual_service, entry, verdicts)
                for entry in service.real_servers
            ]
    return [rows[name] for name in sorted(rows)]


def _real_server(
    service: str, entry: TableRealServer, verdicts: dict[tuple[str, str], Verdict]
) -> dict[str, Any]:
    verdict = verdicts.get((service, entry.real_server))
    return {
        "real_server": entry.real_server,
        "forwarding": entry.forwarding,
        "weight": entry.weight,
        "connections": entry.active_connections,
        "sorry": entry.sorry,
        "health": str(verdict.health) if verdict else (None if entry.sorry else UNKNOWN),
        "reason": verdict.reason if verdict else None,
    }


def screen(view: ClusterView, *, now_s: float) -> RenderableType:
    """Return the status as tables for a terminal."""
    content = document(view, now_s=now_s)
    directors = Table("director", "seen by the others", "age", "lag", "holds", title="Directors")
    for row in content["directors"]:
        seen = ", ".join(
            f"{observer.split('.')[0]}: {opinion}"
            for observer, opinion in row["seen_by"].items()
            if observer != row["name"]
        )
        directors.add_row(
            escape(row["name"]),
            escape(seen) or UNKNOWN,
            UNKNOWN if row["age_s"] is None else f"{row['age_s']:.1f} s",
            _lag(row),
            UNKNOWN if row["holds"] is None else escape(", ".join(row["holds"])) or "-",
        )
    groups = Table("group", "holder", "epoch", "why", title="Resource groups")
    for row in content["groups"]:
        style = "red" if row["holder"] == UNKNOWN else "green"
        groups.add_row(
            escape(row["name"]),
            f"[{style}]{escape(row['holder'])}[/]",
            str(row["epoch"]),
            escape(row["reason"]),
        )
    return Group(directors, groups, *(_service_table(row) for row in content["virtual_services"]))


def _lag(row: dict[str, Any]) -> str:
    if row["lag_s"] is None:
        return UNKNOWN
    lag = f"{row['lag_s'] * 1000:.0f} ms"
    return f"{lag} (local health {row['local_health']})" if row["local_health"] else lag


def _service_table(row: dict[str, Any]) -> Table:
    table = Table(title=escape(f"{row['name']} {row['scheduler']}"))
    for heading in ("director", "real server", "method", "weight", "connections", "health", "why"):
        table.add_column(heading)
    for node, entries in row["tables"].items():
        for entry in entries:
            health = "sorry server" if entry["sorry"] else entry["health"]
            style = _HEALTH_STYLE.get(entry["health"], "cyan")
            table.add_row(
                escape(node.split(".")[0]),
                escape(entry["real_server"]),
                escape(entry["forwarding"]),
                str(entry["weight"]),
                str(entry["connections"]),
                f"[{style}]{health}[/]",
                escape(printable(entry["reason"] or "")),
            )
    return table
