"""Real fence commands: good, failing, hanging, forking, flooding, missing; and the shell around."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heartbus import log
from heartbus.events import FenceStatus, NodeFenced, NodeUnfenced
from heartbus.guards import Fence, FenceAction, FenceOption
from heartbus.model import Membership
from heartbus.testing import MemoryHub
from heartbus_membership.fencing import FenceResult, run_fence
from heartbus_membership.guard import Guard
from tests.membership.fakes import KEYS, until

Agent = Callable[..., Fence]


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    """Make a fence whose command is a shell script; it can write files to its directory, $D."""

    def make(script: str, *, timeout_s: float = 10.0, name: str = "agent", **options: str) -> Fence:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\nD={tmp_path}\n{script}\n")
        path.chmod(0o755)
        return Fence(
            director="b",
            command=str(path),
            action=FenceAction.REBOOT,
            timeout_s=timeout_s,
            options=tuple(FenceOption(name=k, value=v) for k, v in options.items()),
        )

    return make


async def run(fence: Fence) -> FenceResult:
    return await run_fence(fence, environment={"HEARTBUS_NODE": "a"})


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def complete(path: Path) -> bool:
    return path.exists() and path.read_text().endswith("\n")


def number_in(path: Path) -> int:
    return int(path.read_text())


async def written(path: Path) -> int:
    await until(lambda: complete(path), within_s=10)
    return number_in(path)


async def test_options_arrive_as_lines_on_a_closed_input(agent: Agent, tmp_path: Path) -> None:
    script = "cat >$D/input; env >$D/env; cut -d' ' -f6 /proc/$$/stat >$D/sid"
    fence = agent(script, ip="10.0.0.1", passwd="x")
    assert await run(fence) == FenceResult(ok=True)
    assert (tmp_path / "input").read_text() == "action=reboot\nip=10.0.0.1\npasswd=x\n"
    environment = dict(x.split("=", 1) for x in (tmp_path / "env").read_text().splitlines())
    assert environment["HEARTBUS_NODE"] == "a"
    assert environment["PATH"].startswith("/usr/local/sbin:")
    assert not {"PWD", "_", "SHLVL", "OLDPWD", "LC_CTYPE"} >= set(environment), "sh adds some"
    assert set(environment) <= {"HEARTBUS_NODE", "PATH", "LC_ALL", "PWD", "_", "SHLVL", "OLDPWD"}
    assert int((tmp_path / "sid").read_text()) != os.getsid(0)


async def test_a_failure_says_status_and_last_line_and_no_secret(agent: Agent) -> None:
    fence = agent("echo connecting; echo 'login hunter2 refused' >&2; exit 3", passwd="hunter2")
    assert await run(fence) == FenceResult(
        ok=False, output="ended with status 3: login (not shown) refused"
    )


async def test_death_by_a_signal_is_a_failure(agent: Agent) -> None:
    assert await run(agent("kill -9 $$")) == FenceResult(ok=False, output="was killed by signal 9")


@pytest.mark.parametrize("trap", ["", "trap '' TERM"])
async def test_a_hanging_command_is_ended_with_its_children(
    agent: Agent, tmp_path: Path, trap: str
) -> None:
    fence = agent(f"{trap}\nsleep 1000 & echo $! >$D/pid; wait; wait", timeout_s=0.5)
    started_s = time.monotonic()
    assert await run(fence) == FenceResult(ok=False, output="was ended after 0.5 s")
    assert 0.5 <= time.monotonic() - started_s < 2.5
    pid = await written(tmp_path / "pid")
    await until(lambda: is_gone(pid))


async def test_a_child_that_survives_its_command_is_killed_and_not_waited_for(
    agent: Agent, tmp_path: Path
) -> None:
    fence = agent("sleep 1000 & echo $! >$D/pid")
    started_s = time.monotonic()
    assert await run(fence) == FenceResult(ok=True)
    assert time.monotonic() - started_s < 5
    pid = await written(tmp_path / "pid")
    await until(lambda: is_gone(pid))


async def test_a_command_that_floods_us_neither_fails_nor_stops_the_loop(agent: Agent) -> None:
    turns: list[float] = []

    async def turn() -> None:
        while True:
            turns.append(time.monotonic())
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(turn())
    fence = agent("yes | head -c 300000; echo the end; exit 1")
    assert await run(fence) == FenceResult(ok=False, output="ended with status 1: the end")
    hung = agent("yes", timeout_s=0.5)
    assert (await run(hung)).output == "was ended after 0.5 s"
    ticking.cancel()
    gaps = [after - before for before, after in itertools.pairwise(turns)]
    assert max(gaps) < 0.5, "the loop stood still"


async def test_output_that_is_no_text_is_made_harmless(agent: Agent) -> None:
    result = await run(agent("printf '\\377\\033[2J%0400d' 1; exit 1"))
    assert result.output.startswith("ended with status 1: \N{REPLACEMENT CHARACTER}")
    assert "\x1b" not in result.output
    assert len(result.output) < 330


async def test_a_missing_command_and_one_that_cannot_be_run(agent: Agent, tmp_path: Path) -> None:
    absent = Fence(director="b", command="/no/such/agent")
    assert await run(absent) == FenceResult(
        ok=False, output="cannot be started: /no/such/agent: No such file or directory"
    )
    fence = agent("exit 0")
    (tmp_path / "agent").chmod(0o644)
    result = await run(fence)
    assert not result.ok
    assert "not an executable file for" in result.output
    (tmp_path / "agent").write_text("not a program\n")
    (tmp_path / "agent").chmod(0o755)
    assert "Exec format error" in (await run(fence)).output


async def test_a_command_that_reads_nothing_is_not_disturbed(agent: Agent) -> None:
    fence = agent("exec <&-; exit 0", plug="x" * 4096)
    assert await run(fence) == FenceResult(ok=True)


async def test_cancelling_kills_the_group(agent: Agent, tmp_path: Path) -> None:
    task = asyncio.create_task(run(agent("sleep 1000 & echo $! >$D/pid; wait")))
    pid = await written(tmp_path / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: is_gone(pid))


async def test_nothing_of_ours_is_open_in_the_command(agent: Agent, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    reading, writing = os.pipe()
    try:
        os.set_inheritable(writing, True)
        ours = os.readlink(f"/proc/self/fd/{writing}")
        await run(agent("for f in /proc/$$/fd/*; do readlink $f; done >$D/open"))
    finally:
        os.close(reading)
        os.close(writing)
    is_open = (tmp_path / "open").read_text().splitlines()
    assert ours not in is_open
    # Its input, its output twice, the file that takes this list, and the script of the shell.
    assert len(set(is_open)) <= 4, is_open
    assert len(os.listdir("/proc/self/fd")) == before


PROGRAM = """
import asyncio, sys, uvloop
from heartbus_membership.fencing import run_fence
from heartbus.model import Fence
fences = [Fence(director="b", command=command) for command in sys.argv[1:]]
async def main():
    for fence in fences:
        print(await run_fence(fence, environment={}), flush=True)
