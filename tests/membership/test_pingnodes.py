"""Ping nodes: every status against every input, groups, stalls, questions, any order of inputs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.events import PingNodeDown, PingNodeUp, PingStatus
from heartbus.model import PingNode
from heartbus_membership.pingnodes import REARMS_MAX, PingNodeEvent, PingNodes, Reach, stall_s

START_S = 100.0
INTERVAL_S = 1.0
DEADPING_S = 4.0
S = PingStatus
R = PingNode(name="r", members=("r",))
GROUP = PingNode(name="g", members=("m1", "m2"))


def watching(*nodes: PingNode) -> PingNodes:
    return PingNodes(
        nodes=nodes or (R,), interval_s=INTERVAL_S, deadping_s=DEADPING_S, started_s=START_S
    )


def brought_to(status: PingStatus, *, asked: bool = True) -> PingNodes:
    """Return a core whose node has a status; what happened to it, happened by START_S + 5."""
    core = watching()
    if asked:
        core.started("r", now_s=START_S)
    if status is S.UP:
        core.reply_received("r", "r", now_s=START_S + 5)
    if status is S.DOWN:
        core.deadline_passed(now_s=START_S + 5)
    assert core.status("r") is status
    return core


TABLE = [
    # status, whether it was asked, input at START_S + 200, status after, events
    (S.UNKNOWN, False, "started", S.UNKNOWN, []),
    (S.UNKNOWN, False, "reply", S.UP, [PingNodeUp]),
    (S.UNKNOWN, False, "silence", S.UNKNOWN, []),
    (S.UNKNOWN, False, "stall", S.UNKNOWN, []),
    (S.UNKNOWN, True, "started", S.UNKNOWN, []),
    (S.UNKNOWN, True, "reply", S.UP, [PingNodeUp]),
    (S.UNKNOWN, True, "silence", S.DOWN, [PingNodeDown]),
    (S.UNKNOWN, True, "stall", S.UNKNOWN, []),
    (S.UP, True, "started", S.UP, []),
    (S.UP, True, "reply", S.UP, []),
    (S.UP, True, "silence", S.DOWN, [PingNodeDown]),
    (S.UP, True, "stall", S.UP, []),
    (S.DOWN, True, "started", S.DOWN, []),
    (S.DOWN, True, "reply", S.UP, [PingNodeUp]),
    (S.DOWN, True, "silence", S.DOWN, []),
    (S.DOWN, True, "stall", S.DOWN, []),
]


@pytest.mark.parametrize(("before", "asked", "what", "after", "events"), TABLE)
def test_transition(
    before: PingStatus, asked: bool, what: str, after: PingStatus, events: list[type[PingNodeEvent]]
) -> None:
    core = brought_to(before, asked=asked)
    now_s = START_S + 200
    found: list[PingNodeEvent] = []
    match what:
        case "started":
            core.started("r", now_s=now_s)
        case "reply":
            found = core.reply_received("r", "r", now_s=now_s)
        case "stall":
            core.own_stall(now_s=now_s)
            found = core.deadline_passed(now_s=now_s)
        case "silence":
            found = core.deadline_passed(now_s=now_s)
    assert core.status("r") is after
    assert [type(event) for event in found] == events


def test_silence_is_counted_from_the_last_answer_to_the_deadline_and_told_once() -> None:
    core = watching()
    core.reply_received("r", "r", now_s=START_S + 1)
    core.reply_received("r", "r", now_s=START_S + 2)
    assert core.deadline_passed(now_s=START_S + 5.9) == []
    assert core.deadline_passed(now_s=START_S + 6) == [
        PingNodeDown(ping_node="r", silent_s=4.0, reason="no answer for 4 s (deadping)")
    ]
    assert core.deadline_passed(now_s=START_S + 60) == []


def test_a_node_that_never_answered_is_down_a_deadping_after_the_first_question() -> None:
    core = watching()
    core.started("r", now_s=START_S + 10)
    core.started("r", now_s=START_S + 12)  # the second one moves nothing
    assert core.deadline_passed(now_s=START_S + 13.9) == []
    (down,) = core.deadline_passed(now_s=START_S + 14)
    assert isinstance(down, PingNodeDown)
    assert down.reason == "never answered, asked for 4 s (deadping)"


def test_a_group_is_up_while_any_member_answers() -> None:
    core = watching(GROUP)
    up = core.reply_received("g", "m2", now_s=START_S + 1)
    assert up == [PingNodeUp(ping_node="g", reason="m2 answers")]
    assert core.reply_received("g", "m1", now_s=START_S + 3) == []
    (view,) = core.views(now_s=START_S + 3)
    assert set(view.members_heard) == {"m1", "m2"}
    assert core.deadline_passed(now_s=START_S + 6) == []  # m2 is silent for 5 s
    (view,) = core.views(now_s=START_S + 6)
    assert (view.status, view.members_heard, view.silent_s) == (S.UP, ("m1",), 3.0)
    (down,) = core.deadline_passed(now_s=START_S + 7)
    assert isinstance(down, PingNodeDown)
    assert down.reason == "no answer for 4 s (deadping) from any of its 2 members"
    (view,) = core.views(now_s=START_S + 7)
    assert (view.status, view.members_heard) == (S.DOWN, ())


def test_our_own_stall_gives_a_whole_deadping_anew_but_not_for_ever() -> None:
    core = watching()
    core.reply_received("r", "r", now_s=START_S)
    now_s = START_S
    for _ in range(REARMS_MAX):
        now_s += 10
        core.own_stall(now_s=now_s)
        assert core.deadline_passed(now_s=now_s + 3.9) == []
    core.own_stall(now_s=now_s + 3.9)
    assert core.deadline_passed(now_s=now_s + 4) != []


def test_an_answer_earns_new_patience() -> None:
    core = watching()
    core.started("r", now_s=START_S)
    for round_ in range(3 * REARMS_MAX):
        core.own_stall(now_s=START_S + 10 * round_)
        core.reply_received("r", "r", now_s=START_S + 10 * round_)
    core.own_stall(now_s=START_S + 1000)
    assert core.deadline_passed(now_s=START_S + 1003) == []


def test_reach_is_settled_when_each_node_was_heard_or_asked_for_a_deadping() -> None:
    core = watching(R, GROUP)
    assert core.reach() == Reach(reached=0, configured=2, settled=False)
    core.started("g", now_s=START_S)
    core.reply_received("r", "r", now_s=START_S)
    assert core.reach() == Reach(reached=1, configured=2, settled=False)
    core.deadline_passed(now_s=START_S + DEADPING_S)  # r is silent that long, too
    assert core.reach() == Reach(reached=0, configured=2, settled=True)
    core.reply_received("g", "m1", now_s=START_S + 5)
    assert core.reach() == Reach(reached=1, configured=2, settled=True)


def test_without_ping_nodes_there_is_nothing_to_do() -> None:
    core = PingNodes(nodes=(), interval_s=1.0, deadping_s=4.0, started_s=START_S)
    assert core.reach() == Reach(reached=0, configured=0, settled=True)
    assert core.next_deadline_s == float("inf")
    assert core.questions_due(now_s=START_S + 9) == ()


def test_questions_are_spread_over_the_interval_and_keep_their_phase() -> None:
    nodes = [PingNode(name=name, members=(name,)) for name in "abcd"]
    core = watching(*nodes)
    asked = {}
    for tick in range(8):
        now_s = START_S + tick * 0.25
        assert core.next_deadline_s == now_s
        asked[tick] = core.questions_due(now_s=now_s)
    assert asked == {n: (name,) for n, name in enumerate("abcdabcd")}


def test_after_a_stall_nothing_is_asked_twice() -> None:
    core = watching(R, GROUP)
    assert core.questions_due(now_s=START_S + 1000.6) == ("r", "g")
    assert core.questions_due(now_s=START_S + 1000.7) == ()
    assert core.next_deadline_s == pytest.approx(START_S + 1001)


def test_problems_are_shown_with_the_node() -> None:
    (view,) = watching().views(now_s=START_S, problems={"r": "no such host"})
    assert (view.status, view.silent_s, view.problem) == (S.UNKNOWN, None, "no such host")


@pytest.mark.parametrize(
    ("reach", "octets"),
    [
        (Reach(reached=0, configured=0, settled=True), "0000"),
        (Reach(reached=2, configured=3, settled=True), "0203"),
        (Reach(reached=0, configured=3, settled=False), "ff03"),
    ],
)
def test_reach_in_a_heartbeat(reach: Reach, octets: str) -> None:
    assert reach.octets().hex() == octets
    assert Reach.from_octets(bytes.fromhex(octets)) == reach


@given(st.binary(max_size=4))
def test_any_octets_are_a_sensible_reach_or_none(octets: bytes) -> None:
    reach = Reach.from_octets(octets)
    assert reach is None or (reach.reached <= reach.configured and reach.octets() == octets)


def test_a_stall_shows_in_the_heartbeats() -> None:
    assert (stall_s(0.075), stall_s(2.0)) == (0.3, 6.0)


NODES = (R, GROUP, PingNode(name="x", members=("x",)))
OPERATIONS = st.lists(
    st.tuples(
        st.floats(0.0, 6.0),
        st.sampled_from(["reply", "started", "deadline", "stall", "ask"]),
        st.sampled_from([(node.name, member) for node in NODES for member in node.members]),
    ),
    max_size=60,
)


@given(OPERATIONS)
def test_in_any_order_the_invariants_hold(
    operations: list[tuple[float, str, tuple[str, str]]],
) -> None:
    core = watching(*NODES)
    now_s = START_S
    last_event: dict[str, type[PingNodeEvent]] = {}
    heard_s: dict[str, float] = {}
    asked_s: dict[str, float] = {}
    for step_s, what, (node, member) in operations:
        now_s += step_s
        events: list[PingNodeEvent] = []
        match what:
            case "reply":
                events = core.reply_received(node, member, now_s=now_s)
                heard_s[node] = now_s
                assert core.status(node) is S.UP
            case "started":
                core.started(node, now_s=now_s)
            case "deadline":
                events = core.deadline_passed(now_s=now_s)
            case "stall":
                core.own_stall(now_s=now_s)
            case "ask":
                for due in core.questions_due(now_s=now_s):
                    assert now_s > asked_s.get(due, float("-inf"))
                    asked_s[due] = now_s
                assert core.questions_due(now_s=now_s) == ()
        for event in events:
            assert last_event.get(event.ping_node) is not type(event), "told twice"
            last_event[event.ping_node] = type(event)
            if isinstance(event, PingNodeDown):
                since_s = now_s - heard_s.get(event.ping_node, START_S)
                assert since_s >= DEADPING_S, "down before its time"
        reach = core.reach()
        views = core.views(now_s=now_s)
        assert reach.reached == sum(view.status is S.UP for view in views)
        assert reach.settled == (S.UNKNOWN not in [view.status for view in views])
        for view in views:
            told = {PingNodeUp: S.UP, PingNodeDown: S.DOWN}.get(
                last_event.get(view.name, type(None)), S.UNKNOWN
            )
            assert view.status is told, "the last event is the state"
        if what == "deadline":
            for view in views:
                if view.status is S.UP:
                    assert view.members_heard, "up, but nobody answers"
