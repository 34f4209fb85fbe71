"""A push to all directors or to none: every way in which one of them fails, at every step."""

from __future__ import annotations

import pytest

from heartbus.events import CommandOutcome
from heartbus.push.messages import PushStep
from heartbus.push.round import CONFIRM_TRIES, ROLLBACK_TRIES, PushRound, Verdict

A, B, C = ALL = ("a", "b", "c")
DONE = CommandOutcome(done=True, message="done", digest="1")
NO = CommandOutcome(done=False, message="refused: no such library")
PREPARE, COMMIT, CONFIRM, ROLLBACK = (
    PushStep.PREPARE,
    PushStep.COMMIT,
    PushStep.CONFIRM,
    PushStep.ROLLBACK,
)


def played(
    *, fails: dict[tuple[PushStep, str], list[CommandOutcome | None]], test_only: bool = False
) -> tuple[PushRound, list[tuple[PushStep, tuple[str, ...]]]]:
    """Play a push to its end; return it, and who was asked for what.

    ``fails``: what a director answers instead to a step, the first times that it is asked.
    """
    made, asked = PushRound(ALL, test_only=test_only), []
    left = {key: list(answers) for key, answers in fails.items()}
    while made.step is not None:
        step = made.step
        asked.append((step, made.asked))
        answers: dict[str, CommandOutcome | None] = {}
        for name in made.asked:
            instead = left.get((step, name))
            answers[name] = instead.pop(0) if instead else DONE
        made.answered(answers)
        assert len(asked) < 20
    return made, asked


def test_all_prepare_then_all_commit_then_all_confirm() -> None:
    made, asked = played(fails={})
    assert asked == [(PREPARE, ALL), (COMMIT, ALL), (CONFIRM, ALL)]
    assert (made.verdict, made.problems) == (Verdict.KEPT, {})


def test_a_test_changes_nothing() -> None:
    made, asked = played(fails={}, test_only=True)
    assert asked == [(PREPARE, ALL), (ROLLBACK, ALL)]
    assert (made.verdict, made.problems) == (Verdict.TESTED, {})


@pytest.mark.parametrize("answer", [None, NO], ids=["dead", "refuses"])
def test_one_that_does_not_prepare_stops_all_before_anything_changed(
    answer: CommandOutcome | None,
) -> None:
    made, asked = played(fails={(PREPARE, B): [answer]})
    assert asked == [(PREPARE, ALL), (ROLLBACK, ALL)]
    assert made.verdict is Verdict.REFUSED
    assert list(made.problems) == [B]


def test_one_that_makes_something_else_of_the_document_stops_all() -> None:
    other = CommandOutcome(done=True, message="prepared", digest="2")
    made, asked = played(fails={(PREPARE, C): [other]})
    assert asked == [(PREPARE, ALL), (ROLLBACK, ALL)]
    assert made.problems == {C: "it means something else there (digest 2, not 1)"}


@pytest.mark.parametrize("answer", [None, NO], ids=["dead", "refuses"])
@pytest.mark.parametrize("where", [(A,), (B, C), ALL])
def test_one_that_does_not_commit_takes_all_back(
    answer: CommandOutcome | None, where: tuple[str, ...]
) -> None:
    made, asked = played(fails={(COMMIT, name): [answer] for name in where})
    assert asked == [(PREPARE, ALL), (COMMIT, ALL), (ROLLBACK, ALL)]
    assert made.verdict is Verdict.ROLLED_BACK
    assert tuple(made.problems) == where


def test_one_that_dies_between_commit_and_rollback_is_asked_again_then_named() -> None:
    silent: list[CommandOutcome | None] = [None] * ROLLBACK_TRIES
    made, asked = played(fails={(COMMIT, B): [NO], (ROLLBACK, C): silent})
    assert asked[2:] == [(ROLLBACK, ALL), (ROLLBACK, (C,)), (ROLLBACK, (C,))]
    assert made.verdict is Verdict.ROLLED_BACK
    assert made.problems == {B: NO.message, C: "no answer"}


def test_one_whose_first_answer_to_a_rollback_is_lost_is_asked_again() -> None:
    made, asked = played(fails={(COMMIT, B): [None], (ROLLBACK, A): [None]})
    assert asked[2:] == [(ROLLBACK, ALL), (ROLLBACK, (A,))]
    assert made.problems == {B: "no answer"}


def test_one_whose_first_answer_to_a_confirmation_is_lost_is_asked_again() -> None:
    made, asked = played(fails={(CONFIRM, A): [None]})
    assert asked[2:] == [(CONFIRM, ALL), (CONFIRM, (A,))]
    assert (made.verdict, made.problems) == (Verdict.KEPT, {})


@pytest.mark.parametrize("answer", [None, NO], ids=["dead", "went back"])
def test_one_that_never_confirms_is_named(answer: CommandOutcome | None) -> None:
    made, asked = played(fails={(CONFIRM, B): [answer] * CONFIRM_TRIES})
    assert asked[2:] == [(CONFIRM, ALL), (CONFIRM, (B,)), (CONFIRM, (B,))]
    assert made.verdict is Verdict.PARTLY
    assert list(made.problems) == [B]


def test_a_test_that_one_director_does_not_hear_of_ends_all_the_same() -> None:
    made, asked = played(fails={(ROLLBACK, A): [None] * ROLLBACK_TRIES}, test_only=True)
    assert asked[1:] == [(ROLLBACK, ALL), (ROLLBACK, (A,)), (ROLLBACK, (A,))]
    assert made.verdict is Verdict.TESTED
