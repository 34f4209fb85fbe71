"""Results in, verdicts out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.events import Health
from heartbus_checker.damper import Damper

WORDS = {Health.UNKNOWN: "?", Health.UP: "U", Health.DOWN: "D"}


def verdicts(results: str, *, rise: int, fall: int) -> str:
    """Feed results (``+`` passed, ``-`` failed); return the verdict after each."""
    damper = Damper(rise=rise, fall=fall)
    after = ""
    for result in results:
        damper.probe_finished(passed=result == "+")
        after += WORDS[damper.health]
    return after


@pytest.mark.parametrize(
    ("rise", "fall", "results", "expected"),
    [
        (1, 1, "+-+-", "UDUD"),
        (1, 1, "--+", "DDU"),
        (1, 3, "--+--+---+", "??UUUUUUDU"),
        (1, 3, "---+", "??DU"),
        (1, 3, "-+", "?U"),
        (3, 1, "+", "U"),
        (3, 1, "-++-+++", "DDDDDDU"),
        (2, 2, "+-+--+-++-", "UUUUDDDDUU"),
        (2, 2, "--++", "?DDU"),
    ],
)
def test_verdict_after_each_result(rise: int, fall: int, results: str, expected: str) -> None:
    assert verdicts(results, rise=rise, fall=fall) == expected


@given(results=st.text("+-", max_size=40), rise=st.integers(1, 4), fall=st.integers(1, 4))
def test_a_change_needs_its_run_of_equal_results(results: str, rise: int, fall: int) -> None:
    after = verdicts(results, rise=rise, fall=fall)
    before = "?" + after
    for position, verdict in enumerate(after):
        so_far = results[: position + 1]
        if verdict == before[position]:
            continue
        if verdict == "D":
            assert so_far.endswith("-" * fall)
        else:
            assert so_far.endswith("+" * (1 if before[position] == "?" else rise))


@given(results=st.text("+-", max_size=40), rise=st.integers(1, 4), fall=st.integers(1, 4))
def test_only_changes_are_returned(results: str, rise: int, fall: int) -> None:
    damper = Damper(rise=rise, fall=fall)
    for result in results:
        before = damper.health
        change = damper.probe_finished(passed=result == "+")
        assert change == (damper.health if damper.health is not before else None)
    assert damper.opposing < max(rise, fall)


@pytest.mark.parametrize(("rise", "fall"), [(0, 1), (1, 0), (-1, 1)])
def test_zero_in_a_row_is_refused(rise: int, fall: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Damper(rise=rise, fall=fall)
