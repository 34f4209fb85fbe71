"""CPU time of one check, beside the same check written in the two obvious ways.

``make bench-checker-cost``. A local server answers 300 bytes and closes; each way makes 2,000
checks over fresh connections, 32 at once, and is charged the CPU time of its own process, kernel
included, that of the server not. On uvloop, as the service runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, cast

import uvloop

from heartbus.model import Endpoint
from heartbus_checker.probes import Conversation, ProbeResult
from heartbus_checker.probes.deadline import Deadlines
from heartbus_checker.probes.http import HttpRequest
from heartbus_checker.probes.pattern import ReceivePattern
from heartbus_checker.probes.stream import StreamProbe, Streams
from heartbus_checker.probes.tcp import ConnectOnly

CHECKS_MAX: Final = 2000
CONCURRENT: Final = 32
TIMEOUT_S: Final = 5.0
REPORT: Final = Path("build/bench/checker_cost.json")
BODY: Final = b"<h1>Test Page</h1>\n" + b"x" * 281
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY)

Way = Callable[[Endpoint, int], Awaitable[int]]


def serve(listener: socket.socket) -> None:
    """Answer every request and close, one after the other, until killed."""
    while True:
        client, _ = listener.accept()
        with client:
            try:
                if client.recv(4096):
                    client.sendall(ANSWER + BODY)
            except ConnectionResetError:
                continue  # a connect check


async def by_probe(
    endpoint: Endpoint, checks: int, conversation: Callable[[], Conversation]
) -> int:
    """Make checks as the service does; return how many passed."""
    loop = asyncio.get_running_loop()
    streams = Streams(loop)
    deadlines = Deadlines(loop, drain=streams.drain)
    probe = StreamProbe(streams, endpoint, conversation)
    done: asyncio.Future[None] = loop.create_future()
    begun = min(CONCURRENT, checks)
    ended = passed = 0

    def begin() -> None:
        deadlines.begin(probe, timeout_s=TIMEOUT_S, finished=finished)

    def finished(result: ProbeResult, _hung: bool) -> None:
        nonlocal begun, ended, passed
        ended += 1
        passed += result.passed
        if begun < checks:
            begun += 1
            loop.call_soon(begin)
        elif ended == checks:
            done.set_result(None)

    for _ in range(begun):
        begin()
    await done
    deadlines.close()
    streams.close()
    return passed


async def http_probe(endpoint: Endpoint, checks: int) -> int:
    """GET with receive, by our probe."""
    request = HttpRequest(endpoint=endpoint, receive=ReceivePattern("Test Page"))
    return await by_probe(endpoint, checks, request.conversation)


async def connect_probe(endpoint: Endpoint, checks: int) -> int:
    """Connect, by our probe."""
    return await by_probe(endpoint, checks, lambda: ConnectOnly(endpoint))


async def http_streams(endpoint: Endpoint, checks: int) -> int:
    """GET with receive, by asyncio's streams, one task and one timeout per check."""
    request = HttpRequest(endpoint=endpoint).message
    gate = asyncio.Semaphore(CONCURRENT)

    async def check() -> bool:
        async with gate, asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(endpoint.address, endpoint.port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
            return b"Test Page" in answer

    return sum(await asyncio.gather(*(check() for _ in range(checks))))


class _Collector(asyncio.Protocol):
    """Sends a request and keeps what comes until the end."""

    def __init__(self, request: bytes, done: asyncio.Future[bytes]) -> None:
        self._request = request
        self._done = done
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.WriteTransport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._done.set_result(self._answer)


async def http_protocol(endpoint: Endpoint, checks: int) -> int:
    """GET with receive, by a bare asyncio protocol, one task and one timeout per check."""
    loop = asyncio.get_running_loop()
    request = HttpRequest(endpoint=endpoint).message
    gate = asyncio.Semaphore(CONCURRENT)

    async def check() -> bool:
        async with gate, asyncio.timeout(TIMEOUT_S):
            done: asyncio.Future[bytes] = loop.create_future()
            await loop.create_connection(
                lambda: _Collector(request, done), endpoint.address, endpoint.port
            )
            return b"Test Page" in await done

    return sum(await asyncio.gather(*(check() for _ in range(checks))))


def cpu_us(way: Way, endpoint: Endpoint, checks: int) -> float:
    """Return the CPU time of one check in microseconds, user and system."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_all_pass(way, endpoint, min(checks, 200)))  # warm
        before = resource.getrusage(resource.RUSAGE_SELF)
        runner.run(_all_pass(way, endpoint, checks))
        after = resource.getrusage(resource.RUSAGE_SELF)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used_s / checks * 1e6


async def _all_pass(way: Way, endpoint: Endpoint, checks: int) -> None:
    passed = await way(endpoint, checks)
    if passed != checks:
        raise SystemExit(f"only {passed} of {checks} checks passed: the figure means nothing")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the report."""
    parser = argparse.ArgumentParser(description="CPU time of one check.")
    parser.add_argument("--checks", type=int, default=CHECKS_MAX)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(argv)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    endpoint = Endpoint(address="127.0.0.1", port=listener.getsockname()[1])
    server = multiprocessing.get_context("fork").Process(target=serve, args=(listener,))
    server.daemon = True
    server.start()
    ways: dict[str, Way] = {
        "HTTP check": http_probe,
        "TCP check": connect_probe,
        "HTTP, bare asyncio protocol": http_protocol,
        "HTTP, asyncio streams": http_streams,
    }
    try:
        runs = {
            name: sorted(cpu_us(way, endpoint, options.checks) for _ in range(options.runs))
            for name, way in ways.items()
        }
    finally:
        server.terminate()
        server.join()
    for name, values in runs.items():
        middle = values[len(values) // 2]
        print(f"{name:30} {middle:7.1f} us of CPU ({values[0]:.1f} to {values[-1]:.1f})")  # noqa: T201  # a command
    middles = {name: values[len(values) // 2] for name, values in runs.items()}
    peer_name = "HTTP, bare asyncio protocol"
    row = {
        "name": "CPU per HTTP check",
        "unit": "us",
        "heartbus": round(middles["HTTP check"], 1),
        "peer": round(middles[peer_name], 1),
        "peer_name": peer_name,
        "ratio": round(middles["HTTP check"] / middles[peer_name], 2),
        "better": middles["HTTP check"] < middles[peer_name],
        "n": options.checks * options.runs,
        "spread": round(runs["HTTP check"][-1] - runs["HTTP check"][0], 1),
    }
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps([row], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
