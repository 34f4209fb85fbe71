"""The history in a JetStream of the user: all of it, once, in order; nothing waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from heartbus import codec
from heartbus.config import ConfigError, load
from heartbus.events import AskEvents, FoundEvents, NodeDead, RecorderState
from heartbus.history.feed import OVERLAP_S, Feed
from heartbus.model import HistorySettings
from tests.common.nats import NatsServer
from tests.history.builders import NOW_S, Process
from tests.history.test_recorder import PATIENCE_S, Recorded, dead, process, recording
from tests.simulator.clusters import PAIR

SUBJECT = "audit.lb"


# --- what is sent next ---------------------------------------------------------------------------


def answer(*payloads: bytes, more: bool = False) -> FoundEvents:
    return FoundEvents(payloads=payloads, more=more)


def test_what_was_sent_is_not_sent_again_and_the_cursor_follows() -> None:
    feed = Feed(node="one", cursor_s=NOW_S)
    one = Process().say(dead(1), at_s=NOW_S + 1)
    query = feed.query(now_s=NOW_S + 5)
    assert (query.node, query.since_s, query.until_s) == ("one", NOW_S - OVERLAP_S, NOW_S + 5)
    ((message, payload),) = feed.to_send(answer(codec.encode(one)))
    assert (message, payload) == (one, codec.encode(one))
    feed.sent(one)
    assert feed.finished()
    assert feed.cursor_s == NOW_S + 5
    late = Process().say(dead(2), at_s=NOW_S + 2)
    feed.query(now_s=NOW_S + 6)
    again = feed.to_send(answer(codec.encode(one), codec.encode(late)))
    assert [m for m, _ in again] == [late], "what reached the file late is sent too"


def test_an_answer_that_was_cut_off_is_asked_for_in_parts() -> None:
    feed = Feed(node="one", cursor_s=NOW_S)
    first = feed.query(now_s=NOW_S + 7200)
    assert feed.to_send(answer(codec.encode(Process().say(dead(1))), more=True)) == []
    assert not feed.finished()
    second = feed.query(now_s=NOW_S + 7200)
    assert second.until_s - NOW_S == (first.until_s - NOW_S) / 2


def test_from_the_beginning_of_time_it_comes_to_now_soon() -> None:
    feed = Feed(node="one", cursor_s=0.0)
    for _ in range(30):
        feed.query(now_s=NOW_S)
        feed.to_send(answer())
        feed.finished()
    assert feed.behind_s(now_s=NOW_S) == 0.0


# --- a real JetStream ----------------------------------------------------------------------------


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as running:
        yield running


@pytest.fixture
def users(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server of the user, with JetStream, that is not the bus."""
    directory = tmp_path / "users"
    directory.mkdir()
    config = directory / "nats.conf"
    config.write_text(f"jetstream {{ store_dir: {json.dumps(str(directory))} }}\n")
    with NatsServer(directory, config=config) as running:
        yield running


@contextlib.asynccontextmanager
async def stream(server: NatsServer, *, make: bool = True) -> AsyncIterator[Any]:
    client = await nats.connect(server.url)
    try:
        jetstream = client.jetstream()
        if make:
            await jetstream.add_stream(name="audit", subjects=[f"{SUBJECT}.>"])
        yield jetstream
    finally:
        await client.close()


async def streamed(jetstream: Any, count: int) -> list[Any]:
    """Return the messages of the stream, once there are so many of node.dead."""
    kind = f"{SUBJECT}.{NodeDead.kind}"
    async with asyncio.timeout(PATIENCE_S):
        while True:
            known = (await jetstream.stream_info("audit", kind)).state.subjects or {}
            if known.get(kind, 0) >= count:
                break
            await asyncio.sleep(0.1)
    info = await jetstream.stream_info("audit")
    first, last = info.state.first_seq, info.state.last_seq
    found = [await jetstream.get_msg("audit", number) for number in range(first, last + 1)]
    return [message for message in found if message.subject == kind]


@contextlib.asynccontextmanager
async def streaming(bus: NatsServer, users: NatsServer, directory: Path) -> AsyncIterator[Recorded]:
    settings = HistorySettings(stream=users.url, stream_subject=SUBJECT)
    async with recording(bus, directory, settings=settings) as recorded:
        yield recorded


pytest_bus = pytest.mark.bus


@pytest_bus
async def test_what_this_director_said_is_in_the_stream_once_and_in_order(
    bus: NatsServer, users: NatsServer, tmp_path: Path
) -> None:
    async with stream(users) as jetstream, process(bus) as membership:
        async with streaming(bus, users, tmp_path / "one"):
            for number in range(3):
                membership.publish(dead(number))
            found = await streamed(jetstream, 3)
        bodies = [codec.decode(message.data).body for message in found]
        assert bodies == [dead(n) for n in range(3)]
        envelope = codec.decode(found[0].data).envelope
        assert found[0].headers["Nats-Msg-Id"] == envelope.id
        assert found[0].headers["ce-type"] == NodeDead.kind
        async with streaming(bus, users, tmp_path / "one"):
            membership.publish(dead(3))
            again = await streamed(jetstream, 4)
        assert [codec.decode(m.data).body for m in again] == [dead(n) for n in range(4)]


@pytest_bus
async def test_what_was_said_while_it_was_away_comes_later_and_an_alarm_says_so(
    bus: NatsServer, users: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heartbus.history.streaming.RETRY_S", 0.2)

    def problem(recorded: Recorded) -> str | None:
        state = recorded.state
        return state.stream_problem if isinstance(state, RecorderState) else None

    users.kill()
    async with process(bus) as membership, streaming(bus, users, tmp_path / "one") as recorded:
        membership.publish(dead(0))
        await recorded.until(
            lambda: "not streamed to nats://" in (problem(recorded) or ""), "an alarm"
        )
        async with asyncio.timeout(PATIENCE_S):  # the history itself is kept and asked as ever
            while await recorded.bodies() != [dead(0)]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        users.start()
        await recorded.until(
            lambda: f"takes the subjects {SUBJECT}.>" in (problem(recorded) or ""), "no stream"
        )
        async with stream(users) as jetstream:
            (message,) = await streamed(jetstream, 1)
            assert codec.decode(message.data).body == dead(0)
        await recorded.until(lambda: problem(recorded) is None, "the alarm ends")
        answered = await recorded.find(AskEvents(since_s=time.time() - 60, kinds=("node.*",)))
        assert [m.body for m in answered] == [dead(0)]


def test_settings_are_off_unless_a_stream_is_named() -> None:
    assert HistorySettings().stream is None
    assert dataclasses.replace(HistorySettings(), stream="nats://a:4222").stream_subject


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('stream = "nats://audit:4222"', ""),
        (
            'stream = "http://audit"',
            "'http://audit' is not allowed; allowed is nats",
        ),
        ('stream = "nats://a:b@audit:4222"', "without a password"),
        ('stream_subject = "heartbus.>"', "history.stream_subject: 'heartbus.>' is not allowed"),
        ('stream_credentials = "creds"', "allowed is a path that begins with /"),
    ],
)
def test_the_keys_in_the_configuration(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "heartbus.toml"
    path.write_text(f"{PAIR}\n[history]\n{line}\n")
    path.chmod(0o600)
    if not said:
        assert load(str(path)).cluster.history.stream == "nats://audit:4222"
        return
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(str(path))
