"""What a bus with keys keeps out, and what it lets through, on a real nats-server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

from heartbus import codec, subjects
from heartbus.bus import Inbox, NatsBus
from heartbus.bus_keys import Key, new_seed
from heartbus.events import (
    Command,
    CommandOutcome,
    GroupGranted,
    GroupScope,
    IpvsChanged,
    Message,
    NodeDead,
    PushConfig,
    RealServerDown,
    Reload,
    Standby,
    VipState,
)
from heartbus.rights import Role
from tests.common.nats import NatsServer
from tests.common.samples import sample_body, sample_envelope
from tests.common.secured import NODE, PEER, Director, plain, running, secured

pytestmark = pytest.mark.bus

DEAD = NodeDead(director="b", silent_s=0.3, reason="silence")
GIB = 1024**3


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[Director, NatsServer]]:
    director, server = secured(tmp_path)
    with server:
        yield director, server


@contextlib.asynccontextmanager
async def pair(director: Director, server: NatsServer) -> AsyncIterator[tuple[NatsBus, NatsBus]]:
    """A vip that answers, and a membership."""
    vip = director.bus(server.url, Role.VIP)
    vip.serve_state(lambda: VipState(groups=()))
    membership = director.bus(server.url, Role.MEMBERSHIP)
    async with asyncio.timeout(60), running(vip), running(membership):
        yield vip, membership


async def answers(asker: NatsBus) -> bool:
    """Whether a service is asked and answers: all that a director needs of its bus."""
    return await asker.request_state(NODE, "vip", timeout_s=1.0) is not None


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does; bounded by the time limit of the test."""
    while not condition():  # noqa: ASYNC110 (counters and files have no event)
        await asyncio.sleep(0.01)


async def refused(server: NatsServer, **credentials: Any) -> None:
    client = nats.NATS()
    with pytest.raises(nats.errors.Error):
        await client.connect(server.url, allow_reconnect=False, **credentials)
    await client.close()


# --- credentials ---------------------------------------------------------------------------------


async def test_who_has_no_key_or_a_wrong_one_is_not_let_in_and_disturbs_nobody(
    made: tuple[Director, NatsServer],
) -> None:
    director, server = made
    stranger = director.directory / "stranger" / "vip"
    stranger.mkdir(parents=True)
    (stranger / "seed").write_text(new_seed())
    async with pair(director, server) as (_vip, membership):
        for key in (None, Key(stranger.parent, "vip")):
            kept_out = NatsBus(
                url=server.url, node=NODE, service="vip", incarnation=time.time_ns(), key=key
            )
            task = asyncio.create_task(kept_out.run())
            await until(lambda bus=kept_out: bus.refusal is not None)  # type: ignore[misc]
            assert not kept_out.connected
            assert "does not accept" in kept_out.unreachable
            assert await answers(membership)
            task.cancel()
            await asyncio.wait({task})
        for wrong in ({}, {"user": "vip", "password": "vip"}, {"token": "vip"}):
            await refused(server, **wrong)
        assert await answers(membership)


async def test_a_director_with_a_dot_in_its_name_is_asked_and_answers(tmp_path: Path) -> None:
    director, server = secured(tmp_path, PEER)
    vip, membership = (director.bus(server.url, role) for role in (Role.VIP, Role.MEMBERSHIP))
    vip.serve_state(lambda: VipState(groups=()))
    with server:
        async with asyncio.timeout(20), running(vip), running(membership):
            assert await membership.request_state(PEER, "vip", timeout_s=5.0) is not None
            assert await _echoes(vip)


async def _echoes(bus: NatsBus) -> bool:
    """Whether a client hears its own beat: else it would call itself deaf."""
    before_s = bus._echo_heard_s
    await until(lambda: bus._echo_heard_s > before_s)
    return bus.connected


async def test_a_service_whose_key_comes_late_is_let_in_then(
    made: tuple[Director, NatsServer],
) -> None:
    director, server = made
    file = director.keys / "checker" / "seed"
    aside = file.with_name("aside")
    file.rename(aside)
    checker = director.bus(server.url, Role.CHECKER)
    task = asyncio.create_task(checker.run())
    async with asyncio.timeout(20):
        await until(lambda: checker.refusal is not None)
        aside.rename(file)
        await until(lambda: checker.connected)
    task.cancel()
    await asyncio.wait({task})


