"""Two real directors whose resources fail: the group moves once, and never swings.

    VIP .100 + script "db" on one of    one .1   two .2

A director's ``db`` fails while there is a file ``NAME.broken``; its tracker is down while there is
a file ``NAME.unfit``.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from heartbus.events import HeldGroup, HoldStatus, TrackStatus, VipState
from tests.lab.network import Lab, wait_until
from tests.lab.pairs import VIP, HeartbusPair

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

MOVE_MAX_S = 20.0
CALM_S = 6.0
"""Longer than a swing takes: a failed start and a hand-over are done within a second."""


class Resources:
    """A pair, its scripts, and what they were asked to do."""

    def __init__(self, lab: Lab) -> None:
        self.directory = lab.directory / "resources"
        self.directory.mkdir()
        script = self.directory / "db"
        script.write_text(
            f"""#!/bin/sh
me={self.directory}/$(uname -n)
[ "$1" = status ] || echo "$(uname -n) $1" >> {self.directory}/trace
case $1 in
start) [ ! -e $me.broken ] || {{ echo no disk; exit 1; }}; touch $me.held;;
stop) rm -f $me.held;;
status) [ -e $me.held ] && [ ! -e $me.broken ] && echo running || echo stopped;;
esac
"""
        )
        script.chmod(0o755)
        self.pair = HeartbusPair(lab, "res")
        self.pair._text = (
            self.pair._text.replace(f'["{VIP}/24"]', f'["{VIP}/24", "db"]')
            + f'[cluster]\nresource_path = ["{self.directory}"]\n'
            + '[vip.resources]\nmonitor_interval = "300ms"\n'
        )

    def track(self) -> None:
        """Give each director a tracker: a script that looks for its own file."""
        self.pair._text += (
            '[[vip.resources.trackers]]\nkind = "script"\ninterval = "200ms"\n'
            f'target = "{self.directory}/fit"\nname = "fit"\nfall = 2\n'
        )
        fit = self.directory / "fit"
        fit.write_text(f"#!/bin/sh\n[ ! -e {self.directory}/$(uname -n).unfit ]\n")
        fit.chmod(0o755)

    def mark(self, name: str, what: str) -> Path:
        """Break something on a director; unlink what is returned to mend it."""
        path = self.directory / f"{name}.{what}"
        path.touch()
        return path

    def asked(self) -> list[str]:
        return (self.directory / "trace").read_text().splitlines()

    def group(self, name: str) -> HeldGroup | None:
        state = self.pair.observers[name].view.state(name, VipState)
        return state.groups[0] if state else None

    def is_held(self, name: str) -> bool:
        group = self.group(name)
        return group is not None and group.status is HoldStatus.HELD

    def wait_held(self, name: str) -> None:
        wait_until(lambda: self.is_held(name), timeout_s=MOVE_MAX_S, what=f"{name} holds it")


@pytest.fixture
def resources(lab: Lab) -> Resources:
    return Resources(lab)


def test_what_fails_moves_to_the_peer_once_and_what_fails_on_both_settles(
    resources: Resources,
) -> None:
    with resources.pair:
        resources.wait_held("one")
        resources.mark("one", "broken")
        resources.wait_held("two")
        assert resources.asked() == ["one start", "one stop", "two start"]
        resources.mark("two", "broken")

        def given_up() -> bool:
            group = resources.group("two")
            return group is not None and group.status is HoldStatus.FAILED

        wait_until(given_up, timeout_s=MOVE_MAX_S, what="two has failed too")
        group = resources.group("two")
        assert group is not None
        assert "db: status: exit code 0; it said: stopped" in group.reason
        before = resources.asked()
        time.sleep(CALM_S)  # nothing is to happen: there is nothing to wait for
        assert resources.asked() == before == ["one start", "one stop", "two start", "two stop"]
        assert resources.pair.holder() is None


def test_a_tracker_that_is_down_moves_the_group_and_stays_where_both_are_down(
    resources: Resources,
) -> None:
    resources.track()
    with resources.pair:
        resources.wait_held("one")
        mended = resources.mark("one", "unfit")
        resources.wait_held("two")
        state = resources.pair.observers["one"].view.state("one", VipState)
        assert state is not None
        assert state.trackers[0].status is TrackStatus.DOWN
        resources.mark("two", "unfit")

        def both_down() -> bool:
            group = resources.group("two")
            return group is not None and group.able is False

        wait_until(both_down, timeout_s=MOVE_MAX_S, what="two's tracker is down")
        time.sleep(1.0)  # nothing is to happen
        assert resources.is_held("two")
        mended.unlink()
        resources.wait_held("one")
