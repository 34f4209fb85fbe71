"""The bus client against a real nats-server: outages, garbage, deafness, plain observers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgpack
import nats
import pytest

from heartbus import codec, subjects
from heartbus.bus import Inbox, NatsBus
from heartbus.events import (
    CheckerState,
    Command,
    CommandOutcome,
    FailBack,
    GroupScope,
    Message,
    NodeDead,
    RealServerDown,
    Standby,
    VipState,
)
from tests.common.nats import NatsServer, arrived

pytestmark = pytest.mark.bus

DEAD = NodeDead(director="b", silent_s=0.3, reason="silence")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as running:
        yield running


class Client:
    """A NatsBus with its connection news and one inbox."""

    def __init__(self, server: NatsServer, service: str, *, node: str = "a") -> None:
        self.bus = NatsBus(url=server.url, node=node, service=service, incarnation=1)
        self.inbox = Inbox()
        self.connected = asyncio.Event()
        self.lost = asyncio.Event()
        self.bus.on_connection(self._tell)

    def _tell(self, connected: bool) -> None:
        (self.connected if connected else self.lost).set()
        (self.lost if connected else self.connected).clear()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Client]:
        task = asyncio.create_task(self.bus.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait({task})


@contextlib.asynccontextmanager
async def clients(server: NatsServer, *services: str) -> AsyncIterator[list[Client]]:
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(30):
        made = [Client(server, service) for service in services]
        for client in made:
            client.bus.subscribe([DEAD.kind], client.inbox)
            await stack.enter_async_context(client.running())
            await client.connected.wait()
        yield made


async def until_heard(sender: Client, receiver: Client) -> Message:
    """Publish until the receiver's subscription is in place; return the first message heard."""
    while True:
        sender.bus.publish(DEAD)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                return await receiver.inbox.get()


async def test_an_event_reaches_the_other_service_with_its_cause(server: NatsServer) -> None:
    async with clients(server, "membership", "vip") as (membership, vip):
        await until_heard(membership, vip)
        sent_id = membership.bus.publish(DEAD, cause="why-id")
        message = await vip.inbox.get()
        while message.envelope.id != sent_id:
            message = await vip.inbox.get()
        assert message.body == DEAD
        assert message.envelope.cause == "why-id"
        assert (message.envelope.node, message.envelope.service) == ("a", "membership")


async def test_a_plain_nats_client_reads_events_without_heartbus(server: NatsServer) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    plain = await nats.connect(server.url)
    try:
        await plain.subscribe("realserver.down", cb=heard.put)
        await arrived(plain)
        async with clients(server, "checker") as (checker,):
            event = RealServerDown(virtual_service="tcp:v:80", real_server="r:80", reason="refused")
            checker.bus.publish(event)
            raw = await heard.get()
            assert msgpack.unpackb(raw.data)["data"]["reason"] == "refused"
            assert raw.headers["ce-type"] == "realserver.down"
            assert raw.headers["ce-source"] == "heartbus://a/checker"
    finally:
        await plain.close()


async def test_the_client_comes_back_after_the_server_was_killed(server: NatsServer) -> None:
    async with clients(server, "membership", "vip") as (membership, vip):
        await until_heard(membership, vip)
        server.kill()
        await membership.lost.wait()
        await vip.lost.wait()
        membership.bus.publish(DEAD)
        assert membership.bus.counters["unsent"] == 1
        server.start()
        await membership.connected.wait()
        await vip.connected.wait()
        await until_heard(membership, vip)


async def test_what_was_said_during_an_outage_is_not_delivered_late(server: NatsServer) -> None:
    async with clients(server, "membership", "vip") as (membership, vip):
        await until_heard(membership, vip)
        server.kill()
        await membership.lost.wait()
        lost = [membership.bus.publish(DEAD) for _ in range(20)]
        server.start()
        await membership.connected.wait()
        await vip.connected.wait()
        heard = (await until_heard(membership, vip)).envelope.id
        assert heard not in lost
        assert vip.inbox.get_nowait() is None


