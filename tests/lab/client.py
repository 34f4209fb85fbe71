"""Clients that measure: how long nobody answered, and which connections broke.

The programs of traffic.py run inside a host, apart from the code that uses the classes below, so
that neither delays the other. They write one line per fact to a file:

    T0 T1 ok PAGE       an attempt began at T0 and was answered at T1 (CLOCK_MONOTONIC)
    T0 T1 failed WHY    it was not
"""

from __future__ import annotations

import itertools
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.lab.network import Host, Process, wait_until

TRAFFIC: Final = Path(__file__).with_name("traffic.py")
STEADY: Final = Path(__file__).with_name("steady.py")
PERIOD_S: Final = 0.02
TIMEOUT_S: Final = 1.0
STEADY_TIMEOUT_S: Final = 40.0
"""Longer than TCP takes to send something lost for the fifth time (1, 3, 7, 15, 31 s)."""

DURATION_MAX_S: Final = 900.0
START_MAX_S: Final = 120.0
STOP_MAX_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One connection: begin and end on CLOCK_MONOTONIC, the page, or why there is none."""

    started_s: float
    ended_s: float
    page: str | None
    error: str | None

    @property
    def ok(self) -> bool:
        """Whether it was answered."""
        return self.page is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The longest time without an answer, from one answer to the next."""

    began_s: float
    ended_s: float
    failed: int

    @property
    def length_s(self) -> float:
        """Its length in seconds."""
        return self.ended_s - self.began_s