async def test_a_nats_server_of_ones_own_lets_the_same_users_in(tmp_path: Path) -> None:
    """As operations.md has it: a file of the administrator's, which includes the users."""
    director = Director(tmp_path)
    director.init()
    users = director.directory / "users.conf"
    done = director.run("config", "--users", f"--output={users}")
    assert done.exit_code == 0, done.output
    own = director.directory / "own.conf"
    own.write_text("max_payload: 8MB\ninclude users.conf\n")
    with NatsServer(director.directory, config=own) as server:
        async with pair(director, server) as (_vip, membership):
            assert await answers(membership)
            async with plain(server.url, director, "checker") as checker:
                assert not await checker.may_publish(IpvsChanged.kind)
            await refused(server)


# --- forged subjects -----------------------------------------------------------------------------


async def test_a_service_cannot_speak_for_another_one(made: tuple[Director, NatsServer]) -> None:
    """Neither on the other's subjects nor, in the other's name, on its own."""
    director, server = made
    inbox = Inbox()
    agent = director.bus(server.url, Role.IPVS_AGENT)
    agent.subscribe([f"state.{NODE}.vip", RealServerDown.kind], inbox)
    async with (
        pair(director, server) as (vip, _membership),
        running(agent),
        plain(server.url, director, "checker") as checker,
    ):
        assert not await checker.may_publish(IpvsChanged.kind)
        assert not await checker.may_publish(f"state.{NODE}.vip")
        assert not await checker.may_publish(f"command.{NODE}.membership.standby")
        assert not await checker.may_publish("state.lb-b_example.checker")
        # In an envelope of vip's, on a subject that it may use and the agent listens to:
        forged = Message(envelope=sample_envelope(VipState.kind), body=sample_body(VipState))
        assert await checker.may_publish(RealServerDown.kind, codec.encode(forged))
        vip.publish_state()
        async with asyncio.timeout(10):
            await until(lambda: agent.counters["forged"] > 0)
            first = await inbox.get()
        assert first.body == VipState(groups=())  # vip's own, and not the forged one


async def test_who_may_ask_for_a_reload_cannot_smuggle_in_a_standby(
    made: tuple[Director, NatsServer],
) -> None:
    director, server = made
    carried_out: list[Command] = []

    async def carry_out(command: Command, _within_s: float, _cause: str) -> CommandOutcome:
        carried_out.append(command)
        return CommandOutcome(done=True, message="done")

    membership = director.bus(server.url, Role.MEMBERSHIP)
    for command_class in (Standby, Reload, PushConfig):
        membership.serve_command(command_class, carry_out)
    vip = director.bus(server.url, Role.VIP)
    async with asyncio.timeout(30), running(membership), running(vip):
        done = await vip.request(NODE, "membership", Reload(), timeout_s=5.0)
        assert done is not None
        assert done.done
        message = vip._wrap(Standby(scope=GroupScope.ALL), cause=None, valid_for_s=5.0)
        subject = subjects.command(NODE, "membership", "reload")
        raw = await vip._client.request(subject, codec.encode(message), timeout=5)
        answer = codec.decode(raw.data).body
        assert isinstance(answer, CommandOutcome)
        assert not answer.done
        assert "holds command.standby" in answer.message
        assert carried_out == [Reload()]


async def test_a_command_that_comes_twice_is_carried_out_once(
    made: tuple[Director, NatsServer],
) -> None:
    director, server = made
    carried_out: list[Command] = []

    async def carry_out(command: Command, _within_s: float, _cause: str) -> CommandOutcome:
        carried_out.append(command)
        return CommandOutcome(done=True, message="done")

    membership = director.bus(server.url, Role.MEMBERSHIP)
    membership.serve_command(Standby, carry_out)
    operator = director.bus(server.url, Role.OPERATOR)
    async with asyncio.timeout(30), running(membership), running(operator):
        message = operator._wrap(Standby(), cause=None, valid_for_s=5.0)
        subject = subjects.command(NODE, "membership", "standby")
        await operator._client.request(subject, codec.encode(message), timeout=5)
        await operator._client.publish(subject, codec.encode(message), reply="_INBOX.operator.x")
        await until(lambda: membership.counters["repeated"] > 0)
        assert carried_out == [Standby()]


