"""A network in memory for the shell of membership, and a cluster to run on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from heartbus import log
from heartbus.events import HeldGroup, HoldStatus, VipState
from heartbus.icmp import Address
from heartbus.model import (
    AddressResource,
    Authentication,
    AuthKey,
    AuthMethod,
    BroadcastLink,
    Cluster,
    Director,
    Failback,
    Membership,
    ResourceGroup,
    Timers,
)
from heartbus.testing import MemoryBus, MemoryHub
from heartbus_membership import leases as files
from heartbus_membership.links import Links, Received
from heartbus_membership.service import MembershipService
from heartbus_membership.snapshot import LinkCondition
from tests.common.virtual_time import VirtualLoop

GROUP = "192.0.2.1/24"
KEYS = Authentication(
    signing_key=1,
    keys=(AuthKey(id=1, method=AuthMethod.SHA256, secret=b"not a secret"),),
)
FAST = Timers(keepalive_s=0.01, warntime_s=0.04, deadtime_s=0.1, initdead_s=0.3)


def cluster_of(
    *names: str, timers: Timers = FAST, failback: Failback = Failback.OFF, lease_s: float = 0.5
) -> Cluster:
    """Return a configuration with one group that prefers the first director."""
    return Cluster(
        directors=tuple(Director(name=name) for name in names),
        membership=Membership(
            timers=timers,
            links=(BroadcastLink(interface="eth1"),),
            authentication=KEYS,
            failback=failback,
            lease_s=lease_s,
            restart_grace_s=lease_s,
        ),
        groups=(
            ResourceGroup(
                name=GROUP,
                preferred=names[0],
                resources=(AddressResource(address="192.0.2.1", prefix_len=24),),
            ),
        ),
    )


class FakeNetwork:
    """Delivers at once to everybody who is plugged in, the sender included."""

    def __init__(self) -> None:
        self.ports: dict[str, FakeLinks] = {}

    def port(self, node: str) -> FakeLinks:
        """Return the links of a new host."""
        self.ports[node] = FakeLinks(self)
        return self.ports[node]


class FakeLinks:
    """One broadcast link. ``plugged``: the cable; ``sent``, ``relayed``: all that was."""

    def __init__(self, network: FakeNetwork) -> None:
        self._network = network
        self._readable: Callable[[], None] = lambda: None
        self._waiting: list[Received] = []
        self.plugged = True
        self.sent: list[bytes] = []
        self.problem: str | None = None
        self.repairs = 0
        self.lost: dict[str, int] = {}
        self.relayed: list[tuple[bytes, str, int]] = []

    def open(self, readable: Callable[[], None]) -> None:
        self._readable = readable

    def send(self, datagram: bytes) -> None:
        self.sent.append(datagram)
        if self.plugged:
            for links in self._network.ports.values():
                if links.plugged:
                    links.arrive(datagram)

    def arrive(self, datagram: bytes, *, hops: int = 0) -> None:
        """Let a datagram wait in the socket."""
        received = Received(datagram=datagram, link="bcast:eth1", source="10.0.0.9", hops=hops)
        self._waiting.append(received)
        self._readable()

    def drain(self) -> list[Received]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def relay(self, datagram: bytes, *, origin: str, heard_on: str, hops: int) -> None:
        self.relayed.append((datagram, heard_on, hops))

    def dropped(self) -> dict[str, int]:
        return self.lost

    async def repair(self) -> None:
        self.repairs += 1

    def conditions(self) -> tuple[LinkCondition, ...]:
        usable = self.problem is None
        return (LinkCondition(name="bcast:eth1", usable=usable, problem=self.problem),)

    def close(self) -> None:
        self._readable = lambda: None


@dataclass(slots=True)
class FakeIcmp:
    """Answers for those who are in ``answering``; ``refused``: what opening says."""

    answering: set[Address] = field(default_factory=set)
    refused: str | None = None
    asked: list[Address] = field(default_factory=list)
    forgotten: list[Address] = field(default_factory=list)
    opened: set[str] = field(default_factory=set)
    waiting: list[Address] = field(default_factory=list)
    unreachable: bool = False
    closed: bool = False
    readable: Callable[[], None] = lambda: None

    def open(self, *, ipv4: bool, ipv6: bool, readable: Callable[[], None]) -> str | None:
        self.readable = readable
        if self.refused is None:
            self.opened |= {name for name, wanted in (("4", ipv4), ("6", ipv6)) if wanted}
        return self.refused

    def can_ask(self, address: Address) -> bool:
        return ("6" if address.is_ipv6 else "4") in self.opened

    def ask(self, address: Address) -> str | None:
        self.asked.append(address)
        if self.unreachable:
            return f"sending to {address.text}: Network is unreachable"
        if address in self.answering:
            self.waiting.append(address)
            asyncio.get_running_loop().call_soon(self.readable)
        return None

    def drain(self) -> list[Address]:
        waiting, self.waiting = self.waiting, []
        return waiting

    def forget(self, address: Address) -> None:
        self.forgotten.append(address)

    def close(self) -> None:
        self.closed = True


class FakeVip:
    """Reports what the test tells it to."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.state = VipState(groups=(self._group(HoldStatus.RELEASED, 0),))
        bus.serve_state(lambda: self.state)

    @staticmethod
    def _group(status: HoldStatus, epoch: int) -> HeldGroup:
        return HeldGroup(name=GROUP, status=status, epoch=epoch, addresses=())

    def hold(self, status: HoldStatus, epoch: int, *, stopping: bool = False) -> None:
        """Report a status."""
        self.state = VipState(groups=(self._group(status, epoch),), stopping=stopping)
        self.bus.publish_state()


