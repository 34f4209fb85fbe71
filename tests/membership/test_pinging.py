"""The shell around ping nodes: events, snapshot, names, missing privilege, our own stall."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import structlog
from structlog.testing import capture_logs

from heartbus.events import PingNodeDown, PingNodeUp, PingNodeView, PingStatus
from heartbus.icmp import WHAT_TO_DO, Address
from heartbus.model import Membership, PingNode, Timers
from heartbus.testing import MemoryBus, MemoryHub
from heartbus_membership import pinging
from heartbus_membership.pinging import Pinger
from heartbus_membership.pingnodes import Reach
from tests.membership.fakes import KEYS, FakeIcmp, until

ROUTER = Address("192.0.2.1")
SIX = Address("2001:db8::1")
TIMERS = Timers(keepalive_s=0.01, deadtime_s=0.1)


@dataclass(slots=True)
class Table:
    """A running pinger and what is around it."""

    icmp: FakeIcmp
    bus: MemoryBus
    pinger: Pinger
    task: asyncio.Task[None]

    def view(self, name: str) -> PingNodeView:
        return next(view for view in self.pinger.views() if view.name == name)

    def status(self, name: str) -> PingStatus:
        return self.view(name).status


@contextlib.asynccontextmanager
async def running(
    *nodes: PingNode, icmp: FakeIcmp | None = None, deadping_s: float = 0.45
) -> AsyncIterator[Table]:
    icmp = icmp or FakeIcmp()
    loop = asyncio.get_running_loop()
    bus = MemoryHub().bus(node="a", service="membership", clock=loop.time)
    membership = Membership(
        timers=TIMERS, authentication=KEYS, ping_nodes=nodes, deadping_s=deadping_s
    )
    log = structlog.get_logger()
    pinger = Pinger(membership, bus=bus, log=log, clock=loop.time, icmp=icmp)
    table = Table(icmp, bus, pinger, loop.create_task(pinger.run()))
    try:
        yield table
    finally:
        if not table.task.done():
            table.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await table.task


def plain(address: str) -> PingNode:
    return PingNode(name=address, members=(address,))


async def test_a_node_that_answers_is_up_and_when_it_stops_down() -> None:
    async with running(plain("192.0.2.1"), icmp=FakeIcmp(answering={ROUTER})) as table:
        await until(lambda: table.status("192.0.2.1") is PingStatus.UP)
        assert table.pinger.reach == Reach(reached=1, configured=1, settled=True)
        table.icmp.answering.clear()
        await until(lambda: table.status("192.0.2.1") is PingStatus.DOWN)
        assert table.pinger.reach == Reach(reached=0, configured=1, settled=True)
        table.icmp.answering.add(ROUTER)
        await until(lambda: table.status("192.0.2.1") is PingStatus.UP)
    assert [type(e) for e in table.bus.published] == [PingNodeUp, PingNodeDown, PingNodeUp]
    assert table.icmp.closed


async def test_each_member_of_a_group_is_asked_each_time_over_its_own_protocol() -> None:
    group = PingNode(name="routers", members=("192.0.2.1", "2001:db8::1"))
    async with running(group, icmp=FakeIcmp(answering={SIX})) as table:
        await until(lambda: len(table.icmp.asked) >= 4)
        assert table.icmp.asked[:4] == [ROUTER, SIX, ROUTER, SIX]
        assert table.view("routers").members_heard == ("2001:db8::1",)
    assert table.bus.published == [PingNodeUp(ping_node="routers", reason="2001:db8::1 answers")]


async def test_without_ping_nodes_nothing_is_opened() -> None:
    async with running() as table:
        await table.task
        assert table.icmp.opened == set()
        assert table.pinger.views() == ()


async def test_without_privilege_one_line_and_unknown_nodes() -> None:
    refused = f"IPv4: Operation not permitted; {WHAT_TO_DO}"
    with capture_logs() as lines:
        async with running(plain("192.0.2.1"), icmp=FakeIcmp(refused=refused)) as table:
            await asyncio.sleep(1.2)  # longer than deadping and than the next try to open
            view = table.view("192.0.2.1")
            assert view.status is PingStatus.UNKNOWN
            assert view.problem == f"cannot be asked: {refused}"
            assert not table.pinger.reach.settled
            table.icmp.refused = None
            table.icmp.answering.add(ROUTER)
            await until(lambda: table.status("192.0.2.1") is PingStatus.UP)
            assert table.view("192.0.2.1").problem is None
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("pingnodes.unasked", "warning"),
        ("pingnodes.asked", "info"),
    ]
    assert lines[0]["problem"] == refused


async def test_without_privilege_even_a_name_without_address_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolve(host: str, *, ipv6: bool) -> Address:
        raise OSError(None, "Name or service not known")

    monkeypatch.setattr(pinging, "resolve", resolve)
    async with running(plain("r1"), icmp=FakeIcmp(refused="IPv4: refused")) as table:
        await until(lambda: table.view("r1").problem is not None)
        await asyncio.sleep(0.8)  # longer than deadping and an interval
        assert table.status("r1") is PingStatus.UNKNOWN


async def test_a_question_that_cannot_be_sent_is_silence_with_a_reason() -> None:
    async with running(plain("192.0.2.1"), icmp=FakeIcmp(unreachable=True)) as table:
        await until(lambda: table.status("192.0.2.1") is PingStatus.DOWN)
        assert table.view("192.0.2.1").problem == "sending to 192.0.2.1: Network is unreachable"


async def test_names_are_looked_up_beside_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Address] = {}
    hung = asyncio.Event()

    async def resolve(host: str, *, ipv6: bool) -> Address:
        if host == "192.0.2.1":
            return ROUTER
        if host == "slow":
            await hung.wait()
        if host not in found:
            raise OSError(None, "Name or service not known")
        return found[host]

    monkeypatch.setattr(pinging, "resolve", resolve)
    monkeypatch.setattr(pinging, "LOOK_UP_RETRY_S", 0.0)
    monkeypatch.setattr(pinging, "REPAIR_PERIOD_S", 0.05)
    nodes = (plain("192.0.2.1"), plain("lost"), plain("slow"))
    async with running(*nodes, icmp=FakeIcmp(answering={ROUTER, SIX})) as table:
        await until(lambda: table.status("192.0.2.1") is PingStatus.UP)
        await until(lambda: table.status("lost") is PingStatus.DOWN)
        assert table.view("lost").problem == "lost: no address: Name or service not known"
        assert table.status("slow") is PingStatus.UNKNOWN, "it may still be found"
        found["lost"] = SIX
        hung.set()
        await until(lambda: table.status("lost") is PingStatus.UP)
        assert table.view("lost").problem is None
        await until(lambda: table.status("slow") is PingStatus.DOWN)


async def test_a_name_whose_address_moves_is_asked_there(monkeypatch: pytest.MonkeyPatch) -> None:
    now = ROUTER

    async def resolve(host: str, *, ipv6: bool) -> Address:
        return now

    monkeypatch.setattr(pinging, "resolve", resolve)
    monkeypatch.setattr(pinging, "LOOK_UP_AGAIN_S", 0.0)
    monkeypatch.setattr(pinging, "REPAIR_PERIOD_S", 0.05)
    async with running(plain("r1"), icmp=FakeIcmp(answering={ROUTER})) as table:
        await until(lambda: table.status("r1") is PingStatus.UP)
        now = SIX
        await until(lambda: table.icmp.forgotten == [ROUTER])
        await until(lambda: table.icmp.asked[-1] == SIX)


async def test_a_hung_resolver_holds_nothing_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, *, ipv6: bool) -> Address:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(pinging, "resolve", resolve)
    monkeypatch.setattr(pinging, "FIRST_LOOK_UPS_S", 0.2)
    async with running(plain("r1"), plain("r2")) as table:
        await until(lambda: table.pinger.reach.settled)
        assert table.pinger.reach.reached == 0


async def test_what_we_slept_through_is_no_silence_of_theirs() -> None:
    ahead_s = 0.0
    loop = asyncio.get_running_loop()
    icmp = FakeIcmp(answering={ROUTER})
    bus = MemoryHub().bus(node="a", service="membership", clock=loop.time)
    membership = Membership(
        timers=TIMERS, authentication=KEYS, ping_nodes=(plain("192.0.2.1"),), deadping_s=0.45
    )
    pinger = Pinger(
        membership,
        bus=bus,
        log=structlog.get_logger(),
        clock=lambda: loop.time() + ahead_s,
        icmp=icmp,
    )
    task = loop.create_task(pinger.run())
    await until(lambda: bool(bus.published))
    ahead_s = 30.0  # as after SIGSTOP and SIGCONT
    questions = len(icmp.asked)
    await until(lambda: len(icmp.asked) >= questions + 3)
    assert [type(event) for event in bus.published] == [PingNodeUp]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
