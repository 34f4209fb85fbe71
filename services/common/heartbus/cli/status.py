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
from heartbus.bus import BusUnreachableError, Inbox, NatsBus, bus_of_people
from heartbus.cli.alarms import (
    alarm_table,
    alarms,
    checker_alarms,
    conflict_alarms,
    recorder_alarms,
)
from heartbus.cli.options import json_option, nats_option, observer_name, tell_if_unreachable
from heartbus.cli.status_services import service_table, services
from heartbus.cli.status_sources import (
    STALE_S,
    UNKNOWN,
    age_cell,
    of_alarms,
    source,
    source_table,
    sources,
)
from heartbus.cli.watch import printable
from heartbus.events import (
    CheckerState,
    IpvsState,
    MembershipState,
    RecorderState,
    TrackView,
    VipState,
)
from heartbus.observer import ClusterView, S
from heartbus.runner import EXIT_MACHINE

COLLECT_S: Final = 1.5
"""Snapshots come every second; after this whoever has not spoken is shown as unknown."""

COLLECT_PAGES_S: Final = 12.0
"""A large table comes in pages, all of them every 10 seconds."""


_RUNGS: Final = {
    "bus": "all",
    "links": "[yellow]all, but the bus is lost[/]",
    "alone": "[yellow]no other director[/]",
    "isolated": "[red]nobody: isolated[/]",
    "minority": "[red]no majority[/]",
}
_GUARD_STYLE: Final = {
    "running": "green",
    "fenced": "yellow",
    "failed": "red",
    "refused": "red",
    "given-up": "red",
}

_STATE_STYLE: Final = {
    "held": "green",
    "running": "green",
    "everywhere": "green",
    "released": "cyan",
    "stopped": "cyan",
    "failed": "red",
}
_PING_STYLE: Final = {"up": "green", "down": "red", "unknown": "yellow"}


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
        view = asyncio.run(_follow(nats) if keep_on else collect(nats))
    except KeyboardInterrupt:
        return
    except BusUnreachableError as error:
        click.echo(f"heartbus status: {error}", err=True)
        sys.exit(EXIT_MACHINE)
    now_s = time.monotonic()
    if as_json:
        click.echo(json.dumps(document(view, now_s=now_s), indent=2))
    else:
        Console().print(screen(view, now_s=now_s))
    holders = [group["holder"] for group in document(view, now_s=now_s)["groups"]]
    sys.exit(0 if holders and UNKNOWN not in holders else 1)


async def collect(url: str) -> ClusterView:
    """Return what is heard within a moment.

    Raises:
        BusUnreachableError: the bus is not there.

    """
    view, inbox, bus = _observe(url)
    run = asyncio.create_task(bus.run())
    reached = False
    try:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        async with asyncio.timeout(COLLECT_S) as limit:
            while not view.is_complete():
                view.see(await inbox.get(), now_s=time.monotonic())
                if view.waits_for_pages:
                    limit.reschedule(started_s + COLLECT_PAGES_S)
    except TimeoutError:
        pass
    finally:
        reached = bus.connected
        run.cancel()
        await asyncio.wait({run})
    if not reached:
        raise BusUnreachableError(bus.unreachable)
    return view


async def _follow(url: str) -> ClusterView:
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
    bus = bus_of_people(url, observer_name())
    bus.subscribe((subjects.ALL_STATES,), inbox)
    return ClusterView(), inbox, bus


# --- what is shown -------------------------------------------------------------------------------


def document(view: ClusterView, *, now_s: float) -> dict[str, Any]:
    """Return the status as plain values: alarms, directors, links, ping nodes, groups, services.

    What no fresh snapshot says is the word ``unknown``, never a guess.
    """
    return {
        "sources": sources(view, now_s=now_s),
        "alarms": of_alarms(view, _alarms(view, now_s), now_s=now_s),
        "directors": [_director(view, node, now_s) for node in view.nodes()],
        "ping_nodes": _ping_nodes(view, now_s),
        "links": _links(view, now_s),
        "groups": _groups(view, now_s),
        "virtual_services": _services(view, now_s),
    }


