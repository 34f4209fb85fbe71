"""The real softdog: fed, hung, killed and back, stopped cleanly. What it does the kernel tells.

It is loaded with soft_noboot=1: where it would reset the host it says so in the kernel's log.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from heartbus_membership import __main__ as membership
from heartbus_membership.watchdog import WatchdogDevice, WatchdogError
from tests.lab.network import Lab

pytestmark = pytest.mark.ipvs

FIRED = "Triggered - Reboot ignored"
NOT_DISARMED = "watchdog did not stop!"
BOOT_S = 5.0
TIMEOUT_S = 5
"""What deadtime 0.3 s makes."""


def kernel_says(words: str) -> int:
    return subprocess.run(["dmesg"], check=True, capture_output=True, text=True).stdout.count(words)


def until(condition: Callable[[], bool], *, within_s: float) -> float:
    start_s = time.monotonic()
    while not condition():
        assert time.monotonic() - start_s < within_s, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - start_s


def modprobe(*words: str) -> None:
    # The lab kernel has its modules elsewhere and tells where by this.
    program = Path("/proc/sys/kernel/modprobe").read_text().strip()
    subprocess.run([program, *words], check=True, capture_output=True, text=True)


@pytest.fixture
def softdog() -> Iterator[str]:
    """The path of a softdog that resets nobody, loaded for one test."""
    before = set(Path("/dev").glob("watchdog?*"))
    modprobe("softdog", "soft_noboot=1", "nowayout=0")
    try:
        until(lambda: bool(set(Path("/dev").glob("watchdog?*")) - before), within_s=BOOT_S)
        (path,) = set(Path("/dev").glob("watchdog?*")) - before
        yield str(path)
    finally:
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
        # A device that still counts keeps its module: disarm it.
        device = WatchdogDevice(str(path))
        device.open(60)
        device.close(disarm=True)
        modprobe("-r", "softdog")


def test_it_fires_unless_fed_and_a_disarmed_one_never_does(softdog: str) -> None:
    fired, left = kernel_says(FIRED), kernel_says(NOT_DISARMED)
    device = WatchdogDevice(softdog)
    assert device.open(2) == 2
    busy = WatchdogDevice(softdog)
    with pytest.raises(WatchdogError, match=f"cannot open {softdog}: Device or resource busy"):
        busy.open(2)
    for _ in range(6):
        time.sleep(0.5)
        device.feed()
    assert kernel_says(FIRED) == fired
    until(lambda: kernel_says(FIRED) == fired + 1, within_s=4.0)
    device.close(disarm=True)

    assert device.open(1) == 1
    device.close(disarm=True)
    time.sleep(2.5)
    assert kernel_says(FIRED) == fired + 1
    assert kernel_says(NOT_DISARMED) == left


def test_closed_without_a_word_it_goes_on_counting_and_can_be_taken_over(softdog: str) -> None:
    fired, left = kernel_says(FIRED), kernel_says(NOT_DISARMED)
    device = WatchdogDevice(softdog)
    device.open(2)
    device.close(disarm=False)
    assert kernel_says(NOT_DISARMED) == left + 1
    assert device.open(2) == 2
    time.sleep(1.5)
    device.feed()
    assert kernel_says(FIRED) == fired
    device.close(disarm=False)
    until(lambda: kernel_says(FIRED) == fired + 1, within_s=4.0)


def test_a_timeout_that_the_driver_refuses_leaves_its_own_which_is_told(softdog: str) -> None:
    device = WatchdogDevice(softdog)
    assert device.open(60) == 60
    device.close(disarm=True)
    assert device.open(100_000) == 60  # softdog: 65535 s at most
    device.close(disarm=True)


def test_hosts_of_the_lab_cannot_reach_it(softdog: str, lab: Lab) -> None:
    lab.host("director").run(["test", softdog, "-ef", "/dev/null"])
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(["test", softdog, "-ef", "/dev/null"], check=True)


# --- the whole process ---------------------------------------------------------------------------

CONFIGURATION = """
[[directors]]
name = "a"
[membership]
watchdog = "{device}"
[membership.authentication]
signing_key = 1
keys = [{{ id = 1, secret = "x" }}]
[bus]
client_port = 1
"""


class Membership:
    """heartbus-membership, forked from here: it is there at once, as under ``heartbus up``."""

    def __init__(self, directory: Path, device: str) -> None:
        self.log = directory / "log"
        config = directory / "heartbus.toml"
        config.write_text(CONFIGURATION.format(device=device))
        config.chmod(0o600)
        self._arguments = [
            *("--config", str(config), "--node", "a"),
            *("--runtime-dir", str(directory / "run"), "--state-dir", str(directory / "state")),
        ]

    def start(self, *, until_it_says: str = "watchdog.armed") -> ForkProcess:
        self.log.write_text("")
        # A daemon process ends with the tests, whatever they find.
        process = multiprocessing.get_context("fork").Process(target=self._main, daemon=True)
        process.start()
        until(lambda: until_it_says in self.log.read_text(), within_s=10.0)
        return process

    def _main(self) -> None:
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, 2)
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        os._exit(membership.main(self._arguments))


def test_membership_keeps_the_host_up_while_it_works_and_only_then(
    softdog: str, tmp_path: Path
) -> None:
    fired, left = kernel_says(FIRED), kernel_says(NOT_DISARMED)
    director = Membership(tmp_path, softdog)
    running = director.start()
    assert f"resets this host {TIMEOUT_S} s after membership stops working" in (
        director.log.read_text()
    )
    time.sleep(1.5 * TIMEOUT_S)
    assert kernel_says(FIRED) == fired, "it was not fed while all was well"

    running.kill()
    running.join()
    assert kernel_says(NOT_DISARMED) == left + 1, "a crash leaves it counting"
    running = director.start()
    time.sleep(1.5 * TIMEOUT_S)
    assert kernel_says(FIRED) == fired, "the next process did not go on feeding"

    assert running.pid is not None
    os.kill(running.pid, signal.SIGSTOP)
    hung_s = until(lambda: kernel_says(FIRED) == fired + 1, within_s=TIMEOUT_S + 3.0)
    assert hung_s > TIMEOUT_S / 2
    os.kill(running.pid, signal.SIGCONT)

    running.terminate()
    running.join(10)
    assert running.exitcode == 0
    assert "watchdog.disarmed" in director.log.read_text()
    time.sleep(1.3 * TIMEOUT_S)
    assert kernel_says(FIRED) == fired + 1, "it fired after a clean stop"
    assert kernel_says(NOT_DISARMED) == left + 1


def test_a_device_that_somebody_else_holds_is_waited_for(softdog: str, tmp_path: Path) -> None:
    holds = f"exec 3>{softdog} && echo held && read line && printf V >&3"
    with subprocess.Popen(
        ["sh", "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        director = Membership(tmp_path, softdog)
        process = director.start(until_it_says="watchdog.unusable")
        assert f"cannot open {softdog}: Device or resource busy" in director.log.read_text()
        other.communicate("\n")
    until(lambda: "watchdog.armed" in director.log.read_text(), within_s=10.0)
    process.terminate()
    process.join(10)
    assert process.exitcode == 0
    assert director.log.read_text().count("watchdog.unusable") == 1