async def test_a_service_starts_before_its_server(server: NatsServer) -> None:
    server.kill()
    early = Client(server, "vip")
    async with early.running(), asyncio.timeout(30):
        assert not early.bus.connected
        early.bus.publish(DEAD)
        server.start()
        await early.connected.wait()


async def test_a_hung_server_is_noticed(server: NatsServer) -> None:
    async with clients(server, "vip") as (vip,):
        server.pause()
        try:
            await vip.lost.wait()
        finally:
            server.resume()
        await vip.connected.wait()


async def test_a_client_whose_read_loop_died_reconnects_and_hears_again(
    server: NatsServer,
) -> None:
    async with clients(server, "membership", "vip") as (membership, vip):
        await until_heard(membership, vip)
        vip.lost.clear()
        vip.bus._client._reading_task.cancel()  # what an exception in nats-py's read loop leaves
        vip.bus._client._ping_interval_task.cancel()  # its pings may notice that, or not
        await vip.lost.wait()
        await vip.connected.wait()
        assert vip.bus.counters["deaf"] == 1
        await until_heard(membership, vip)


async def test_an_error_of_the_server_that_ends_a_connection_is_followed_by_a_new_one(
    server: NatsServer,
) -> None:
    async with clients(server, "membership", "vip") as (membership, vip):
        await until_heard(membership, vip)
        vip.lost.clear()
        # As if the server had sent it: nats-py then closes this client for good.
        await vip.bus._client._process_err("'Unknown Protocol Operation'")
        await vip.lost.wait()
        await vip.connected.wait()
        await until_heard(membership, vip)


async def test_garbage_is_counted_and_ends_nothing(server: NatsServer) -> None:
    plain = await nats.connect(server.url)
    try:
        async with clients(server, "membership", "vip") as (membership, vip):
            await until_heard(membership, vip)
            before = vip.bus.counters["undecodable"]
            for payload in (b"", b"\xc1", b"\x00" * 1000, msgpack.packb({"kind": "node.dead"})):
                await plain.publish(DEAD.kind, payload)
            await arrived(plain)
            await until_heard(membership, vip)
            assert vip.bus.counters["undecodable"] == before + 4
    finally:
        await plain.close()


async def test_a_repeated_message_is_dropped(server: NatsServer) -> None:
    plain = await nats.connect(server.url)
    try:
        async with clients(server, "membership", "vip") as (membership, vip):
            message = await until_heard(membership, vip)
            await plain.publish(DEAD.kind, codec.encode(message))
            await arrived(plain)
            last = await until_heard(membership, vip)
            assert last.envelope.id != message.envelope.id
            assert vip.bus.counters["repeated"] >= 1
    finally:
        await plain.close()


async def test_a_full_inbox_drops_the_oldest_and_counts(server: NatsServer) -> None:
    inbox = Inbox(messages_max=2)
    async with clients(server, "membership", "vip") as (membership, vip):
        message = await until_heard(membership, vip)
        for _ in range(5):
            inbox.put(message)
        assert inbox.overflowed == 3


async def test_state_is_published_each_second_on_change_and_on_request(server: NatsServer) -> None:
    async with clients(server, "vip", "membership") as (vip, membership):
        states = Inbox()
        membership.bus.subscribe([subjects.state("a", "vip")], states)
        vip.bus.serve_state(lambda: VipState(groups=()))
        first = await states.get()
        second = await states.get()
        assert 0.5 < second.envelope.uptime_s - first.envelope.uptime_s < 2.0
        vip.bus.publish_state()
        third = await states.get()
        assert third.envelope.uptime_s - second.envelope.uptime_s < 0.5
        answer = await membership.bus.request_state("a", "vip", timeout_s=2)
        assert answer is not None
        assert answer.body == VipState(groups=())


async def test_nobody_reads_its_own_snapshot(server: NatsServer) -> None:
    """It may have thousands of verdicts; who listens to its peers by a pattern hears itself."""
    async with clients(server, "checker", "vip") as (checker, vip):
        own, others = Inbox(), Inbox()
        checker.bus.subscribe([subjects.states_of_service("checker")], own)
        vip.bus.subscribe([subjects.states_of_service("checker")], others)
        checker.bus.serve_state(lambda: CheckerState(verdicts=()))
        for _ in range(3):
            await others.get()
        assert own.get_nowait() is None


