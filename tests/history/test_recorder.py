"""The recorder on a real bus: what it hears, what it missed, what its disk does to it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from heartbus import codec, log
from heartbus.bus import Inbox, NatsBus
from heartbus.events import (
    AskEvents,
    Event,
    FoundEvents,
    HistoryFailed,
    HistoryRestored,
    MembershipState,
    Message,
    NoAnswer,
    NodeDead,
    RecorderState,
)
from heartbus.history import keeping as keeping_module
from heartbus.history.recorder import FILE, SERVICE, keep_history
from heartbus.model import HistorySettings
from heartbus.recording import ASKED_IDS_MAX
from heartbus.runner import Context
from heartbus.systemd import Notifier
from tests.common.nats import NatsServer
from tests.common.samples import sample_body
from tests.history.builders import cluster

pytestmark = [pytest.mark.bus, pytest.mark.timeout(60)]

PATIENCE_S = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as running:
        yield running


class Recorded:
    """A recorder at work, and an observer who asks it."""

    def __init__(self, bus: NatsBus, node: str, directory: Path) -> None:
        self.bus = bus
        self.node = node
        self.file = directory / FILE
        self.inbox = Inbox()
        self.told: list[Message] = []
        self.state: RecorderState | None = None

    async def find(self, query: AskEvents | None = None) -> list[Message]:
        answer = await self.bus.ask(self.node, SERVICE, query or AskEvents(), timeout_s=5.0)
        if answer is None:
            return []  # the bus is just away
        assert isinstance(answer, FoundEvents), answer
        return [codec.decode(payload) for payload in answer.payloads]

    async def bodies(self) -> list[Event]:
        return [m.body for m in await self.find(AskEvents(kinds=("node.*",)))]  # type: ignore[misc]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Hear what the recorder tells until a condition holds."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    message = await self.inbox.get()
                    if isinstance(message.body, RecorderState):
                        self.state = message.body
                    else:
                        self.told.append(message)
        except TimeoutError:
            raise AssertionError(f"{what}: {self.state}, {self.told}") from None

    def said(self, kind: type[Event]) -> list[Event]:
        return [m.body for m in self.told if isinstance(m.body, kind)]


@contextlib.asynccontextmanager
async def recording(
    server: NatsServer,
    directory: Path,
    *,
    node: str = "one",
    settings: HistorySettings | None = None,
) -> AsyncIterator[Recorded]:
    os.makedirs(directory, exist_ok=True)
    bus = NatsBus(url=server.url, node=node, service=SERVICE, incarnation=time.time_ns())
    asker = NatsBus(url=server.url, node="observer", service=f"test-{node}", incarnation=1)
    context = Context(
        node=node,
        service=SERVICE,
        cluster=dataclasses.replace(cluster(), history=settings or HistorySettings()),
        digest="",
        bus=bus,
        incarnation=1,
        runtime_dir=directory,
        state_dir=directory,
        stopping=asyncio.Event(),
        notifier=Notifier(),
        log=log.logger(node=node),
    )
    recorded = Recorded(asker, node, directory)
    asker.subscribe([f"state.{node}.{SERVICE}", "history.*"], recorded.inbox)
    listens = asyncio.Event()
    asker.on_connection(lambda up: listens.set() if up else None)
    runs = [asyncio.create_task(asker.run())]
    await listens.wait()  # the recorder may have something to tell as soon as it is there
    runs.append(asyncio.create_task(bus.run()))
    work = asyncio.create_task(keep_history(context))
    try:
        await recorded.until(lambda: recorded.state, f"the recorder of {node} speaks")
        yield recorded
    finally:
        context.stopping.set()
        await work
        for run in runs:
            run.cancel()
        await asyncio.wait(runs)


@contextlib.asynccontextmanager
async def process(server: NatsServer) -> AsyncIterator[NatsBus]:
    """A membership that tells events and a snapshot every second, as all do."""
    bus = NatsBus(url=server.url, node="one", service="membership", incarnation=time.time_ns())
    state = sample_body(MembershipState)
    assert isinstance(state, MembershipState)
    bus.serve_state(lambda: state)
    connected = asyncio.Event()
    bus.on_connection(lambda up: connected.set() if up else None)
    run = asyncio.create_task(bus.run())
    try:
        await connected.wait()
        yield bus
    finally:
        run.cancel()
        await asyncio.wait({run})


def dead(number: int) -> NodeDead:
    return NodeDead(director="two", silent_s=0.3, reason=f"silence {number}")


async def until_found(recorded: Recorded, wanted: list[NodeDead]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await recorded.bodies() != wanted:  # noqa: ASYNC110  there is nothing to wait on
            await asyncio.sleep(0.05)


async def test_events_are_kept_across_a_restart_of_the_recorder(
    server: NatsServer, tmp_path: Path
) -> None:
    async with process(server) as membership:
        async with recording(server, tmp_path / "one") as recorded:
            for number in range(3):
                membership.publish(dead(number))
            await until_found(recorded, [dead(n) for n in range(3)])
        async with recording(server, tmp_path / "one") as recorded:
            membership.publish(dead(3))
            await until_found(recorded, [dead(n) for n in range(4)])
            everything = await recorded.find(AskEvents(kinds=("node.*",), limit=2))
            assert [m.body for m in everything] == [dead(2), dead(3)]


async def test_what_was_told_to_nobody_is_found_at_the_process_that_told_it(
    server: NatsServer, tmp_path: Path
) -> None:
    """First before the recorder ran, then while the nats-server was down."""
    async with process(server) as membership:
        membership.publish(dead(0))
        async with recording(server, tmp_path / "one") as recorded:
            await until_found(recorded, [dead(0)])
            lost = asyncio.Event()
            membership.on_connection(lambda up: None if up else lost.set())
            server.kill()
            await lost.wait()
            membership.publish(dead(1))
            membership.publish(dead(2))
            server.start()
            await until_found(recorded, [dead(n) for n in range(3)])


async def test_a_recorder_that_was_away_gets_everything_from_a_peer(
    server: NatsServer, tmp_path: Path
) -> None:
    """From a peer alone: the process that told it is gone by then."""
    async with recording(server, tmp_path / "one") as one:
        async with process(server) as membership:
            for number in range(600):
                membership.publish(dead(number))
            await until_found(one, [dead(n) for n in range(600)])
        async with recording(server, tmp_path / "two", node="two") as two:
            await until_found(two, [dead(n) for n in range(600)])
            answer = await two.bus.ask("two", SERVICE, AskEvents(kinds=("node.*",)), timeout_s=5.0)
            assert isinstance(answer, FoundEvents)
            assert answer.gaps == ()


async def test_what_nobody_has_is_a_gap_that_is_told(server: NatsServer, tmp_path: Path) -> None:
    async with process(server) as membership:
        for number in range(300):
            membership.publish(dead(number))  # it remembers the last 256
        async with recording(server, tmp_path / "one") as recorded:
            await until_found(recorded, [dead(n) for n in range(44, 300)])
            answer = await recorded.bus.ask(
                "one", SERVICE, AskEvents(kinds=("node.*",)), timeout_s=5.0
            )
            assert isinstance(answer, FoundEvents)
            assert answer.gaps == (codec.decode(answer.payloads[0]).envelope.id,)


async def test_a_file_that_is_damaged_under_it_is_replaced_and_filled_by_a_peer(
    server: NatsServer, tmp_path: Path
) -> None:
    async with recording(server, tmp_path / "two", node="two") as two:
        async with recording(server, tmp_path / "one") as one, process(server) as membership:
            membership.publish(dead(0))
            await until_found(one, [dead(0)])
            await until_found(two, [dead(0)])
        one.file.write_bytes(b"this is no database" * 1000)
        async with recording(server, tmp_path / "one") as one:
            await until_found(one, [dead(0)])
            await one.until(lambda: one.said(HistoryFailed), "the damage is told")
            (failed,) = one.said(HistoryFailed)
            assert isinstance(failed, HistoryFailed)
            assert "history.db.damaged" in failed.reason
            assert (tmp_path / "one" / "history.db.damaged").exists()


async def test_while_nothing_can_be_written_events_wait_and_an_alarm_says_so(
    server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping_module, "RETRY_S", 0.2)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / FILE).mkdir()  # no file can be there
    async with contextlib.AsyncExitStack() as stack:
        membership = await stack.enter_async_context(process(server))
        membership.publish(dead(0))  # before anybody listens: it is asked for
        one = await stack.enter_async_context(recording(server, tmp_path / "one"))
        await one.until(lambda: one.state and one.state.problem, "an alarm")
        await until_found(one, [dead(0)])
        (tmp_path / "one" / FILE).rmdir()
        await one.until(lambda: one.said(HistoryRestored), "it is told that it is over")
        assert one.said(HistoryRestored) == [HistoryRestored(lost=0)]
        await one.until(
            lambda: one.state and not one.state.waiting and one.state.problem is None, "written"
        )
        assert one.file.is_file()
    async with recording(server, tmp_path / "one") as one:
        await until_found(one, [dead(0)])


async def test_what_waits_is_bounded_and_what_is_lost_is_counted(
    server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping_module, "RETRY_S", 0.2)
    monkeypatch.setattr(keeping_module, "WAITING_MAX", 20)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / FILE).mkdir()
    async with recording(server, tmp_path / "one") as one, process(server) as membership:
        await one.until(lambda: one.state and one.state.problem, "an alarm")
        for number in range(100):
            membership.publish(dead(number))
        await one.until(lambda: one.state and one.state.waiting == 20, "it waits")
        monkeypatch.setattr(keeping_module, "WAITING_MAX", 10_000)
        (tmp_path / "one" / FILE).rmdir()
        await one.until(lambda: one.said(HistoryRestored), "it is told that it is over")
        (restored,) = one.said(HistoryRestored)
        assert isinstance(restored, HistoryRestored)
        assert restored.lost >= 80
        # The process that told them still knows them: they are found again.
        await until_found(one, [dead(n) for n in range(100)])


async def test_too_much_at_once_is_refused_and_garbage_is_not_kept(
    server: NatsServer, tmp_path: Path
) -> None:
    async with recording(server, tmp_path / "one") as one:
        ids = tuple(f"{n:032x}" for n in range(ASKED_IDS_MAX + 1))
        answer = await one.bus.ask("one", SERVICE, AskEvents(ids=ids), timeout_s=5.0)
        assert isinstance(answer, NoAnswer)
        import nats

        plain = await nats.connect(server.url)
        for payload in (b"", b"\xc1", b"x" * 100_000):
            await plain.publish("node.dead", payload)
        reply = await plain.request(f"query.one.{SERVICE}.events", b"\xc1", timeout=5)
        assert isinstance(codec.decode(reply.data).body, NoAnswer)
        await plain.close()
        assert await one.bodies() == []
