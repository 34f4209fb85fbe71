"""Begins connections at a steady rate and keeps each open for a while, half of its request sent.

``tests.lab.client.SteadyConnections`` starts it inside a host and reads what it writes. So at every
moment a known number of connections is half-way. One epoll loop, few system calls for a connection:
the lab kernel has one processor, and a system call costs 200 times as much there.

    python -S steady.py FACTS ADDRESS PORT PERIOD_S OPEN_S TIMEOUT_S

What it is late for it makes up for, so the rate holds on a busy machine. SIGTERM: it begins no
more, ends those that are open, and itself.
"""

from __future__ import annotations

import errno
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

ANSWER_BYTES_MAX: Final = 65536
AT_ONCE_MAX: Final = 20
"""Begun in one turn, when it is late: answers come between."""

FLUSH_S: Final = 0.1


class Connection:
    """``half_s``: when the second half of its request is due."""

    __slots__ = ("answer", "half_s", "socket", "started_s", "told")

    def __init__(self, address: tuple[str, int], *, open_s: float) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.started_s = time.monotonic()
        self.half_s = self.started_s + open_s
        self.told = False
        self.answer = b""
        self.socket.connect_ex(address)


class Client:
    """All connections, and the times at which something is due for each."""

    def __init__(
        self, facts: TextIO, address: tuple[str, int], *, open_s: float, timeout_s: float
    ) -> None:
        self._facts, self._address = facts, address
        self._open_s, self._timeout_s = open_s, timeout_s
        head = f"GET / HTTP/1.0\r\nHost: {address[0]}\r\n".encode()
        self._halves = (head, b"\r\n")
        self._poll = select.epoll()
        self.open: dict[int, Connection] = {}
        self._to_finish: deque[Connection] = deque()
        self._to_give_up: deque[Connection] = deque()

    def begin(self) -> None:
        """Begin one connection."""
        made = Connection(self._address, open_s=self._open_s)
        descriptor = made.socket.fileno()
        self.open[descriptor] = made
        self._to_finish.append(made)
        self._to_give_up.append(made)
        self._poll.register(descriptor, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    def turn(self, *, until_s: float) -> None:
        """Do what is due, then what comes until a time; returns after the first that came."""
        now_s = time.monotonic()
        while self._to_finish and self._to_finish[0].half_s <= now_s:
            self._finish(self._to_finish.popleft())
        while self._to_give_up and self._to_give_up[0].started_s + self._timeout_s <= now_s:
            late = self._to_give_up.popleft()
            if late.socket.fileno() >= 0:
                self._end(late, "failed timeout")
        if self._to_finish:
            until_s = min(until_s, self._to_finish[0].half_s)
        for descriptor, events in self._poll.poll(max(0.0, until_s - time.monotonic())):
            connection = self.open.get(descriptor)
            if connection is not None:
                try:
                    self._ready(connection, events)
                except OSError as error:
                    self._end(connection, f"failed {_why(error)}")

    def _ready(self, connection: Connection, events: int) -> None:
        if not connection.told and events & (select.EPOLLOUT | select.EPOLLERR):
            connection.socket.send(self._halves[0])  # raises what the connection died of
            connection.told = True
        while events & (select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP):
            try:
                answer = connection.socket.recv(ANSWER_BYTES_MAX)
            except BlockingIOError:
                return
            if not answer:
                self._end(connection, _verdict(connection.answer))
                return
            connection.answer += answer

    def _finish(self, connection: Connection) -> None:
        if connection.socket.fileno() < 0:
            return  # it has failed
        if not connection.told:  # it is not connected yet
            connection.half_s = time.monotonic() + self._open_s
            self._to_finish.append(connection)
            return
        try:
            connection.socket.send(self._halves[1])
        except OSError as error:
            self._end(connection, f"failed {_why(error)}")

    def _end(self, connection: Connection, verdict: str) -> None:
        del self.open[connection.socket.fileno()]
        connection.socket.close()
        self._facts.write(f"{connection.started_s:.6f} {time.monotonic():.6f} {verdict}\n")


def _verdict(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/") or b" 200 " not in head.split(b"\r\n")[0] + b" ":
        return "failed closed without an answer"
    return f"ok {' '.join(body.decode(errors='replace').split())}"


def _why(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def _program(argv: Sequence[str]) -> int:
    facts, address, port, period, open_, timeout = argv
    period_s = float(period)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    with Path(facts).open("a") as output:
        client = Client(output, (address, int(port)), open_s=float(open_), timeout_s=float(timeout))
        print("ready", flush=True)
        due_s = flushed_s = time.monotonic()
        while not stopping or client.open:
            now_s = time.monotonic()
            for _ in range(AT_ONCE_MAX):
                if stopping or due_s > now_s:
                    break
                client.begin()
                due_s += period_s
            if now_s - flushed_s >= FLUSH_S:
                output.flush()
                flushed_s = now_s
            client.turn(until_s=min(due_s, now_s + FLUSH_S) if not stopping else now_s + FLUSH_S)
    return 0


if __name__ == "__main__":
    sys.exit(_program(sys.argv[1:]))
