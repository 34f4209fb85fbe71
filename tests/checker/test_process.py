"""The process around the checker: configurations read anew, stops, limits of the machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from heartbus.bus import NatsBus
from heartbus.config import ConfigError
from heartbus.events import (
    RealServerUp,
)
from heartbus.log import logger
from heartbus.model import (
    Authentication,
    Check,
    CheckType,
    Cluster,
    Director,
    Membership,
    VirtualService,
)
from heartbus.runner import Context
from heartbus.systemd import Notifier
from heartbus.testing import MemoryHub
from heartbus_checker.running import check_real_servers
from heartbus_checker.schedule import CONCURRENT_MAX
from heartbus_checker.service import affordable_probes
from tests.common.ports import free_port

from .builders import http_check, real_server, virtual_service

STOP_S_MAX = 30.0
"""Far less than the checks of these tests may take."""


def context(tmp_path: Path, *services: VirtualService) -> Context:
    cluster = Cluster(
        directors=(Director(name="linuxha1"),),
        membership=Membership(authentication=Authentication(signing_key=1, keys=())),
        virtual_services=services,
        source="test.toml",
    )
    return Context(
        node="linuxha1",
        service="checker",
        cluster=cluster,
        digest="0",
        bus=NatsBus(url="nats://127.0.0.1:1", node="linuxha1", service="checker", incarnation=1),
        incarnation=1,
        runtime_dir=tmp_path,
        state_dir=tmp_path,
        stopping=asyncio.Event(),
        notifier=Notifier(),
        log=logger(),
    )


async def test_a_pattern_that_does_not_compile_stops_the_start(tmp_path: Path) -> None:
    service = virtual_service(real_server(), check=http_check(receive="Test (Page"))
    with pytest.raises(ConfigError) as refused:
        await check_real_servers(context(tmp_path, service))
    assert str(refused.value) == (
        "test.toml: virtual service tcp:192.0.2.110:80: receive: 'Test (Page' is not a regular "
        "expression: missing ) at position 10"
    )


async def test_a_stop_cancels_the_probes_under_way(tmp_path: Path, hanging: list[int]) -> None:
    check = http_check(timeout_s=60.0)
    service = virtual_service(real_server("127.0.0.1", hanging[0]), check=check)
    frame = context(tmp_path, service)
    descriptors = len(os.listdir("/proc/self/fd"))
    running = asyncio.ensure_future(check_real_servers(frame))
    await asyncio.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) > descriptors
    frame.stopping.set()
    await asyncio.wait_for(running, STOP_S_MAX)
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_new_checks_take_the_place_of_old_ones_and_equal_ones_go_on(
    tmp_path: Path, hanging: list[int]
) -> None:
    service = virtual_service(
        real_server("127.0.0.1", hanging[0]), check=http_check(timeout_s=60.0)
    )
    frame = context(tmp_path, service)
    bus = MemoryHub().bus(node="linuxha1", service="checker", clock=time.monotonic)
    frame.bus = cast(NatsBus, bus)
    running = asyncio.ensure_future(check_real_servers(frame))
    await asyncio.sleep(0)
    assert frame.take_up is not None
    on = virtual_service(real_server(), check=Check(type=CheckType.ON))
    frame.take_up(replace(frame.cluster, virtual_services=(service,)))
    assert [event.kind for event in bus.published if isinstance(event, RealServerUp)] == []
    frame.take_up(replace(frame.cluster, virtual_services=(on,)))
    assert [e.real_server for e in bus.published if isinstance(e, RealServerUp)] == [
        str(on.real_servers[0].name)
    ]
    frame.stopping.set()
    await asyncio.wait_for(running, STOP_S_MAX)


async def test_checks_that_cannot_be_carried_out_leave_the_old_ones(
    tmp_path: Path, hanging: list[int]
) -> None:
    service = virtual_service(
        real_server("127.0.0.1", hanging[0]), check=http_check(timeout_s=60.0)
    )
    frame = context(tmp_path, service)
    running = asyncio.ensure_future(check_real_servers(frame))
    await asyncio.sleep(0.05)
    probing = len(os.listdir("/proc/self/fd"))
    assert frame.take_up is not None
    broken = virtual_service(real_server(), check=http_check(receive="Test (Page"))
    with pytest.raises(ConfigError, match="not a regular expression"):
        frame.take_up(replace(frame.cluster, virtual_services=(broken,)))
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) == probing
    frame.stopping.set()
    await asyncio.wait_for(running, STOP_S_MAX)


def test_probes_leave_descriptors_for_the_rest() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
        assert affordable_probes(CONCURRENT_MAX) == 36
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
        assert affordable_probes(CONCURRENT_MAX) == CONCURRENT_MAX
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


HA_CF = """\
node linuxha1
ucast lo 127.0.0.1
"""


def classic_directory(tmp_path: Path, ldirectord: str) -> Path:
    """Write a configuration in the old form with one ldirectord file."""
    directory = tmp_path / "ha.d"
    directory.mkdir()
    (directory / "ha.cf").write_text(HA_CF)
    (directory / "authkeys").write_text("auth 1\n1 sha1 secret\n")
    (directory / "authkeys").chmod(0o600)
    (directory / "haresources").write_text("linuxha1 192.0.2.110 ldirectord::www.cf\n")
    (directory / "www.cf").write_text(ldirectord)
    return directory


@contextlib.contextmanager
def process(tmp_path: Path, ldirectord: str, *program: str) -> Iterator[subprocess.Popen[str]]:
    """Run heartbus-checker, or another program with its options; nobody listens on its bus."""
    directory = classic_directory(tmp_path, ldirectord)
    options = ["--node=linuxha1", f"--runtime-dir={tmp_path}", f"--state-dir={tmp_path}"]
    options.append(f"--nats=nats://127.0.0.1:{free_port()}")
    with subprocess.Popen(
        [
            sys.executable,
            *(program or ("-m", "heartbus_checker")),
            f"--config={directory}",
            *options,
        ],
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def test_a_process_takes_up_a_changed_file_and_goes_on_with_a_broken_one(tmp_path: Path) -> None:
    """L-1: a broken file changes nothing, and the repaired one is taken up."""
    one, two = free_port(), free_port()
    text = f"virtual=192.0.2.110:80\n\treal=127.0.0.1:{one} masq\n\tchecktype=connect\n"
    with process(tmp_path, text) as checker:

        def told(said: str) -> str:
            assert checker.stderr is not None
            lines = [checker.stderr.readline()]
            while lines[-1] and said not in lines[-1]:
                lines.append(checker.stderr.readline())
            assert said in lines[-1], "".join(lines)
            return lines[-1]

        told("service.ready")
        path = tmp_path / "ha.d" / "www.cf"
        path.write_text(text.replace("masq", "mask"))
        checker.send_signal(signal.SIGHUP)
        assert f"{path}:2: real: 'mask' is not allowed" in told("reload.rejected")
        path.write_text(text.replace(str(one), str(two)))
        checker.send_signal(signal.SIGHUP)
        told("config.applied")
        told(f"connect to 127.0.0.1:{two}: refused")
        checker.send_signal(signal.SIGTERM)
        assert checker.wait(10) == 0


def test_the_process_checks_without_a_bus_and_stops_without_waiting_for_its_checks(
    tmp_path: Path, hanging: list[int]
) -> None:
    refused = free_port()
    ldirectord = (
        "checktimeout=30\ncheckinterval=1\nvirtual=192.0.2.110:80\n"
        f"\treal=127.0.0.1:{refused} gate\n\treal=127.0.0.1:{hanging[0]} gate\n"
        '\tservice=http\n\trequest="/"\n\treceive="x"\n'
    )
    with process(tmp_path, ldirectord) as checker:
        assert checker.stderr is not None
        lines: list[str] = []
        while not lines or ("realserver.down" not in lines[-1] and lines[-1]):
            lines.append(checker.stderr.readline())
        assert f"connect to 127.0.0.1:{refused}: refused" in lines[-1], "".join(lines)
        checker.send_signal(signal.SIGTERM)
        assert checker.wait(10) == 0


# What the readers of configuration do not refuse today; the frame must end all the same.
REFUSES = """\
import sys
from heartbus.runner import run
from heartbus.config import ConfigError

async def main(context):
    raise ConfigError.plain("virtual service tcp:192.0.2.110:81: no port to check")

sys.exit(run("checker", "", main, sys.argv[1:]))
"""


def test_a_check_that_cannot_be_carried_out_ends_the_process_with_code_2(tmp_path: Path) -> None:
    ldirectord = "virtual=192.0.2.110:80\n\treal=127.0.0.1:80 gate\n"
    with process(tmp_path, ldirectord, "-c", REFUSES) as checker:
        _, said = checker.communicate(timeout=30)
    assert checker.returncode == 2, said
    expected = "heartbus-checker: virtual service tcp:192.0.2.110:81: no port to check"
    assert said.splitlines()[-1] == expected
