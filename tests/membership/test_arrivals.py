"""What is recorded of heartbeats: every gap is counted, the longest are kept, and it is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.events import HeartbeatGaps
from heartbus.recorded_gaps import LONGEST_KEPT
from heartbus_membership.arrivals import PERIOD_S, Arrivals, bound_ms

KEEPALIVE_S = 0.1


def arrivals() -> Arrivals:
    return Arrivals(["b", "c"], keepalive_s=KEEPALIVE_S, started_s=0.0)


def beat(recorded: Arrivals, *gaps_s: float, begin_s: float = 1.0, incarnation: int = 1) -> float:
    """Let b be heard, and again after each gap; return when it was heard last."""
    now_s = begin_s
    recorded.heard("b", incarnation=incarnation, now_s=now_s)
    for gap_s in gaps_s:
        now_s += gap_s
        recorded.heard("b", incarnation=incarnation, now_s=now_s)
    return now_s


def only(recorded: Arrivals, now_s: float) -> HeartbeatGaps:
    (found,) = recorded.take(now_s=now_s)  # of c nothing was heard
    return found


def test_every_gap_is_counted_and_the_long_ones_are_kept_with_their_time() -> None:
    recorded = arrivals()
    now_s = beat(recorded, 0.1, 0.1, 0.35, 0.1, 0.25)
    found = only(recorded, now_s + 2.0)
    assert (found.director, found.heartbeats) == ("b", 6)
    assert found.over_s == pytest.approx(now_s + 2.0)
    assert sum(found.counts.values()) == 5
    assert [gap.length_s for gap in found.longest] == [0.35, 0.25]
    assert [gap.before_s for gap in found.longest] == [pytest.approx(2.35), pytest.approx(2.0)]
    assert found.kept_above_s == 2 * KEEPALIVE_S
    assert recorded.take(now_s=now_s + 3.0) == [], "it was taken"


def test_of_many_long_gaps_the_longest_are_kept() -> None:
    recorded = arrivals()
    lengths_s = [0.3 + 0.01 * number for number in range(2 * LONGEST_KEPT)]
    found = only(recorded, beat(recorded, *lengths_s))
    assert [gap.length_s for gap in found.longest] == pytest.approx(lengths_s[LONGEST_KEPT:])
    assert found.kept_above_s == pytest.approx(lengths_s[LONGEST_KEPT])


def test_a_restart_or_a_leave_makes_no_gap() -> None:
    recorded = arrivals()
    now_s = beat(recorded, 0.1)
    now_s = beat(recorded, 0.1, begin_s=now_s + 9.0, incarnation=2)
    recorded.left("b")
    beat(recorded, begin_s=now_s + 9.0, incarnation=2)
    found = only(recorded, 30.0)
    assert found.longest == ()
    assert sum(found.counts.values()) == 2


def test_a_gap_in_which_we_did_not_run_says_so() -> None:
    recorded = arrivals()
    beat(recorded, 0.1)
    recorded.stalled(now_s=1.9)
    recorded.heard("b", incarnation=1, now_s=2.0)
    recorded.heard("b", incarnation=1, now_s=2.5)
    assert [gap.stalled for gap in only(recorded, 3.0).longest] == [True, False]


def test_it_is_due_after_a_period_and_begins_anew() -> None:
    recorded = arrivals()
    assert not recorded.due(now_s=PERIOD_S - 1)
    assert recorded.due(now_s=PERIOD_S)
    recorded.take(now_s=PERIOD_S)
    assert not recorded.due(now_s=PERIOD_S + 1)


@given(st.lists(st.integers(1, 100_000).filter(lambda ms: ms != 200), max_size=200))
def test_whatever_comes_it_is_bounded_and_nothing_longer_is_forgotten(gaps_ms: list[int]) -> None:
    gaps_s = [gap_ms / 1000 for gap_ms in gaps_ms]
    recorded = arrivals()
    found = only(recorded, beat(recorded, *gaps_s))
    assert sum(found.counts.values()) == len(gaps_s)
    assert len(found.counts) < 60
    assert len(found.longest) <= LONGEST_KEPT
    kept = sorted(gap.length_s for gap in found.longest)
    longest = sorted(g for g in gaps_s if g > 2 * KEEPALIVE_S)[-LONGEST_KEPT:]
    assert kept == pytest.approx(longest, abs=1e-3)
    for gap_s in gaps_s:
        if gap_s > found.kept_above_s + 1e-3:
            assert any(abs(gap_s - k) < 1e-3 for k in kept)


@given(st.floats(0.0001, 10_000.0))
def test_a_class_of_gaps_is_a_quarter_wide(length_s: float) -> None:
    bound_s = float(bound_ms(length_s)) / 1000
    assert bound_s >= length_s * 0.999
    assert length_s < 0.00501 or bound_s < length_s * 1.26
