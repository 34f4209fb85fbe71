"""The heartbus command against a real bus, and where there is none."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbus.bus import NatsBus
from heartbus.events import NodeDead
from tests.common.config_samples import classic_files, directory
from tests.common.nats import NatsServer
from tests.common.ports import free_port

BIN = Path(sys.prefix) / "bin"
COMMANDS = (
    ("bus",),
    ("bus", "config"),
    ("config",),
    ("config", "check"),
    ("config", "show"),
    ("probe",),
    ("reload",),
    ("status",),
    ("up",),
    ("watch",),
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as running:
        yield running


def heartbus(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "heartbus", *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help(words: tuple[str, ...]) -> None:
    done = heartbus(*words, "--help")
    assert done.returncode == 0
    assert "Usage: heartbus" in done.stdout
    if words not in {("bus",), ("config",)}:
        assert "Example: heartbus" in done.stdout


@pytest.mark.bus
@pytest.mark.parametrize("as_json", [True, False])
async def test_watch_prints_an_event_as_it_happens(server: NatsServer, as_json: bool) -> None:
    words = ["watch", "--nats", server.url, "--count", "1", *(["--json"] if as_json else [])]
    process = await asyncio.create_subprocess_exec(
        BIN / "heartbus", *words, stdout=asyncio.subprocess.PIPE
    )
    bus = NatsBus(url=server.url, node="a", service="membership", incarnation=1)
    run = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(30):
            ended = asyncio.create_task(process.communicate())
            while not ended.done():  # until its subscription is there
                bus.publish(NodeDead(director="b", silent_s=0.3, reason="silence"))
                await asyncio.wait({ended}, timeout=0.1)
            printed = (await ended)[0].decode()
    finally:
        run.cancel()
        await asyncio.wait({run})
    assert process.returncode == 0
    if as_json:
        message = json.loads(printed)
        assert (message["kind"], message["data"]["director"]) == ("node.dead", "b")
    else:
        assert "node.dead" in printed
        assert "director=b silent_s=0.300 reason=silence" in printed


def test_without_a_bus_watch_and_status_say_so() -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    for words in (("watch", "--for", "2"), ("status",)):
        done = heartbus(*words, "--nats", url)
        assert done.returncode == 3
        assert f"no nats-server at {url}" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["foo", "nats://127.0.0.1:abc", "http://127.0.0.1:4222"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    done = heartbus("watch", "--nats", url)
    assert done.returncode == 2
    assert "allowed is nats://HOST:PORT" in done.stderr


def test_a_wrong_choice_in_the_environment_is_refused() -> None:
    done = subprocess.run(
        [BIN / "heartbus-checker"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "HEARTBUS_TIMERS": "soon"},
    )
    assert done.returncode == 2
    assert "HEARTBUS_TIMERS: 'soon' is not allowed; allowed: classic, fast, lan" in done.stderr


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [BIN / "heartbus", "config", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_config_check_prints_json_for_scripts(tmp_path: Path) -> None:
    example = directory(tmp_path, classic_files())
    done = heartbus("config", "check", str(example), "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["usable"]
    assert {remark["level"] for remark in document["remarks"]} == {"note", "warning"}
    assert heartbus("config", "check", str(example), "--strict").returncode == 1
