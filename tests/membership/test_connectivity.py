"""Who yields to whom: reach against reach, the waiting, what cancels it, gaps, many directors."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus_membership.connectivity import SETTLE_MIN_S, Connectivity
from heartbus_membership.pingnodes import Reach

K, I, P = 1.0, 1.0, 4.0  # noqa: E741  # the letters of the written formula
SETTLE_S = 2 * K + 2 * I + P
GAP_S = 3 * K
START_S = 100.0


def reach(reached: int, configured: int = 2, *, settled: bool = True) -> Reach:
    return Reach(reached=reached, configured=configured, settled=settled)


class Play:
    """A director `a` that hears its peers every keepalive."""

    def __init__(self, *peers: str) -> None:
        self.core = Connectivity(peers=peers, keepalive_s=K, interval_s=I, deadping_s=P)
        self.now_s = START_S
        self.said: dict[str, Reach] = {}

    def own(self, value: Reach) -> None:
        self.core.own_reach(value, self.now_s)

    def goes_on(self, seconds: float, **news: Reach) -> list[str | None]:
        """Let time pass with a heartbeat of each peer each keepalive; return each answer."""
        self.said |= news
        answers = []
        for _ in range(round(seconds / K)):
            for name, value in self.said.items():
                self.core.peer_reach(name, value, self.now_s)
            answers.append(self.core.yield_to(self.now_s))
            self.now_s += K
        return answers


def settled_pair(ours: Reach, theirs: Reach) -> Play:
    """Return a play in which both were equal for long and have these reaches from now."""
    play = Play("b")
    play.own(reach(2))
    play.goes_on(2 * P, b=reach(2))
    play.own(ours)
    play.said["b"] = theirs
    return play


TABLE = [
    # ours, theirs, whether we yield to them
    (reach(2), reach(2), False),
    (reach(2), reach(1), False),
    (reach(1), reach(2), True),
    (reach(0), reach(1), True),
    (reach(0), reach(2), True),
    (reach(0), reach(0), False),
    (reach(1), reach(2, settled=False), False),
    (reach(1, settled=False), reach(2), False),
    (reach(1), reach(3, 3), False),  # another configuration: not comparable
    (reach(1, 1), reach(2, 2), False),
    (reach(0, 0), reach(0, 0), False),
]


@pytest.mark.parametrize(("ours", "theirs", "yields"), TABLE)
def test_reach_against_reach(ours: Reach, theirs: Reach, yields: bool) -> None:
    play = settled_pair(ours, theirs)
    answers = play.goes_on(SETTLE_S + 2 * K)
    assert answers[: round(SETTLE_S / K)] == [None] * round(SETTLE_S / K), "too early"
    assert (answers[-1] == "b") is yields


def test_yields_exactly_after_the_settle_time_and_says_why() -> None:
    play = settled_pair(reach(1), reach(2))
    play.goes_on(SETTLE_S)
    since_s = play.now_s - SETTLE_S
    assert play.core.settle_s == SETTLE_S
    assert play.core.next_deadline_s(play.now_s - 0.01) == since_s + SETTLE_S
    assert play.core.yield_to(since_s + SETTLE_S - 0.01) is None
    assert play.core.yield_to(since_s + SETTLE_S) == "b"
    said = play.core.standing(since_s + SETTLE_S)
    assert said.reason == "b reaches 2 of 2 ping nodes, we reach 1, for 8 s"


@pytest.mark.parametrize("cancelled_by", ["ours", "theirs", "gone", "unsettled"])
def test_equal_again_cancels_and_the_waiting_starts_anew(cancelled_by: str) -> None:
    play = settled_pair(reach(1), reach(2))
    play.goes_on(SETTLE_S - K)
    match cancelled_by:
        case "ours":
            play.own(reach(2))
            play.own(reach(1))
        case "theirs":
            play.goes_on(K, b=reach(1))
        case "unsettled":
            play.goes_on(K, b=reach(2, settled=False))
        case "gone":
            play.core.peer_gone("b")
    answers = play.goes_on(SETTLE_S, b=reach(2))
    assert answers == [None] * len(answers)
    assert play.goes_on(2 * K)[-1] == "b"


def test_after_yielding_equal_again_is_enough_to_stop() -> None:
    play = settled_pair(reach(1), reach(2))
    assert play.goes_on(SETTLE_S + 2 * K)[-1] == "b"
    play.own(reach(2))
    assert play.core.yield_to(play.now_s) is None
    assert play.core.standing(play.now_s).reason == ""


def test_a_death_that_all_share_moves_nothing_however_the_questions_lie() -> None:
    # The peer notices an interval later, and its news is as old as one lost heartbeat makes it.
    play = settled_pair(reach(1), reach(2))
    answers = play.goes_on(I + 2 * K)
    answers += play.goes_on(SETTLE_S * 3, b=reach(1))
    assert set(answers) == {None}


def test_a_silent_peer_is_nobody_to_yield_to() -> None:
    play = settled_pair(reach(1), reach(2))
    play.goes_on(SETTLE_S + 2 * K)
    heard_s = play.now_s - K
    assert play.core.yield_to(heard_s + GAP_S) == "b"
    assert play.core.yield_to(heard_s + GAP_S + 0.01) is None
    assert play.core.next_deadline_s(heard_s) == heard_s + GAP_S


def test_a_gap_starts_the_waiting_from_nothing() -> None:
    # A peer that stalled counts its ping nodes anew and shows an old reach for a deadping.
    play = settled_pair(reach(1), reach(2))
    play.goes_on(K)
    play.now_s += GAP_S + K
    begin_s = play.now_s
    answers = play.goes_on(SETTLE_S)
    assert answers == [None] * len(answers)
    assert play.goes_on(K) == ["b"]
    assert play.now_s - K - begin_s == SETTLE_S


def test_one_lost_heartbeat_is_no_gap() -> None:
    play = settled_pair(reach(1), reach(2))
    play.goes_on(2 * K)
    play.now_s += K
    assert play.goes_on(SETTLE_S)[-1] == "b"


@pytest.mark.parametrize(
    ("theirs", "to"),
    [
        ({"b": 2, "c": 3}, "c"),
        ({"b": 3, "c": 3}, "b"),
        ({"c": 3, "b": 3}, "b"),
        ({"b": 1, "c": 2}, "c"),
        ({"b": 1, "c": 1}, None),
        ({"b": 0, "c": 0}, None),
        ({"c": 2}, "c"),
    ],
)
def test_of_many_the_best_and_of_equals_the_first_configured(
    theirs: dict[str, int], to: str | None
) -> None:
    play = Play("b", "c")
    play.own(reach(1, 3))
    news = {name: reach(value, 3) for name, value in theirs.items()}
    assert play.goes_on(SETTLE_S + 2 * K, **news)[-1] == to


def test_of_two_directors_never_both_yield() -> None:
    for ours, theirs in itertools.product(range(3), repeat=2):
        a, b = Play("b"), Play("a")
        a.own(reach(ours))
        b.own(reach(theirs))
        answers = zip(a.goes_on(20, b=reach(theirs)), b.goes_on(20, a=reach(ours)), strict=True)
        assert all(None in pair for pair in answers)


@pytest.mark.parametrize(
    ("ours", "isolated"),
    [
        (reach(0), True),
        (reach(1), False),
        (reach(0, settled=False), False),
        (reach(0, 0), False),
    ],
)
def test_isolated_is_to_reach_none_of_some(ours: Reach, isolated: bool) -> None:
    play = Play("b")
    assert not play.core.isolated
    play.own(ours)
    assert play.core.isolated is isolated
    assert play.core.standing(START_S).isolated is isolated


def test_fast_heartbeats_still_wait_a_while() -> None:
    core = Connectivity(peers=["b"], keepalive_s=0.01, interval_s=0.2, deadping_s=0.6)
    assert core.settle_s == pytest.approx(SETTLE_MIN_S + 1.0)


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 5.0),
        st.sampled_from(["own", "b", "c", "gone b", "gone c"]),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=60,
)


@given(STEPS)
def test_in_any_order_nobody_yields_without_an_uninterrupted_lead(
    steps: list[tuple[float, str, int, bool]],
) -> None:
    core = Connectivity(peers=["b", "c"], keepalive_s=K, interval_s=I, deadping_s=P)
    now_s, own = START_S, reach(0, 0, settled=False)
    said: dict[str, Reach] = {}
    behind_s: dict[str, float] = {}
    heard_s: dict[str, float] = {}
    for step_s, what, value, settled in steps:
        now_s += step_s
        news = reach(value, settled=settled)
        match what:
            case "own":
                own = news
                core.own_reach(news, now_s)
            case "b" | "c":
                if now_s - heard_s.get(what, -1e9) > GAP_S:
                    behind_s.pop(what, None)
                said[what], heard_s[what] = news, now_s
                core.peer_reach(what, news, now_s)
            case _:
                said.pop(what[-1], None)
                core.peer_gone(what[-1])
        for name in "bc":
            theirs = said.get(name)
            better = theirs is not None and own.settled and theirs.settled
            if better and theirs is not None and theirs.reached > own.reached:
                behind_s.setdefault(name, now_s)
            else:
                behind_s.pop(name, None)
        to = core.yield_to(now_s)
        if to is not None:
            assert now_s - behind_s[to] >= SETTLE_S
            assert now_s - heard_s[to] <= GAP_S
            assert said[to].reached > own.reached
        assert core.next_deadline_s(now_s) > now_s
