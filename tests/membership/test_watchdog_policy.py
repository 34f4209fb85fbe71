"""When the watchdog is opened and fed: only after a turn that ended well, at a quarter's pace."""

from __future__ import annotations

import pytest

from heartbus.events import WatchdogView
from heartbus_membership.watchdog_policy import (
    RETRY_S,
    Remark,
    WatchdogPolicy,
    WatchdogStep,
    timeout_s,
)

OPEN, FEED = WatchdogStep.OPEN, WatchdogStep.FEED


def policy(deadtime_s: float = 30.0) -> WatchdogPolicy:
    return WatchdogPolicy(device="/dev/watchdog", deadtime_s=deadtime_s)


def armed(now_s: float = 0.0, counted_s: float = 31.0) -> WatchdogPolicy:
    made = policy()
    assert made.turn_finished(now_s=now_s) is OPEN
    made.opened(timeout_s=counted_s, now_s=now_s)
    return made


@pytest.mark.parametrize(
    ("deadtime_s", "wanted_s"),
    [(30.0, 31), (29.99, 30), (29.995, 31), (5.0, 6), (4.99, 5), (10.2, 11), (0.3, 5), (1.0, 5)],
)
def test_timeout_is_that_of_heartbeat_and_five_seconds_at_least(
    deadtime_s: float, wanted_s: int
) -> None:
    assert timeout_s(deadtime_s=deadtime_s) == policy(deadtime_s).wanted_s == wanted_s


def test_the_first_good_turn_opens_it_and_it_is_fed_each_quarter_of_its_timeout() -> None:
    made = policy()
    assert made.turn_finished(now_s=100.0) is OPEN
    assert made.opened(timeout_s=31.0, now_s=100.0) == Remark(
        usable=True, text="resets this host 31 s after membership stops working"
    )
    feeds = [at / 4 for at in range(400, 640) if made.turn_finished(now_s=at / 4) is FEED]
    assert feeds == [107.75, 115.5, 123.25, 131.0, 138.75, 146.5, 154.25]


def test_without_turns_it_is_not_fed() -> None:
    made = armed()
    assert made.turn_finished(now_s=7.5) is None
    # A loop that hung for two minutes: the next turn feeds once, nothing is made up for.
    assert made.turn_finished(now_s=120.0) is FEED
    assert made.turn_finished(now_s=120.1) is None


def test_the_pace_follows_what_the_driver_really_counts_and_the_difference_is_said() -> None:
    made = policy()
    made.turn_finished(now_s=0.0)
    remark = made.opened(timeout_s=8.0, now_s=0.0)
    assert remark.text == (
        "resets this host 8 s after membership stops working; the driver counts 8 s instead of 31 s"
    )
    assert made.view().problem == "the driver counts 8 s instead of 31 s"
    assert made.view().armed
    assert [made.turn_finished(now_s=t) for t in (1.9, 2.0, 3.9, 4.0)] == [None, FEED, None, FEED]


def test_an_absent_device_is_said_once_and_tried_again() -> None:
    made = policy()
    assert made.turn_finished(now_s=0.0) is OPEN
    assert made.failed("cannot open", now_s=0.0) == Remark(usable=False, text="cannot open")
    assert made.turn_finished(now_s=RETRY_S - 0.1) is None
    assert made.turn_finished(now_s=RETRY_S) is OPEN
    assert made.failed("cannot open", now_s=RETRY_S) is None
    assert made.view() == WatchdogView(
        device="/dev/watchdog", armed=False, timeout_s=31.0, problem="cannot open"
    )
    assert made.turn_finished(now_s=2 * RETRY_S) is OPEN
    assert made.failed("busy", now_s=2 * RETRY_S) == Remark(usable=False, text="busy")
    assert made.turn_finished(now_s=3 * RETRY_S) is OPEN
    assert made.opened(timeout_s=31.0, now_s=3 * RETRY_S).usable
    assert made.view().problem is None


def test_a_device_that_is_lost_is_opened_again_and_the_loss_is_said() -> None:
    made = armed()
    assert made.turn_finished(now_s=10.0) is FEED
    assert made.failed("gone", now_s=10.0) == Remark(usable=False, text="gone")
    assert not made.view().armed
    assert made.turn_finished(now_s=10.0 + RETRY_S) is OPEN


def test_after_a_stop_it_is_neither_fed_nor_opened() -> None:
    made = armed()
    assert made.stop() is True
    assert made.turn_finished(now_s=1000.0) is None
    assert not made.view().armed
    never_opened = policy()
    assert never_opened.stop() is False
    assert never_opened.turn_finished(now_s=0.0) is None
