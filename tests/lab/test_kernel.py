"""The lab kernel: a command runs in it as it would run here, and nothing of it outlives it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import pytest

from tests.lab import kernel
from tests.lab.network import Lab

P = ParamSpec("P")

HAS_IPVS = kernel.host_has_ipvs()


def runner(test: Callable[P, None]) -> Callable[P, None]:
    """Mark a test that uses the runner: a kernel that has IPVS is used itself, as root."""
    return pytest.mark.netns(test) if HAS_IPVS else test


RUNNER = [sys.executable, "-m", "tests.lab.run"]
BOOT_MAX_S = 60.0
STOP_MAX_S = 2.0
SCHEDULERS = ["rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq"]


def run(*command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUNNER, *options, "--", *command],
        cwd=kernel.CHECKOUT,
        capture_output=True,
        text=True,
        timeout=BOOT_MAX_S,
        check=False,
    )


@runner
def test_output_arguments_directory_and_exit_code_are_those_of_the_command() -> None:
    script = 'printf "%s|" "$@"; echo; pwd; echo to stderr >&2; cat /proc/net/ip_vs; exit 7'
    done = run("sh", "-c", script, "sh", "a  b", "it's", '"$HOME"', "", "\\")
    first, directory, *table = done.stdout.splitlines()
    assert first == 'a  b|it\'s|"$HOME"||\\|'
    assert directory == str(kernel.CHECKOUT)
    assert table[0].startswith("IP Virtual Server")
    assert done.stderr == "to stderr\n"
    assert done.returncode == 7


@runner
def test_much_output_arrives_whole() -> None:
    done = run("seq", "100000")
    assert done.stdout.splitlines() == [str(number) for number in range(1, 100001)]
    assert done.returncode == 0


@runner
def test_the_clock_and_the_selected_environment_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTBUS_PROBE", "two  words 'and' quotes")
    before_s = time.time()
    done = run("sh", "-c", 'date +%s; printf %s "$HEARTBUS_PROBE"')
    seconds, probe = done.stdout.split("\n", 1)
    assert int(before_s) <= int(seconds) <= time.time() + 1
    assert probe == "two  words 'and' quotes"


@runner
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_guest_and_leaves_nothing(number: signal.Signals) -> None:
    with subprocess.Popen(
        [*RUNNER, "--", "sh", "-c", "echo running; sleep 100"],
        cwd=kernel.CHECKOUT,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"running\n"
        runner_pid, guests = running.pid, descendants(running.pid)
        assert HAS_IPVS or len(guests) > 1
        started_s = time.monotonic()
        running.send_signal(number)
        assert running.wait(BOOT_MAX_S) != 0
        assert time.monotonic() - started_s < STOP_MAX_S
    assert not list(kernel.BUILD.glob(f"run-{runner_pid}-*"))
    assert [pid for pid in guests if Path(f"/proc/{pid}").exists()] == []


def descendants(ancestor: int) -> set[int]:
    """Return the processes whose chain of parents leads to one process."""
    found = {ancestor}
    for path in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda p: int(p.parent.name)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if int(path.read_text().rpartition(")")[2].split()[1]) in found:
                found.add(int(path.parent.name))
    return found - {ancestor}


@runner
def test_the_time_limit_ends_it() -> None:
    done = run("sleep", "100", options=("--time-limit", "3"))
    assert done.returncode == kernel.EXIT_TIME_LIMIT
    assert "time limit of 3 s" in done.stderr


def test_without_user_mode_linux_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(kernel.LabKernelError, match="run make setup"):
        kernel.run_in_uml(["true"])


def test_the_guest_script_quotes_what_it_passes_on() -> None:
    script = kernel.guest_script(
        ["echo", "a b", "$x"],
        {"HEARTBUS_A": "1 2", "SECRET": "no", "PATH": "/bin"},
        Path("/a dir"),
    )
    assert "export HEARTBUS_A='1 2'" in script
    assert "SECRET" not in script
    assert "cd '/a dir'" in script
    assert "echo 'a b' '$x'" in script


@pytest.mark.ipvs
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_of_the_kernel_is_there(lab: Lab, scheduler: str) -> None:
    director = lab.host("director")
    director.run(["ipvsadm", "-A", "-t", "192.0.2.1:80", "-s", scheduler])
    table = director.run(["ipvsadm", "-Sn"]).stdout
    assert table == f"-A -t 192.0.2.1:80 -s {scheduler}\n"


@pytest.mark.ipvs
@pytest.mark.netns
def test_each_host_has_a_table_of_its_own(lab: Lab) -> None:
    one, other = lab.host("one"), lab.host("other")
    one.run(["ipvsadm", "-A", "-t", "[2001:db8::1]:80", "-s", "rr"])
    assert "2001:db8::1" in one.run(["ipvsadm", "-Sn"]).stdout
    assert other.run(["ipvsadm", "-Sn"]).stdout == ""
