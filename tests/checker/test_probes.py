"""Probes against real servers, good and hostile, over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop

from heartbus.model import Endpoint
from heartbus_checker.probes import Attempt, Finished, Outcome, ProbeResult
from heartbus_checker.probes.deadline import STALL_S, Deadlines
from heartbus_checker.probes.http import WIRE_BYTES_MAX, HttpRequest
from heartbus_checker.probes.pattern import ReceivePattern
from heartbus_checker.probes.smtp import SmtpGreeting
from heartbus_checker.probes.stream import RECEIVE_BYTES
from tests.common.ports import free_port

from .conftest import Nginx, Prober

TIMEOUT_S = 0.15
LATE_S = 5.0
"""So much later than its timeout a probe may end on a busy machine; without it, not at all."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[Endpoint]:
    """Serve a scripted answer on a free loopback port; its connections end with the block."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(converse(reader, writer)))

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the probe has gone
        finally:
            writer.transport.abort()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield Endpoint(address="127.0.0.1", port=listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def answering(*pieces: bytes, every_s: float = 0.0, then_close: bool = True) -> Serve:
    """Return a server that reads a request and sends these pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)
        if not then_close:
            await reader.read()
        writer.close()
        await writer.wait_closed()

    return serve


# --- real servers --------------------------------------------------------------------------------


async def test_nginx_passes_with_the_expected_page(nginx: Nginx, prober: Prober) -> None:
    result = await prober.http(nginx.endpoint)
    assert result.passed, result.reason
    assert result.reason.startswith("GET /.testpage: 200 OK, as expected after ")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/missing", "GET /missing: 404 Not Found after "),
        ("/broken", "GET /broken: 503 Service Temporarily Unavailable after "),
        ("/moved", "301 Moved Permanently to 'http://example.net/', which is not followed"),
        ("/big", "GET /big: 200 OK, a body of "),
    ],
)
async def test_nginx_fails_with_another_answer(
    nginx: Nginx, prober: Prober, path: str, words: str
) -> None:
    result = await prober.http(nginx.endpoint, path=path)
    assert not result.passed
    assert words in result.reason


async def test_nginx_is_told_the_virtual_host(nginx: Nginx, prober: Prober) -> None:
    assert (await prober.http(nginx.endpoint, path="/host", receive="=www$", host="www")).passed
    own = f"^host=127.0.0.1:{nginx.endpoint.port}$"
    assert (await prober.http(nginx.endpoint, path="/host", receive=own)).passed


async def test_a_stopped_server_refuses(nginx: Nginx, prober: Prober) -> None:
    assert (await prober.connect(nginx.endpoint)).passed
    nginx.stop()
    for result in (await prober.connect(nginx.endpoint), await prober.http(nginx.endpoint)):
        assert not result.passed
        assert result.reason.startswith(f"connect to {nginx.endpoint}: refused after ")


async def test_checks_leave_no_connection_behind(nginx: Nginx, prober: Prober) -> None:
    for _ in range(20):
        assert (await prober.http(nginx.endpoint)).passed
        assert (await prober.connect(nginx.endpoint)).passed
        # Left open by us, or in TIME_WAIT on our side: column 3 is the peer, 06 TIME_WAIT.
    port = f"{nginx.endpoint.port:04X}"
    with open("/proc/self/net/tcp") as table:  # noqa: ASYNC230  # a file in memory
        rows = [line.split()[1:4] for line in table.readlines()[1:]]
    ours = [state for _, peer, state in rows if peer.split(":")[1] == port]
    assert ours == []


async def test_ipv6_is_probed_too(prober: Prober) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        result = await prober.connect(Endpoint(address="::1", port=port))
    assert result.passed
    assert result.reason.startswith(f"connect to [::1]:{port}: accepted after ")


