"""A client in another language reads what we say, with nothing but the AsyncAPI document."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from heartbus import asyncapi
from heartbus.asyncapi_examples import example_body
from heartbus.bus import NatsBus
from heartbus.events import BODY_CLASSES, EVENT_CLASSES, MembershipState, NodeDead
from tests.common.nats import NatsServer

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = CHECKOUT / "build" / "observer" / "node_modules"
OBSERVER: Final = Path(__file__).with_name("observe.js")
WITHIN_S: Final = 30.0


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "asyncapi.json"
    path.write_text(json.dumps(asyncapi.document()))
    return path


async def _observer(*arguments: object) -> asyncio.subprocess.Process:
    assert PACKAGES.is_dir(), "make setup fetches what tests/observer/package-lock.json pins"
    return await asyncio.create_subprocess_exec(
        "node",
        str(OBSERVER),
        *map(str, arguments),
        env={**os.environ, "NODE_PATH": str(PACKAGES)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _answer(*arguments: object) -> tuple[int | None, str, str]:
    process = await _observer(*arguments)
    out, err = await asyncio.wait_for(process.communicate(), WITHIN_S)
    return process.returncode, out.decode(), err.decode()


async def test_the_document_is_valid_and_every_example_decodes_to_what_it_says(
    document: Path,
) -> None:
    code, out, err = await _answer(document, "check")
    assert code == 0, err
    assert json.loads(out) == {"examples": len(BODY_CLASSES)}


async def test_an_example_that_says_something_else_than_its_bytes_is_found(document: Path) -> None:
    wrong = json.loads(json.dumps(asyncapi.document()))
    wrong["components"]["messages"]["node.dead"]["examples"][0]["payload"]["data"]["silent_s"] = 7
    await asyncio.to_thread(document.write_text, json.dumps(wrong))
    code, _, err = await _answer(document, "check")
    assert code == 1
    assert "silent_s" in err


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as running:
        yield running


@pytest.mark.bus
async def test_every_event_and_a_snapshot_are_read_off_a_real_bus(
    document: Path, server: NatsServer
) -> None:
    state = example_body(MembershipState)
    assert isinstance(state, MembershipState)
    process = await _observer(document, "listen", server.url, MembershipState.kind)
    assert process.stdout is not None
    bus = NatsBus(url=server.url, node="a.example", service="membership", incarnation=1)
    run = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            assert json.loads(await process.stdout.readline()) == {"listening": True}
            connected = asyncio.Event()
            bus.on_connection(lambda there: connected.set() if there else None)
            if not bus.connected:
                await connected.wait()
            # Nothing awaits in here, so the snapshot is told last.
            bus.serve_state(lambda: state)
            for event_class in EVENT_CLASSES:
                bus.publish(example_body(event_class))  # type: ignore[arg-type]
            bus.publish_state()
            said = [json.loads(line) async for line in process.stdout]
            assert await process.wait() == 0
    finally:
        run.cancel()
        await asyncio.wait({run})
    _must_be_ours(said)


def _must_be_ours(said: list[dict[str, Any]]) -> None:
    by_kind = {line["payload"]["kind"]: line for line in said}
    assert set(by_kind) == {c.kind for c in EVENT_CLASSES} | {MembershipState.kind}
    for kind, line in by_kind.items():
        assert line["valid"], f"{kind}: {line['errors']}"
        assert line["type"] == "application/msgpack"
        assert line["payload"]["data"] == _example(kind), kind
    dead = by_kind[NodeDead.kind]
    assert dead["subject"] == "node.dead"
    assert dead["payload"]["node"] == "a.example"
    assert abs(dead["payload"]["time_s"] - time.time()) < WITHIN_S
    assert by_kind[MembershipState.kind]["subject"] == "state.a_example.membership"


def _example(kind: str) -> Any:
    message = asyncapi.document()["components"]["messages"][kind]
    return message["examples"][0]["payload"]["data"]