# --- replies -------------------------------------------------------------------------------------


async def test_a_requester_cannot_make_a_service_speak_where_it_may_not_itself(
    made: tuple[Director, NatsServer],
) -> None:
    """By our own refusal, and if that failed, by the server: answers go to inboxes alone."""
    director, server = made
    async with (
        pair(director, server) as (vip, membership),
        plain(server.url, director, "operator") as operator,
        plain(server.url, director, "vip") as compromised,
    ):
        heard: list[Any] = []

        async def hear(message: Any) -> None:
            heard.append(message)

        await operator.client.subscribe(GroupGranted.kind, cb=hear)
        await operator.client.publish(f"command.{NODE}.vip.state", reply=GroupGranted.kind)
        await operator.refusals()
        assert await answers(membership)
        assert vip.counters["bad-reply-subject"] == 1
        assert not await compromised.may_publish(GroupGranted.kind)
        assert heard == []


async def test_nobody_reads_what_another_one_was_answered(
    made: tuple[Director, NatsServer],
) -> None:
    director, server = made
    async with plain(server.url, director, "observer") as observer:
        for inbox in ("_INBOX.>", "_INBOX.operator.>", f"_INBOX.{NODE}.membership.>"):
            assert not await observer.may_subscribe(inbox)
        assert not await observer.may_publish("_INBOX.operator.guessed")


async def test_one_inbox_may_get_several_answers(made: tuple[Director, NatsServer]) -> None:
    """With allow_responses a server lets one reply a subject through, and no second one."""
    director, server = made
    async with (
        pair(director, server),
        plain(server.url, director, "operator") as operator,
    ):
        got: asyncio.Queue[Any] = asyncio.Queue()
        await operator.client.subscribe("_INBOX.operator.one", cb=got.put)
        for _ in range(3):
            await operator.client.publish(f"command.{NODE}.vip.state", reply="_INBOX.operator.one")
        for _ in range(3):
            assert isinstance(codec.decode((await got.get()).data).body, VipState)


async def test_snapshots_on_request_are_bounded(made: tuple[Director, NatsServer]) -> None:
    director, server = made
    async with (
        pair(director, server) as (vip, membership),
        plain(server.url, director, "operator") as operator,
    ):
        for _ in range(500):
            await operator.client.publish(f"command.{NODE}.vip.state", reply="_INBOX.operator.x")
        await operator.refusals()
        await until(lambda: vip.counters["too-many-requests"] > 0)
        assert vip.connected
        async with asyncio.timeout(10):
            while not await answers(membership):
                pass  # it answers again within a second; each try waits


# --- too much, too slow --------------------------------------------------------------------------


