"""Fencing as a state machine: every state with every input, then whole stories."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.events import FenceStatus, FenceView, NodeFenced, NodeUnfenced
from heartbus.guards import Fence
from heartbus_membership.fence_policy import (
    RETRY_MAX_S,
    EndFence,
    FenceEffect,
    FencePolicy,
    RunFence,
    TellFence,
)

FIRST = Fence(director="b", command="/first")
SECOND = Fence(director="b", command="/second")
OTHER = Fence(director="c", command="/other")
RUN_FIRST, RUN_SECOND = RunFence(fence=FIRST), RunFence(fence=SECOND)


def policy() -> FencePolicy:
    return FencePolicy([FIRST, OTHER, SECOND])


def fenced_after(took_s: float, command: str = "/first") -> TellFence:
    return TellFence(event=NodeFenced(director="b", command=command, took_s=took_s), cause="dead-1")


def want(made: FencePolicy, now_s: float = 0.0, cause: str = "dead-1") -> list[FenceEffect]:
    return made.wanted("b", cause=cause, now_s=now_s)


def end(made: FencePolicy, ok: bool, now_s: float = 1.0, output: str = "no") -> list[FenceEffect]:
    return made.finished("b", ok=ok, output=output, now_s=now_s)


# --- states --------------------------------------------------------------------------------------


def idle() -> FencePolicy:
    return policy()


def running() -> FencePolicy:
    made = policy()
    assert want(made) == [RUN_FIRST]
    return made


def running_second() -> FencePolicy:
    made = running()
    assert end(made, ok=False) == [RUN_SECOND]
    return made


def waiting() -> FencePolicy:
    made = running_second()
    (told,) = end(made, ok=False)
    assert isinstance(told, TellFence)
    return made


def fenced() -> FencePolicy:
    made = running()
    assert end(made, ok=True) == [fenced_after(1.0)]
    return made


def ending() -> FencePolicy:
    made = running()
    assert made.peer_returned("b") == [EndFence(director="b")]
    return made


def ending_wanted() -> FencePolicy:
    made = ending()
    assert want(made, 5.0) == []
    return made


STATES = [idle, running, running_second, waiting, fenced, ending, ending_wanted]
STATUS = {
    idle: FenceStatus.IDLE,
    running: FenceStatus.RUNNING,
    running_second: FenceStatus.RUNNING,
    waiting: FenceStatus.FAILED,
    fenced: FenceStatus.FENCED,
    ending: FenceStatus.IDLE,
    ending_wanted: FenceStatus.RUNNING,
}
UNFENCED = TellFence(
    event=NodeUnfenced(director="b", reason="/first: no; /second: no"), cause="dead-1"
)
TABLE: list[tuple[Callable[[], FencePolicy], str, list[FenceEffect], FenceStatus]] = [
    (idle, "wanted", [RUN_FIRST], FenceStatus.RUNNING),
    (idle, "returned", [], FenceStatus.IDLE),
    (idle, "deadline", [], FenceStatus.IDLE),
    (running, "wanted", [], FenceStatus.RUNNING),
    (running, "returned", [EndFence(director="b")], FenceStatus.IDLE),
    (running, "deadline", [], FenceStatus.RUNNING),
    (running, "ok", [fenced_after(1.0)], FenceStatus.FENCED),
    (running, "failed", [RUN_SECOND], FenceStatus.RUNNING),
    (running_second, "wanted", [], FenceStatus.RUNNING),
    (running_second, "returned", [EndFence(director="b")], FenceStatus.IDLE),
    (running_second, "deadline", [], FenceStatus.RUNNING),
    (running_second, "ok", [fenced_after(1.0, "/second")], FenceStatus.FENCED),
    (running_second, "failed", [UNFENCED], FenceStatus.FAILED),
    (waiting, "wanted", [], FenceStatus.FAILED),
    (waiting, "returned", [], FenceStatus.IDLE),
    (waiting, "deadline", [RUN_FIRST], FenceStatus.RUNNING),
    (fenced, "wanted", [], FenceStatus.FENCED),
    (fenced, "returned", [], FenceStatus.IDLE),
    (fenced, "deadline", [], FenceStatus.FENCED),
    (ending, "wanted", [], FenceStatus.RUNNING),
    (ending, "returned", [], FenceStatus.IDLE),
    (ending, "deadline", [], FenceStatus.IDLE),
    (ending, "ok", [], FenceStatus.IDLE),
    (ending, "failed", [], FenceStatus.IDLE),
    (ending_wanted, "wanted", [], FenceStatus.RUNNING),
    (ending_wanted, "returned", [], FenceStatus.IDLE),
    (ending_wanted, "deadline", [], FenceStatus.RUNNING),
    (ending_wanted, "ok", [RUN_FIRST], FenceStatus.RUNNING),
    (ending_wanted, "failed", [RUN_FIRST], FenceStatus.RUNNING),
]


@pytest.mark.parametrize(("state", "happened", "effects", "status"), TABLE)
def test_every_state_with_every_input(
    state: Callable[[], FencePolicy],
    happened: str,
    effects: list[FenceEffect],
    status: FenceStatus,
) -> None:
    made = state()
    before = made.views()[0]
    assert before.status is STATUS[state]
    match happened:
        case "wanted":
            found = want(made, 100.0)
        case "returned":
            found = made.peer_returned("b")
        case "deadline":
            found = made.deadline_passed(now_s=100.0)
        case "ok":
            found = end(made, ok=True)
        case _:
            found = end(made, ok=False)
    assert found == effects
    assert made.views()[0].status is status
    assert made.is_fenced("b") is (status is FenceStatus.FENCED)
    assert made.views()[1].status is FenceStatus.IDLE, "the other director is not concerned"


def test_the_table_misses_nothing() -> None:
    needs_a_command = {running, running_second, ending, ending_wanted}
    wanted = {(s, h) for s in STATES for h in ("wanted", "returned", "deadline")}
    wanted |= {(s, h) for s in needs_a_command for h in ("ok", "failed")}
    assert {(state, happened) for state, happened, _, _ in TABLE} == wanted


@pytest.mark.parametrize("state", [idle, waiting, fenced])
def test_an_end_without_a_command_is_a_defect(state: Callable[[], FencePolicy]) -> None:
    with pytest.raises(AssertionError):
        end(state(), ok=True)


# --- stories -------------------------------------------------------------------------------------


def test_a_director_without_a_fence_is_never_fenced() -> None:
    made = policy()
    assert made.wanted("z", cause=None, now_s=0.0) == []
    assert made.peer_returned("z") == []
    assert (made.needed("z"), made.is_fenced("z")) == (False, False)
    assert made.needed("b")


def test_rounds_are_repeated_later_and_later_up_to_a_bound() -> None:
    made = running()
    now_s, waits = 0.0, []
    for _ in range(9):
        assert end(made, ok=False, now_s=now_s) == [RUN_SECOND]
        (told,) = end(made, ok=False, now_s=now_s)
        assert told == UNFENCED
        assert made.next_deadline_s is not None
        waits.append(made.next_deadline_s - now_s)
        now_s = made.next_deadline_s
        assert made.deadline_passed(now_s=now_s - 0.01) == []
        assert made.deadline_passed(now_s=now_s) == [RUN_FIRST]
        assert made.next_deadline_s is None
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, RETRY_MAX_S, RETRY_MAX_S, RETRY_MAX_S, RETRY_MAX_S]
    assert made.views()[0] == FenceView(
        director="b", status=FenceStatus.RUNNING, failures=18, reason="/second: no"
    )
    assert end(made, ok=True, now_s=now_s + 1) == [fenced_after(now_s + 1)]
    assert made.views()[0] == FenceView(director="b", status=FenceStatus.FENCED)


def test_a_success_that_was_overtaken_by_a_heartbeat_counts_for_nothing() -> None:
    made = ending_wanted()
    assert end(made, ok=True) == [RUN_FIRST]
    assert not made.is_fenced("b")


def test_a_fenced_director_that_returned_and_died_again_is_fenced_again() -> None:
    made = fenced()
    made.peer_returned("b")
    assert not made.is_fenced("b")
    assert want(made, 50.0, "dead-2") == [RUN_FIRST]
    (told,) = end(made, ok=True, now_s=53.0)
    assert isinstance(told, TellFence)
    assert told.cause == "dead-2"
    assert told.event == NodeFenced(director="b", command="/first", took_s=3.0)


def test_an_endless_reason_is_cut() -> None:
    made = running()
    end(made, ok=False, output="x" * 10_000)
    assert len(made.views()[0].reason) == 300


INPUTS = st.lists(
    st.tuples(
        st.sampled_from(["wanted", "returned", "ok", "failed", "deadline"]),
        st.sampled_from(["b", "c"]),
        st.floats(0, 100),
    ),
    max_size=60,
)


@given(INPUTS)
def test_whatever_happens_one_command_runs_and_only_an_unheard_success_counts(
    inputs: list[tuple[str, str, float]],
) -> None:
    made = policy()
    runs: dict[str, bool] = {"b": False, "c": False}
    believed: dict[str, bool] = {"b": False, "c": False}
    now_s = 0.0
    for happened, peer, passed_s in inputs:
        now_s += passed_s
        effects: list[FenceEffect] = []
        match happened:
            case "wanted":
                effects = made.wanted(peer, cause=None, now_s=now_s)
            case "returned":
                believed[peer] = False
                effects = made.peer_returned(peer)
            case "deadline":
                effects = made.deadline_passed(now_s=now_s)
            case _ if runs[peer]:
                runs[peer] = False
                effects = made.finished(peer, ok=happened == "ok", output="", now_s=now_s)
            case _:
                pass
        for effect in effects:
            match effect:
                case RunFence():
                    assert not runs[effect.fence.director], "two commands at a time"
                    runs[effect.fence.director] = True
                case EndFence():
                    assert runs[effect.director], "ends what does not run"
                case TellFence(event=NodeFenced(director=director)):
                    assert happened == "ok"
                    believed[director] = True
        for name, fenced_now in believed.items():
            assert made.is_fenced(name) is fenced_now
