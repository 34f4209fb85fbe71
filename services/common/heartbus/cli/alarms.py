"""What is wrong though everything works: shown first by ``heartbus status``.

Sans-I/O. An alarm stands in a snapshot and is gone with the next one that does not have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

from heartbus.cli.status_sources import age_cell
from heartbus.cli.watch import printable
from heartbus.events import (
    CheckerState,
    ConfigDifference,
    ConfigSkew,
    ConflictView,
    HistoryFailed,
    MembershipState,
    RecorderState,
    VipConflict,
    VipState,
)

UNSTREAMED: Final = "history.unstreamed"


def alarms(states: Iterable[tuple[str, MembershipState]]) -> list[dict[str, Any]]:
    """Return the alarms of fresh snapshots as plain values; ``director``: whom each is about."""
    return [
        {
            "kind": ConfigSkew.kind,
            "seen_by": node,
            "director": difference.director,
            "differs": list(difference.differs),
            "ours": state.config_digest,
            "theirs": difference.theirs,
            "text": _skew_text(node, state.config_digest, difference),
        }
        for node, state in states
        for difference in state.config_differences
    ]


def checker_alarms(states: Iterable[tuple[str, CheckerState]]) -> list[dict[str, Any]]:
    """Return the alarms of checkers whose own view is not to be believed."""
    return [
        {
            "kind": "checker.suspect",
            "seen_by": node,
            "director": node,
            "text": f"its checker is not believed: {state.suspect}",
        }
        for node, state in states
        if state.suspect is not None
    ]


def recorder_alarms(
    directors: Iterable[str], states: Iterable[tuple[str, RecorderState]]
) -> list[dict[str, Any]]:
    """Return the alarms of histories that are not kept; none where nobody keeps one.

    ``directors``: those that are heard.
    """
    heard = dict(states)
    problems = {node: state.problem for node, state in heard.items() if state.problem is not None}
    if heard:
        silent = "no recorder is heard"
        problems |= {node: silent for node in directors if node not in heard}
    return [
        {
            "kind": HistoryFailed.kind,
            "seen_by": node,
            "director": node,
            "text": f"its history is not kept: {problem}",
        }
        for node, problem in sorted(problems.items())
    ] + [
        {
            "kind": UNSTREAMED,
            "seen_by": node,
            "director": node,
            "text": f"its history does not reach the stream: {state.stream_problem}",
        }
        for node, state in sorted(heard.items())
        if state.stream_problem is not None
    ]


def conflict_alarms(states: Iterable[tuple[str, VipState]]) -> list[dict[str, Any]]:
    """Return an alarm for each other machine that answers for a virtual IP."""
    return [
        {
            "kind": VipConflict.kind,
            "seen_by": node,
            "director": conflict.director or None,
            "group": conflict.group,
            "address": conflict.address,
            "mac": conflict.mac,
            "interface": conflict.interface,
            "text": _conflict_text(conflict),
        }
        for node, state in states
        for conflict in state.conflicts
    ]


def alarm_table(rows: list[dict[str, Any]]) -> Table | None:
    """Return the alarms as a table, None if there is none."""
    table = Table("seen by", "age", "alarm", title="Alarms", title_style="bold red", style="red")
    for row in rows:
        table.add_row(
            escape(printable(row["seen_by"].split(".")[0])),
            age_cell(row["age_s"]),
            escape(printable(row["text"])),
        )
    return table if rows else None


def _conflict_text(conflict: ConflictView) -> str:
    where = f"with {conflict.mac} on {conflict.interface}"
    if conflict.director:
        return (
            f"{conflict.director} answers for {conflict.address} too, {where}: the directors do not"
            " hear each other over the heartbeat links, or it has the address without our doing"
        )
    family = "" if ":" in conflict.address else (
        "; a real server that has it on lo needs net.ipv4.conf.all.arp_ignore=1 and arp_announce=2:"
        " run heartbus realserver there"
    )  # fmt: skip
    return (
        f"a machine that is no director answers for {conflict.address}, {where}: look for that"
        f" hardware address in the tables of your switches and take the address from it{family}"
    )


def _skew_text(node: str, ours: str, difference: ConfigDifference) -> str:
    *most, last = difference.differs or ("",)
    what = f"{', '.join(most)} and {last}" if most else last
    subject = f"{what} differ" if what else "the configuration differs, it is not known in what,"
    return (
        f"{subject} between {node} and {difference.director}: {node} runs version {ours},"
        f" {difference.director} {difference.theirs}; give both the same files"
        " (heartbus config push)"
    )
