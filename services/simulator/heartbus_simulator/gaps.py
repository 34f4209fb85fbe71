"""Plays recorded heartbeats through the failure detector with another deadtime.

Sans-I/O. The detector is the real one. Between recorded gaps heartbeats came within kept_above_s
so that only the gaps decide. What the bus shows of a peer, which may delay a death, is
not recorded: a death here is one that silence alone would have made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from heartbus.events import HeartbeatGaps, Message, NodeDead, NodeLate
from heartbus.model import Timers
from heartbus_membership.detector import FailureDetector

SHOWN_MAX: Final = 20
LINK: Final = "recorded"


def over(messages: Iterable[Message], *, timers: Timers, deadtime_s: float) -> list[dict[str, Any]]:
    """Return what each director would have concluded of each other one, as plain values."""
    ways: dict[tuple[str, str], list[Message]] = {}
    for message in messages:
        if isinstance(message.body, HeartbeatGaps):
            key = (message.envelope.node, message.body.director)
            ways.setdefault(key, []).append(message)
    changed = dataclasses.replace(
        timers, deadtime_s=deadtime_s, warntime_s=min(timers.warntime_s, deadtime_s)
    )
    return [
        {
            "title": f"{director} as {observer} would have seen it",
            **_way(found, director, changed),
        }
        for (observer, director), found in sorted(ways.items())
    ]


def _way(messages: list[Message], director: str, timers: Timers) -> dict[str, Any]:
    late: list[dict[str, Any]] = []
    dead: list[dict[str, Any]] = []
    heartbeats, recorded_s, longest_s, unkept = 0, 0.0, 0.0, 0
    for message in messages:
        body = message.body
        assert isinstance(body, HeartbeatGaps)
        heartbeats += body.heartbeats
        recorded_s += body.over_s
        if body.kept_above_s > timers.deadtime_s:
            unkept += _counted(body.counts, timers.deadtime_s, body.kept_above_s)
        for gap in body.longest:
            if not gap.stalled:
                longest_s = max(longest_s, gap.length_s)
            ended_s = message.envelope.time_s - gap.before_s
            for event in _play(director, gap.length_s, timers, stalled=gap.stalled):
                list_ = dead if isinstance(event, NodeDead) else late
                list_.append({"time_s": ended_s - gap.length_s, "silent_s": gap.length_s})
    return {
        "heartbeats": heartbeats,
        "recorded_s": round(recorded_s, 1),
        "longest_s": longest_s,
        "late": len(late),
        "deaths": len(dead) + unkept,
        "deaths_shown": dead[-SHOWN_MAX:],
    }


def _play(
    director: str, length_s: float, timers: Timers, *, stalled: bool
) -> list[NodeLate | NodeDead]:
    """Let the detector hear a heartbeat, nothing for so long, and one more."""
    detector = FailureDetector(
        peers=[director], timers=timers, restart_grace_s=0.0, lease_s=0.0, started_s=0.0
    )
    detector.heartbeat_received(director, link=LINK, incarnation=1, leaving=False, now_s=0.0)
    events = []
    now_s = 0.0
    while not stalled and (now_s := detector.next_deadline_s) < length_s:
        events += detector.deadline_passed(now_s=now_s)
    if stalled:
        detector.own_stall(now_s=length_s)
        events += detector.deadline_passed(now_s=length_s)
    return [event for event in events if isinstance(event, NodeLate | NodeDead)]


def _counted(counts: Mapping[str, int], above_s: float, below_s: float) -> int:
    """Return how many gaps were longer than a time, of those that were not kept one by one."""
    return sum(count for bound, count in counts.items() if above_s < float(bound) / 1000 <= below_s)


def lines(part: Mapping[str, Any]) -> Iterable[str]:
    """Return one way as people read it."""
    days = part["recorded_s"] / 86_400
    yield (
        f"  {part['heartbeats']} heartbeats in {days:.2g} days; the longest silence was"
        f" {part['longest_s']:.3g} s"
    )
    yield f"  late {part['late']} times, dead {part['deaths']} times"
    for death in part["deaths_shown"]:
        at = datetime.fromtimestamp(death["time_s"], UTC).astimezone()
        yield f"    {at:%Y-%m-%d %H:%M:%S}  silent for {death['silent_s']:.3g} s"
