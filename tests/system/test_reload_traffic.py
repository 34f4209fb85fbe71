"""200 random changes of the files under traffic: checker and agent reload, the kernel carries on.

Real processes and the kernel's own table, in one network namespace; which servers listen is known,
so what may stand in the table is known at every moment.
"""

from __future__ import annotations

import asyncio
import copy
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from heartbus.bus import Inbox, NatsBus
from heartbus.config import load
from heartbus.config.digest import config_digest
from heartbus.events import (
    CommandOutcome,
    ConfigRejected,
    IpvsChanged,
    IpvsRepaired,
    Reload,
)
from tests.common.config_samples import QUIET, directory
from tests.common.nats import NatsServer
from tests.ipvs_agent.echo import Clients, addresses, echo_servers
from tests.ipvs_agent.namespace import fresh_network_namespace

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(300)]

CHANGES: Final = 200
SEED: Final = 7
CONNECTIONS: Final = 60
NODE: Final = "linuxha1"
SERVICES: Final = ("checker", "ipvs-agent")
VIP: Final = "10.9.0.1"
KEPT_PORT: Final = 7
PORTS: Final = (7, 8, 9, 10, 11)
KEPT: Final = ("10.9.0.11", "10.9.0.12")
LIVE: Final = (*KEPT, "10.9.0.13", "10.9.0.14")
DEAD: Final = ("10.9.0.15", "10.9.0.16")
SAMPLE_S: Final = 0.002
BREAKS: Final = (
    lambda text: text.replace("masq", "mask", 1),
    lambda text: text + "\treal=10.9.0.11:99999 masq\n",
    lambda text: text.replace("scheduler", "schedular", 1),
    lambda text: text + "virtual=\n",
    lambda text: text.replace("checktype=connect", "checktype=conect", 1),
)


@dataclass(slots=True)
class Service:
    """One virtual service as the test wants it."""

    servers: dict[str, int]
    scheduler: str = "rr"
    quiescent: bool = False
    interval: int = 1
    fall: int = 1

    def text(self, port: int) -> str:
        reals = "".join(
            f"\treal={address}:{port} masq {weight}\n" for address, weight in self.servers.items()
        )
        return (
            f"virtual={VIP}:{port}\n{reals}\tscheduler={self.scheduler}\n"
            f"\tquiescent={'yes' if self.quiescent else 'no'}\n\tchecktype=connect\n"
            f"\tcheckinterval={self.interval}\n\tfailurecount={self.fall}\n\tprotocol=tcp\n"
        )


@dataclass(slots=True)
class Services:
    """All of them, and random changes that leave the kept servers of the kept one in place."""

    random: random.Random
    by_port: dict[int, Service] = field(
        default_factory=lambda: {KEPT_PORT: Service(servers=dict.fromkeys((*KEPT, DEAD[0]), 1))}
    )

    def text(self) -> str:
        sections = [service.text(port) for port, service in sorted(self.by_port.items())]
        return "checktimeout=1\n" + "\n".join(sections)

    def change(self) -> None:
        """Change one thing: a service, a server, a weight, a check."""
        rng = self.random
        absent = [port for port in PORTS if port not in self.by_port]
        others = [port for port in self.by_port if port != KEPT_PORT]
        what = rng.choice(("add", "add", "remove", "server", "server", "weight", "alter", "alter"))
        if what == "add" and absent:
            count = rng.randint(1, 4)
            servers = {a: rng.randint(1, 9) for a in rng.sample((*LIVE, *DEAD), count)}
            self.by_port[rng.choice(absent)] = Service(servers=servers)
            return
        if what == "remove" and others:
            del self.by_port[rng.choice(others)]
            return
        port = rng.choice(list(self.by_port))
        service = self.by_port[port]
        if what == "weight":
            service.servers[rng.choice(list(service.servers))] = rng.randint(1, 9)
        elif what == "alter":
            service.scheduler = rng.choice(("rr", "wrr", "lc", "wlc"))
            service.quiescent = rng.random() < 0.5
            service.interval, service.fall = rng.randint(1, 3), rng.randint(1, 2)
        else:
            address = rng.choice((*LIVE, *DEAD))
            if address not in service.servers:
                service.servers[address] = rng.randint(1, 9)
            elif not (port == KEPT_PORT and address in KEPT) and len(service.servers) > 1:
                del service.servers[address]

    def wanted(self) -> dict[int, dict[str, int]]:
        """Return the table that these services and the servers that listen come to."""
        return {
            port: {
                address: weight if address in LIVE else 0
                for address, weight in service.servers.items()
                if address in LIVE or service.quiescent
            }
            for port, service in self.by_port.items()
        }


