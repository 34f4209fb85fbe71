"""From trials to the rows of the report and the lines of the table."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

NONE_SAYS: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. ``peer`` None: keepalived has nothing to compare with.

    ``ratio``: heartbus to peer, None where the peer's is 0. ``better``: heartbus is not worse.
    ``spread``: largest minus smallest of heartbus's trials. ``reach``: what is to be reached, None
    where it is the peer's figure. ``load``: the machine's load average when the trials began.
    """

    name: str
    unit: str
    heartbus: float
    peer: float | None
    peer_name: str | None
    ratio: float | None
    better: bool | None
    n: int
    spread: float
    peer_spread: float | None
    reach: float | None
    reached: bool | None
    load: float


def row(
    name: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float] = (),
    *,
    quantile: float = 1.0,
    reach: float | None = None,
    load: float,
    peer_name: str = "keepalived",
    digits: int = 1,
) -> Row:
    """Return the row of one quantile (nearest rank) of both programs' trials."""
    value = round(at_quantile(ours, quantile), digits)
    peer = round(at_quantile(theirs, quantile), digits) if theirs else None
    return Row(
        name=name,
        unit=unit,
        heartbus=value,
        peer=peer,
        peer_name=peer_name if peer is not None else None,
        ratio=round(value / peer, 3) if peer else None,
        better=value <= peer if peer is not None else None,
        n=len(ours),
        spread=round(max(ours) - min(ours), digits),
        peer_spread=round(max(theirs) - min(theirs), digits) if theirs else None,
        reach=reach,
        reached=value <= reach if reach is not None else None,
        load=round(load, 2),
    )


def at_quantile(values: Sequence[float], quantile: float) -> float:
    """Return the smallest value that the given part of all does not exceed."""
    return sorted(values)[max(1, math.ceil(quantile * len(values))) - 1]


def write(rows: Sequence[Row], path: Path, *, keep_others: bool) -> None:
    """Write the report; ``keep_others``: rows of other names that are there stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(path.read_text()) if keep_others and path.exists() else []
    written = {old["name"]: old for old in found} | {r.name: asdict(r) for r in rows}
    path.write_text(json.dumps(list(written.values()), indent=2) + "\n")


def table(rows: Sequence[Row]) -> str:
    """Return the rows as people read them."""
    head = ("", "unit", "heartbus", "spread", "keepalived", "spread", "ratio", "reach", "n")
    lines = [head, *(_cells(r) for r in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(r: Row) -> tuple[str, ...]:
    def text(value: float | None) -> str:
        return NONE_SAYS if value is None else f"{value:g}"

    reach = NONE_SAYS if r.reach is None else f"{r.reach:g} {'yes' if r.reached else 'NO'}"
    return (
        r.name,
        r.unit,
        text(r.heartbus),
        text(r.spread),
        text(r.peer),
        text(r.peer_spread),
        text(r.ratio) + ("" if r.better is not False else " !"),
        reach,
        str(r.n),
    )
