"""Fixtures that every folder of tests may use, and what this machine can run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import structlog
from hypothesis import settings

if TYPE_CHECKING:
    from tests.lab.network import Lab

NATS_SERVER: Final = Path(sys.prefix) / "bin" / "nats-server"
NATS_START_MAX_S: Final = 10.0

# A moment in which others had the machine is no defect of what is tested.
settings.register_profile("heartbus", deadline=None)
settings.load_profile("heartbus")

SKIP_IS_FAILURE: Final = "HEARTBUS_SKIP_IS_FAILURE" in os.environ


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason; make test runs each where it can."""
    root = os.geteuid() == 0
    ipvs = Path("/proc/net/ip_vs").exists()
    for item in items:
        if item.get_closest_marker("ipvs") and not (ipvs and root):
            reason = "this kernel has no ip_vs" if root else "not root, or no ip_vs here"
            item.add_marker(pytest.mark.skip(f"{reason}: make test boots one that has"))
        elif item.get_closest_marker("machines") and not root:
            item.add_marker(pytest.mark.skip("needs root: make test asks for it"))
        elif item.get_closest_marker("netns") and not root:
            item.add_marker(pytest.mark.skip("needs root: make test runs it in the lab kernel"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where make test has provided everything."""
    report = yield
    if SKIP_IS_FAILURE and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid}: skipped, though make test provides all: {report.longrepr}"
        )
    return report


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A command that a test runs in this process sets up logging for its own."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsServer:
    """A running nats-server; ``pid`` to kill or pause it."""

    url: str
    pid: int


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A real nats-server on a free loopback port, for one test."""
    ports = tmp_path / "nats-ports"
    ports.mkdir()
    log = tmp_path / "nats.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [NATS_SERVER, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", ports],
            stdout=output,
            stderr=output,
        )
    try:
        yield NatsServer(url=_client_url(ports, server, log), pid=server.pid)
    finally:
        server.send_signal(signal.SIGCONT)
        server.kill()
        server.wait()


def _client_url(ports: Path, server: subprocess.Popen[bytes], log: Path) -> str:
    """Return the URL that nats-server wrote into its ports file, once it has."""
    deadline_s = time.monotonic() + NATS_START_MAX_S
    while time.monotonic() < deadline_s and server.poll() is None:
        for found in ports.glob("nats-server_*.ports"):
            text = found.read_text()
            if text.rstrip().endswith("}"):
                url: str = json.loads(text)["nats"][0]
                return url
        time.sleep(0.01)
    raise AssertionError(f"nats-server did not start:\n{log.read_text()}")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Network namespaces, bridges and processes that vanish with the test (marker netns)."""
    from tests.lab.network import Lab

    with Lab() as created:
        yield created