async def test_a_mail_server_is_greeted(prober: Prober) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"220-mx\r\n220 ready\r\n", b"250-mx\r\n250 HELP\r\n", b"221 bye\r\n"):
            writer.write(reply)
            heard.append(await reader.readline())
        writer.close()

    async with server(serve) as endpoint:
        result = await prober.converse(endpoint, SmtpGreeting("linuxha1"), timeout_s=5.0)
    assert result.passed, result.reason
    assert heard[:2] == [b"EHLO linuxha1\r\n", b"QUIT\r\n"]


async def test_an_answer_in_many_small_pieces_passes(prober: Prober) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nTest Page"
    pieces = [answer[n : n + 1] for n in range(len(answer))]
    async with server(answering(*pieces, then_close=False)) as endpoint:
        assert (await prober.http(endpoint)).passed


async def test_a_long_request_is_sent_to_its_end(prober: Prober) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = 0
        while received < 4_000_000:
            received += len(await reader.read(65536))
            await asyncio.sleep(0)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with server(serve) as endpoint:
        path = "/" + "x" * 4_000_000
        assert (await prober.http(endpoint, path=path, receive=None)).passed


async def test_an_unreachable_network_is_named(prober: Prober) -> None:
    # TEST-NET over a broadcast address: the kernel refuses before any packet leaves.
    result = await prober.connect(Endpoint(address="255.255.255.255", port=80))
    assert not result.passed
    assert result.reason.startswith("connect to 255.255.255.255:80: ")


# --- hostile servers -----------------------------------------------------------------------------


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nTest Page":
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


