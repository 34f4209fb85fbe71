"""Where each figure of ``heartbus status`` comes from, and how old that is.

Sans-I/O. A figure is what a snapshot says: its source is the subject on which a service of a
director publishes it, its age the time since that was heard here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

from heartbus import subjects
from heartbus.events import (
    STATE_CLASSES,
    CheckerState,
    ConfigSkew,
    HistoryFailed,
    MembershipState,
    RecorderState,
    State,
    VipConflict,
    VipState,
)
from heartbus.observer import ClusterView

UNKNOWN: Final = "unknown"
STALE_S: Final = 3.0

_OF_ALARM: Final[dict[str, type[State]]] = {
    ConfigSkew.kind: MembershipState,
    "checker.suspect": CheckerState,
    HistoryFailed.kind: RecorderState,
    "history.unstreamed": RecorderState,
    VipConflict.kind: VipState,
}


def source(view: ClusterView, node: str, state: type[State], *, now_s: float) -> dict[str, Any]:
    """Return subject and age of the newest snapshot of one service."""
    age_s = view.age_s(node, state, now_s=now_s)
    return {
        "source": subjects.state(node, _service(state)),
        "age_s": None if age_s is None else round(age_s, 3),
    }


def sources(view: ClusterView, *, now_s: float) -> list[dict[str, Any]]:
    """Return each snapshot that is expected, heard or not; ``fresh``: its figures are shown."""
    found = []
    for node in view.nodes():
        for state in STATE_CLASSES:
            row = source(view, node, state, now_s=now_s)
            fresh = row["age_s"] is not None and row["age_s"] <= STALE_S
            found.append({"director": node, "service": _service(state), **row, "fresh": fresh})
    return found


def of_alarms(
    view: ClusterView, alarms: Iterable[dict[str, Any]], *, now_s: float
) -> list[dict[str, Any]]:
    """Return alarms with the snapshot that each stands in."""
    return [
        {**alarm, **source(view, alarm["seen_by"], _OF_ALARM[alarm["kind"]], now_s=now_s)}
        for alarm in alarms
    ]


def source_table(rows: list[dict[str, Any]]) -> Table:
    """Return how old what is shown is, by director and service."""
    services = list(dict.fromkeys(row["service"] for row in rows))
    table = Table("director", *services, title="Age of what is shown, by its source (state.…)")
    for node in dict.fromkeys(row["director"] for row in rows):
        ages = {row["service"]: row for row in rows if row["director"] == node}
        table.add_row(escape(node), *(age_cell(ages[service]["age_s"]) for service in services))
    return table


def age_cell(age_s: float | None) -> str:
    """Return an age for a terminal; what is too old to be shown is red."""
    if age_s is None:
        return f"[yellow]{UNKNOWN}[/]"
    return f"{age_s:.1f} s" if age_s <= STALE_S else f"[red]{age_s:.1f} s: not shown[/]"


def _service(state: type[State]) -> str:
    return state.kind.partition(".")[2]