def _alarms(view: ClusterView, now_s: float) -> list[dict[str, Any]]:
    return (
        alarms(
            (node, state)
            for node in view.nodes()
            if (state := _fresh(view, node, MembershipState, now_s)) is not None
        )
        + checker_alarms(
            (node, checker)
            for node in view.nodes()
            if (checker := _fresh(view, node, CheckerState, now_s)) is not None
        )
        + recorder_alarms(
            (n for n in view.nodes() if _fresh(view, n, VipState, now_s) is not None),
            (
                (node, recorder)
                for node in view.nodes()
                if (recorder := _fresh(view, node, RecorderState, now_s)) is not None
            ),
        )
        + conflict_alarms(
            (node, vip)
            for node in view.nodes()
            if (vip := _fresh(view, node, VipState, now_s)) is not None
        )
    )


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
    vip = _fresh(view, node, VipState, now_s)
    return {
        "name": node,
        "seen_by": opinions,
        **source(view, node, MembershipState, now_s=now_s),
        "config_digest": own.config_digest if own else None,
        "lag_s": own.lag_s if own else None,
        "witness": own.directors[0].witness if own and own.directors else None,
        "quorum": own.quorum if own else None,
        "rung": str(own.rung) if own else UNKNOWN,
        "local_health": own.local_health if own else None,
        "dropped": own.dropped if own else None,
        "holds": [g.name for g in vip.groups if g.status == "held"] if vip else None,
        "trackers": [_tracker(t) for t in vip.trackers] if vip else None,
        **(_guards(own) if own else {}),
    }


def _tracker(view: TrackView) -> dict[str, Any]:
    return {
        "name": view.name,
        "status": str(view.status),
        "effect": view.effect,
        "reason": view.reason,
    }


def _ping_nodes(view: ClusterView, now_s: float) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for observer in view.nodes():
        state = _fresh(view, observer, MembershipState, now_s)
        for node in state.ping_nodes if state else ():
            row = rows.setdefault(node.name, {"name": node.name, "seen_by": {}})
            row["seen_by"][observer] = {
                "status": str(node.status),
                "silent_s": None if node.silent_s is None else round(node.silent_s, 3),
                "members_heard": list(node.members_heard),
                "problem": node.problem,
                **source(view, observer, MembershipState, now_s=now_s),
            }
    return list(rows.values())


def _links(view: ClusterView, now_s: float) -> list[dict[str, Any]]:
    return [
        {
            "director": node,
            "link": link.name,
            "usable": link.usable,
            "heard": list(link.heard),
            "problem": link.problem,
            **source(view, node, MembershipState, now_s=now_s),
        }
        for node in view.nodes()
        if (state := _fresh(view, node, MembershipState, now_s)) is not None
        for link in state.links
    ]


def _guards(own: MembershipState) -> dict[str, Any]:
    """Return what is configured of watchdog, fences and clients, and nothing else."""
    found: dict[str, Any] = {}
    if own.watchdog is not None:
        found["watchdog"] = {
            "device": own.watchdog.device,
            "armed": own.watchdog.armed,
            "timeout_s": own.watchdog.timeout_s,
            "problem": own.watchdog.problem,
        }
    if own.fences:
        found["fences"] = [
            {
                "director": fence.director,
                "status": str(fence.status),
                "failures": fence.failures,
                "reason": fence.reason,
            }
            for fence in own.fences
        ]
    if own.clients:
        found["clients"] = [
            {
                "command": client.command,
                "user": client.user,
                "status": str(client.status),
                "exits": client.exits,
                "reason": client.reason,
            }
            for client in own.clients
        ]
    return found


