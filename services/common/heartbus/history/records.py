"""One event as the history keeps it, and which of them an asker wants.

Sans-I/O. Events are ordered by their sender's wall clock. Where that cannot be right, by more than
CLOCK_OFF_MAX_S off ours when the event was heard, by ours; then the event is not compared with
peers, whose clocks say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heartbus import codec
from heartbus.events import EVENT_CLASSES, AskEvents, Message
from heartbus.observer import PERIODIC_KINDS
from heartbus.recording import BUCKET_S

CLOCK_OFF_MAX_S: Final = 600.0
ID_CHARS_MAX: Final = 64
EVENT_BYTES_MAX: Final = 256 * 1024
"""An event that is longer is not kept: none of ours is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """``at_s``: wall clock by which it is ordered. ``bucket``: its hour, None if not compared."""

    id: str
    at_s: float
    bucket: int | None
    node: str
    kind: str
    previous: str | None
    payload: bytes


def record(message: Message, *, now_s: float, heard: bool = True) -> Record | None:
    """Return an event as it is kept; None for what is not.

    ``now_s``: our wall clock. ``heard``: it came from its sender now; not later, from who has it.
    """
    envelope, body = message.envelope, message.body
    if not isinstance(body, EVENT_CLASSES) or body.kind in PERIODIC_KINDS:
        return None
    payload = codec.encode(message)
    if len(payload) > EVENT_BYTES_MAX or not 0 < len(envelope.id) <= ID_CHARS_MAX:
        return None
    late_s = now_s - envelope.time_s
    believed = late_s >= -CLOCK_OFF_MAX_S and (not heard or late_s <= CLOCK_OFF_MAX_S)
    if not believed and not heard:
        return None
    return Record(
        id=envelope.id,
        at_s=envelope.time_s if believed else now_s,
        bucket=int(envelope.time_s // BUCKET_S) if believed else None,
        node=envelope.node,
        kind=envelope.kind,
        previous=envelope.previous,
        payload=payload,
    )


def is_wanted(kept: Record, query: AskEvents) -> bool:
    """Return whether an event is what is asked for; the store says the same in SQL."""
    return (
        kept.at_s >= query.since_s
        and (not query.until_s or kept.at_s <= query.until_s)
        and (not query.kinds or any(_matches(kept.kind, pattern) for pattern in query.kinds))
        and (not query.node or kept.node == query.node)
        and (not query.ids or kept.id in query.ids)
        and query.about.encode() in kept.payload
    )


def newest(records: Iterable[Record], limit: int) -> tuple[list[Record], bool]:
    """Return the newest of these in the order of time, each once, and whether there were more."""
    each = {kept.id: kept for kept in records}
    ordered = sorted(each.values(), key=lambda kept: kept.at_s)
    return ordered[-limit:], len(ordered) > limit


def _matches(kind: str, pattern: str) -> bool:
    if pattern.endswith(".*"):
        return kind.startswith(pattern.removesuffix("*"))
    return kind == pattern
