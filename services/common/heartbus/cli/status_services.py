"""The virtual services in ``heartbus status``: what the kernel has, what checks say, what goes on.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from rich.markup import escape
from rich.table import Table

from heartbus.cli.status_sources import age_cell
from heartbus.cli.watch import printable
from heartbus.events import (
    CheckerState,
    Health,
    IpvsState,
    TableRealServer,
    Traffic,
    Verdict,
)

UNKNOWN: Final = "unknown"

_HEALTH_STYLE: Final = {Health.UP: "green", Health.DOWN: "red", Health.UNKNOWN: "yellow"}
_UNITS: Final = ("", "k", "M", "G", "T")

Seen = tuple[str, IpvsState | None, CheckerState | None]


def services(seen: Iterable[Seen]) -> list[dict[str, Any]]:
    """Return each virtual service as plain values, with the table of each director."""
    rows: dict[str, dict[str, Any]] = {}
    seen = tuple(seen)
    checked_by = _checked_by(seen)
    for node, table, checker in seen:
        verdicts = {
            (v.virtual_service, v.real_server): v for v in (checker.verdicts if checker else ())
        }
        for service in table.services if table else ():
            row = rows.setdefault(
                service.virtual_service,
                {
                    "name": service.virtual_service,
                    "scheduler": service.scheduler,
                    "tables": {},
                    "traffic": {},
                    "lost_on": [],
                },
            )
            row["tables"][node] = [
                _real_server(service.virtual_service, entry, verdicts, checked_by)
                for entry in service.real_servers
            ]
            row["traffic"][node] = _traffic(service.traffic)
            if service.lost:
                row["lost_on"].append(node)
    return [rows[name] for name in sorted(rows)]


def _checked_by(seen: Iterable[Seen]) -> dict[tuple[str, str], list[str]]:
    """Return which directors find out for themselves about each real server."""
    found: dict[tuple[str, str], list[str]] = {}
    for node, _table, checker in seen:
        for verdict in checker.verdicts if checker else ():
            if not verdict.elsewhere:
                found.setdefault((verdict.virtual_service, verdict.real_server), []).append(node)
    return found


def _real_server(
    service: str,
    entry: TableRealServer,
    verdicts: dict[tuple[str, str], Verdict],
    checked_by: dict[tuple[str, str], list[str]],
) -> dict[str, Any]:
    verdict = verdicts.get((service, entry.real_server))
    return {
        "real_server": entry.real_server,
        "forwarding": entry.forwarding,
        "weight": entry.weight,
        "connections": entry.active_connections,
        "inactive_connections": entry.inactive_connections,
        "persistent_connections": entry.persistent_connections,
        "traffic": _traffic(entry.traffic),
        "sorry": entry.sorry,
        "override": "drained" if entry.drained else entry.override,
        "health": str(verdict.health) if verdict else (None if entry.sorry else UNKNOWN),
        "reason": verdict.reason if verdict else None,
        "checked_by": [] if entry.sorry else checked_by.get((service, entry.real_server), []),
    }


def _traffic(traffic: Traffic | None) -> dict[str, int] | None:
    return None if traffic is None else msgspec.to_builtins(traffic)


def service_table(row: dict[str, Any]) -> Table:
    """Return one virtual service as a table for a terminal."""
    lost = f" [red]no quorum on {', '.join(map(_short, row['lost_on']))}[/]" * bool(row["lost_on"])
    table = Table(title=escape(f"{row['name']} {row['scheduler']}") + lost)
    for heading in (
        "director",
        "age",
        "real server",
        "method",
        "weight",
        "connections",
        "new/s",
        "bytes/s",
    ):
        table.add_column(heading)
    for heading in ("health", "checked by", "why"):
        table.add_column(heading)
    for node, entries in row["tables"].items():
        for entry in entries:
            health = "sorry server" if entry["sorry"] else entry["health"]
            style = _HEALTH_STYLE.get(entry["health"], "cyan")
            table.add_row(
                _short(node),
                _ages(row["sources"][node]) if "sources" in row else UNKNOWN,
                escape(entry["real_server"]),
                escape(entry["forwarding"]),
                str(entry["weight"]),
                str(entry["connections"]),
                *_rates(entry["traffic"]),
                f"[{style}]{health}[/]"
                + (f" [yellow]{entry['override']}[/]" * bool(entry["override"])),
                ", ".join(map(_short, entry["checked_by"])),
                escape(printable(entry["reason"] or "")),
            )
    return table


def _ages(seen: dict[str, Any]) -> str:
    """Return how old the table is, and the checks where that is another age."""
    table, checks = age_cell(seen["table"]["age_s"]), age_cell(seen["checks"]["age_s"])
    return table if table == checks else f"{table}, checks {checks}"


def _short(node: str) -> str:
    return escape(node.split(".")[0])


def _rates(traffic: dict[str, int] | None) -> tuple[str, str]:
    if traffic is None:
        return "", ""
    both = traffic["bytes_in_per_s"] + traffic["bytes_out_per_s"]
    return str(traffic["connections_per_s"]), amount(both)


def amount(number: float) -> str:
    """Return a number in at most five characters: ``999``, ``1.2k``, ``34M``."""
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            return f"{number:.1f}{unit}" if unit and number < 10 else f"{number:.0f}{unit}"
        number /= 1000
    raise AssertionError
