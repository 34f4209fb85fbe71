"""A throw-away kernel is reset when membership hangs, and is not after a clean stop.

Where this kernel has IPVS the lab boots no other one, and nobody resets the machine of a developer:
there test_watchdog_device.py alone shows it, with softdog's soft_noboot=1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import kernel

RESET, NO_RESET, NOT_ARMED = 42, 43, 44
CONFIGURATION = """
[[directors]]
name = "a"
[membership]
watchdog = "/dev/watchdog1"
[membership.authentication]
signing_key = 1
keys = [{ id = 1, secret = "x" }]
[bus]
client_port = 1
"""
SCRIPT = f"""\
cd "$1"
echo boot >>boots
test "$(wc -l <boots)" -eq 1 || exit {RESET}
"$(cat /proc/sys/kernel/modprobe)" softdog nowayout=0 || exit {NOT_ARMED}
"$3" -m heartbus_membership --config heartbus.toml --node a \
    --runtime-dir run --state-dir state 2>log &
for i in $(seq 300); do grep -q watchdog.armed log && break; sleep 0.2; done
grep watchdog.armed log || exit {NOT_ARMED}
kill "-$2" $!
sleep 10    # twice the timeout that deadtime 0.3 s makes
exit {NO_RESET}
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that both kernels see."""
    kernel.BUILD.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="watchdog-", dir=kernel.BUILD))
    (directory / "heartbus.toml").write_text(CONFIGURATION)
    (directory / "heartbus.toml").chmod(0o600)
    (directory / "script").write_text(SCRIPT)
    yield directory
    shutil.rmtree(directory)


if not kernel.host_has_ipvs():

    @pytest.mark.parametrize(
        ("signal", "code", "boots"),
        [("STOP", RESET, 2), ("KILL", RESET, 2), ("TERM", NO_RESET, 1)],
    )
    def test_a_hung_or_killed_membership_resets_its_host_and_a_stopped_one_does_not(
        shared: Path, signal: str, code: int, boots: int
    ) -> None:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.lab.run", "--force-uml", "--time-limit", "90"),
                *("--", "sh", str(shared / "script"), str(shared), signal, sys.executable),
            ],
            cwd=kernel.CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        log = (shared / "log").read_text()
        assert done.returncode == code, (done.stdout, done.stderr, log)
        assert (shared / "boots").read_text() == "boot\n" * boots
        assert ("watchdog.disarmed" in log) is (signal == "TERM")
