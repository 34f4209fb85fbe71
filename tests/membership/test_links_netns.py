"""Real sockets between two network namespaces: one link cut, both cut, healed, interface lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from heartbus_membership.links import POINTS_AT_US
from tests.membership.fakes import until
from tests.membership.netns_director import EVERY_KIND
from tests.membership.wires import Wires, ip, made_wires

pytestmark = pytest.mark.netns

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def wires() -> Iterator[Wires]:
    with made_wires() as made:
        yield made


@dataclass(slots=True)
class Running:
    """A director in its namespace and what it printed."""

    child: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)

    def count(self, kind: str, **fields: str) -> int:
        return sum(line["kind"] == kind and fields.items() <= line.items() for line in self.lines)

    def last(self, kind: str) -> dict[str, Any]:
        return next(line for line in reversed(self.lines) if line["kind"] == kind)

    def ups(self, *, times: int = 1) -> set[str]:
        """Return the links that came up so many times at least."""
        found = Counter(line["link"] for line in self.lines if line["kind"] == "link.up")
        return {link for link, count in found.items() if count >= times}

    def downs(self) -> set[str]:
        return {line["link"] for line in self.lines if line["kind"] == "link.down"}

    async def read(self) -> None:
        assert self.child.stdout is not None
        async for line in self.child.stdout:
            self.lines.append(json.loads(line))


@contextlib.asynccontextmanager
async def director(
    netns: str, name: str, directory: Path, links: str = "pair"
) -> AsyncIterator[Running]:
    (directory / name).mkdir(exist_ok=True)
    command = ["-m", "tests.membership.netns_director", name, str(directory / name), links]
    child = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", netns, sys.executable, *command,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
        stdout=subprocess.PIPE,
    )  # fmt: skip
    running = Running(child)
    reading = asyncio.create_task(running.read())
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        await reading


async def test_cut_and_heal_over_real_sockets(wires: Wires, tmp_path: Path) -> None:
    wires.cable(1)
    wires.cable(2)
    async with director(wires.a, "a", tmp_path) as a, director(wires.b, "b", tmp_path) as b:
        await until(lambda: a.count("group.granted") == 1, within_s=15)
        await until(lambda: b.count("link.up") == 2, within_s=5)
        ups = {line["link"] for line in b.lines if line["kind"] == "link.up"}
        assert ups == {"bcast:eth1", "ucast:eth2:10.93.2.1"}

        wires.cut(1)
        await until(lambda: a.count("link.down", link="bcast:eth1") == 1, within_s=5)
        assert a.count("node.dead") == b.count("node.dead") == 0

        wires.cut(2)
        await until(lambda: b.count("node.dead") == a.count("node.dead") == 1, within_s=5)
        await until(lambda: b.count("group.granted", director="b") == 1, within_s=1)

        wires.heal(1)
        wires.heal(2)
        await until(lambda: a.count("group.revoked") == 1, within_s=5)
        await until(lambda: b.count("link.up") == 4, within_s=5)
        assert b.count("group.revoked") == 0

        b.child.terminate()
        await until(lambda: a.count("node.left") == 1, within_s=5)
        assert await b.child.wait() == 0


async def test_interface_that_comes_late_and_is_made_anew(wires: Wires, tmp_path: Path) -> None:
    wires.cable(2)
    async with director(wires.a, "a", tmp_path) as a, director(wires.b, "b", tmp_path) as b:
        await until(lambda: a.count("link.up") == 1 == b.count("link.up"), within_s=15)
        wires.cable(1)
        await until(lambda: a.count("link.up", link="bcast:eth1") == 1, within_s=5)
        ip("-n", wires.a, "link", "del", "eth1")
        await until(lambda: a.count("link.down", link="bcast:eth1") == 1, within_s=5)
        wires.cable(1)
        await until(lambda: a.count("link.up", link="bcast:eth1") == 2, within_s=5)
        assert a.count("node.dead") == b.count("node.dead") == 0


async def test_taken_port_is_one_clear_line_and_exit_code_3(wires: Wires, tmp_path: Path) -> None:
    wires.cable(1)
    wires.cable(2)
    async with director(wires.a, "a", tmp_path) as first:
        await until(lambda: first.count("ready") == 1, within_s=15)
        second = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", wires.a, sys.executable,
            "-m", "tests.membership.netns_director", "a", str(tmp_path), "pair",
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        _, said = await second.communicate()
        assert second.returncode == 3
        assert b"udp/694 on eth1: Address already in use" in said


async def test_only_own_addresses_count_as_ourselves(wires: Wires, tmp_path: Path) -> None:
    wires.cable(1)
    wires.cable(2)
    for netns in (wires.a, wires.b):  # as on hosts where keepalived or haproxy ran before
        wires.set(netns, "net.ipv4.ip_nonlocal_bind", 1)
    # The kernel talks to 10.93.2.1 from 10.93.2.9 then: the first address of the subnet.
    ip("-n", wires.a, "addr", "del", "10.93.2.1/24", "dev", "eth2")
    ip("-n", wires.a, "addr", "add", "10.93.2.9/24", "dev", "eth2")
    ip("-n", wires.a, "addr", "add", "10.93.2.1/24", "dev", "eth2")
    async with director(wires.a, "a", tmp_path) as a, director(wires.b, "b", tmp_path) as b:
        await until(lambda: a.count("link.up", link="ucast:eth2:10.93.2.2") == 1, within_s=15)
        await until(lambda: a.count("links") >= 1 <= b.count("links"), within_s=5)
        for running, own, other in ((a, 1, 2), (b, 2, 1)):
            problems = next(x["problems"] for x in running.lines if x["kind"] == "links")
            assert problems[f"ucast:eth2:10.93.2.{own}"] == POINTS_AT_US
            assert problems[f"ucast:eth2:10.93.2.{other}"] is None


def ways_from(host: int) -> set[str]:
    """Return every way that heartbeats of host 1 (a) or 2 (b) come by."""
    return {link.name for link in EVERY_KIND if not link.name.endswith(f"{3 - host}")} | GROUPS


GROUPS = {"bcast:eth1", "mcast:eth1:239.0.0.1", "mcast:eth1:ff02::4:1"}


async def test_every_kind_of_link_on_one_interface_and_port(wires: Wires, tmp_path: Path) -> None:
    wires.cable(1)
    async with (
        director(wires.a, "a", tmp_path, "every-kind") as a,
        director(wires.b, "b", tmp_path, "every-kind") as b,
    ):
        await until(lambda: a.ups() >= ways_from(2) and b.ups() >= ways_from(1), within_s=15)
        assert (a.ups(), b.ups()) == (ways_from(2), ways_from(1))

        # The cable is cut at the far end and healed; all comes back by itself.
        wires.cut(1)
        await until(lambda: a.count("node.dead") == b.count("node.dead") == 1, within_s=5)
        wires.heal(1)
        await until(lambda: a.ups(times=2) == ways_from(2), within_s=5)
        await until(lambda: b.ups(times=2) == ways_from(1), within_s=5)

        # The interface is deleted and another one gets its name: groups are joined again.
        ip("-n", wires.a, "link", "del", "eth1")
        await until(lambda: a.count("node.dead") == b.count("node.dead") == 2, within_s=5)
        wires.cable(1)
        await until(lambda: a.ups(times=3) == ways_from(2), within_s=5)
        await until(lambda: b.ups(times=3) == ways_from(1), within_s=5)
        # Were one way taken for another, the second copy would count as a replay.
        for running in (a, b):
            assert running.last("links")["dropped"] == {}


async def test_addresses_change_under_the_links(wires: Wires, tmp_path: Path) -> None:
    wires.cable(1)
    async with (
        director(wires.a, "a", tmp_path, "every-kind") as a,
        director(wires.b, "b", tmp_path, "every-kind") as b,
    ):
        await until(lambda: a.ups() >= ways_from(2) and b.ups() >= ways_from(1), within_s=15)
        for number in (2, 3):
            old, new = (1, 7) if number == 2 else (7, 1)
            for before, after in zip(wires.addresses(1, old), wires.addresses(1, new), strict=True):
                ip("-n", wires.a, "addr", "del", before, "dev", "eth1")
                wires.add(wires.a, "eth1", after)
            if number == 2:
                # Nobody sends to the new address, but who listens to groups hears on.
                lost = ways_from(2) - GROUPS
                await until(lambda: a.downs() == lost, within_s=5)  # noqa: B023  # awaited here
            else:
                await until(lambda: a.ups(times=2) == ways_from(2) - GROUPS, within_s=5)
        assert a.count("node.dead") == b.count("node.dead") == 0
        assert b.downs() == set()
        assert a.last("links")["dropped"] == b.last("links")["dropped"] == {}
