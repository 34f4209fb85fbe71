"""Recordings are not believed, across restarts of either side; nobody is locked out for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus_membership.leases import StateFile
from heartbus_membership.replay import Mark, Novelty, ReplayGuard, reserve_beats

NEWS, COPY, REPLAYED = Novelty.NEWS, Novelty.COPY, Novelty.REPLAYED
MARK = Mark(incarnation=10, sequence=100)


@pytest.mark.parametrize(
    ("incarnation", "sequence", "echoes_us", "worth"),
    [
        (10, 100, False, REPLAYED),
        (10, 101, False, NEWS),
        (10, 50, True, NEWS),
        (11, 1, False, NEWS),
        (9, 500, False, REPLAYED),
        (9, 1, True, NEWS),
    ],
)
def test_after_our_restart(
    incarnation: int, sequence: int, echoes_us: bool, worth: Novelty
) -> None:
    guard = ReplayGuard({"b": MARK})
    heard = guard.judge(
        "b", link="l", incarnation=incarnation, sequence=sequence, echoes_us=echoes_us
    )
    assert heard is worth


def test_a_peer_with_a_clock_behind_comes_back_and_its_past_does_not() -> None:
    guard = ReplayGuard()
    assert guard.judge("b", link="l", incarnation=10, sequence=7, own_sequence=40) is NEWS
    assert guard.judge("b", link="l", incarnation=3, sequence=1) is REPLAYED
    assert not guard.echo_is_fresh("b", 40)
    assert guard.echo_is_fresh("b", 41)
    back = guard.judge("b", link="l", incarnation=3, sequence=2, echoes_us=True, own_sequence=41)
    assert back is NEWS
    # The higher incarnation is over: what was recorded of it is old, to its last heartbeat.
    assert guard.judge("b", link="l", incarnation=10, sequence=8) is REPLAYED
    assert guard.judge("b", link="l", incarnation=3, sequence=3) is NEWS
    assert guard.judge("b", link="l", incarnation=11, sequence=1) is NEWS


def test_marks_are_ahead_of_what_was_heard() -> None:
    guard = ReplayGuard({"c": MARK})
    guard.judge("b", link="l", incarnation=10, sequence=7)
    assert guard.unwritten(reserve=4)
    marks = guard.marks(reserve=4)
    assert marks == {"b": Mark(incarnation=10, sequence=11), "c": MARK}
    guard.written(marks)
    assert not guard.unwritten(reserve=4)
    guard.judge("b", link="l", incarnation=10, sequence=10)
    assert guard.unwritten(reserve=4)


@pytest.mark.parametrize(("keepalive_s", "beats"), [(0.01, 100), (0.075, 14), (2.0, 4)])
def test_the_reserve_is_about_a_second(keepalive_s: float, beats: int) -> None:
    assert reserve_beats(keepalive_s) == beats


def test_marks_survive_our_restart(tmp_path: Path) -> None:
    first = StateFile(tmp_path)
    first.next_incarnation(wall_ms=5)
    first.remember_heard({"b": MARK})
    first.remember_epoch("vip", 3)
    second = StateFile(tmp_path)
    second.next_incarnation(wall_ms=5)
    assert second.heard == {"b": MARK}
    assert second.epochs == {"vip": 3}
