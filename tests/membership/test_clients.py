"""Real programs beside membership: as their user, again after an end, gone with membership."""

from __future__ import annotations

import asyncio
import getpass
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from heartbus.events import ClientStatus, ClientView
from heartbus.model import SupervisedClient
from heartbus_membership import clients as adapter
from heartbus_membership import clients_policy as policy
from heartbus_membership.clients import Clients
from tests.membership.fakes import until
from tests.membership.test_fencing import is_gone, written

ME = getpass.getuser()
REPOSITORY = Path(__file__).parents[2]


class Running:
    """Clients in a task group, with the lines they log."""

    def __init__(self, *commands: str, user: str = ME) -> None:
        self.lines = structlog.testing.LogCapture()
        loop = asyncio.get_running_loop()
        self.clients = Clients(
            [SupervisedClient(user=user, command=command) for command in commands],
            environment={"HEARTBUS_NODE": "a", "HA_CURHOST": "a"},
            log=structlog.wrap_logger(None, processors=[self.lines]),
            clock=loop.time,
        )
        self._leave = asyncio.Event()
        self.task = loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self.clients.start(tasks)
                await self._leave.wait()
                await self.clients.stop()
        finally:
            self.clients.kill()

    async def stop(self) -> None:
        self._leave.set()
        await self.task

    def view(self, index: int = 0) -> ClientView:
        return self.clients.views()[index]

    def said(self, event: str) -> list[dict[str, object]]:
        return [dict(line) for line in self.lines.entries if line["event"] == event]