def kernel_table() -> dict[int, dict[str, int]]:
    """Return the weights in the kernel, by port and server, as /proc/net/ip_vs shows them."""
    found: dict[int, dict[str, int]] = {}
    port = 0
    for line in Path("/proc/thread-self/net/ip_vs").read_text().splitlines():
        words = line.split()
        if words[:1] == ["TCP"]:
            port = int(words[1].rpartition(":")[2], 16)
            found[port] = {}
        elif words[:1] == ["->"] and words[1] != "RemoteAddress:Port":
            number = bytes.fromhex(words[1].partition(":")[0])
            found[port][".".join(map(str, number))] = int(words[3])
    return found


class Sampler(threading.Thread):
    """Looks at the table all the time; a thread is in the namespace of the one that starts it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.looks = 0
        self.flashes: list[str] = []
        self.missing: list[str] = []

    def run(self) -> None:
        while not self.ended.wait(SAMPLE_S):
            table = kernel_table()
            self.looks += 1
            for port, servers in table.items():
                self.flashes += [f"{a}:{port}" for a in DEAD if servers.get(a, 0)]
            kept = table.get(KEPT_PORT, {})
            self.missing += [a for a in KEPT if not kept.get(a)]


@contextmanager
def processes(place: Path, tmp_path: Path, url: str) -> Iterator[None]:
    """Run checker and agent on these files."""
    with ExitStack() as stack:
        for module in ("heartbus_checker", "heartbus_ipvs_agent"):
            log = stack.enter_context((tmp_path / f"{module}.log").open("wb"))
            running = subprocess.Popen(
                [
                    *(sys.executable, "-m", module, f"--config={place}", f"--node={NODE}"),
                    *(f"--nats={url}", f"--runtime-dir={tmp_path}", f"--state-dir={tmp_path}"),
                ],
                stdout=log,
                stderr=log,
            )
            stack.callback(running.wait, 10)
            stack.callback(running.terminate)
        yield


class Director:
    """The two processes seen over their bus."""

    def __init__(self, url: str) -> None:
        self.bus = NatsBus(url=url, node="observer", service="observer", incarnation=time.time_ns())
        self.inbox = Inbox(messages_max=100_000)
        self.bus.subscribe(
            (ConfigRejected.kind, IpvsChanged.kind, IpvsRepaired.kind, "realserver.*"), self.inbox
        )

    async def reload(self) -> list[CommandOutcome]:
        answers = await asyncio.gather(
            *(self.bus.request(NODE, service, Reload(), timeout_s=20) for service in SERVICES)
        )
        found = [answer for answer in answers if answer is not None]
        assert len(found) == len(SERVICES), answers
        return found

    async def ready(self) -> None:
        """Wait until both answer."""
        async with asyncio.timeout(60):
            for service in SERVICES:
                while await self.bus.request_state(NODE, service, timeout_s=1) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


def write(path: Path, text: str) -> None:
    """Write a file as an editor does: in place, however long that takes."""
    path.write_text(text)


async def settled(services: Services, within_s: float = 15.0) -> None:
    """Wait until the kernel has what the files and the servers that listen come to."""
    wanted = services.wanted()
    deadline_s = time.monotonic() + within_s
    while kernel_table() != wanted:
        assert time.monotonic() < deadline_s, (kernel_table(), wanted)
        await asyncio.sleep(0.05)


async def changes(services: Services, path: Path, place: Path, director: Director) -> int:
    """Make all changes, with broken files among them; return how many were broken."""
    rng, broken = services.random, 0
    await director.ready()
    await settled(services)
    digest = ""
    for number in range(CHANGES):
        after = copy.deepcopy(services)
        after.random = rng
        after.change()
        text = after.text()
        if rng.random() < 0.2:
            broken += 1
            calm = broken % 8 == 0
            if calm:  # nothing is under way: the table must not change at all
                await settled(services)
            before = kernel_table()
            write(path, rng.choice(BREAKS)(text))
            for outcome in await director.reload():
                assert not outcome.done
                assert outcome.details[0].startswith(f"{path}:")
                assert digest in ("", outcome.digest)
            assert not calm or kernel_table() == before
        write(path, text)
        outcomes = await director.reload()
        digest = config_digest(load(str(place)).cluster)
        assert {outcome.digest for outcome in outcomes} == {digest}, number
        assert {outcome.message for outcome in outcomes} <= {"applied", "unchanged"}
        services.by_port = after.by_port
        if number % 25 == 24:
            await settled(services)
    await settled(services)
    return broken


def test_200_changes_under_traffic_cut_nothing_and_no_dead_server_flashes_up(
    tmp_path: Path,
) -> None:
    services = Services(random=random.Random(SEED))
    files = {**QUIET, "haresources": f"{NODE} {VIP}/24 ldirectord::www.cf\n"}
    place = directory(tmp_path, {**files, "www.cf": services.text()})

    async def run(url: str) -> tuple[int, Director]:
        director = Director(url)
        task = asyncio.create_task(director.bus.run())
        try:
            async with asyncio.timeout(30):
                while not director.bus.connected:  # noqa: ASYNC110 — it connects once
                    await asyncio.sleep(0.01)
            return await changes(services, place / "www.cf", place, director), director
        finally:
            task.cancel()
            await asyncio.wait({task})

    with fresh_network_namespace(), ExitStack() as stack:
        addresses(VIP, *LIVE, *DEAD)
        stack.enter_context(echo_servers(*((a, port) for a in LIVE for port in PORTS)))
        server = stack.enter_context(NatsServer(tmp_path))
        stack.enter_context(processes(place, tmp_path, server.url))
        sampler = Sampler()
        held: list[Clients] = []
        asked: list[list[str]] = []
        begun = threading.Event()

        def traffic() -> None:
            """Hold connections from the first moment that both servers are there."""
            while not begun.is_set():
                if set(KEPT) <= set(kernel_table().get(KEPT_PORT, {})):
                    held.append(Clients((VIP, KEPT_PORT), CONNECTIONS))
                    sampler.start()
                    break
                time.sleep(0.01)  # asks the kernel; ends when the changes begin
            while not begun.wait(0.1):
                asked.append(held[0].answered())

        client = threading.Thread(target=traffic, daemon=True)
        client.start()
        broken, director = asyncio.run(run(server.url))
        begun.set()
        client.join(30)
        sampler.ended.set()
        sampler.join(10)
        answers = held[0].answered()
        held[0].close()

    assert broken > CHANGES / 10
    assert len(asked) > 20
    assert all(round_ == answers for round_ in asked), "a connection was cut, or went elsewhere"
    assert set(answers) == set(KEPT)
    assert sampler.looks > 500
    assert sampler.flashes == []
    assert sampler.missing == []
    told = [message.body for message in iter(director.inbox.get_nowait, None)]
    assert not [body for body in told if isinstance(body, IpvsRepaired)]
    acts = [a for body in told if isinstance(body, IpvsChanged) for a in body.actions]
    assert acts
    for action in acts:
        if any(address in action for address in DEAD) and not action.startswith("-d"):
            assert action.endswith("-w 0") or " -w 0 " in action, action
    assert sum(isinstance(body, ConfigRejected) for body in told) == broken * len(SERVICES)
