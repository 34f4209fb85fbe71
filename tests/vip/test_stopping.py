"""Stops that fail, resources that are lost while held: the holder with its scripts."""

from __future__ import annotations

import dataclasses

import pytest

from heartbus.events import HoldStatus, ResourceStatus, VipFailed
from heartbus.model import ResourceGroup, ResourceSettings, ScriptResource, StopFailure, VipSettings
from heartbus_vip.resource import ScriptEnd, ScriptResult
from tests.vip.directors import BROKEN, GROUP, LEFT, OK, RUNNING, SETTINGS, STOPPED, Director, held

STOPPED_ANSWER = ScriptResult(end=ScriptEnd.EXITED, code=3, output="stopped")
HUNG = ScriptResult(end=ScriptEnd.TIMED_OUT, detail="ended after 60 s")
WATCHED = ResourceSettings(monitor_interval_s=10.0, monitor_fall=2, stop_retries=3)
FENCED = dataclasses.replace(WATCHED, on_stop_failure=StopFailure.FENCE)
ONE = ResourceGroup(name="www", preferred="a", resources=(LEFT,))
CALL = ("left", "status")


def settings(resources: ResourceSettings) -> VipSettings:
    return dataclasses.replace(SETTINGS, resources=resources)


def started(group: ResourceGroup = ONE, resources: ResourceSettings = WATCHED) -> Director:
    """A director that holds the group, its scripts answering ``running`` from now on."""
    director = held(group, settings=settings(resources))
    director.answers = {(name, "status"): RUNNING for name in ("left", "right")}
    return director


def after(director: Director, seconds: float) -> list[object]:
    """What is done in this time, the lease renewed all along, looked at four times a second."""
    did: list[object] = []
    for _ in range(round(seconds * 4)):
        director.now_s += 0.25
        did += director.grant()
    return did


def resource(director: Director, index: int = 0) -> tuple[ResourceStatus, str]:
    view = director.holder.state().groups[0].resources[index]
    return view.status, view.reason


# --- watching ------------------------------------------------------------------------------------


def test_a_held_script_is_asked_soon_after_its_start_and_then_each_period() -> None:
    director = started()
    assert after(director, 1.0) == [CALL]
    assert after(director, 9.75) == []
    assert after(director, 0.25) == [CALL]
    assert resource(director) == (ResourceStatus.RUNNING, "")


def test_one_bad_answer_is_asked_again_a_second_later_and_shown() -> None:
    director = started()
    director.answers[CALL] = STOPPED_ANSWER
    assert after(director, 1.0) == [CALL]
    assert director.status is HoldStatus.HELD
    assert resource(director) == (ResourceStatus.RUNNING, "status: exit code 3; it said: stopped")
    director.answers[CALL] = RUNNING
    assert after(director, 1.0) == [CALL]
    assert resource(director) == (ResourceStatus.RUNNING, "")


@pytest.mark.parametrize("answer", [STOPPED_ANSWER, HUNG])
def test_bad_answers_in_a_row_fail_the_group_and_stop_it(answer: ScriptResult) -> None:
    director = started()
    director.answers[CALL] = answer
    after(director, 1.0)
    assert after(director, 1.0) == [CALL, "vip.failed", ("left", "stop")]
    assert director.status is HoldStatus.FAILED
    event = director.told[-1].event
    assert isinstance(event, VipFailed)
    assert event.reason.startswith("status: ")


def test_an_answer_that_means_nothing_fails_nothing_and_is_shown() -> None:
    director = started()
    director.answers[CALL] = ScriptResult(end=ScriptEnd.EXITED, code=1, output="usage: …")
    after(director, 60.0)
    assert director.status is HoldStatus.HELD
    assert resource(director)[0] is ResourceStatus.UNWATCHED


def test_a_question_that_is_not_answered_yet_is_not_asked_twice() -> None:
    director = started()
    director.answers = {CALL: None}
    assert after(director, 30.0) == [CALL]


def test_a_group_that_is_let_go_while_a_script_is_asked_ends_the_question() -> None:
    director = started()
    director.answers = {CALL: None}
    after(director, 1.0)
    assert director.lease() == ["abort", ("left", "stop"), "vip.released"]