async def test_state_is_published_again_when_the_bus_is_back(server: NatsServer) -> None:
    async with clients(server, "checker", "ipvs-agent") as (checker, agent):
        states = Inbox()
        agent.bus.subscribe([subjects.states_of_service("checker")], states)
        checker.bus.serve_state(lambda: CheckerState(verdicts=()))
        await states.get()
        server.kill()
        await checker.lost.wait()
        await agent.lost.wait()
        while states.get_nowait() is not None:
            pass
        server.start()
        assert (await states.get()).body == CheckerState(verdicts=())


async def test_a_request_that_nobody_serves_is_none_at_once(server: NatsServer) -> None:
    async with clients(server, "vip") as (vip,):
        started_s = time.monotonic()
        assert await vip.bus.request_state("nobody", "vip", timeout_s=10) is None
        assert time.monotonic() - started_s < 5


async def test_a_requester_cannot_make_us_speak_on_another_subject(server: NatsServer) -> None:
    plain = await nats.connect(server.url)
    try:
        async with clients(server, "vip", "membership") as (vip, membership):
            vip.bus.serve_state(lambda: VipState(groups=()))
            assert await membership.bus.request_state("a", "vip", timeout_s=5) is not None
            forged: asyncio.Queue[Any] = asyncio.Queue()
            await plain.subscribe("group.granted", cb=forged.put)
            await plain.publish("command.a.vip.state", b"", reply="group.granted")
            await arrived(plain)
            assert await membership.bus.request_state("a", "vip", timeout_s=5) is not None
            assert forged.empty()
            assert vip.bus.counters["bad-reply-subject"] == 1
    finally:
        await plain.close()


async def test_a_command_is_answered_with_its_outcome(server: NatsServer) -> None:
    async with asyncio.timeout(30):
        served, asker = Client(server, "membership"), Client(server, "cli", node="observer")

        async def handler(command: Command, within_s: float, _cause: str) -> CommandOutcome:
            assert command == Standby(scope=GroupScope.LOCAL)
            assert 0 < within_s <= 5.0
            return CommandOutcome(done=True, message="moved", holders={"vip": "b"}, took_s=0.5)

        served.bus.serve_command(Standby, handler)
        async with served.running(), asker.running():
            await served.connected.wait()
            await asker.connected.wait()
            local = Standby(scope=GroupScope.LOCAL)
            outcome = await asker.bus.request("a", "membership", local, timeout_s=5.0)
            assert outcome is not None
            assert (outcome.done, outcome.holders) == (True, {"vip": "b"})
            nobody = await asker.bus.request("b", "membership", Standby(), timeout_s=0.3)
            assert nobody is None
            unserved = await asker.bus.request("a", "membership", FailBack(), timeout_s=0.3)
            assert unserved is None


async def test_garbage_and_foreign_replies_to_a_command_do_no_harm(server: NatsServer) -> None:
    async with asyncio.timeout(30):
        served = Client(server, "membership")
        carried_out: list[Command] = []

        async def handler(command: Command, _within_s: float, _cause: str) -> CommandOutcome:
            carried_out.append(command)
            return CommandOutcome(done=True, message="done")

        served.bus.serve_command(Standby, handler)
        async with served.running():
            await served.connected.wait()
            plain = await nats.connect(server.url)
            subject = subjects.command("a", "membership", "standby")
            reply = await plain.request(subject, b"\xc1 no msgpack", timeout=5)
            body = codec.decode(reply.data).body
            assert isinstance(body, CommandOutcome)
            assert body.message.startswith("refused: not understood")
            # A requester must not make us speak on a subject of its choice.
            await plain.publish(subject, b"x", reply="node.dead")
            reply = await plain.request(subject, b"", timeout=5)
            assert served.bus.counters["bad-reply-subject"] == 1
            await plain.close()
        assert carried_out == []
