"""The supervisor with real processes: killed ones come back, all stop in order, none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class Supervised:
    """A running tests.common.supervised; its children's log is the evidence."""

    def __init__(self, directory: Path, *names: str, watchdog_s: float = 60.0) -> None:
        self._log = directory / "log"
        self._log.touch()
        with (directory / "stderr").open("wb") as stderr:
            program = [sys.executable, "-m", "tests.common.supervised", str(watchdog_s)]
            self.popen = subprocess.Popen([*program, str(directory), *names], stderr=stderr)
        self.stderr = directory / "stderr"

    def lines(self, name: str, word: str) -> list[int]:
        """Return the pids that noted this word, in order."""
        found = [line.split() for line in self._log.read_text().splitlines()]
        return [int(pid) for who, what, pid in found if (who, what) == (name, word)]

    def order(self, word: str) -> list[str]:
        found = [line.split() for line in self._log.read_text().splitlines()]
        return [who for who, what, _pid in found if what == word]

    def wait_for(self, name: str, word: str, *, times: int = 1) -> int:
        """Wait until a child noted a word so many times; return the pid of the last."""
        deadline_s = time.monotonic() + 20
        while len(self.lines(name, word)) < times:
            assert time.monotonic() < deadline_s, self._log.read_text()
            time.sleep(0.01)  # polling a log file; bounded by the deadline above
        return self.lines(name, word)[-1]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    # The notify socket's path must be short (sun_path has 108 bytes), tmp_path is not always.
    path = Path(f"/tmp/heartbus-test-{os.getpid()}")
    path.mkdir()
    yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def wait_until_stopped(pid: int) -> None:
    """Wait for a SIGSTOP to have been acted on: until then SIGTERM ends the process at once."""
    deadline_s = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "T":
        assert time.monotonic() < deadline_s, f"{pid} does not stop"
        time.sleep(0.01)  # polling the process table; bounded by the deadline above


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    deadline_s = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline_s:
        time.sleep(0.01)  # polling the process table; bounded by the deadline above
    return not is_running(pid)


def test_a_killed_child_comes_back_and_the_others_do_not_notice(directory: Path) -> None:
    supervised = Supervised(directory, "one", "two")
    try:
        first, other = supervised.wait_for("one", "ready"), supervised.wait_for("two", "ready")
        os.kill(first, signal.SIGKILL)
        assert supervised.wait_for("one", "ready", times=2) != first
        assert supervised.lines("two", "ready") == [other]
    finally:
        supervised.popen.terminate()
        assert supervised.popen.wait(20) == 0


def test_a_hung_child_is_killed_and_restarted(directory: Path) -> None:
    supervised = Supervised(directory, "one", watchdog_s=1.0)
    try:
        hung = supervised.wait_for("one", "ready")
        os.kill(hung, signal.SIGSTOP)
        assert supervised.wait_for("one", "ready", times=2) != hung
        assert gone(hung)
    finally:
        supervised.popen.terminate()
        assert supervised.popen.wait(20) == 0


def test_children_stop_one_after_the_other_in_the_given_order(directory: Path) -> None:
    supervised = Supervised(directory, "one", "two", "three")
    for name in ("one", "two", "three"):
        supervised.wait_for(name, "ready")
    supervised.popen.send_signal(signal.SIGINT)
    assert supervised.popen.wait(20) == 0
    assert supervised.order("stopped") == ["three", "two", "one"]


@pytest.mark.parametrize(
    ("name", "code", "last"),
    [
        ("broken-config", 2, "broken-config cannot run here: see its log"),
        ("broken-machine", 3, "broken-machine cannot run here: no flux capacitor:; buy one"),
    ],
)
def test_a_child_that_cannot_run_here_stops_the_whole_director_and_the_last_line_says_why(
    directory: Path, name: str, code: int, last: str
) -> None:
    supervised = Supervised(directory, "one", name)
    assert supervised.popen.wait(20) == code
    assert supervised.stderr.read_text().splitlines()[-1] == f"heartbus up: {last}"
    assert len(supervised.lines(name, "started")) == 1
    assert all(gone(pid) for pid in supervised.lines("one", "started"))


def test_a_child_that_is_not_needed_is_tried_again_and_the_others_run_on(directory: Path) -> None:
    supervised = Supervised(directory, "one", "spare")
    try:
        one = supervised.wait_for("one", "ready")
        supervised.wait_for("spare", "started", times=3)
        assert is_running(one)
        assert "director.ready" in supervised.stderr.read_text()
    finally:
        supervised.popen.terminate()
    assert supervised.popen.wait(20) == 0
    assert supervised.lines("one", "started") == [one]


def test_a_reload_reaches_those_that_take_one_once_they_are_ready_for_it(directory: Path) -> None:
    supervised = Supervised(directory, "one", "slow", "two")
    for name, word in (("one", "ready"), ("two", "ready"), ("slow", "started")):
        supervised.wait_for(name, word)
    supervised.popen.send_signal(signal.SIGHUP)
    supervised.wait_for("one", "reloaded")
    assert not supervised.lines("slow", "reloaded")
    (directory / "go").touch()
    supervised.wait_for("slow", "reloaded")
    supervised.popen.terminate()
    assert supervised.popen.wait(20) == 0
    assert [len(supervised.lines(n, "started")) for n in ("one", "slow", "two")] == [1, 1, 1]
    assert supervised.order("reloaded") == ["one", "slow"]


def test_told_twice_it_kills_what_does_not_stop(directory: Path) -> None:
    supervised = Supervised(directory, "stubborn", "one")
    stubborn = supervised.wait_for("stubborn", "ready")
    supervised.wait_for("one", "ready")  # before that SIGTERM ends it without a word
    # A child that ignores SIGTERM: stopped children still count as running.
    os.kill(stubborn, signal.SIGSTOP)
    wait_until_stopped(stubborn)
    supervised.popen.terminate()
    supervised.wait_for("one", "stopped")
    supervised.popen.terminate()
    assert supervised.popen.wait(20) == 0
    assert gone(stubborn)


def test_children_die_with_their_supervisor(directory: Path) -> None:
    supervised = Supervised(directory, "one", "two")
    pids = [supervised.wait_for("one", "ready"), supervised.wait_for("two", "ready")]
    supervised.popen.kill()
    supervised.popen.wait()
    assert all(gone(pid) for pid in pids)