def test_no_watching_where_the_period_is_zero() -> None:
    director = started(resources=dataclasses.replace(WATCHED, monitor_interval_s=0))
    assert after(director, 60.0) == []


def test_what_does_its_work_once_is_not_watched() -> None:
    delay = ScriptResource(script="Delay", arguments=("1",))
    director = started(ResourceGroup(name="www", preferred="a", resources=(delay,)))
    assert after(director, 60.0) == []


# --- stops that fail -----------------------------------------------------------------------------


def test_a_failed_stop_is_tried_again_until_it_works() -> None:
    director = started()
    director.answers[("left", "stop")] = BROKEN
    assert director.lease() == [("left", "stop"), CALL]
    assert resource(director) == (
        ResourceStatus.STOPPING,
        "stop: exit code 1; it said: no disk; tried again",
    )
    assert director.advance(0.9) == []
    director.answers[("left", "stop")] = OK
    assert director.advance(0.1) == [("left", "stop"), "vip.released"]
    assert resource(director) == (ResourceStatus.STOPPED, "")


def test_a_stop_that_keeps_failing_is_an_alarm_and_the_rest_is_stopped() -> None:
    director = started(GROUP)
    director.answers[("right", "stop")] = BROKEN
    did = director.lease()
    for _ in range(3):
        did += director.advance(1.0)
    tries = [x for x in did if x == ("right", "stop")]
    assert len(tries) == 4
    assert did[-5:] == ["vip.failed", *STOPPED[1:]]
    event = next(t.event for t in director.told if isinstance(t.event, VipFailed))
    assert event.reason.endswith("tried 4 times, it may still run here")
    assert resource(director, len(GROUP.resources) - 1)[0] is ResourceStatus.FAILED


def test_a_failed_stop_of_what_says_it_is_stopped_is_no_alarm() -> None:
    director = started()
    director.answers = {("left", "stop"): BROKEN, CALL: STOPPED_ANSWER}
    assert director.lease() == [("left", "stop"), CALL, "vip.released"]
    assert resource(director) == (ResourceStatus.STOPPED, "stop: exit code 1; it said: no disk")


def test_what_was_never_started_here_may_fail_to_stop() -> None:
    director = Director(GROUP, settings=settings(WATCHED))
    director.answers = {("left", "start"): BROKEN, ("right", "stop"): BROKEN}
    assert director.grant() == [
        CALL,
        ("left", "start"),
        "vip.failed",
        ("right", "stop"),
        ("right", "status"),
        ("left", "stop"),
    ]
    assert director.status is HoldStatus.FAILED


def test_a_stop_that_hangs_is_tried_twice_and_no_more() -> None:
    director = started()
    director.answers[("left", "stop")] = None
    did = director.lease()
    for _ in range(2):
        director.now_s += SETTINGS.script_timeout_s
        did += director.finish(HUNG)
        did += director.advance(1.0)
    assert [x for x in did if x == ("left", "stop")] == [("left", "stop")] * 2
    assert did[-2:] == ["vip.failed", "vip.released"]


def test_a_resource_that_cannot_be_stopped_has_this_director_fenced_if_that_is_wanted() -> None:
    director = started(resources=FENCED)
    director.answers[("left", "stop")] = BROKEN
    did = director.lease()
    for _ in range(3):
        did += director.advance(1.0)
    assert did[-2:] == ["vip.failed", "fence"]
    assert director.status is HoldStatus.STOPPING  # nobody else may start it yet
    assert director.fencing is not None
    actions = director.holder.fence_ended(
        "www", director.fencing.step, problem="no power", now_s=director.now_s
    )
    assert director.carry_out(actions) == ["vip.failed", "vip.released"]


def test_a_clean_stop_never_fences() -> None:
    director = started(resources=FENCED)
    director.answers[("left", "stop")] = BROKEN
    did = director.stop()
    for _ in range(12):
        did += director.advance(1.0)
    assert "fence" not in did
    assert director.holder.stopped


def test_the_deadlines_cover_watching_and_trying_again() -> None:
    director = started()
    assert director.holder.next_deadline_s == director.now_s + 1.0
    director.answers[("left", "stop")] = BROKEN
    director.lease()
    assert director.holder.next_deadline_s == director.now_s + WATCHED.stop_retry_s
