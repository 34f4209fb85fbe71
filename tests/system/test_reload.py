"""Files that change under a running director: told by command, watched, broken, repaired.

Real processes below the product's supervisor in network namespaces, without IPVS.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartbus.config import load
from heartbus.config.digest import config_digest
from heartbus.events import ConfigApplied, ConfigRejected, GroupGranted, ServiceStarted
from heartbus.model import Timers
from tests.lab.network import Lab, wait_until
from tests.lab.pairs import HeartbusPair
from tests.system.fault import Fault

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

HEARTBUS = Path(sys.prefix) / "bin" / "heartbus"
TIMERS = Timers(keepalive_s=0.1, warntime_s=1.0, deadtime_s=2.0, initdead_s=3.0)
SERVICE = (
    '[[virtual_services]]\naddress = "192.0.2.100:80"\n[virtual_services.check]\ntype = "off"\n'
    '[[virtual_services.real_servers]]\naddress = "192.0.2.11:80"\n'
)
ALL = {"membership", "vip", "checker"}


@pytest.fixture(scope="module")
def pair() -> Iterator[HeartbusPair]:
    with Lab() as lab, HeartbusPair(lab, "r", timers=TIMERS, echo_period_s=0.01) as started:
        yield started


@pytest.fixture
def fault(pair: HeartbusPair) -> Iterator[Fault]:
    made = Fault(pair)
    yield made
    made.mend()


def reload(pair: HeartbusPair, name: str) -> tuple[int, dict[str, Any]]:
    """Run ``heartbus reload`` on a director; return its exit code and what each service said."""
    done = pair.hosts[name].run(
        [str(HEARTBUS), "reload", f"--node={name}", "--json"], check=False, timeout_s=60
    )
    answer = json.loads(done.stdout)
    assert answer["node"] == name
    return done.returncode, answer["services"]


def digest_of(path: Path) -> str:
    return config_digest(load(str(path)).cluster)


def test_a_command_reloads_every_service_and_their_supervisor(fault: Fault) -> None:
    pair, name = fault.pair, fault.standby
    config, observer = pair.configs[name], pair.observers[name]
    first = config.read_text()

    code, said = reload(pair, name)
    assert (code, set(said)) == (0, ALL)
    assert {outcome["message"] for outcome in said.values()} == {"unchanged"}

    config.write_text(first + SERVICE)
    wanted = digest_of(config)
    code, said = reload(pair, name)
    assert (code, set(said)) == (0, ALL)
    assert {(o["message"], o["digest"]) for o in said.values()} == {("applied", wanted)}

    # The supervisor is not left behind: it gives its own copy to whom it starts anew.
    since = len(observer.events)
    pair.signal_all(name, signal.SIGKILL, "heartbus-checke")
    observer.wait_for(lambda: bool(observer.said(ServiceStarted, since=since)), "a new checker")
    observer.wait_for(
        lambda: [e.digest for e in observer.said(ConfigApplied, since=since)] == [wanted],
        "it runs with what was reloaded",
    )

    config.write_text(f"{first}{SERVICE}nonsense = 1\n")
    code, said = reload(pair, name)
    assert code == 1
    line = config.read_text().count("\n")
    for outcome in said.values():
        assert not outcome["done"]
        assert outcome["details"][0].startswith(f"{config}:{line}: virtual_services[0].")
        assert outcome["digest"] == wanted

    config.write_text(first)
    assert reload(pair, name)[0] == 0
    fault.stays(for_s=0.1)


def test_watched_files_are_taken_up_broken_ones_told_and_the_callback_hears(
    fault: Fault, tmp_path: Path
) -> None:
    pair, name = fault.pair, fault.active
    config, observer = pair.configs[name], pair.observers[name]
    first = config.read_text()
    callback, heard = tmp_path / "callback", tmp_path / "heard"
    callback.write_text(f'#!/bin/sh\necho "$@" >> {heard}\n')
    callback.chmod(0o755)
    watched = f'{first}[cluster]\nautoreload = true\ncallback = "{callback}"\n'

    config.write_text(watched)
    assert reload(pair, name)[0] == 0
    wait_until(heard.exists, timeout_s=10.0, what="the callback is run")
    assert heard.read_text() == f"{config}\n"

    since = len(observer.events)
    config.write_text(watched + SERVICE.replace("192.0.2.11:80", "192.0.2.11:port"))
    observer.wait_for(
        lambda: len(observer.said(ConfigRejected, since=since)) == len(ALL), "each refuses it"
    )
    for event in observer.said(ConfigRejected, since=since):
        assert event.reasons[0].startswith(f"{config}:")
        assert "'port' is not allowed" in event.reasons[0]

    # Replaced at once, as editors and configuration management do.
    repaired = tmp_path / "repaired"
    repaired.write_text(watched + SERVICE)
    repaired.chmod(0o600)
    os.replace(repaired, config)
    wanted = digest_of(config)
    observer.wait_for(
        lambda: [e.digest for e in observer.said(ConfigApplied, since=since)] == [wanted] * 3,
        "each takes the repaired file up",
    )
    assert len(observer.said(ConfigRejected, since=since)) == len(ALL), "told once"
    wait_until(
        lambda: heard.read_text() == f"{config}\n" * 2, timeout_s=10.0, what="a second callback"
    )
    config.write_text(first)
    assert reload(pair, name)[0] == 0
    assert not any(o.said(GroupGranted, since=fault.heard[n]) for n, o in pair.observers.items())
    fault.stays(for_s=0.1)


def test_with_a_broken_file_status_and_stop_work(fault: Fault) -> None:
    """L-2 and L-21: ldirectord parses its file before any command, and loses its pid file."""
    pair, name = fault.pair, fault.standby
    config, process = pair.configs[name], pair.processes[name]
    first, pids = config.read_text(), pair.pids(name)
    config.write_text(f"{first}nonsense = 1\n")
    host = pair.hosts[name]
    assert host.run([str(HEARTBUS), "config", "check", str(config)], check=False).returncode == 2
    assert reload(pair, name)[0] == 1
    shown = host.run([str(HEARTBUS), "status", "--json"], check=False)
    assert shown.returncode == 0, shown.stderr
    assert {d["name"] for d in json.loads(shown.stdout)["directors"]} == set(pair.hosts)
    assert pair.pids(name) == pids
    pair.terminate(name)
    wait_until(lambda: process.returncode is not None, timeout_s=20.0, what="it stops")
    assert process.returncode == 0
    config.write_text(first)
