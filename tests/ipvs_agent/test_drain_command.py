"""``heartbus drain`` over a real bus, with two agents beside it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heartbus.bus import NatsBus
from heartbus.log import logger
from heartbus_ipvs_agent.entries import Connections, DestinationKey, Table
from heartbus_ipvs_agent.managed import ManagedServices
from heartbus_ipvs_agent.override_file import OverrideFile
from heartbus_ipvs_agent.service import SERVICE, IpvsAgent
from tests.common.nats import NatsServer
from tests.ipvs_agent.builders import cluster, destination, gate, key, virtual_service
from tests.ipvs_agent.builders import entry as table_entry
from tests.ipvs_agent.fake_table import FakeTable
from tests.ipvs_agent.fake_whole import FakeWhole

A, B = destination(11), destination(12)
WEB = virtual_service(5, 5)


def table() -> FakeTable:
    made = FakeTable(Table(services={key(): table_entry({A: gate(5), B: gate(5)})}))
    made.counters[key(), A] = Connections(active=3, inactive=0)
    return made


@asynccontextmanager
async def director(node: str, url: str, at: Path, kernel: FakeTable) -> AsyncIterator[IpvsAgent]:
    bus = NatsBus(url=url, node=node, service=SERVICE, incarnation=time.time_ns())
    loop = asyncio.get_running_loop()
    agent = IpvsAgent(
        node=node,
        cluster=cluster(WEB),
        bus=bus,
        table=kernel,
        managed=ManagedServices(at),
        overrides=OverrideFile(at),
        whole=FakeWhole(),
        clock=loop.time,
        log=logger(),
    )
    agent.start()
    tasks = [loop.create_task(t) for t in (bus.run(), agent.listen(), agent.look_on())]
    try:
        yield agent
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def heartbus(*words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("heartbus")),
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, output.decode()


def weights(kernel: FakeTable) -> dict[DestinationKey, int]:
    return {d: s.weight for d, s in kernel.table.services[key()].destinations.items()}


@pytest.mark.bus
async def test_every_director_drains_at_once_and_wait_returns_when_the_last_one_has(
    tmp_path: Path,
) -> None:
    one, two = table(), table()
    for name in "12":
        os.mkdir(tmp_path / name)
    with NatsServer(tmp_path) as server:
        async with (
            director("linuxha1", server.url, tmp_path / "1", one),
            director("linuxha2", server.url, tmp_path / "2", two),
        ):
            nats = ("--nats", server.url)
            waiting = asyncio.create_task(heartbus("drain", "192.168.7.11", "--wait", *nats))
            while 0 not in weights(one).values() or 0 not in weights(two).values():
                await asyncio.sleep(0.01)
                assert not waiting.done(), waiting.result()
            one.counters.clear()
            done, _ = await asyncio.wait({waiting}, timeout=1.5)
            assert not done  # the other director still has connections
            two.counters.clear()
            code, output = await waiting
            lines = output.splitlines()
            assert (code, lines[-1]) == (0, "drained")
            assert "linuxha1: 192.168.7.11 is given no new connections (1 entry)" in lines
            assert "linuxha2: 192.168.7.11 is given no new connections (1 entry)" in lines
            code, output = await heartbus("enable", "192.168.7.99", *nats)
            assert code == 1
            assert "192.168.7.99 is no real server; allowed is 192.168.7.11" in output