def _groups(view: ClusterView, now_s: float) -> list[dict[str, Any]]:
    best: dict[str, dict[str, Any]] = {}
    for node in view.nodes():
        state = _fresh(view, node, MembershipState, now_s)
        for group in state.groups if state else ():
            row = {
                "name": group.name,
                "holder": group.holder or UNKNOWN,
                "epoch": group.epoch,
                "reason": group.reason,
                "according_to": node,
                "held_as": _held_as(view, group.holder, group.name, now_s),
                **source(view, node, MembershipState, now_s=now_s),
            }
            if group.name not in best or group.epoch > best[group.name]["epoch"]:
                best[group.name] = row
    return [best[name] for name in sorted(best)]


def _held_as(view: ClusterView, holder: str | None, name: str, now_s: float) -> dict[str, Any]:
    """Return what the vip of the holder says of a group; ``unknown`` where none is heard."""
    state = _fresh(view, holder, VipState, now_s) if holder else None
    group = next((g for g in state.groups if g.name == name), None) if state else None
    return {
        "status": str(group.status) if group else UNKNOWN,
        "reason": group.reason if group else "",
        **(
            source(view, holder, VipState, now_s=now_s)
            if holder
            else {"source": None, "age_s": None}
        ),
        "score": group.score if group else None,
        "resources": [
            {"name": r.name, "status": str(r.status), "reason": r.reason}
            for r in (group.resources if group else ())
        ],
    }


def _services(view: ClusterView, now_s: float) -> list[dict[str, Any]]:
    rows = services(
        (node, _fresh(view, node, IpvsState, now_s), _fresh(view, node, CheckerState, now_s))
        for node in view.nodes()
    )
    for row in rows:
        row["sources"] = {
            node: {
                "table": source(view, node, IpvsState, now_s=now_s),
                "checks": source(view, node, CheckerState, now_s=now_s),
            }
            for node in row["tables"]
        }
    return rows


def _version(directors: list[dict[str, Any]]) -> str:
    """Return which configuration those run with that say it, as words behind a title."""
    versions = {row["config_digest"] for row in directors} - {None}
    if len(versions) > 1:
        return ", with different configurations"
    return f", configuration version {escape(versions.pop())}" if versions else ""


def screen(view: ClusterView, *, now_s: float) -> RenderableType:
    """Return the status as tables for a terminal."""
    content = document(view, now_s=now_s)
    directors = Table(
        *("director", "seen by the others", "sees", "age", "lag", "holds"),
        title=f"Directors{_version(content['directors'])}",
    )
    for row in content["directors"]:
        seen = ", ".join(
            f"{observer.split('.')[0]}: {opinion}"
            for observer, opinion in row["seen_by"].items()
            if observer != row["name"]
        )
        directors.add_row(
            escape(row["name"]),
            escape(seen) or UNKNOWN,
            _RUNGS.get(row["rung"], UNKNOWN),
            age_cell(row["age_s"]),
            _lag(row),
            _held(row),
        )
    links = Table("director", "link", "heard", "age", "problem", title="Heartbeat links")
    for row in content["links"]:
        links.add_row(
            escape(row["director"].split(".")[0]),
            escape(row["link"]),
            escape(", ".join(heard.split(".")[0] for heard in row["heard"])) or "-",
            age_cell(row["age_s"]),
            escape(printable(row["problem"] or "")),
        )
    groups = _group_table(content["groups"])
    tables = [directors, source_table(content["sources"]), links]
    if (alarmed := alarm_table(content["alarms"])) is not None:
        tables.insert(0, alarmed)
    if (dropped := _dropped_table(content["directors"])) is not None:
        tables.append(dropped)
    if content["ping_nodes"]:
        tables.append(_ping_table(content["ping_nodes"]))
    if (guards := _guard_table(content["directors"])) is not None:
        tables.append(guards)
    tables.append(groups)
    return Group(*tables, *(service_table(row) for row in content["virtual_services"]))


def _dropped_table(rows: list[dict[str, Any]]) -> Table | None:
    """Return which datagrams were not believed (docs/wire.md), None where all were."""
    table = Table("director", "reason", "count", title="Heartbeats dropped since the start")
    for row in rows:
        for reason, count in sorted((row["dropped"] or {}).items()):
            table.add_row(escape(row["name"].split(".")[0]), escape(printable(reason)), str(count))
    return table if table.row_count else None


