"""What a director does of a push, in every phase; nothing is kept that was not confirmed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.push.messages import PushConfig, PushStep
from heartbus.push.staging import (
    CONFIRM_S,
    PART_CHARS_MAX,
    PARTS_MAX,
    PREPARE_S,
    Act,
    Answer,
    Phase,
    Staging,
)
from heartbus.push.trust import text_digest

TEXT = "one two"
STAGE, PREPARE, COMMIT, CONFIRM, ROLLBACK = PushStep


def message(step: PushStep, push: str = "a", **more: Any) -> PushConfig:
    fields: dict[str, Any] = {"digest": text_digest(TEXT)} if step is PREPARE else {}
    if step is STAGE:
        fields = {"text": TEXT, "part": 0, "parts": 1}
    return PushConfig(push=push, step=step, sent_s=0.0, **(fields | more))


def at(phase: Phase) -> Staging:
    """Return a director that push "a" has brought to this phase, at time 100."""
    staging = Staging()
    if phase is Phase.IDLE:
        return staging
    assert staging.received(message(STAGE), now_s=100.0).act is Act.NOTHING
    if phase is Phase.COLLECTING:
        return staging
    assert staging.received(message(PREPARE), now_s=100.0) == Answer(act=Act.PREPARE, text=TEXT)
    staging.prepared(now_s=100.0)
    if phase is Phase.PREPARED:
        return staging
    assert staging.received(message(COMMIT), now_s=100.0).act is Act.COMMIT
    staging.committed(now_s=100.0)
    return staging


TABLE = {
    Phase.IDLE: (Act.NOTHING, Act.REFUSE, Act.REFUSE, Act.REFUSE, Act.NOTHING),
    Phase.COLLECTING: (Act.REFUSE, Act.PREPARE, Act.REFUSE, Act.REFUSE, Act.DISCARD),
    Phase.PREPARED: (Act.REFUSE, Act.REFUSE, Act.COMMIT, Act.REFUSE, Act.DISCARD),
    Phase.COMMITTED: (Act.REFUSE, Act.REFUSE, Act.NOTHING, Act.KEEP, Act.RESTORE),
}
"""What each step brings in each phase, of the push that is under way."""

OTHERS = (Act.REFUSE, Act.REFUSE, Act.REFUSE, Act.REFUSE, Act.NOTHING)
"""The same of another push, once one is under way: it must never undo what is not its own."""


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("step", PushStep)
def test_every_step_in_every_phase(phase: Phase, step: PushStep) -> None:
    place = list(PushStep).index(step)
    assert at(phase).received(message(step), now_s=101.0).act is TABLE[phase][place]
    if phase is Phase.IDLE:
        return
    staging = at(phase)
    assert staging.received(message(step, "b"), now_s=101.0).act is OTHERS[place]
    assert (staging.phase, staging.push) == (phase, "a")


@pytest.mark.parametrize(
    ("phase", "after_s", "act"),
    [
        (Phase.IDLE, 1e9, None),
        (Phase.COLLECTING, PREPARE_S - 0.1, None),
        (Phase.COLLECTING, PREPARE_S, Act.DISCARD),
        (Phase.PREPARED, PREPARE_S, Act.DISCARD),
        (Phase.COMMITTED, CONFIRM_S - 0.1, None),
        (Phase.COMMITTED, CONFIRM_S, Act.RESTORE),
    ],
)
def test_what_nobody_goes_on_with_is_taken_back(
    phase: Phase, after_s: float, act: Act | None
) -> None:
    staging = at(phase)
    answer = staging.deadline_passed(now_s=100.0 + after_s)
    assert (answer.act if answer else None) is act
    if act is not None:
        assert staging.phase is Phase.IDLE
        assert staging.next_deadline_s is None
        assert staging.received(message(STAGE, "b"), now_s=500.0).act is Act.NOTHING


def test_a_step_of_a_push_that_was_given_up_is_refused() -> None:
    staging = at(Phase.COMMITTED)
    staging.deadline_passed(now_s=200.0)
    assert staging.received(message(CONFIRM), now_s=200.0).act is Act.REFUSE
    assert staging.received(message(COMMIT), now_s=200.0).act is Act.REFUSE
    assert staging.received(message(ROLLBACK), now_s=200.0).act is Act.NOTHING


def test_a_repeated_confirmation_is_answered_and_a_late_rollback_refused() -> None:
    staging = at(Phase.COMMITTED)
    assert staging.received(message(CONFIRM), now_s=101.0).act is Act.KEEP
    assert staging.received(message(CONFIRM), now_s=102.0).act is Act.NOTHING
    assert staging.received(message(ROLLBACK), now_s=103.0).act is Act.REFUSE


def test_a_document_in_parts_is_put_together_in_their_order() -> None:
    staging = Staging()
    for number, text in enumerate(("one", " ", "two")):
        part = message(STAGE, text=text, part=number, parts=3)
        assert staging.received(part, now_s=0.0).act is Act.NOTHING
    assert staging.received(message(PREPARE), now_s=0.0).text == TEXT


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([{"part": 1, "parts": 2}], "out of turn"),
        ([{"part": 0, "parts": 3}, {"part": 2, "parts": 3}], "out of turn"),
        ([{"part": 0, "parts": 3}, {"part": 1, "parts": 2}], "out of turn"),
        ([{"part": 0, "parts": 0}], "too large"),
        ([{"part": 0, "parts": PARTS_MAX + 1}], "too large"),
        ([{"part": 0, "parts": 1, "text": "x" * (PART_CHARS_MAX + 1)}], "too large"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: list[dict[str, Any]], why: str) -> None:
    staging = Staging()
    answers = [staging.received(message(STAGE, **part), now_s=0.0) for part in parts]
    assert answers[-1].act is Act.REFUSE
    assert why in answers[-1].message
    assert staging.received(message(PREPARE), now_s=0.0).act is Act.REFUSE


def test_a_document_that_arrived_changed_is_refused() -> None:
    staging = at(Phase.COLLECTING)
    answer = staging.received(message(PREPARE, digest=text_digest("else")), now_s=101.0)
    assert (answer.act, staging.phase) == (Act.REFUSE, Phase.IDLE)


@given(
    st.lists(
        st.tuples(st.sampled_from(PushStep), st.sampled_from("ab"), st.floats(0, 40)), max_size=30
    )
)
def test_only_what_was_confirmed_in_time_is_kept(
    steps: list[tuple[PushStep, str, float]],
) -> None:
    """Whatever arrives, in whatever order: each commit ends in keep or restore, exactly once."""
    staging, now_s, open_ = Staging(), 0.0, ""
    for step, push, pause_s in steps:
        now_s += pause_s
        late = staging.deadline_passed(now_s=now_s)
        if late is not None and late.act is Act.RESTORE:
            assert open_
            open_ = ""
        answer = staging.received(message(step, push), now_s=now_s)
        match answer.act:
            case Act.PREPARE:
                assert answer.text == TEXT
                staging.prepared(now_s=now_s)
            case Act.COMMIT:
                assert not open_
                staging.committed(now_s=now_s)
                open_ = push
            case Act.KEEP | Act.RESTORE:
                assert open_ == push
                open_ = ""
            case _:
                pass
        assert (staging.phase is Phase.COMMITTED) == bool(open_)
        assert (staging.next_deadline_s is None) == (staging.phase is Phase.IDLE)
