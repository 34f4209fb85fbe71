"""What there is no server of in Debian for: the reference implementations, or bytes by the book."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent import futures

import grpc
import pytest
import websockets.asyncio.server
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from heartbus.model import CheckService, Endpoint

from .asking import Asker

S = CheckService


# --- gRPC and WebSocket: the reference implementations for Python --------------------------------


@pytest.fixture(scope="module")
def grpc_server() -> Iterator[Endpoint]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    servicer.set("shop", health_pb2.HealthCheckResponse.SERVING)
    servicer.set("till", health_pb2.HealthCheckResponse.NOT_SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Endpoint(address="127.0.0.1", port=port)
    stopped: threading.Event = server.stop(None)
    stopped.wait()


@pytest.mark.parametrize(
    ("name", "passes", "words"),
    [
        ("", True, "gRPC health of the server: SERVING after "),
        ("shop", True, "gRPC health of shop: SERVING after "),
        ("till", False, "gRPC health of till: NOT_SERVING after "),
        ("none", False, "gRPC health of none: NOT_FOUND: the server knows no such service"),
    ],
)
async def test_grpc_health(
    asker: Asker, grpc_server: Endpoint, name: str, passes: bool, words: str
) -> None:
    result = await asker.ask(S.GRPC, grpc_server, request=name)
    assert result.passed is passes, result.reason
    assert words in result.reason


@contextlib.asynccontextmanager
async def websocket_server() -> AsyncIterator[Endpoint]:
    async def serve(connection: websockets.asyncio.server.ServerConnection) -> None:
        await connection.wait_closed()

    async with websockets.asyncio.server.serve(serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield Endpoint(address="127.0.0.1", port=port)


async def test_a_websocket_server_agrees_to_the_upgrade(asker: Asker) -> None:
    async with websocket_server() as endpoint:
        result = await asker.ask(S.WEBSOCKET, endpoint, request="/")
    assert result.passed, result.reason
    assert result.reason.startswith("WebSocket: 101, upgraded after ")


# --- AMQP: the broker needs Erlang; its bytes, by the specification -------------------------------


@pytest.mark.parametrize(
    ("answer", "passes", "words"),
    [
        (
            b"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x0a\x00\x09",
            True,
            "connection.start has come",
        ),
        (b"AMQP\x00\x01\x00\x00", False, "AMQP header: another version is wanted"),
        (b"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x32\x00\x09", False, "method 10.50 instead"),
        (b"HTTP/1.1 400 Bad Request\r\n", False, "not AMQP"),
    ],
)
async def test_amqp(asker: Asker, answer: bytes, passes: bool, words: str) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readexactly(8))
        writer.write(answer)
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        result = await asker.ask(S.AMQP, Endpoint(address="127.0.0.1", port=port))
    assert result.passed is passes, result.reason
    assert words in result.reason
    assert heard == [b"AMQP\x00\x00\x09\x01"]