uvloop.run(main())
"""


def fencing_process(*fences: Fence) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, *(fence.command for fence in fences)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_it_dies_with_membership_so_that_the_next_one_may_try(
    agent: Agent, tmp_path: Path
) -> None:
    good, hanging = agent("exit 0"), agent("echo $$ >$D/pid; exec sleep 1000", name="hanging")
    with fencing_process(good, hanging) as process:
        pid = await written(tmp_path / "pid")
        assert process.stdout is not None
        assert process.stdout.readline() == "FenceResult(ok=True, output='')\n"
        assert not is_gone(pid)
        process.kill()
        process.wait()
        await until(lambda: is_gone(pid))


# --- the shell around ----------------------------------------------------------------------------


class Running:
    """A guard in a task group, on a bus in memory."""

    def __init__(self, *fences: Fence) -> None:
        loop = asyncio.get_running_loop()
        self.hub = MemoryHub()
        self.bus = self.hub.bus(node="a", service="membership", clock=loop.time)
        self.woken = 0
        self.guard = Guard(
            node="a",
            settings=Membership(authentication=KEYS, fences=fences),
            bus=self.bus,
            log=log.logger(node="a"),
            clock=loop.time,
            wake_up=self._wake_up,
        )
        self._leave = asyncio.Event()
        self._task = loop.create_task(self._run())

    def _wake_up(self) -> None:
        self.woken += 1

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self.guard.start(tasks)
                await self._leave.wait()
                await self.guard.stop()
        finally:
            self.guard.close()

    async def stop(self) -> None:
        self._leave.set()
        await self._task

    @property
    def status(self) -> FenceStatus:
        return self.guard.fence_views()[0].status


async def test_a_dead_director_is_fenced_by_the_second_command_and_it_is_told(
    agent: Agent,
) -> None:
    first = agent("exit 1", name="first")
    second = agent("exit 0", name="second")
    running = Running(first, second)
    await asyncio.sleep(0)
    running.guard.fence_wanted("b", cause="dead-1")
    assert not running.guard.fences.is_fenced("b")
    await until(lambda: running.guard.fences.is_fenced("b"), within_s=10)
    (message,) = [m for m in running.hub.messages if isinstance(m.body, NodeFenced)]
    assert isinstance(message.body, NodeFenced)
    assert (message.body.director, message.body.command) == ("b", second.command)
    assert message.envelope.cause == "dead-1"
    assert running.woken == 2
    await running.stop()


async def test_a_failure_is_told_and_tried_again_at_a_later_turn(
    agent: Agent, tmp_path: Path
) -> None:
    running = Running(agent("test -e $D/repaired"))
    await asyncio.sleep(0)
    running.guard.fence_wanted("b", cause="dead-1")
    await until(lambda: running.status is FenceStatus.FAILED, within_s=10)
    (told,) = [m.body for m in running.hub.messages if isinstance(m.body, NodeUnfenced)]
    assert told.reason == f"{tmp_path}/agent: ended with status 1"
    (tmp_path / "repaired").touch()
    now_s = asyncio.get_running_loop().time()
    running.guard.turn_finished(now_s=now_s)
    assert running.status is FenceStatus.FAILED
    running.guard.turn_finished(now_s=now_s + 2.0)
    await until(lambda: running.guard.fences.is_fenced("b"), within_s=10)
    await running.stop()


async def test_a_director_that_is_heard_again_ends_the_command(
    agent: Agent, tmp_path: Path
) -> None:
    running = Running(agent("echo $$ >$D/pid; sleep 1000"))
    await asyncio.sleep(0)
    running.guard.fence_wanted("b", cause=None)
    pid = await written(tmp_path / "pid")
    running.guard.peer_returned("b")
    await until(lambda: is_gone(pid))
    assert running.status is FenceStatus.IDLE
    (tmp_path / "pid").unlink()
    running.guard.fence_wanted("b", cause=None)
    assert is_gone(pid) or await written(tmp_path / "pid") != pid
    await running.stop()
    assert not any(isinstance(m.body, NodeFenced | NodeUnfenced) for m in running.hub.messages)


async def test_a_stop_ends_a_command_that_runs(agent: Agent, tmp_path: Path) -> None:
    running = Running(agent("echo $$ >$D/pid; sleep 1000"))
    await asyncio.sleep(0)
    running.guard.fence_wanted("b", cause=None)
    pid = await written(tmp_path / "pid")
    await running.stop()
    await until(lambda: is_gone(pid))
