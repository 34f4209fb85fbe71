"""One server that is everything a server should not be, for every protocol, by TCP and UDP.

``silent`` accepts and says nothing, ``closing`` closes at once, ``garbage`` answers with random
bytes, ``text`` with lines of no protocol, ``endless`` without end. ``relay`` stands before a real
server and hands its answers on byte by byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from heartbus.model import Endpoint

MODES: Final = ("silent", "closing", "garbage", "text", "endless")
GARBAGE: Final = random.Random(7).randbytes(4096)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def hostile(mode: str) -> AsyncIterator[Endpoint]:
    """Serve on the same loopback port by TCP and UDP."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match mode:
            case "silent":
                await reader.read()
            case "closing":
                return
            case "garbage":
                writer.write(GARBAGE)
                await reader.read()
            case "text":
                writer.write(b"hello there\r\nhow are you\r\n" * 50)
                await reader.read()
            case _:
                while True:
                    writer.write(b"x" * 65536)
                    await writer.drain()

    async with _serving(serve) as endpoint:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(mode), local_addr=(endpoint.address, endpoint.port)
        )
        try:
            yield endpoint
        finally:
            transport.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, mode: str) -> None:
        self._mode = mode

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answers = {"garbage": [GARBAGE[:512]], "text": [b"hello there\r\n"], "closing": [b""]}
        answers["endless"] = [b"x" * 1024] * 200
        for answer in answers.get(self._mode, []):
            self._transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def relay(
    to: Endpoint, *, every_s: float = 0.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Endpoint]:
    """Stand before a server: its answers come byte by byte, ``every_s`` seconds apart.

    ``tls``: what is said to us is within TLS.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(to.address, to.port)

        async def forth() -> None:
            while chunk := await reader.read(65536):
                ours.write(chunk)
            ours.write_eof()  # not reached where the probe resets

        forwarding = asyncio.ensure_future(forth())
        try:
            while chunk := await theirs.read(65536):
                for byte in chunk:
                    writer.write(bytes((byte,)))
                    await asyncio.sleep(every_s)
        finally:
            forwarding.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await forwarding
            ours.transport.abort()

    async with _serving(serve, tls) as endpoint:
        yield endpoint


@contextlib.asynccontextmanager
async def _serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[Endpoint]:
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(converse(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except OSError:
            pass  # the probe has gone
        finally:
            writer.transport.abort()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1024, ssl=tls)
    try:
        yield Endpoint(address="127.0.0.1", port=listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