def raw(server: NatsServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


async def test_a_payload_of_a_gigabyte_ends_the_connection_of_its_sender_alone(
    made: tuple[Director, NatsServer],
) -> None:
    director, server = made
    async with pair(director, server) as (vip, membership):
        with raw(server) as stranger:  # without a key: not even its length is read
            stranger.sendall(b"PUB realserver.down %d\r\n" % GIB)
            assert b"-ERR" in await asyncio.to_thread(_read_all, stranger)
        async with plain(server.url, director, "checker") as checker:
            checker.client._transport.write(b"PUB realserver.down %d\r\n" % GIB)
            await until(lambda: checker.client.is_closed)
        with pytest.raises(nats.errors.MaxPayloadError):
            async with plain(server.url, director, "checker") as checker:
                await checker.client.publish("realserver.down", b"\0" * (16 * 1024 * 1024))
        assert await answers(membership)
        assert vip.connected
        assert vip.counters["deaf"] == 0


def _read_all(connection: socket.socket) -> bytes:
    read = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            read += chunk
    return read


@pytest.mark.parametrize(
    ("messages", "said"), [(1000, "MaxPending"), (12, "WriteDeadline")], ids=["flood", "trickle"]
)
async def test_an_observer_that_does_not_read_is_cut_off_and_delays_nobody(
    made: tuple[Director, NatsServer], messages: int, said: str
) -> None:
    """A megabyte each: it is what waits that is bounded, and for how long it waits."""
    director, server = made
    async with (
        pair(director, server) as (_vip, membership),
        plain(server.url, director, "checker") as checker,
        plain(server.url, director, "observer") as stuck,
    ):
        await stuck.client.subscribe("realserver.*")
        await stuck.refusals()
        transport = stuck.client._transport._io_writer.transport
        transport.pause_reading()
        # Else the kernel may keep it all for the observer.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        told = 0
        while "Slow Consumer" not in server.said():
            if told < messages:
                await checker.client.publish("realserver.down", b"x" * 1_000_000)
                told += 1
            assert await answers(membership)  # in less than a second
            await asyncio.sleep(0.06)  # snapshots on request are bounded to 20 a second
        assert said in server.said()
        assert await answers(membership)
        assert checker.client.is_connected


# --- changing keys -------------------------------------------------------------------------------


async def test_keys_change_without_a_gap(made: tuple[Director, NatsServer]) -> None:
    """Every event arrives and every command is carried out once, all the while."""
    director, server = made
    inbox = Inbox(messages_max=100_000)
    told: list[str] = []
    carried_out: list[str] = []
    stop = asyncio.Event()
    membership = director.bus(server.url, Role.MEMBERSHIP)
    observer = director.bus(server.url, Role.OBSERVER)
    operator = director.bus(server.url, Role.OPERATOR)
    observer.subscribe([NodeDead.kind], inbox)

    async def carry_out(_command: Command, _within_s: float, cause: str) -> CommandOutcome:
        carried_out.append(cause)
        return CommandOutcome(done=True, message="done")

    membership.serve_command(Standby, carry_out)

    async def speak() -> None:
        while not stop.is_set():
            told.append(membership.publish(DEAD))
            await asyncio.sleep(0.005)

    async def command() -> int:
        asked = 0
        while not stop.is_set():
            outcome = await operator.request(NODE, "membership", Standby(), timeout_s=10.0)
            assert outcome is not None
            assert outcome.done
            asked += 1
        return asked

    async def rotate(step: str) -> None:
        done = await asyncio.to_thread(director.run, "rotate", step, configured=False)
        assert done.exit_code == 0, done.output
        if step != "switch":
            await asyncio.to_thread(director.write)
            await asyncio.to_thread(server.reload)

    async with (
        asyncio.timeout(60),
        running(membership),
        running(observer),
        running(operator),
    ):
        lost: list[bool] = []
        for bus in (membership, observer, operator):
            bus.on_connection(lost.append)
        before = {bus: bus._client for bus in (membership, observer, operator)}
        speaking = asyncio.create_task(speak())
        commanding = asyncio.create_task(command())
        await rotate("begin")
        await rotate("switch")
        while any(bus._client is client for bus, client in before.items()):
            await asyncio.sleep(0.01)
            assert not commanding.done()
        await rotate("end")
        since = len(told)
        await until(lambda: len(told) >= since + 20)
        stop.set()
        asked = await commanding
        await speaking
        await membership.flush(timeout_s=5.0)
        heard: list[str] = []
        while not heard or heard[-1] != told[-1]:
            heard.append((await inbox.get()).envelope.id)
        assert lost == [], "a connection was lost"
        assert heard == told
        assert len(carried_out) == asked
        assert asked > 5
        assert membership.counters["unsent"] == 0


async def test_an_old_key_is_worth_nothing_after_the_end(
    made: tuple[Director, NatsServer],
) -> None:
    director, server = made
    stolen = director.seed("operator")
    async with plain(server.url, director, "operator") as thief:
        for step in ("begin", "switch", "end"):
            assert director.run("rotate", step, "operator", configured=False).exit_code == 0
        director.write()
        await asyncio.to_thread(server.reload)
        await until(lambda: thief.client.is_closed)
    await refused(server, nkeys_seed_str=stolen)
