"""respawn lines of an ha.cf, under a real membership process: started, followed, ended with it."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.network import Host, Lab, Process, wait_until

pytestmark = pytest.mark.netns

MEMBERSHIP = Path(sys.prefix) / "bin" / "heartbus-membership"
HA_CF = """keepalive 300ms
deadtime 3
initdead 3
bcast eth0
auto_failback off
node alone other
respawn root {directory}/finishes on its third run
respawn root {directory}/stays
respawn hacluster /usr/lib/heartbeat/ipfail
"""
FINISHES = """#!/bin/sh
echo "$HEARTBUS_NODE $*" >>{directory}/runs
test "$(wc -l <{directory}/runs)" -lt 3 || exit 100
exit 1
"""
STAYS = "#!/bin/sh\necho $$ >{directory}/pid\nexec sleep 1000\n"


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Host]:
    """A host with a configuration in the old form."""
    for name, text in (("ha.cf", HA_CF), ("finishes", FINISHES), ("stays", STAYS)):
        (tmp_path / name).write_text(text.format(directory=tmp_path))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "haresources").write_text("alone 192.0.2.100/24\n")
    (tmp_path / "authkeys").write_text("auth 1\n1 sha256 a-secret-of-sixteen-or-more\n")
    (tmp_path / "authkeys").chmod(0o600)
    with Lab() as lab:
        host = lab.host("alone")
        lab.attach(host, lab.switch("lan"), "eth0", "192.0.2.1/24")
        yield host


def start(host: Host, tmp_path: Path) -> Process:
    run, state = tmp_path / "run", tmp_path / "state"
    return host.start(
        [MEMBERSHIP, f"--config={tmp_path}", f"--runtime-dir={run}", f"--state-dir={state}"]
    )


def running(tmp_path: Path) -> int:
    """Wait for the client that stays; return its pid."""
    path = tmp_path / "pid"
    wait_until(
        lambda: path.exists() and path.read_text().endswith("\n"), timeout_s=10.0, what="it runs"
    )
    return int(path.read_text())


def ends(process: Process) -> list[str]:
    """Return how the client that finishes has ended, as the log says it."""
    lines = [line for line in process.output().splitlines() if "client.ended" in line]
    return [str(json.loads(line)["how"]) for line in lines]


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}/exe").exists()


def test_clients_run_until_status_100_and_end_with_membership(alone: Host, tmp_path: Path) -> None:
    process = start(alone, tmp_path)
    stays, runs = running(tmp_path), tmp_path / "runs"

    # Started again after every end, and no more after status 100.
    wait_until(lambda: len(ends(process)) == 3, timeout_s=10.0, what="it has ended three times")
    statuses = [re.findall(r"status (\d+)", how) for how in ends(process)]
    assert statuses == [["1"], ["1"], ["100"]]
    assert runs.read_text().splitlines() == ["alone on its third run"] * 3
    assert not is_gone(stays)
    assert "ipfail" not in process.output(), "it is built in"

    # A clean stop ends what runs, and nothing was started meanwhile.
    assert process.stop() == 0
    assert is_gone(stays)
    assert len(runs.read_text().splitlines()) == 3

    # Killed, membership takes its clients along: the next one starts them anew.
    (tmp_path / "pid").unlink()
    process = start(alone, tmp_path)
    stays = running(tmp_path)
    process.kill()
    wait_until(lambda: is_gone(stays), timeout_s=5.0, what="the client has ended too")
    assert process.returncode == -signal.SIGKILL