class ContinuousClient:
    """Asks for a page on a new connection every ``period_s``, never waiting for earlier ones."""

    _program = TRAFFIC

    def __init__(
        self,
        host: Host,
        address: str,
        port: int = 80,
        *,
        path: str = "/",
        period_s: float = PERIOD_S,
        timeout_s: float = TIMEOUT_S,
        duration_max_s: float = DURATION_MAX_S,
    ) -> None:
        self._host = host
        self._arguments = [
            "ask", address, port, path, period_s, timeout_s, duration_max_s
        ]  # fmt: skip
        self._facts = host.directory / f"asked-{address}-{port}-{time.monotonic_ns()}"
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self._process = _start(self._host, self._facts, self._arguments, program=self._program)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop asking; attempts under way end first."""
        if self._process is not None:
            _stop(self._process)
            self._process = None

    def attempts(self, *, since_s: float = 0.0) -> list[Attempt]:
        """Return the attempts that have ended, by their end; ``since_s`` on CLOCK_MONOTONIC."""
        found = []
        for line in _lines(self._facts):
            began, ended, verdict, text = line.split(" ", 3)
            if float(ended) >= since_s:
                found.append(
                    Attempt(
                        started_s=float(began),
                        ended_s=float(ended),
                        page=text if verdict == "ok" else None,
                        error=None if verdict == "ok" else text,
                    )
                )
        return sorted(found, key=lambda attempt: attempt.ended_s)

    def pages(self, *, since_s: float = 0.0) -> Counter[str]:
        """Return how often each page came from attempts begun after ``since_s``."""
        return Counter(
            attempt.page
            for attempt in self.attempts(since_s=since_s)
            if attempt.page is not None and attempt.started_s >= since_s
        )

    def wait_for(self, answers: int, *, since_s: float, timeout_s: float) -> list[Attempt]:
        """Return the answered attempts begun after ``since_s`` once there are so many.

        Raises:
            TimeoutError: there are not within ``timeout_s``.

        """

        def answered() -> list[Attempt]:
            return [a for a in self.attempts(since_s=since_s) if a.ok and a.started_s >= since_s]

        wait_until(
            lambda: len(answered()) >= answers,
            timeout_s=timeout_s,
            what=f"{answers} answers",
            period_s=0.1,
        )
        return answered()

    def gap(self, around_s: float, *, until_s: float | None = None) -> Gap:
        """Return the longest interval between consecutive answers that ends after ``around_s``.

        Raises:
            AssertionError: no answer before or none after it: there is nothing to measure.

        """
        attempts = self.attempts()
        answers = [
            a.ended_s for a in attempts if a.ok and (until_s is None or a.ended_s <= until_s)
        ]
        pairs = [(a, b) for a, b in itertools.pairwise(answers) if b > around_s]
        assert pairs, "the client was not answered both before and after"
        began_s, ended_s = max(pairs, key=lambda pair: pair[1] - pair[0])
        failed = sum(not a.ok and began_s <= a.started_s <= ended_s for a in attempts)
        return Gap(began_s=began_s, ended_s=ended_s, failed=failed)


class SteadyConnections(ContinuousClient):
    """Begins a connection every ``period_s`` and keeps each open for ``open_s``, half-way.

    So ``open_s / period_s`` connections are half-way at every moment. What it is late for it makes
    up for. An attempt's end is that of its answer.
    """

    _program = STEADY

    def __init__(
        self, host: Host, address: str, port: int = 80, *, period_s: float, open_s: float
    ) -> None:
        super().__init__(host, address, port, period_s=period_s)
        self._arguments = [address, port, period_s, open_s, STEADY_TIMEOUT_S]


class LongConnections:
    """Keeps connections to an ``EchoServer`` open, each exchanging a small message every 0.2 s."""

    def __init__(
        self,
        host: Host,
        address: str,
        port: int,
        *,
        count: int,
        timeout_s: float = 10.0,
        duration_max_s: float = DURATION_MAX_S,
    ) -> None:
        self._host = host
        self._count = count
        self._arguments = ["hold", address, port, count, timeout_s, duration_max_s]
        self._facts = host.directory / f"held-{address}-{port}-{time.monotonic_ns()}"
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self._process = _start(self._host, self._facts, self._arguments)
        wait_until(
            lambda: self.established >= self._count or self.broken > 0,
            timeout_s=START_MAX_S,
            what=f"{self._count} connections",
        )
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            _stop(self._process)

    @property
    def established(self) -> int:
        """How many connections have been answered at least once."""
        return len({line.split(" ")[3] for line in _lines(self._facts) if " ok " in line})

    @property
    def broken(self) -> int:
        """How many connections failed: refused, reset, closed, or silent for the time-out."""
        return sum(" failed " in line for line in _lines(self._facts))

    @property
    def exchanged(self) -> int:
        """How many messages came back."""
        return sum(" ok " in line for line in _lines(self._facts))


def start_echo_server(host: Host, port: int) -> Process:
    """Start what ``LongConnections`` talks to; returns once it listens."""
    facts = host.directory / f"echo-{port}-{time.monotonic_ns()}"
    return _start(host, facts, ["echo", port])


def start_speaker(host: Host, port: int, text: str) -> Process:
    """Start what answers ``ContinuousClient`` with a text, over IPv4 and IPv6."""
    facts = host.directory / f"say-{port}-{time.monotonic_ns()}"
    return _start(host, facts, ["say", port, text])


def _start(
    host: Host, facts: Path, arguments: Sequence[object], *, program: Path = TRAFFIC
) -> Process:
    facts.touch()
    process = host.start([sys.executable, "-S", program, facts, *map(str, arguments)])

    def ready() -> bool:
        assert process.returncode is None, f"the client ended:\n{process.output()}"
        return "ready" in process.output()

    wait_until(ready, timeout_s=START_MAX_S, what="the client runs")
    return process


def _stop(process: Process) -> None:
    if process.returncode is None:
        process.stop(timeout_s=STOP_MAX_S)
    # One that was about to end by itself no longer catches our signal.
    assert process.returncode in (0, -signal.SIGTERM), f"the client failed:\n{process.output()}"


def _lines(path: Path) -> list[str]:
    text = path.read_text()
    return text[: text.rfind("\n") + 1].splitlines()  # the last line may not be complete yet
