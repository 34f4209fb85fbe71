"""The real process with real scripts that die, do not stop, or hang; and a real hook."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.lab.network import Lab
from tests.vip.test_process import VIP, Director, lines, logged, wait_for

pytestmark = pytest.mark.netns

QUICK = """[vip.resources]
monitor_interval = "200ms"
stop_retries = 2
stop_retry = "100ms"
"""


@pytest.fixture
def director(lab: Lab, tmp_path: Path) -> Director:
    return Director(lab, tmp_path)


def test_a_resource_that_dies_while_held_is_noticed_and_the_group_let_go(
    director: Director,
) -> None:
    director.script("db")
    director.configure(f'"{VIP}/24"', '"db"', settings=QUICK)
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    (director.script_dir / "db.held").unlink()
    wait_for(logged(process, "vip.failed"), within_s=5.0, of=process)
    wait_for(lambda: not director.holds(), of=process)
    (failure,) = lines(process, "vip.failed")
    data = failure["data"]
    assert isinstance(data, dict)
    assert (data["resource"], data["reason"]) == ("db", "status: exit code 0; it said: stopped")


def test_a_stop_that_fails_is_tried_again_then_told_and_nothing_reboots(
    director: Director,
) -> None:
    director.script("db", '[ "$verb" = stop ] && { echo busy; exit 1; }')
    director.script("web")
    director.configure(f'"{VIP}/24"', '"web"', '"db"', settings=QUICK)
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    director.revoke()
    wait_for(logged(process, "vip.released"), of=process)
    assert director.traced().count("db stop") == 3
    assert director.traced()[-1] == "web stop"
    (failure,) = lines(process, "vip.failed")
    assert "stop: exit code 1; it said: busy; tried 3 times" in str(failure["data"])
    assert not director.holds()


def test_a_resource_that_cannot_be_stopped_is_fenced_where_that_is_wanted(
    director: Director,
) -> None:
    told = director.script_dir / "fenced"
    fence = director.script_dir / "fence"
    fence.write_text(f"#!/bin/sh\ncat > {told}.new; mv {told}.new {told}\n")
    fence.chmod(0o755)
    director.script("db", '[ "$verb" = stop ] && exit 1')
    director.configure('"db"', settings=f'{QUICK}on_stop_failure = "fence"\n')
    with director.config.open("a") as config:
        config.write(
            f'[[membership.fences]]\ndirector = "linuxha1.linux-ha.org"\ncommand = "{fence}"\n'
            'options = { plug = "7" }\n'
        )
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    director.revoke()
    wait_for(told.exists, of=process)
    assert told.read_text() == "action=off\nplug=7\n"
    wait_for(logged(process, "vip.released"), of=process)


def test_a_hook_is_told_each_state_in_order_and_again_after_a_restart(director: Director) -> None:
    trace = director.script_dir / "told"
    hook = director.script_dir / "hook"
    hook.write_text(f'#!/bin/sh\necho "$@" "$HEARTBUS_ADDRESSES" >> {trace}\n')
    hook.chmod(0o755)
    director.configure(f'"{VIP}/24"', settings=f'[[vip.resources.hooks]]\ncommand = "{hook}"\n')

    def told() -> list[str]:
        return trace.read_text().splitlines() if trace.exists() else []

    director.revoke()  # membership has spoken, and gives none
    process = director.start()
    wait_for(lambda: told() == ["released www 0 "], of=process)
    director.lease(epoch=4)
    wait_for(lambda: told()[1:] == [f"acquired www 4 {VIP}"], of=process)
    process.signal(signal.SIGKILL)
    process.wait(timeout_s=10.0)
    process = director.start()
    wait_for(lambda: told()[2:] == [f"acquired www 4 {VIP}"], of=process)
    assert process.stop() == 0
    assert told()[3:] == ["released www 4 "]
