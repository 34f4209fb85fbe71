"""A configuration for all directors over the bus, or for none: real processes, real failures.

Below the product's supervisor in network namespaces, without IPVS.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartbus.config import load
from heartbus.config.digest import config_digest
from heartbus.events import GroupGranted, MembershipState
from heartbus.model import Timers
from tests.lab.network import Lab, wait_until
from tests.lab.pairs import NAMES, VOTER, HeartbusPair
from tests.system.fault import Fault, resume

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

ALL = (*NAMES, VOTER)
HEARTBUS = Path(sys.prefix) / "bin" / "heartbus"
TIMERS = Timers(keepalive_s=0.1, warntime_s=1.0, deadtime_s=2.0, initdead_s=3.0)
INLINE = 'secret = "a-secret-of-sixteen-or-more"'
SERVICE = (
    '[[virtual_services]]\naddress = "192.0.2.100:PORT"\n'
    'check = { type = "connect", connect_timeout = 1 }\n'
    'real_servers = [{ address = "192.0.2.8:9" }]\n'
)


@pytest.fixture(scope="module")
def pair() -> Iterator[HeartbusPair]:
    with (
        Lab() as lab,
        HeartbusPair(lab, "p", timers=TIMERS, echo_period_s=0.01, voter=True) as started,
    ):
        yield started


@pytest.fixture
def fault(pair: HeartbusPair) -> Iterator[Fault]:
    made = Fault(pair)
    yield made
    made.mend()


class Push:
    """A document that differs from what runs, and what becomes of pushing it."""

    def __init__(self, pair: HeartbusPair, tmp_path: Path, *, port: int) -> None:
        self.pair = pair
        self.before = {name: pair.configs[name].read_text() for name in ALL}
        key = pair.configs["one"].with_name("push-key")
        key.write_text("a-secret-of-sixteen-or-more")
        key.chmod(0o600)
        text = self.before["one"].replace(INLINE, f'secret_file = "{key}"')
        self.text = text.partition("[[virtual_services]]")[0] + SERVICE.replace("PORT", str(port))
        self.file = tmp_path / "new.toml"
        self.file.write_text(self.text)
        self.version = config_digest(load(str(self.file)).cluster)

    def rewrite(self, old: str, new: str) -> None:
        """Write a part of the document otherwise."""
        assert old in self.text
        self.text = self.text.replace(old, new)
        self.file.write_text(self.text)
        self.version = config_digest(load(str(self.file)).cluster)

    def run(self, *options: str, timeout_s: float = 20.0) -> subprocess.CompletedProcess[str]:
        config = self.pair.configs["one"]
        words = ["config", "push", str(self.file), f"--config={config}", f"--timeout={timeout_s}"]
        return self.pair.hosts["one"].run(
            [str(HEARTBUS), *words, *options], check=False, timeout_s=120
        )

    def unchanged(self) -> bool:
        """Whether every file is as before, with nothing left beside it."""
        return all(
            self.pair.configs[name].read_text() == self.before[name]
            and not Path(f"{self.pair.configs[name]}.pushed").exists()
            for name in ALL
        )

    def versions(self) -> dict[str, str]:
        """Return what each membership runs with, as its own bus tells."""
        states = {n: self.pair.observers[n].view.state(n, MembershipState) for n in ALL}
        return {name: state.config_digest for name, state in states.items() if state is not None}


def test_a_document_goes_to_all_and_what_it_changes_is_shown_first(
    fault: Fault, tmp_path: Path
) -> None:
    pair = fault.pair
    push = Push(pair, tmp_path, port=81)
    push.text += f"# {'x' * 998}\n" * 600  # more than two parts
    push.rewrite('"192.0.2.100/24"', '"192.0.2.100/24", "192.0.2.101/24"')

    done = push.run("--dry-run", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert (answer["verdict"], answer["version"]) == ("tested", push.version)
    assert set(answer["directors"]) == set(ALL)
    for name, said in answer["directors"].items():
        assert said["digest"] == push.version
        assert name == VOTER or said["plans"]["checker"] == [
            "check of 192.0.2.8:9 (connect, every 10 s)"
        ]
        here = "held here" if name == fault.active else "not held here"
        assert name == VOTER or said["plans"]["vip"] == [
            f"192.0.2.101/24 comes to group vip, {here}"
        ]
    assert push.unchanged()

    done = push.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == (
        f"{push.file}: every director runs version {push.version}"
    )
    for name in ALL:  # the witness too: its membership writes the file
        assert pair.configs[name].read_text() == push.text
        assert Path(f"{pair.configs[name]}.old").read_text() == push.before[name]
        pair.observers[name].wait_for(
            lambda: set(push.versions().values()) == {push.version}, "all run it"
        )
    wait_until(
        lambda: "192.0.2.101/24" in pair.hosts[fault.active].run(["ip", "addr"]).stdout,
        timeout_s=10.0,
        what="the new address is there",
    )
    assert not any(o.said(GroupGranted, since=fault.heard[n]) for n, o in pair.observers.items())
    fault.stays(for_s=0.1)


def test_a_document_with_a_secret_is_not_pushed(fault: Fault, tmp_path: Path) -> None:
    push = Push(fault.pair, tmp_path, port=82)
    key = fault.pair.configs["one"].with_name("push-key")
    text = push.text.replace(f'secret_file = "{key}"', INLINE)
    push.file.write_text(text)
    push.file.chmod(0o600)
    done = push.run()
    assert done.returncode == 2
    line = text[: text.index(INLINE)].count("\n") + 1
    assert f"{push.file}:{line}: membership.authentication.keys[0].secret: a secret" in done.stderr
    assert push.unchanged()


def test_one_that_cannot_write_its_file_stops_all(fault: Fault, tmp_path: Path) -> None:
    push = Push(fault.pair, tmp_path, port=83)
    in_the_way = Path(f"{fault.pair.configs['two']}.pushed")
    in_the_way.mkdir()
    done = push.run()
    in_the_way.rmdir()
    assert done.returncode == 1
    assert f"two: {in_the_way}: Is a directory" in done.stderr
    assert "refused, nothing changed" in done.stderr
    assert push.unchanged()


def test_one_that_cannot_commit_takes_all_back(fault: Fault, tmp_path: Path) -> None:
    push = Push(fault.pair, tmp_path, port=84)
    before = push.versions()
    in_the_way = Path(f"{fault.pair.configs['two']}.old")
    in_the_way.unlink(missing_ok=True)
    in_the_way.mkdir()
    done = push.run()
    in_the_way.rmdir()
    assert done.returncode == 1
    assert "two: refused:" in done.stderr
    assert "taken back everywhere" in done.stderr
    assert push.unchanged()
    for observer in fault.pair.observers.values():
        observer.wait_for(lambda: push.versions() == before, "all run what they ran")


def test_one_that_dies_in_the_midst_of_its_commit_goes_back_by_itself(
    fault: Fault, tmp_path: Path
) -> None:
    pair, other = fault.pair, "two"
    push = Push(pair, tmp_path, port=85)
    before = push.versions()
    supervisor = pair.pids(other, "heartbus-up")
    for pid in supervisor:  # vip prepares; its reload then has nobody to pass it on
        os.kill(pid, signal.SIGSTOP)
    try:
        done = push.run(timeout_s=1.5)
    finally:
        resume(supervisor)
    assert done.returncode == 1
    assert "taken back everywhere" in done.stderr
    wait_until(push.unchanged, timeout_s=60.0, what="the files are as before")
    for observer in pair.observers.values():
        observer.wait_for(lambda: push.versions() == before, "all run what they ran")
    fault.stays(for_s=0.1)


def test_a_director_that_is_dead_stops_a_push_unless_it_is_left_out(
    fault: Fault, tmp_path: Path
) -> None:
    pair, dead = fault.pair, "two"
    push = Push(pair, tmp_path, port=86)
    pair.signal_all(dead, signal.SIGKILL)
    pair.observers["one"].wait_for(
        lambda: (
            (s := pair.observers["one"].membership("one")) is not None
            and [d.status for d in s.directors if d.name == dead] == ["dead"]
        ),
        "it is dead",
    )
    done = push.run()
    assert done.returncode == 1
    assert f"{dead} cannot be reached: nothing is changed anywhere" in done.stderr
    assert push.unchanged()
    done = push.run(f"--without={dead}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.configs["one"].read_text() == push.text

    # It comes back with its own file: status says so, with both versions.
    pair.clear(dead)
    pair.start(dead)
    pair.observers["one"].wait_for(
        lambda: (
            (s := pair.observers["one"].membership("one")) is not None
            and bool(s.config_differences)
        ),
        "the difference is told",
    )
    shown = pair.hosts["one"].run([str(HEARTBUS), "status", "--json"], check=False).stdout
    [alarm] = [a for a in json.loads(shown)["alarms"] if a["seen_by"] == "one"]
    assert alarm["ours"] == push.version
    assert alarm["theirs"] == push.versions()[dead]
    assert f"one runs version {push.version}, two {alarm['theirs']}" in alarm["text"]
