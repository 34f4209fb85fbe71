"""Another deadtime over recorded heartbeats: the detector decides, not a comparison of ours."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbus.events import Gap, HeartbeatGaps, Message
from heartbus.model import Timers
from heartbus_simulator import gaps
from tests.common.samples import sample_envelope

TIMERS = Timers(keepalive_s=0.1, warntime_s=0.2, deadtime_s=2.0, initdead_s=10.0)
TOLD_S = 1_795_348_800.0


def recorded(*longest: Gap, kept_above_s: float = 0.2, **counts: int) -> Message:
    body = HeartbeatGaps(
        director="b",
        over_s=900.0,
        heartbeats=9000,
        kept_above_s=kept_above_s,
        counts={bound.removeprefix("ms"): n for bound, n in counts.items()},
        longest=longest,
    )
    return Message(envelope=replace(sample_envelope(body.kind), node="a", time_s=TOLD_S), body=body)


GAPS = (
    Gap(before_s=500.0, length_s=0.25),
    Gap(before_s=400.0, length_s=0.7, stalled=True),
    Gap(before_s=100.0, length_s=0.5),
)


@pytest.mark.parametrize(
    ("deadtime_s", "late", "deaths"), [(0.6, 2, 0), (0.5, 2, 0), (0.4, 2, 1), (0.21, 2, 2)]
)
def test_a_silence_longer_than_deadtime_is_a_death_unless_it_was_ours(
    deadtime_s: float, late: int, deaths: int
) -> None:
    (way,) = gaps.over([recorded(*GAPS)], timers=TIMERS, deadtime_s=deadtime_s)
    assert way["title"] == "b as a would have seen it"
    assert (way["late"], way["deaths"]) == (late, deaths)
    assert way["longest_s"] == 0.5
    assert (way["heartbeats"], way["recorded_s"]) == (9000, 900.0)


def test_a_death_is_told_with_its_time() -> None:
    (way,) = gaps.over([recorded(*GAPS)], timers=TIMERS, deadtime_s=0.4)
    (death,) = way["deaths_shown"]
    assert death == {"time_s": TOLD_S - 100.5, "silent_s": 0.5}
    text = list(gaps.lines(way))
    assert "9000 heartbeats" in text[0]
    assert text[1] == "  late 2 times, dead 1 times"
    assert text[2].endswith("silent for 0.5 s")


def test_gaps_that_were_not_kept_one_by_one_are_counted() -> None:
    """A bad network: the list is full of longer ones, the classes say how many more there were."""
    full = recorded(Gap(before_s=1.0, length_s=0.9), kept_above_s=0.8, ms250=7, ms600=4, ms1000=1)
    (way,) = gaps.over([full], timers=TIMERS, deadtime_s=0.5)
    assert way["deaths"] == 1 + 4


def test_each_way_and_each_period_is_played() -> None:
    other = recorded(*GAPS)
    assert isinstance(other.body, HeartbeatGaps)
    back = Message(
        envelope=replace(other.envelope, node="b"), body=replace(other.body, director="a")
    )
    ways = gaps.over([recorded(*GAPS), other, back], timers=TIMERS, deadtime_s=0.4)
    assert [(w["title"].split()[0], w["deaths"]) for w in ways] == [("b", 2), ("a", 1)]
