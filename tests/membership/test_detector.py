"""The detector: every status against every input, stalls, the bus, links."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.events import (
    DirectorStatus,
    LinkDown,
    LinkUp,
    NodeAlive,
    NodeDead,
    NodeLate,
    NodeLeft,
)
from heartbus.model import Timers
from heartbus_membership.detector import EVIDENCE_S, REARMS_MAX, FailureDetector, NodeEvent

TIMERS = Timers(keepalive_s=1.0, warntime_s=2.0, deadtime_s=4.0, initdead_s=20.0)
GRACE_S = 5.0
START_S = 100.0
S = DirectorStatus


def detector() -> FailureDetector:
    return FailureDetector(
        peers=["b"], timers=TIMERS, restart_grace_s=GRACE_S, lease_s=5.0, started_s=START_S
    )


def beat(
    core: FailureDetector, now_s: float, *, link: str = "l1", leaving: bool = False, inc: int = 1
) -> list[NodeEvent]:
    return core.heartbeat_received("b", link=link, incarnation=inc, leaving=leaving, now_s=now_s)


def brought_to(status: DirectorStatus) -> FailureDetector:
    """Return a detector whose peer has a status; it was last heard at START_S + 1."""
    core = detector()
    if status is S.UNKNOWN:
        return core
    beat(core, START_S + 1, leaving=status is S.LEFT)
    if status in (S.LATE, S.DEAD):
        core.deadline_passed(now_s=START_S + 3)
    if status is S.DEAD:
        core.deadline_passed(now_s=START_S + 5)
    assert core.status("b") is status
    return core


NOW_S = START_S + 200


def after_stall(core: FailureDetector, silent_s: float) -> list[NodeEvent]:
    core.own_stall(now_s=NOW_S)
    return core.deadline_passed(now_s=NOW_S + silent_s)


def on_the_bus(core: FailureDetector) -> list[NodeEvent]:
    core.bus_evidence("b", now_s=NOW_S)
    return []


INPUTS: dict[str, Callable[[FailureDetector], list[NodeEvent]]] = {
    "heard": lambda core: beat(core, NOW_S),
    "heard elsewhere": lambda core: beat(core, NOW_S, link="l2"),
    "restarted": lambda core: beat(core, NOW_S, inc=2),
    "leaving": lambda core: beat(core, NOW_S, leaving=True),
    "copy": lambda core: core.copy_received("b", link="l1", now_s=NOW_S),
    "copy elsewhere": lambda core: core.copy_received("b", link="l2", now_s=NOW_S),
    "silence": lambda core: core.deadline_passed(now_s=NOW_S),
    "on the bus": on_the_bus,
    "on the bus, silence": lambda core: [*on_the_bus(core), *core.deadline_passed(now_s=NOW_S)],
    "own stall": lambda core: after_stall(core, 0.0),
    "own stall, silence": lambda core: after_stall(core, 1.0),
    "own stall, warntime": lambda core: after_stall(core, 2.0),
    "own stall, deadtime": lambda core: after_stall(core, 4.0),
}
"""Each comes long after everything that could be said of the silence before it."""

TABLE: dict[DirectorStatus, dict[str, tuple[DirectorStatus, list[type[NodeEvent]]]]] = {
    S.UNKNOWN: {
        "heard": (S.ALIVE, [NodeAlive, LinkUp]),
        "heard elsewhere": (S.ALIVE, [NodeAlive, LinkUp]),
        "restarted": (S.ALIVE, [NodeAlive, LinkUp]),
        "leaving": (S.LEFT, [NodeLeft]),
        "silence": (S.DEAD, [NodeDead]),
        "on the bus, silence": (S.DEAD, [NodeDead]),
        "own stall, deadtime": (S.DEAD, [NodeDead]),
    },
    S.ALIVE: {
        "heard elsewhere": (S.ALIVE, [LinkUp]),
        "restarted": (S.ALIVE, [NodeAlive]),
        "leaving": (S.LEFT, [NodeLeft, LinkDown]),
        "copy elsewhere": (S.ALIVE, [LinkUp]),
        "silence": (S.DEAD, [NodeLate, NodeDead, LinkDown]),
        # It was silent for longer than deadtime and the grace together.
        "on the bus, silence": (S.DEAD, [NodeLate, NodeDead, LinkDown]),
        "own stall, warntime": (S.LATE, [NodeLate]),
        "own stall, deadtime": (S.DEAD, [NodeLate, NodeDead, LinkDown]),
    },
    S.LATE: {
        "heard": (S.ALIVE, [NodeAlive]),
        "heard elsewhere": (S.ALIVE, [NodeAlive, LinkUp]),
        "restarted": (S.ALIVE, [NodeAlive]),
        "leaving": (S.LEFT, [NodeLeft, LinkDown]),
        "copy elsewhere": (S.LATE, [LinkUp]),
        "silence": (S.DEAD, [NodeDead, LinkDown]),
        "on the bus, silence": (S.DEAD, [NodeDead, LinkDown]),
        "own stall, deadtime": (S.DEAD, [NodeDead, LinkDown]),
    },
    S.DEAD: {
        "heard": (S.ALIVE, [NodeAlive, LinkUp]),
        "heard elsewhere": (S.ALIVE, [NodeAlive, LinkUp]),
        "restarted": (S.ALIVE, [NodeAlive, LinkUp]),
        "leaving": (S.LEFT, [NodeLeft]),
    },
    S.LEFT: {
        "heard": (S.ALIVE, [NodeAlive, LinkUp]),
        "heard elsewhere": (S.ALIVE, [NodeAlive, LinkUp]),
        "restarted": (S.ALIVE, [NodeAlive, LinkUp]),
    },
}
"""What is not in it changes nothing and tells nothing."""


@pytest.mark.parametrize("what", INPUTS)
@pytest.mark.parametrize("before", S)
def test_transition(before: DirectorStatus, what: str) -> None:
    core = brought_to(before)
    after, events = TABLE[before].get(what, (before, []))
    found = INPUTS[what](core)
    assert core.status("b") is after
    assert [type(event) for event in found] == events


def test_silence_for_deadtime_is_reported_once_and_not_before() -> None:
    core = brought_to(S.ALIVE)
    assert core.deadline_passed(now_s=START_S + 2.99) == []
    assert core.next_deadline_s == START_S + 3
    assert [type(e) for e in core.deadline_passed(now_s=START_S + 3)] == [NodeLate]
    assert core.next_deadline_s == START_S + 5
    assert core.deadline_passed(now_s=START_S + 4.99) == []
    assert [type(e) for e in core.deadline_passed(now_s=START_S + 5)] == [NodeDead, LinkDown]
    assert core.deadline_passed(now_s=START_S + 500) == []
    assert core.next_deadline_s == float("inf")


def test_a_peer_never_heard_is_dead_after_initdead() -> None:
    core = detector()
    assert core.next_deadline_s == START_S + 20
    assert core.deadline_passed(now_s=START_S + 19.9) == []
    assert [type(e) for e in core.deadline_passed(now_s=START_S + 20)] == [NodeDead]


def test_initdead_is_never_shorter_than_a_lease_and_deadtime() -> None:
    quick = Timers(keepalive_s=0.1, warntime_s=0.2, deadtime_s=0.4, initdead_s=0.5)
    core = FailureDetector(
        peers=["b"], timers=quick, restart_grace_s=5, lease_s=5, started_s=START_S
    )
    assert core.next_deadline_s == pytest.approx(START_S + 5.4)


def test_the_bus_delays_a_death_up_to_the_grace_and_no_longer() -> None:
    core = brought_to(S.LATE)
    for second in range(3, 14):
        core.bus_evidence("b", now_s=START_S + second)
        dead = core.deadline_passed(now_s=START_S + second)
        if dead:
            break
    assert START_S + second == START_S + 1 + TIMERS.deadtime_s + GRACE_S


def test_a_death_follows_the_last_sign_on_the_bus_after_deadtime() -> None:
    core = brought_to(S.LATE)
    core.bus_evidence("b", now_s=START_S + 3)
    assert core.next_deadline_s == START_S + 7


QUICK = Timers(keepalive_s=0.075, warntime_s=0.15, deadtime_s=0.3, initdead_s=2.0)


@pytest.mark.parametrize(
    ("seen_s", "dead_s"),
    [
        (-0.5, 0.3),  # before it was silent: says nothing
        (0.1, 0.4),  # may have been on its way when the host died
        (0.2, 0.2 + EVIDENCE_S),  # late already: the host has outlived its membership
    ],
)
def test_a_sign_from_a_host_whose_membership_is_late_counts_for_longer_than_a_short_deadtime(
    seen_s: float, dead_s: float
) -> None:
    core = FailureDetector(
        peers=["b"], timers=QUICK, restart_grace_s=5.0, lease_s=5.0, started_s=START_S - 1.0
    )
    core.heartbeat_received("b", link="l1", incarnation=1, leaving=False, now_s=START_S)
    for at_s in sorted((seen_s, QUICK.warntime_s)):
        if at_s == seen_s:
            core.bus_evidence("b", now_s=START_S + seen_s)
        core.deadline_passed(now_s=START_S + at_s)
    assert core.next_deadline_s == pytest.approx(START_S + dead_s)
    # Heard again, it is silent anew: what the bus said before counts no more.
    core.heartbeat_received("b", link="l1", incarnation=1, leaving=False, now_s=START_S + 0.25)
    core.deadline_passed(now_s=START_S + 0.25 + QUICK.warntime_s)
    assert core.next_deadline_s == pytest.approx(START_S + 0.25 + QUICK.deadtime_s)


def test_signs_for_longer_do_not_outlast_the_grace() -> None:
    core = FailureDetector(
        peers=["b"], timers=QUICK, restart_grace_s=2.0, lease_s=2.0, started_s=START_S - 1.0
    )
    core.heartbeat_received("b", link="l1", incarnation=1, leaving=False, now_s=START_S)
    for tenth in range(2, 23):
        core.bus_evidence("b", now_s=START_S + tenth / 10)
        assert core.deadline_passed(now_s=START_S + tenth / 10) == [] or tenth == 2
    assert core.next_deadline_s == pytest.approx(START_S + 0.3 + 2.0)


@pytest.mark.parametrize("status", [S.UNKNOWN, S.DEAD, S.LEFT])
def test_the_bus_revives_nobody_and_saves_nobody_unheard(status: DirectorStatus) -> None:
    core = brought_to(status)
    before_s = core.next_deadline_s
    core.bus_evidence("b", now_s=START_S + 6)
    assert core.status("b") is status
    assert core.next_deadline_s == before_s


def test_our_own_stall_gives_a_whole_deadtime_anew() -> None:
    core = brought_to(S.ALIVE)
    core.own_stall(now_s=NOW_S)
    assert core.deadline_passed(now_s=NOW_S) == []
    assert core.next_deadline_s == NOW_S + TIMERS.warntime_s
    core.deadline_passed(now_s=NOW_S + TIMERS.warntime_s)
    assert core.next_deadline_s == NOW_S + TIMERS.deadtime_s


def test_stalls_without_end_cannot_keep_the_dead_alive() -> None:
    core = brought_to(S.ALIVE)
    now_s = START_S + 1
    for _ in range(REARMS_MAX + 1):
        now_s += TIMERS.deadtime_s
        core.own_stall(now_s=now_s)
        core.deadline_passed(now_s=now_s)
    assert core.status("b") is S.DEAD


def test_a_silent_link_goes_down_while_the_director_is_heard_elsewhere() -> None:
    core = detector()
    beat(core, START_S)
    core.copy_received("b", link="l2", now_s=START_S)
    found: list[NodeEvent] = []
    for tenth in range(1, 50):
        now_s = START_S + tenth / 10
        beat(core, now_s)
        found += core.deadline_passed(now_s=now_s)
    assert [(type(e), getattr(e, "link", None)) for e in found] == [(LinkDown, "l2")]
    assert core.heard_on("l1") == ("b",)
    assert core.heard_on("l2") == ()
    assert core.status("b") is S.ALIVE
    back = core.copy_received("b", link="l2", now_s=START_S + 5)
    assert back == [LinkUp(director="b", link="l2")]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["beat", "copy", "leave", "bus", "stall", "wait"]),
            st.floats(0, 6),
        ),
        max_size=40,
    )
)
def test_whatever_happens_the_next_deadline_lies_ahead_and_events_alternate(
    steps: list[tuple[str, float]],
) -> None:
    core, now_s, told = detector(), START_S, []
    for what, seconds in steps:
        now_s += seconds
        if what == "beat":
            told += beat(core, now_s)
        elif what == "copy":
            told += core.copy_received("b", link="l2", now_s=now_s)
        elif what == "leave":
            told += beat(core, now_s, leaving=True)
        elif what == "bus":
            core.bus_evidence("b", now_s=now_s)
        elif what == "stall":
            core.own_stall(now_s=now_s)
        told += core.deadline_passed(now_s=now_s)
        assert core.next_deadline_s > now_s
    status = [type(e) for e in told if not isinstance(e, LinkUp | LinkDown)]
    assert all(one is not two for one, two in itertools.pairwise(status))
    for link in ("l1", "l2"):
        states = [type(e) for e in told if isinstance(e, LinkUp | LinkDown) and e.link == link]
        assert all(one is not two for one, two in itertools.pairwise(states))
