"""A client that counts milliseconds: the longest time in which an address did not answer."""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.lab.network import Host, Process, wait_until

PINGER: Final = Path(__file__).with_name("pinger.py")
PERIOD_S: Final = 0.001
START_MAX_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What a client saw in a span of time; times on CLOCK_MONOTONIC.

    ``longest_s``: the longest time from one answer to the next. ``unanswered``: requests in the
    span without an answer. ``own_late_s``: the worst lateness of the client itself in the span.
    """

    began_s: float
    ended_s: float
    unanswered: int
    own_late_s: float

    @property
    def longest_s(self) -> float:
        """Length of the longest gap in seconds."""
        return self.ended_s - self.began_s


class EchoClient:
    """Sends an ICMP echo request every ``period_s``; enter it to start, leave it to stop."""

    def __init__(self, host: Host, address: str, *, period_s: float = PERIOD_S) -> None:
        self._host, self._address, self._period_s = host, address, period_s
        self._facts = host.directory / f"echoes-{address}-{time.monotonic_ns()}"
        self._process: Process | None = None
        self._read = 0
        self._rest = ""
        self._answers: list[tuple[int, float, float]] = []
        self._late: list[tuple[float, float]] = []

    def __enter__(self) -> Self:
        self._facts.touch()
        arguments = (self._facts, self._address, str(self._period_s))
        process = self._host.start([sys.executable, "-S", PINGER, *arguments])
        wait_until(
            lambda: "ready" in process.output() or process.returncode is not None,
            timeout_s=START_MAX_S,
            what="the client runs",
        )
        assert process.returncode is None, process.output()
        self._process = process
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.stop()

    def forget(self, *, before_s: float) -> None:
        """Drop the facts of earlier times."""
        self._read_facts()
        self._answers = [a for a in self._answers if a[2] >= before_s]
        self._late = [entry for entry in self._late if entry[0] >= before_s]

    def last_answer_s(self) -> float | None:
        """Return when the newest answer came, None if none did yet."""
        self._read_facts()
        return self._answers[-1][2] if self._answers else None

    def wait_for_answer(self, *, after_s: float, timeout_s: float) -> None:
        """Wait until a request sent after ``after_s`` was answered.

        Raises:
            TimeoutError: none was.

        """

        def answered() -> bool:
            self._read_facts()
            return bool(self._answers) and self._answers[-1][1] > after_s

        wait_until(answered, timeout_s=timeout_s, what=f"{self._address} answers", period_s=0.01)

    def silence(self, *, from_s: float, until_s: float) -> Silence:
        """Return the longest gap that ends after ``from_s``, and what got no answer from there.

        Raises:
            AssertionError: no answer before or none after ``from_s``: nothing was measured.

        """
        self._read_facts()
        known = [a for a in self._answers if a[2] <= until_s]
        pairs = [(a, b) for a, b in itertools.pairwise(known) if b[2] > from_s]
        assert pairs, f"{self._address} was not answered both before and after"
        longest = max(pairs, key=lambda pair: pair[1][2] - pair[0][2])
        late = [late_s for at_s, late_s in self._late if from_s <= at_s <= until_s]
        return Silence(
            began_s=longest[0][2],
            ended_s=longest[1][2],
            unanswered=sum(b[0] - a[0] - 1 for a, b in pairs if b[0] > a[0]),
            own_late_s=max(late, default=0.0),
        )

    def _read_facts(self) -> None:
        with self._facts.open() as facts:
            facts.seek(self._read)
            text = facts.read()
            self._read = facts.tell()
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            first, second, third = line.split(" ")
            if first == "late":
                self._late.append((float(second), float(third)))
            else:
                self._answers.append((int(first), float(second), float(third)))
