"""The programs that run inside a host to make traffic; ``tests.lab.client`` starts and reads them.

Only the standard library is imported, so that they start fast in the lab kernel. Called as
``python -S traffic.py FACTS ask|hold|echo|say ARGUMENTS…``; SIGTERM ends them with exit code 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

OUTSTANDING_MAX: Final = 200
ANSWER_BYTES_MAX: Final = 65536
MESSAGE_PERIOD_S: Final = 0.2
MESSAGE: Final = b"still here?\n"


async def _ask(facts: TextIO, address: str, port: str, path: str, *numbers: str) -> None:
    period_s, timeout_s, duration_max_s = map(float, numbers)
    loop = asyncio.get_running_loop()
    request = f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode()
    under_way: set[asyncio.Task[None]] = set()

    async def attempt() -> None:
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                verdict = f"ok {await _page(address, int(port), request)}"
        except (OSError, TimeoutError, ValueError) as error:
            verdict = f"failed {_why(error)}"
        facts.write(f"{started_s:.6f} {time.monotonic():.6f} {verdict}\n")

    due_s = loop.time()
    ends_s = due_s + duration_max_s
    try:
        while due_s < ends_s:
            if len(under_way) < OUTSTANDING_MAX:
                task = loop.create_task(attempt())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            due_s = max(due_s + period_s, loop.time())
            await asyncio.sleep(due_s - loop.time())
    finally:
        await asyncio.gather(*under_way, return_exceptions=True)


async def _page(address: str, port: int, request: bytes) -> str:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(request)
        answer = await reader.read(ANSWER_BYTES_MAX)
        while not reader.at_eof() and len(answer) < ANSWER_BYTES_MAX:
            answer += await reader.read(ANSWER_BYTES_MAX)
    finally:
        writer.transport.abort()
    if answer.startswith(b"HTTP/"):
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        if status != b"200":
            raise ValueError(f"status {status.decode(errors='replace')}")
        answer = body
    if not answer:
        raise ValueError("closed without an answer")
    return " ".join(answer.decode(errors="replace").split())


async def _hold(facts: TextIO, address: str, port: str, *numbers: str) -> None:
    count, timeout_s, duration_max_s = map(float, numbers)
    ends_s = time.monotonic() + duration_max_s

    async def one(number: int) -> None:
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(address, int(port))
            while time.monotonic() < ends_s:
                started_s = time.monotonic()
                writer.write(MESSAGE)
                async with asyncio.timeout(timeout_s):
                    await reader.readexactly(len(MESSAGE))
                facts.write(f"{started_s:.6f} {time.monotonic():.6f} ok {number}\n")
                await asyncio.sleep(MESSAGE_PERIOD_S)
        except (OSError, TimeoutError, EOFError) as error:
            facts.write(f"{started_s:.6f} {time.monotonic():.6f} failed {number} {_why(error)}\n")

    await asyncio.gather(*(one(number) for number in range(int(count))))


async def _echo(_facts: TextIO, port: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(ANSWER_BYTES_MAX):
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()

    async with await asyncio.start_server(answer, "0.0.0.0", int(port)) as server:
        print("ready", flush=True)
        await server.serve_forever()


async def _say(_facts: TextIO, port: str, text: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(ANSWER_BYTES_MAX)
            writer.write(text.encode())
            writer.close()

    async with await asyncio.start_server(answer, None, int(port)) as server:  # both families
        print("ready", flush=True)
        await server.serve_forever()


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not error.errno:
        return "timeout"
    number = error.errno if isinstance(error, OSError) else None
    return errno.errorcode.get(number or 0, str(error) or type(error).__name__)


async def _main(kind: str, facts: TextIO, arguments: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    if kind not in ("echo", "say"):
        print("ready", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        match kind:
            case "ask":
                await _ask(facts, *arguments)
            case "hold":
                await _hold(facts, *arguments)
            case "echo":
                await _echo(facts, *arguments)
            case "say":
                await _say(facts, *arguments)


def _program(argv: Sequence[str]) -> int:
    facts, kind, *arguments = argv
    with Path(facts).open("a", buffering=1) as output:
        asyncio.run(_main(kind, output, arguments))
    return 0


if __name__ == "__main__":
    sys.exit(_program(sys.argv[1:]))
