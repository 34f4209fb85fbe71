"""What hooks are told, in which order; then a real one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from heartbus import log
from heartbus.events import HeldGroup, HoldStatus, ResourceStatus, ResourceView
from heartbus.model import Hook
from heartbus_vip.hook_calls import HookCalls
from heartbus_vip.hooks import TRIES_MAX, TRY_AGAIN_S, WAITING_MAX, HookQueue

HELD, RELEASED, FAILED = HoldStatus.HELD, HoldStatus.RELEASED, HoldStatus.FAILED


def group(status: HoldStatus, epoch: int = 1, *, name: str = "www", stuck: str = "") -> HeldGroup:
    view = ResourceView(name="db", status=ResourceStatus.FAILED, reason=stuck)
    return HeldGroup(
        name=name,
        status=status,
        epoch=epoch,
        addresses=("10.0.0.1",),
        resources=(view,) * bool(stuck),
    )


def told(queue: HookQueue) -> list[tuple[str, str, int]]:
    """Carry out all calls, each successfully."""
    calls = []
    while (call := queue.next(now_s=0.0)) is not None:
        calls.append((str(call.state), call.group, call.epoch))
        queue.finished(ok=True, now_s=0.0)
    return calls


def queue_of(*groups: str) -> HookQueue:
    return HookQueue(Hook(command="/bin/true", groups=groups))


def test_states_are_told_once_each_and_what_is_on_its_way_is_not() -> None:
    queue = queue_of()
    for status, epoch in (
        (RELEASED, 0),
        (RELEASED, 0),
        (HoldStatus.STARTING, 3),
        (HELD, 3),
        (HELD, 3),
        (HoldStatus.STOPPING, 3),
        (RELEASED, 3),
    ):
        queue.seen([group(status, epoch)])
    expected = [("released", "www", 0), ("acquired", "www", 3), ("released", "www", 3)]
    assert told(queue) == expected
    assert queue.idle


def test_a_hook_that_starts_anew_is_told_what_is_so_now() -> None:
    queue = queue_of()
    queue.seen([group(HELD, 7)])
    assert told(queue) == [("acquired", "www", 7)]


def test_a_new_epoch_is_told() -> None:
    queue = queue_of()
    queue.seen([group(HELD, 1)])
    queue.seen([group(HELD, 2)])
    assert told(queue) == [("acquired", "www", 1), ("acquired", "www", 2)]


def test_a_failed_start_and_a_failed_stop_are_told_as_failed_with_the_reason() -> None:
    queue = queue_of()
    queue.seen([group(FAILED)])
    assert told(queue) == [("failed", "www", 1)]
    queue.seen([group(RELEASED, 2, stuck="stop: exit code 1")])
    call = queue.next(now_s=0.0)
    assert call is not None
    assert (str(call.state), call.reason) == ("failed", "db: stop: exit code 1")


def test_a_hook_of_some_groups_hears_of_no_others() -> None:
    queue = queue_of("www")
    queue.seen([group(HELD, name="www"), group(HELD, name="mail")])
    assert told(queue) == [("acquired", "www", 1)]


def test_one_call_at_a_time() -> None:
    queue = queue_of()
    queue.seen([group(HELD)])
    assert queue.next(now_s=0.0) is not None
    queue.seen([group(RELEASED)])
    assert queue.next(now_s=0.0) is None
    assert queue.next_deadline_s is None


def test_a_failed_call_is_tried_again_and_then_left() -> None:
    queue = queue_of()
    queue.seen([group(HELD)])
    now_s = 0.0
    for tries in range(1, TRIES_MAX + 1):
        assert queue.next(now_s=now_s) is not None
        assert queue.finished(ok=False, now_s=now_s) is (tries == TRIES_MAX)
        assert tries == TRIES_MAX or queue.next(now_s=now_s) is None
        now_s += TRY_AGAIN_S
    assert queue.idle


def test_a_failed_call_that_was_overtaken_is_not_tried_again() -> None:
    queue = queue_of()
    queue.seen([group(HELD)])
    queue.next(now_s=0.0)
    queue.seen([group(RELEASED)])
    assert queue.finished(ok=False, now_s=0.0)
    assert told(queue) == [("released", "www", 1)]


def test_too_many_that_wait_lose_what_was_overtaken_and_never_the_newest() -> None:
    queue = queue_of()
    queue.seen([group(HELD, 1, name="mail")])
    queue.next(now_s=0.0)
    for epoch in range(1, 500):
        queue.seen([group(HELD, epoch)])
    queue.finished(ok=True, now_s=0.0)
    calls = told(queue)
    assert len(calls) < WAITING_MAX
    assert calls[-1] == ("acquired", "www", 499)
    assert [epoch for _, _, epoch in calls] == sorted(epoch for _, _, epoch in calls)


async def test_a_hook_gets_state_and_epoch_as_arguments_and_in_its_environment(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    command = tmp_path / "hook"
    command.write_text(
        f"""#!/bin/sh
[ "$1" != acquired ] || sleep 0.1
echo "$* | $HEARTBUS_STATE $HEARTBUS_GROUP $HEARTBUS_EPOCH $HEARTBUS_ADDRESSES" >> {trace}
"""
    )
    command.chmod(0o755)
    hung = tmp_path / "hung"
    hung.write_text("#!/bin/sh\nsleep 1000\n")
    hung.chmod(0o755)
    hooks = (Hook(command=str(command)), Hook(command=str(hung), timeout_s=0.2))
    calls = HookCalls(node="a", hooks=hooks, log=log.logger())
    async with asyncio.TaskGroup() as tasks:
        running = calls.start(tasks)
        calls.seen([group(HELD, 3)])
        calls.seen([group(RELEASED, 3)])
        await calls.last_words()
        for task in running:
            task.cancel()
    assert trace.read_text().splitlines() == [
        "acquired www 3 | acquired www 3 10.0.0.1",
        "released www 3 | released www 3 10.0.0.1",
    ]


@pytest.mark.parametrize("status", [HoldStatus.STARTING, HoldStatus.STOPPING])
def test_nothing_is_told_of_what_never_got_anywhere(status: HoldStatus) -> None:
    queue = queue_of()
    queue.seen([group(status)])
    assert queue.idle