@dataclass(slots=True)
class RunningDirector:
    """One running director of a test."""

    name: str
    service: MembershipService
    bus: MemoryBus
    vip: FakeVip
    links: FakeLinks
    stopping: asyncio.Event
    task: asyncio.Task[None]
    directory: Path

    async def stop(self) -> None:
        """Stop it cleanly."""
        self.stopping.set()
        await self.task

    async def kill(self) -> None:
        """End it as kill -9 does: nothing more is sent or written."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


class Bench:
    """Starts directors on one network and one bus; stops what is left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.network = FakeNetwork()
        self.hub = MemoryHub()
        self.directors: list[RunningDirector] = []

    def start(
        self,
        name: str,
        cluster: Cluster,
        *,
        vip: FakeVip | None = None,
        links: Links | None = None,
    ) -> RunningDirector:
        """Start the membership of a director, and its vip and its links unless they are given."""
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        loop = asyncio.get_running_loop()
        bus = self.hub.bus(node=name, service="membership", clock=loop.time)
        if vip is None:
            vip = FakeVip(self.hub.bus(node=name, service="vip", clock=loop.time))
        port = self.network.port(name)
        state_file = files.StateFile(directory)
        service = MembershipService(
            node=name,
            cluster=cluster,
            incarnation=state_file.next_incarnation(wall_ms=1),
            boot_id="boot",
            bus=bus,
            links=links or port,
            lease_file=files.LeaseFile(directory, boot_id="boot"),
            state_file=state_file,
            vote_file=files.VoteFile(directory, boot_id="boot"),
            log=log.logger(node=name),
            clock=loop.time,
        )
        stopping = asyncio.Event()
        report = vip.state

        def ready() -> None:
            vip.hold(report.groups[0].status, report.groups[0].epoch)

        task = loop.create_task(service.run(stopping, on_ready=ready))
        director = RunningDirector(name, service, bus, vip, port, stopping, task, directory)
        self.directors.append(director)
        return director

    async def close(self) -> None:
        """End every director."""
        for director in self.directors:
            await director.kill()


@contextlib.asynccontextmanager
async def bench(directory: Path) -> AsyncIterator[Bench]:
    """Give a bench and clean it up."""
    made = Bench(directory)
    try:
        yield made
    finally:
        await made.close()


async def until(condition: Callable[[], bool], *, within_s: float | None = None) -> float:
    """Wait for a condition; return the seconds it took.

    By default 2 s of virtual time, or 30 of real time, which a busy machine may need for children.

    Raises:
        TimeoutError: it did not become true.

    """
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    if within_s is None:
        within_s = 2.0 if isinstance(loop, VirtualLoop) else 30.0
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # any condition, of any code under test
            await asyncio.sleep(0.001)
    return loop.time() - start_s
