"""When probes are due, on a clock that the test moves."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbus_checker.schedule import BURST_S, JITTER, ProbeSchedule

START_S = 1000.0


def schedule(*intervals_s: float, concurrent_max: int = 256, seed: int = 1) -> ProbeSchedule:
    return ProbeSchedule(
        intervals_s, now_s=START_S, rng=random.Random(seed), concurrent_max=concurrent_max
    )


def starts(
    plan: ProbeSchedule, *, until_s: float, takes_s: dict[int, float] | None = None
) -> list[tuple[float, int]]:
    """Run probes on a virtual clock; return when each was begun. Default: done at once."""
    begun: list[tuple[float, int]] = []
    under_way: list[tuple[float, int]] = []
    now_s = START_S
    while True:
        due = [plan.next_due_s] if plan.next_due_s is not None else []
        now_s = max(now_s, min(due + [end_s for end_s, _ in under_way], default=until_s))
        if now_s >= until_s:
            return begun
        for finished in sorted(u for u in under_way if u[0] <= now_s):
            under_way.remove(finished)
            took_s = (takes_s or {}).get(finished[1], 0.0)
            plan.probe_finished(finished[1], now_s=now_s, hung=took_s >= 1.0)
        for number in plan.take_due(now_s=now_s):
            begun.append((now_s, number))
            under_way.append((now_s + (takes_s or {}).get(number, 0.0), number))


def test_the_first_round_is_over_within_a_second() -> None:
    begun = starts(schedule(*[10.0] * 100), until_s=START_S + 1.0)
    assert {number for _, number in begun} == set(range(100))


def test_the_first_round_is_over_within_a_short_interval() -> None:
    begun = starts(schedule(*[0.2] * 100), until_s=START_S + 0.2)
    assert {number for _, number in begun} == set(range(100))


def test_a_single_probe_is_due_at_once() -> None:
    assert schedule(10.0).next_due_s == START_S


def test_later_rounds_are_spread_evenly_over_the_interval() -> None:
    begun = starts(schedule(*[10.0] * 1000), until_s=START_S + 60.0)
    per_second = Counter(int(at_s - START_S) for at_s, _ in begun)
    assert all(80 <= per_second[second] <= 120 for second in range(20, 60))


def test_two_directors_do_not_probe_in_step() -> None:
    ours, theirs = (
        [at_s for at_s, _ in starts(schedule(1.0, seed=s), until_s=START_S + 30)] for s in (1, 2)
    )
    assert all(min(abs(a - b) for b in theirs) > 1e-6 for a in ours[1:])


@settings(max_examples=50)
@given(
    intervals_s=st.lists(st.sampled_from([0.5, 1.0, 2.0, 5.0]), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
)
def test_probes_that_answer_keep_their_period(intervals_s: list[float], seed: int) -> None:
    begun = starts(schedule(*intervals_s, seed=seed), until_s=START_S + 40.0)
    for number, interval_s in enumerate(intervals_s):
        times_s = [at_s for at_s, n in begun if n == number]
        gaps_s = [b - a for a, b in itertools.pairwise(times_s)]
        jitter_s = JITTER * interval_s + 1e-9
        assert max(gaps_s) <= interval_s + jitter_s
        assert all(abs(gap_s - interval_s) <= jitter_s for gap_s in gaps_s[1:])
        # Start to start: jitter does not add up, nor does the time that probes take.
        drift_s = times_s[-1] - times_s[1] - (len(times_s) - 2) * interval_s
        assert abs(drift_s) <= jitter_s


@settings(max_examples=50)
@given(
    takes_s=st.lists(st.floats(0.0, 7.0), min_size=1, max_size=8),
    concurrent_max=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_no_probe_overlaps_itself_nor_too_many_run(
    takes_s: list[float], concurrent_max: int, seed: int
) -> None:
    plan = schedule(*[1.0] * len(takes_s), concurrent_max=concurrent_max, seed=seed)
    begun = starts(plan, until_s=START_S + 30.0, takes_s=dict(enumerate(takes_s)))
    for number, took_s in enumerate(takes_s):
        times_s = [at_s for at_s, n in begun if n == number]
        assert all(b - a >= took_s for a, b in itertools.pairwise(times_s))
    for at_s, _ in begun:
        running = [n for started_s, n in begun if started_s <= at_s < started_s + takes_s[n]]
        assert len(running) <= concurrent_max


def test_hanging_probes_never_delay_the_others() -> None:
    hanging = 500
    takes_s = dict.fromkeys(range(hanging), 3.0)
    plan = schedule(*[1.0] * (hanging + 20), concurrent_max=64)
    begun = starts(plan, until_s=START_S + 90.0, takes_s=takes_s)
    settled_s = START_S + 30.0  # by then each of them was found to hang
    for number in range(hanging, hanging + 20):
        times_s = [at_s for at_s, n in begun if n == number and at_s > settled_s]
        gaps_s = [b - a for a, b in itertools.pairwise(times_s)]
        assert max(gaps_s) <= 1.0 + JITTER + 1e-9
    # They have their turn all the same, one after the other.
    assert {n for at_s, n in begun if at_s > settled_s} == set(range(hanging + 20))


def test_nothing_is_due_while_as_many_run_as_may() -> None:
    plan = schedule(1.0, 1.0, concurrent_max=1)
    (first,) = plan.take_due(now_s=START_S + 5.0)
    assert plan.next_due_s is None
    assert plan.take_due(now_s=START_S + 9.0) == []
    plan.probe_finished(first, now_s=START_S + 9.0, hung=False)
    assert plan.take_due(now_s=START_S + 9.0) == [1 - first]


def test_slack_begins_early_but_never_twice_in_a_slot() -> None:
    plan = ProbeSchedule(
        [1.0] * 50, now_s=START_S, rng=random.Random(3), slack_s=0.1, concurrent_max=64
    )
    begun = starts(plan, until_s=START_S + 30.0)
    for number in range(50):
        times_s = [at_s for at_s, n in begun if n == number][1:]
        assert all(b - a > 0.8 for a, b in itertools.pairwise(times_s))
    assert len({at_s for at_s, _ in begun}) < len(begun) / 2


def test_what_did_not_run_cannot_finish() -> None:
    with pytest.raises(ValueError, match="not running"):
        schedule(1.0).probe_finished(0, now_s=START_S, hung=False)


@pytest.mark.parametrize("interval_s", [0.0, -1.0])
def test_an_interval_is_positive(interval_s: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        schedule(interval_s)


def test_a_probe_in_doubt_is_due_soon_and_then_in_its_slot_again() -> None:
    schedule = ProbeSchedule([10.0], now_s=0.0, rng=random.Random(1))
    due_s = schedule.next_due_s
    assert due_s is not None
    schedule.take_due(now_s=due_s)
    schedule.probe_finished(0, now_s=due_s, hung=False, soon_s=0.5)
    assert schedule.next_due_s == due_s + 0.5
    schedule.take_due(now_s=due_s + 0.5)
    schedule.probe_finished(0, now_s=due_s + 0.6, hung=False)
    assert schedule.next_due_s is not None
    assert schedule.next_due_s > due_s + 1.5


def test_no_more_are_begun_in_a_second_than_the_rate_allows_and_none_is_forgotten() -> None:
    plan = ProbeSchedule([1.0] * 200, now_s=START_S, rng=random.Random(1), rate_max=100)
    begun = starts(plan, until_s=START_S + 20.0)
    for window in range(20):
        since_s = START_S + window
        in_window = [n for at_s, n in begun if since_s <= at_s < since_s + 1.0]
        assert len(in_window) <= 100 * (1 + BURST_S)
    assert len(begun) > 19 * 100
    turns = Counter(number for _, number in begun)
    assert min(turns[number] for number in range(200)) >= 8


def test_what_is_asked_rarely_keeps_its_slot() -> None:
    plan = ProbeSchedule([10.0], now_s=0.0, rng=random.Random(1))
    due_s = plan.next_due_s
    assert due_s is not None
    times_s = []
    for _ in range(5):
        plan.take_due(now_s=due_s)
        plan.probe_finished(0, now_s=due_s, hung=False, intervals=4)
        due_s = plan.next_due_s
        assert due_s is not None
        times_s.append(due_s)
    gaps_s = [b - a for a, b in itertools.pairwise(times_s)]
    assert all(abs(gap_s - 40.0) <= JITTER * 10.0 for gap_s in gaps_s)
    plan.ask_soon([0], now_s=due_s - 35.0)
    assert plan.next_due_s == due_s - 35.0


def test_what_is_left_to_others_is_not_begun_until_it_is_taken_again() -> None:
    plan = schedule(*[1.0] * 10)
    plan.leave(range(5))
    begun = starts(plan, until_s=START_S + 5.0)
    assert {number for _, number in begun} == set(range(5, 10))
    plan.take(range(3), now_s=START_S + 5.0)
    assert plan.take_due(now_s=START_S + 5.0)[0] == 0
    plan.leave([0])
    plan.probe_finished(0, now_s=START_S + 5.1, hung=False)
    later = [n for _ in range(40) for n in _turn(plan, START_S + 6.0 + _ / 10)]
    assert set(later) == {1, 2, 5, 6, 7, 8, 9}
    assert Counter(later)[1] <= 5


def _turn(plan: ProbeSchedule, now_s: float) -> list[int]:
    begun = plan.take_due(now_s=now_s)
    for number in begun:
        plan.probe_finished(number, now_s=now_s, hung=False)
    return begun


@pytest.mark.parametrize("last", range(5))
def test_hanging_probes_that_are_left_to_others_do_not_hold_up_those_that_are_not(
    last: int,
) -> None:
    plan = schedule(*[1.0] * 8, concurrent_max=4)  # three may hang at once
    for number in plan.take_due(now_s=START_S + 2.0):
        plan.probe_finished(number, now_s=START_S + 3.0, hung=True)
    for number in plan.take_due(now_s=START_S + 4.0):
        plan.probe_finished(number, now_s=START_S + 5.0, hung=True)
    running = plan.take_due(now_s=START_S + 7.0)
    assert len(running) == 3
    held_back = sorted(set(range(8)) - set(running))
    plan.leave(number for number in held_back if number != held_back[last])
    for number in running:
        plan.probe_finished(number, now_s=START_S + 8.0, hung=True)
    plan.leave(running)
    assert plan.take_due(now_s=START_S + 8.0) == [held_back[last]]


@settings(max_examples=20, deadline=None)
@given(hanging=st.sampled_from([0, 200, 2000]), seed=st.integers(0, 100))
def test_a_dead_server_is_asked_in_its_time_however_many_others_hang(
    hanging: int, seed: int
) -> None:
    """256 at once, 3 s of patience: 2,000 that hang would need 24 s a round if they came first."""
    interval_s, mortal = 5.0, hanging
    plan = schedule(*[interval_s] * (hanging + 1), seed=seed)
    takes_s = dict.fromkeys(range(hanging), 3.0)
    begun = starts(plan, until_s=START_S + 60.0, takes_s=takes_s)
    times_s = [at_s for at_s, number in begun if number == mortal and at_s > START_S + 30.0]
    gaps_s = [b - a for a, b in itertools.pairwise(times_s)]
    assert max(gaps_s) <= interval_s * (1 + JITTER) + 1e-9