async def endless_header(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: and more\r\n" * 100)
        await writer.drain()


async def endless_body(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"and more " * 10_000)
        await writer.drain()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def half_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nTest")
    writer.write_eof()
    await reader.read()


async def closes(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


HOSTILE: dict[str, tuple[Serve, str]] = {
    "silent": (silent, "GET /.testpage: no answer within 0.15 s"),
    "slow": (slow, "no answer within 0.15 s, but "),
    "garbage": (answering(os.urandom(4096) + b"\n"), "GET /.testpage: "),
    "endless header": (endless_header, "more than 32768 bytes of header"),
    "endless body": (endless_body, "without 'Test Page'"),
    "wrong chunk": (
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nTest Page\r\n0\r\n"),
        "a chunk is longer than its size says",
    ),
    "reset": (resets, "reset by the server after "),
    "half close": (half_closes, "200 OK, but the body was cut off after 4 of 9 bytes"),
    "close": (closes, "GET /.testpage: "),
    "TLS": (answering(b"\x15\x03\x01\x00\x02\x02\x50"), "the answer is not HTTP: "),
    "stuck body": (
        answering(b"HTTP/1.1 200 OK\r\n\r\nTest", then_close=False),
        "200 OK, then no answer within 0.15 s, body cut off after 4 bytes",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_server_fails_in_time_and_in_words(prober: Prober, name: str) -> None:
    serve, words = HOSTILE[name]
    async with server(serve) as endpoint:
        began_s = time.monotonic()
        result = await prober.http(endpoint, timeout_s=TIMEOUT_S)
        took_s = time.monotonic() - began_s
    assert not result.passed
    assert words in result.reason
    assert result.reason.isprintable()
    assert took_s < TIMEOUT_S + LATE_S
    assert 0 <= result.took_s < TIMEOUT_S + LATE_S


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_server_is_no_mail_server(prober: Prober, name: str) -> None:
    serve, _ = HOSTILE[name]
    async with server(serve) as endpoint:
        began_s = time.monotonic()
        greeting = SmtpGreeting("linuxha1")
        result = await prober.converse(endpoint, greeting, timeout_s=TIMEOUT_S)
        took_s = time.monotonic() - began_s
    assert not result.passed
    assert result.reason.startswith("SMTP banner: ")
    assert took_s < TIMEOUT_S + LATE_S


async def test_a_full_backlog_is_no_answer(prober: Prober) -> None:
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        endpoint = Endpoint(address="127.0.0.1", port=listener.getsockname()[1])
        result = await prober.connect(endpoint, timeout_s=TIMEOUT_S)
    assert result.reason == f"connect to {endpoint}: no answer within 0.15 s"


async def test_two_hundred_hostile_exchanges_leave_nothing_behind(prober: Prober) -> None:
    before = len(os.listdir("/proc/self/fd"))
    tasks_before = len(asyncio.all_tasks())
    names = [list(HOSTILE)[n % len(HOSTILE)] for n in range(200)]
    async with contextlib.AsyncExitStack() as stack:
        endpoints = {
            name: await stack.enter_async_context(server(serve))
            for name, (serve, _) in HOSTILE.items()
        }
        results = await asyncio.gather(
            *(prober.http(endpoints[name], timeout_s=0.3) for name in names)
        )
    assert not any(result.passed for result in results)
    assert len(prober.streams) == 0
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) <= before
    assert len(asyncio.all_tasks()) == tasks_before


class Watched:
    """An HTTP conversation that says when its answer has begun."""

    def __init__(self) -> None:
        request = HttpRequest(
            endpoint=Endpoint(address="127.0.0.1", port=80), receive=ReceivePattern("Test Page")
        )
        self._inner = request.conversation()
        self.begun = asyncio.Event()
        self.received_bytes = 0
        self.connected = self._inner.connected
        self.ended = self._inner.ended
        self.broken = self._inner.broken

    def received(self, chunk: bytes) -> Outcome | None:
        self.begun.set()
        self.received_bytes += len(chunk)
        return self._inner.received(chunk)


# A process of its own, so that it sends while the probe reads.
FLOOD = """\
import socket, sys
connection, _ = socket.socket(fileno=int(sys.argv[1])).accept()
connection.recv(65536)
connection.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
pieces = bytes.fromhex(sys.argv[2]) * 20000
try:
    while True:
        connection.sendall(pieces)
except OSError:
    pass  # the probe has gone
"""


@pytest.mark.parametrize("piece", [b"1\r\nx\r\n", b"1;" + b"y" * 250 + b"\r\nx\r\n"])
async def test_a_flood_of_tiny_chunks_delays_nobody_else(prober: Prober, piece: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-c", FLOOD, str(listener.fileno()), piece.hex()]
        sender = subprocess.Popen(command, pass_fds=[listener.fileno()])  # noqa: ASYNC220  # returns at once
        endpoint = Endpoint(address="127.0.0.1", port=listener.getsockname()[1])
        watched = Watched()
        began_s = time.process_time()
        flooded = asyncio.ensure_future(prober.converse(endpoint, watched, timeout_s=30.0))
        await watched.begun.wait()
        assert (await prober.connect(endpoint)).passed
        assert not flooded.done(), "the other check had to wait for the end of the flood"
        turns = [watched.received_bytes]
        while not flooded.done():
            await asyncio.sleep(0)
            turns.append(watched.received_bytes)
        result = flooded.result()
        cpu_s = time.process_time() - began_s
        assert sender.wait(10) == 0
    assert "200 OK, a body of " in result.reason
    assert watched.received_bytes <= WIRE_BYTES_MAX + RECEIVE_BYTES
    assert max(after - before for before, after in itertools.pairwise(turns)) <= 2 * RECEIVE_BYTES
    assert cpu_s < 2.0


async def test_an_answer_longer_than_one_read_is_read_to_its_end(prober: Prober) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 900009\r\n\r\n"
    async with server(answering(head, b"x" * 900_000, b"Test Page")) as endpoint:
        results = await asyncio.gather(*(prober.http(endpoint) for _ in range(20)))
    assert all(result.passed for result in results), results


async def test_one_check_alone_is_heard_after_many_were_gathered(
    nginx: Nginx, prober: Prober
) -> None:
    """While many are under way what arrives waits a moment; then each is heard by itself again."""
    for _ in range(3):
        many = await asyncio.gather(*(prober.http(nginx.endpoint) for _ in range(100)))
        assert [result.reason for result in many if not result.passed] == []
        alone = await prober.http(nginx.endpoint)
        assert alone.passed, alone.reason


# --- the deadline --------------------------------------------------------------------------------


class Stubborn:
    """A probe that never finishes, and whose expiry fails too."""

    def begin(self, finished: Finished) -> Attempt:
        self.finished = finished
        return self

    def expire(self, within_s: float) -> ProbeResult:
        raise RuntimeError("cannot stop")


class Faulty:
    """A probe that cannot even begin."""

    def begin(self, finished: Finished) -> Attempt:
        raise RuntimeError("no idea")


async def results_of(*probes: Stubborn | Faulty) -> list[tuple[ProbeResult, bool]]:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, drain=lambda: None)
    results: list[tuple[ProbeResult, bool]] = []
    done = asyncio.Event()

    def finished(result: ProbeResult, hung: bool) -> None:
        results.append((result, hung))
        if len(results) == len(probes):
            done.set()

    for probe in probes:
        deadlines.begin(probe, timeout_s=0.02, finished=finished)
    assert results == []
    await asyncio.wait_for(done.wait(), 5.0)
    deadlines.close()
    return results


async def test_the_deadline_needs_no_help_from_the_probe() -> None:
    stubborn = Stubborn()
    ((result, hung),) = await results_of(stubborn)
    assert hung
    assert not result.passed
    assert result.reason.startswith("no answer within 20 ms")
    stubborn.finished(ProbeResult(passed=True, reason="too late", took_s=1.0))


async def test_a_probe_that_cannot_begin_says_nothing_of_the_server() -> None:
    ((result, hung),) = await results_of(Faulty())
    assert not result.passed
    assert not result.conclusive
    assert not hung


def test_an_answer_that_waits_in_the_socket_counts_before_the_deadline() -> None:
    """On uvloop, which after a slow callback looks at its timers before other sockets."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nTest Page"

    async def paused_past_the_deadline() -> ProbeResult:
        prober = Prober()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            endpoint = Endpoint(address="127.0.0.1", port=listener.getsockname()[1])
            check = asyncio.ensure_future(prober.http(endpoint, timeout_s=0.05))
            await asyncio.sleep(0.01)
            ours, theirs = socket.socketpair()

            def stand_still() -> None:
                ours.recv(1)
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(answer)
                    time.sleep(0.06)

            with ours, theirs:
                asyncio.get_running_loop().add_reader(ours, stand_still)
                theirs.send(b"x")
                result = await check
                asyncio.get_running_loop().remove_reader(ours)
        prober.close()
        return result

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(paused_past_the_deadline())
    assert result.passed, result.reason


async def test_a_pause_of_ours_is_given_back_to_every_check(prober: Prober) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nTest Page"
    async with server(answering(answer)) as endpoint:
        check = asyncio.ensure_future(prober.http(endpoint, timeout_s=0.2))
        await asyncio.sleep(0)
        time.sleep(0.2 + STALL_S + 0.05)  # noqa: ASYNC251  # paused before the server could accept
        result = await check
    assert result.passed, result.reason


async def test_closing_ends_probes_under_way_without_a_result() -> None:
    prober = Prober()
    results: list[ProbeResult] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint(address="127.0.0.1", port=listener.getsockname()[1])
        check = asyncio.ensure_future(prober.http(endpoint))
        check.add_done_callback(lambda done: results.append(done.result()))
        await asyncio.sleep(0.01)
        assert len(prober.streams) == 1
        prober.close()
        await asyncio.sleep(0.01)
        assert len(prober.streams) == 0
    assert results == []
    check.cancel()


def test_probes_run_on_uvloop_as_well(nginx: Nginx) -> None:
    async def check_all() -> list[ProbeResult]:
        prober = Prober()
        refused = Endpoint(address="127.0.0.1", port=free_port())
        async with server(silent) as hanging:
            found = [
                await prober.http(nginx.endpoint),
                await prober.connect(nginx.endpoint),
                await prober.connect(refused),
                await prober.http(hanging, timeout_s=TIMEOUT_S),
            ]
        prober.close()
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert [r.passed for r in runner.run(check_all())] == [True, True, False, False]
