from __future__ import annotations

import pytest

from heartbus_vip.resource import ScriptEnd, ScriptResult


def exited(code: int = 0, output: str = "") -> ScriptResult:
    return ScriptResult(end=ScriptEnd.EXITED, code=code, output=output)


@pytest.mark.parametrize(
    ("output", "held"),
    [
        ("running\n", True),
        ("httpd (pid 12) is running...\n", True),
        ("OK", True),
        ("not running\n", False),
        ("Not Running; was OK before", False),
        ("stopped", False),
        ("ok", False),
        ("RUNNING", False),
        ("", False),
    ],
)
def test_the_words_of_status_decide_as_in_heartbeat_3(output: str, held: bool) -> None:
    assert exited(output=output).says_held is held


def test_the_exit_code_of_status_does_not_matter() -> None:
    assert exited(3, "running").says_held
    assert not exited(0, "stopped").says_held


@pytest.mark.parametrize("end", [ScriptEnd.TIMED_OUT, ScriptEnd.UNRUNNABLE, ScriptEnd.MISSING])
def test_a_status_call_that_did_not_end_by_itself_says_nothing(end: ScriptEnd) -> None:
    assert not ScriptResult(end=end, output="running").says_held


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (exited(0, "whatever"), None),
        (exited(1), "exit code 1"),
        (exited(1, "a\nno space left\n\n"), "exit code 1; it said: no space left"),
        (exited(-9), "killed by signal 9"),
        (ScriptResult(end=ScriptEnd.TIMED_OUT), "timed out"),
        (ScriptResult(end=ScriptEnd.UNRUNNABLE, detail="x"), "unrunnable: x"),
        (ScriptResult(end=ScriptEnd.MISSING, detail="/a/x (no such file)"), None),
    ],
)
def test_a_problem_says_how_a_call_ended(result: ScriptResult, problem: str | None) -> None:
    assert result.problem == problem