@pytest.fixture
def programs() -> Iterator[Path]:
    """A directory that every user can reach, where scripts find it as $D."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = Path(directory)
        path.chmod(0o777)
        yield path


def script(directory: Path, text: str, name: str = "program") -> str:
    path = directory / name
    path.write_text(f"#!/bin/sh\nD={directory}\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def test_it_runs_with_its_arguments_a_clean_environment_and_a_group_of_its_own(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/ours")
    text = 'printf "%s|" "$@" >$D/args; env >$D/env; echo $$ >$D/pid; exec sleep 1000'
    running = Running(script(programs, text) + " -v 'two words'")
    pid = await written(programs / "pid")
    assert (programs / "args").read_text() == "-v|two words|"
    environment = dict(x.split("=", 1) for x in (programs / "env").read_text().splitlines())
    assert (environment["HEARTBUS_NODE"], environment["HA_CURHOST"]) == ("a", "a")
    assert (environment["USER"], environment["HOME"]) == (ME, pwd.getpwnam(ME).pw_dir)
    assert "NOTIFY_SOCKET" not in environment
    assert os.getpgid(pid) == pid != os.getpgid(0)
    assert running.view().status is ClientStatus.RUNNING
    await running.stop()
    assert is_gone(pid)
    assert running.view().status is ClientStatus.STOPPED
    assert running.said("client.ended") == []


async def test_an_end_is_said_and_followed_by_a_start_unless_status_is_100(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "PAUSE_S", 0.01)
    text = "echo x >>$D/runs; test $(wc -l <$D/runs) -lt 3 || exit 100; exit 7"
    running = Running(script(programs, text))
    await until(lambda: running.view().status is ClientStatus.DONE, within_s=10)
    assert running.view().exits == 3
    ends = running.said("client.ended")
    assert [line["how"] for line in ends] == [
        "with status 7",
        "with status 7",
        "ended with status 100: not started again",
    ]
    await running.stop()


async def test_one_that_ends_at_once_again_and_again_is_given_up_with_a_line(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "PAUSE_S", 0.01)
    running = Running(script(programs, "kill -9 $$"))
    await until(lambda: running.view().status is ClientStatus.GIVEN_UP, within_s=20)
    (line,) = running.said("client.given-up")
    assert line["reason"] == (
        "ended 11 times in a row within 30 s of its start, at last by SIGKILL: not started again"
    )
    await running.stop()


async def test_the_last_one_started_is_stopped_first(programs: Path) -> None:
    text = "trap 'echo {0} >>$D/order; exit 0' TERM; echo $$ >$D/{0}; while :; do sleep 0.02; done"
    names = ("first", "second", "third")
    running = Running(*(script(programs, text.format(name), "run-" + name) for name in names))
    for name in names:
        await written(programs / name)
    await running.stop()
    assert (programs / "order").read_text().split() == ["third", "second", "first"]


async def test_one_that_does_not_end_is_killed_with_what_it_started(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "STOP_S", 0.2)
    text = "trap '' TERM; sleep 1000 & echo $! >$D/child; echo $$ >$D/pid; while :; do wait; done"
    running = Running(script(programs, text))
    pid, child = await written(programs / "pid"), await written(programs / "child")
    await running.stop()
    await until(lambda: is_gone(pid) and is_gone(child))
    assert len(running.said("client.killed")) == 1


async def test_a_stop_during_the_pause_before_a_start_starts_nothing(programs: Path) -> None:
    running = Running(script(programs, "echo x >>$D/runs; exit 1"))
    await until(lambda: running.view().status is ClientStatus.WAITING and running.view().exits == 1)
    await running.stop()
    assert (programs / "runs").read_text() == "x\n"
    assert running.view().status is ClientStatus.STOPPED


@pytest.mark.parametrize(
    ("command", "user", "reason"),
    [
        ("/no/such/program -x", ME, "/no/such/program: No such file or directory"),
        ("/etc/passwd", ME, f"/etc/passwd: not an executable file for '{ME}'"),
        ("/bin/true", "no-such-user", "no user 'no-such-user' on this host"),
    ],
)
async def test_what_cannot_be_started_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, command: str, user: str, reason: str
) -> None:
    monkeypatch.setattr(policy, "RETRY_S", 0.01)
    running = Running(command, user=user)
    await until(lambda: running.view().status is ClientStatus.REFUSED)
    await asyncio.sleep(0.2)  # several more trials
    (line,) = running.said("client.refused")
    assert (line["reason"], line["program"], line["user"]) == (reason, command, user)
    assert running.view().exits == 0
    assert running.view().reason == reason
    await running.stop()


async def test_a_program_that_appears_later_is_started(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "RETRY_S", 0.05)
    running = Running(str(programs / "program"))
    await until(lambda: running.view().status is ClientStatus.REFUSED)
    script(programs, "exec sleep 1000")
    await until(lambda: running.view().status is ClientStatus.RUNNING)
    await running.stop()


# --- other users: needs root ---------------------------------------------------------------------


@pytest.mark.netns
async def test_it_is_another_user_wholly_and_has_no_way_back(programs: Path) -> None:
    text = "grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapAmb)' /proc/self/status >$D/status; echo $$ >$D/pid; exec sleep 1000"  # noqa: E501
    running = Running(script(programs, text), user="nobody")
    await written(programs / "pid")
    status = dict(line.split(":\t", 1) for line in (programs / "status").read_text().splitlines())
    entry = pwd.getpwnam("nobody")
    assert status["Uid"].split() == [str(entry.pw_uid)] * 4
    assert status["Gid"].split() == [str(entry.pw_gid)] * 4
    assert status["Groups"].split() == [
        str(group) for group in sorted(os.getgrouplist("nobody", entry.pw_gid))
    ]
    assert {status[name] for name in ("CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    await running.stop()


PROGRAM = """
import asyncio, sys
from tests.membership.test_clients import Running
async def main():
    running = Running(*sys.argv[2:], user=sys.argv[1])
    async def look():
        while True:
            await asyncio.sleep(0.01)
            for line in running.said("client.refused"):
                print(line["reason"], flush=True)
                return
    await look()
asyncio.run(main())
"""


def beside(user: str, *commands: str, privileged: bool = True) -> subprocess.Popen[str]:
    """Start a process that runs clients, as it stands in for membership."""
    prefix = [] if privileged else ["setpriv", "--bounding-set=-setuid,-setgid", "--"]
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", PROGRAM, user, *commands],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.netns
async def test_without_privilege_it_says_what_is_needed() -> None:
    with beside("daemon", "/bin/true", privileged=False) as process:
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        process.kill()
    assert line == (
        "not allowed to become 'daemon': membership runs as 'root' and needs CAP_SETUID and"
        " CAP_SETGID, or root, to run a program as somebody else\n"
    )


@pytest.mark.parametrize("user", [ME, pytest.param("nobody", marks=pytest.mark.netns)])
async def test_it_dies_with_membership_however_that_ends(programs: Path, user: str) -> None:
    command = script(programs, "echo $$ >$D/pid; exec sleep 1000")
    with beside(user, command) as process:
        pid = await written(programs / "pid")
        assert not is_gone(pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        await until(lambda: is_gone(pid))
