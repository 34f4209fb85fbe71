"""When another configuration of a peer is told, and when no more."""

from __future__ import annotations

import pytest

from heartbus.events import ConfigSkew
from heartbus_membership.agreement import Agreement, settle_s

OURS, THEIRS = "aa" * 8, "bb" * 8


def skew(theirs: str = THEIRS, *, agreed: bool = False) -> ConfigSkew:
    return ConfigSkew(director="b", ours=OURS, theirs=theirs, agreed=agreed)


def told(*heard: tuple[float, str]) -> list[ConfigSkew]:
    core = Agreement(digest=OURS, settle_s=5.0)
    events = (core.heard("b", digest, now_s=now_s) for now_s, digest in heard)
    return [event for event in events if event is not None]


def test_equal_configurations_are_not_told() -> None:
    assert told((0, OURS), (100, OURS)) == []


def test_a_difference_is_told_once_when_it_has_settled() -> None:
    assert told((0, THEIRS), (4.9, THEIRS)) == []
    assert told((0, THEIRS), (5.0, THEIRS), (6.0, THEIRS), (60.0, THEIRS)) == [skew()]


def test_a_rolling_reload_does_not_cry() -> None:
    assert told((0, THEIRS), (4, OURS), (20, THEIRS), (24, "cc" * 8), (28, OURS)) == []


def test_agreement_is_told_at_once_and_only_after_an_alarm() -> None:
    events = told((0, THEIRS), (5, THEIRS), (5.1, OURS), (5.2, OURS))
    assert events == [skew(), skew(OURS, agreed=True)]


def test_a_silent_peer_starts_anew() -> None:
    core = Agreement(digest=OURS, settle_s=5.0)
    core.heard("b", THEIRS, now_s=0)
    core.heard("b", THEIRS, now_s=5)
    assert core.skewed == ("b",)
    core.silent("b")
    assert not core.skewed
    assert core.heard("b", THEIRS, now_s=9) is None


@pytest.mark.parametrize(("keepalive_s", "expected_s"), [(0.075, 5.0), (2.0, 10.0)])
def test_slow_clusters_settle_slowly(keepalive_s: float, expected_s: float) -> None:
    assert settle_s(keepalive_s) == expected_s
