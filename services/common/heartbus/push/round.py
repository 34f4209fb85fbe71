"""Decides how a push goes on: to all directors or to none.

Sans-I/O. Each step is asked of every director at once; what they answer, or that they do not,
decides the next one:

    prepare --all--> commit --all--> confirm --all--> kept
       |                |               |
       +-- any not --> abandoned        +-- any not, after CONFIRM_TRIES --> kept, but for these
                        |
                        +-- any not --> rollback of all, those that did not answer included

A director that cannot be reached after its commit goes back by itself (``staging.CONFIRM_S``), so
what is unknown of it is unknown for that long only.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

from heartbus.events import CommandOutcome
from heartbus.push.messages import PushStep

CONFIRM_TRIES: Final = 3
ROLLBACK_TRIES: Final = 3


class Verdict(enum.StrEnum):
    """How a push ended. ``partly``: confirmed by some, not known of the others."""

    TESTED = "tested"
    KEPT = "kept"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    PARTLY = "partly"


class PushRound:
    """One push to these directors. ``test_only``: prepare, then forget."""

    def __init__(self, directors: Iterable[str], *, test_only: bool = False) -> None:
        self._all = tuple(directors)
        self._test_only = test_only
        self._tries = 0
        self.step: PushStep | None = PushStep.PREPARE
        self.asked: tuple[str, ...] = self._all
        self.verdict: Verdict | None = None
        """Known as soon as it is decided, before what is left of it is done."""
        self.problems: dict[str, str] = {}
        """Of each director that stood in the way, or of which not all is known: why."""

    def answered(self, answers: Mapping[str, CommandOutcome | None]) -> None:
        """Take the answers to ``step`` of all that were ``asked``; None: none in time."""
        assert self.step is not None
        assert set(answers) == set(self.asked)
        without = {name: _problem(outcome) for name, outcome in answers.items() if not _ok(outcome)}
        match self.step:
            case PushStep.PREPARE:
                without |= _different(answers) if not without else {}
                if without or self._test_only:
                    self._undo(Verdict.REFUSED if without else Verdict.TESTED, without)
                else:
                    self._next(PushStep.COMMIT, self._all)
            case PushStep.COMMIT:
                if without:
                    self._undo(Verdict.ROLLED_BACK, without)
                else:
                    self._next(PushStep.CONFIRM, self._all)
            case PushStep.CONFIRM:
                self._again(without, tries=CONFIRM_TRIES)
                if self.step is None:
                    self.verdict = Verdict.PARTLY if without else Verdict.KEPT
            case PushStep.ROLLBACK:
                self._again(without, tries=ROLLBACK_TRIES)
            case PushStep.STAGE:
                raise AssertionError("staging is part of preparing")

    def _undo(self, verdict: Verdict, problems: Mapping[str, str]) -> None:
        self.verdict = verdict
        self.problems |= problems
        self._next(PushStep.ROLLBACK, self._all)

    def _next(self, step: PushStep, asked: tuple[str, ...]) -> None:
        self.step, self.asked, self._tries = step, asked, 0

    def _again(self, without: Mapping[str, str], *, tries: int) -> None:
        self._tries += 1
        self.asked = tuple(without)
        if without and self._tries < tries:
            return
        self.step = None
        for name, why in without.items():
            self.problems.setdefault(name, why)


def _ok(outcome: CommandOutcome | None) -> bool:
    return outcome is not None and outcome.done


def _problem(outcome: CommandOutcome | None) -> str:
    return "no answer" if outcome is None else outcome.message


def _different(answers: Mapping[str, CommandOutcome | None]) -> dict[str, str]:
    """Return who makes something else of the document than the first does."""
    digests = {name: outcome.digest for name, outcome in answers.items() if outcome is not None}
    first = next(iter(digests.values()), "")
    return {
        name: f"it means something else there (digest {digest}, not {first})"
        for name, digest in digests.items()
        if digest != first
    }
