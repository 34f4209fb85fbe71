"""From a failed check, or a verdict on the bus, to the changed kernel table; and whole reloads.

Everybody is watched from outside in the same way: by reading the kernel's table again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

from heartbus.bus import NatsBus
from heartbus.events import CheckerState, RealServerDown, RealServerUp
from tests.benchmarks.tables.programs import NODE, VIP, Running, Server, Service

LOOK_S: Final = 0.0005
"""Between two looks at a small table; the figures are good to about this."""

LARGE_LOOK_S: Final = 0.05
START_S: Final = 60.0
CHANGE_S: Final = 30.0

Weights = dict[tuple[str, str], int]
"""The weight of each entry, by service and server as /proc/net/ip_vs has them, in hex."""


def weights() -> Weights:
    """Return the weights in the table of this network namespace."""
    found: Weights = {}
    service = ""
    for line in Path("/proc/thread-self/net/ip_vs").read_text().splitlines()[3:]:
        words = line.split()
        if words[0] == "->":
            found[service, words[1]] = int(words[3])
        else:
            service = words[1]
    return found


def hexadecimal(address: str, port: int) -> str:
    """Return an address and a port as /proc/net/ip_vs has them."""
    return f"{socket.inet_aton(address).hex().upper()}:{port:04X}"


def until(
    condition: Callable[[Weights], bool],
    *,
    running: Running,
    look_s: float = LOOK_S,
    within_s: float = CHANGE_S,
) -> float:
    """Return when the table was seen to be so (time.perf_counter)."""
    ends_s = time.perf_counter() + within_s
    while True:
        table = weights()
        now_s = time.perf_counter()
        if condition(table):
            return now_s
        running.check()
        if now_s > ends_s:
            raise SystemExit(f"{running.path.name}: not within {within_s:g} s; table: {table}")
        time.sleep(look_s)


# --- reloads -------------------------------------------------------------------------------------


def reloads(
    running: Running,
    text: Callable[[Sequence[Service]], str],
    services: Callable[[int], Sequence[Service]],
    rounds: int,
) -> list[float]:
    """Change the weight of every entry by a reload; return the changes per second of each round.

    It runs with ``services(1)``: each with weight 1.
    """
    count = sum(len(service.servers) for service in services(1))

    def has(weight: int) -> Callable[[Weights], bool]:
        return lambda table: list(table.values()) == [weight] * count

    until(has(1), running=running, look_s=LARGE_LOOK_S, within_s=START_S)
    found = []
    for weight in range(2, 2 + rounds):
        new = text(services(weight))
        began_s = time.perf_counter()
        running.reload(new)
        done_s = until(has(weight), running=running, look_s=LARGE_LOOK_S, within_s=START_S)
        found.append(count / (done_s - began_s))
    return found


# --- failed checks -------------------------------------------------------------------------------


class WebServers:
    """Web servers on loopback addresses, each of which can be told to fail."""

    def __init__(self, *addresses: str) -> None:
        self._listeners = [socket.create_server((address, 0)) for address in addresses]
        self.servers = [Server(address=a, port=p) for a, p in map(self._name, self._listeners)]
        self.failing: set[str] = set()
        self.failed_s: dict[str, float] = {}
        """When each gave its last failing answer (time.perf_counter)."""
        for listener in self._listeners:
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.close()

    @staticmethod
    def _name(listener: socket.socket) -> tuple[str, int]:
        address, port = listener.getsockname()
        return str(address), int(port)

    def _serve(self, listener: socket.socket) -> None:
        address = self._name(listener)[0]
        with contextlib.suppress(OSError):  # closed: the end
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(OSError):
                    self._answer(client, address)

    def _answer(self, client: socket.socket, address: str) -> None:
        client.settimeout(3.0)
        request = b""
        while b"\r\n\r\n" not in request:
            more = client.recv(4096)
            if not more:
                return
            request += more
        fails = address in self.failing
        status, body = (b"500 Broken", b"broken") if fails else (b"200 OK", b"Test Page")
        client.sendall(
            b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
            % (status, len(body), body)
        )
        if fails:
            self.failed_s[address] = time.perf_counter()


def failed_checks(running: Running, web: WebServers, trials: int) -> list[float]:
    """Let one server after the other fail; return the seconds to the kernel change of each."""
    keys = {s.address: (hexadecimal(VIP, 80), hexadecimal(s.address, s.port)) for s in web.servers}

    def all_are_up(table: Weights) -> bool:
        return all(table.get(key, 0) > 0 for key in keys.values())

    found = []
    for trial in range(trials):
        address = web.servers[trial % len(web.servers)].address
        until(all_are_up, running=running, within_s=START_S)
        web.failing.add(address)
        gone_s = until(
            lambda table, key=keys[address]: table.get(key, 0) == 0,  # type: ignore[misc]
            running=running,
        )
        web.failing.discard(address)
        found.append(gone_s - web.failed_s[address])
    return found


# --- verdicts ------------------------------------------------------------------------------------


class Speaker:
    """The bus client of a checker, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_S):
            raise SystemExit("no nats-server")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._task = asyncio.current_task() or self._loop.create_task(asyncio.sleep(0))
        self._bus = NatsBus(url=self._url, node=NODE, service="checker", incarnation=time.time_ns())
        # Of a checker that says nothing for 10 s events do not count either.
        self._bus.serve_state(lambda: CheckerState(verdicts=()))
        self._bus.on_connection(lambda connected: self._ready.set() if connected else None)
        await self._bus.run()

    def say(self, event: RealServerUp | RealServerDown) -> float:
        """Publish an event; return when it was handed to the bus client."""
        said: list[float] = []
        done = threading.Event()

        def publish() -> None:
            said.append(time.perf_counter())
            self._bus.publish(event)
            done.set()

        self._loop.call_soon_threadsafe(publish)
        done.wait()
        return said[0]


def verdicts(running: Running, server: Server, trials: int) -> list[float]:
    """Say up and down in turns; return the seconds to the kernel change of each."""
    key = (hexadecimal(VIP, 80), hexadecimal(server.address, server.port))
    service, name = f"tcp:{VIP}:80", f"{server.address}:{server.port}"
    is_there = RealServerUp(virtual_service=service, real_server=name, reason="benchmark")
    is_gone = RealServerDown(virtual_service=service, real_server=name, reason="benchmark")
    found = []
    with Speaker(running.nats_url) as speaker:

        def is_up(table: Weights) -> bool:
            return table.get(key, 0) > 0

        # The agent may not listen yet: the first verdict is said until it is heard.
        ends_s = time.perf_counter() + START_S
        while not is_up(weights()):
            running.check()
            if time.perf_counter() > ends_s:
                raise SystemExit("the agent does not hear us")
            speaker.say(is_there)
            time.sleep(0.1)
        for trial in range(trials):
            up = trial % 2 == 1
            said_s = speaker.say(is_there if up else is_gone)
            seen_s = until(lambda table, up=up: is_up(table) is up, running=running)  # type: ignore[misc]
            found.append(seen_s - said_s)
    return found


@contextlib.contextmanager
def checked_service() -> Iterator[tuple[WebServers, list[Service]]]:
    """Three web servers and the service that they make."""
    with WebServers("127.0.1.11", "127.0.1.12", "127.0.1.13") as web:
        yield web, [Service(servers=web.servers, checked=True)]