def _group_table(rows: list[dict[str, Any]]) -> Table:
    headings = ("group", "holder", "epoch", "age", "resource", "state", "why")
    table = Table(*headings, title="Resource groups")
    for row in rows:
        held = row["held_as"]
        style = "red" if row["holder"] == UNKNOWN else "green"
        table.add_row(
            escape(printable(row["name"])),
            f"[{style}]{escape(row['holder'])}[/]",
            str(row["epoch"]),
            age_cell(row["age_s"]),
            "",
            _state(held["status"]),
            escape(printable(held["reason"] or row["reason"])),
        )
        for resource in held["resources"]:
            name, why = printable(resource["name"]), printable(resource["reason"])
            state = _state(resource["status"])
            table.add_row("", "", "", "", escape(name), state, escape(why))
    return table


def _state(word: str) -> str:
    return f"[{_STATE_STYLE.get(word, 'yellow')}]{escape(printable(word))}[/]"


def _ping_table(rows: list[dict[str, Any]]) -> Table:
    table = Table("ping node", "director", "status", "silent", "age", "why", title="Ping nodes")
    for row in rows:
        for observer, seen in row["seen_by"].items():
            answering = ", ".join(seen["members_heard"])
            answers = f"{answering} answers" if answering not in ("", row["name"]) else ""
            style = _PING_STYLE.get(seen["status"], "cyan")
            table.add_row(
                escape(printable(row["name"])),
                escape(observer.split(".")[0]),
                f"[{style}]{escape(printable(seen['status']))}[/]",
                UNKNOWN if seen["silent_s"] is None else f"{seen['silent_s']:.1f} s",
                age_cell(seen["age_s"]),
                escape(printable(seen["problem"] or answers)),
            )
    return table


def _held(row: dict[str, Any]) -> str:
    if row["witness"]:
        return "(witness)"
    return UNKNOWN if row["holds"] is None else escape(", ".join(row["holds"])) or "-"


def _guard_table(rows: list[dict[str, Any]]) -> Table | None:
    """Return what stands beside the memberships, None if nothing does."""
    table = Table("director", "what", "status", "why", title="Watchdog, fences, programs, trackers")
    for row in rows:
        node = escape(row["name"].split(".")[0])
        for tracker in row["trackers"] or ():
            style = _PING_STYLE.get(tracker["status"], "yellow")
            what, why = printable(tracker["name"]), printable(tracker["reason"])
            why = f"{why} (score {tracker['effect']:+d})" if tracker["effect"] else why
            table.add_row(node, escape(what), f"[{style}]{tracker['status']}[/]", escape(why))
        if (dog := row.get("watchdog")) is not None:
            state = "[green]armed[/]" if dog["armed"] else "[red]not armed[/]"
            why = dog["problem"] or f"resets the host after {dog['timeout_s']:g} s"
            table.add_row(node, escape(dog["device"]), state, escape(printable(why)))
        for fence in row.get("fences", ()):
            what = f"fence of {fence['director']}"
            style = _GUARD_STYLE.get(fence["status"], "cyan")
            why = escape(printable(fence["reason"]))
            table.add_row(node, escape(what), f"[{style}]{fence['status']}[/]", why)
        for client in row.get("clients", ()):
            style = _GUARD_STYLE.get(client["status"], "cyan")
            what, why = printable(client["command"]), printable(client["reason"])
            table.add_row(node, escape(what), f"[{style}]{client['status']}[/]", escape(why))
    return table if table.row_count else None


def _lag(row: dict[str, Any]) -> str:
    if row["lag_s"] is None:
        return UNKNOWN
    lag = f"{row['lag_s'] * 1000:.0f} ms"
    return f"{lag} (local health {row['local_health']})" if row["local_health"] else lag
