"""A settled pair of directors, and what is asserted of it from the moment of a fault on."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from typing import Final

from tests.lab.network import wait_until
from tests.lab.pairs import HeartbusPair

SLACK_S: Final = 2.0
"""For a machine that is busy with other things: bounds are of seconds, not of how fast it is."""

ANSWERS: Final = 5
"""In a row of one director: were there two, each question would bring an answer of both."""


class Fault:
    """A settled pair, and what is asserted of it from the moment of a fault on."""

    def __init__(self, pair: HeartbusPair) -> None:
        self.pair = pair
        self.active = pair.settle()
        self.standby = pair.other(self.active)
        now_s = time.monotonic()
        pair.witness.forget(before_s=now_s)
        pair.client.forget(before_s=now_s - 1.0)
        self.since_s = time.monotonic()
        self.heard = {name: len(o.events) for name, o in pair.observers.items()}

    def host(self, name: str) -> str:
        return self.pair.hosts[name].name

    def wait_until_held_by(self, *names: str, within_s: float) -> float:
        """Wait for exactly these directors; return the seconds it took."""
        wanted = [self.host(name) for name in names]
        return self.pair.witness.wait_for(wanted, timeout_s=within_s + SLACK_S)

    def wait_until_answered_by(self, name: str) -> None:
        """Wait until the client is answered and this director alone answers ARP.

        A kernel tells that an address is gone a moment before it answers for it no more.
        """
        since_s = time.monotonic()
        self.pair.client.wait_for_answer(after_s=since_s, timeout_s=5.0)
        alone = [self.pair.links[name].mac] * ANSWERS
        wait_until(
            lambda: self.pair.witness.answers(since_s=since_s)[-ANSWERS:] == alone,
            timeout_s=0.5 + SLACK_S,
            what=f"{name} alone answers ARP",
        )

    def stays(self, *, for_s: float) -> None:
        """Watch for a while that the active director holds the VIP alone, without a gap."""
        ends_s = time.monotonic() + for_s
        while time.monotonic() < ends_s:
            assert self.pair.witness.holders() == [self.host(self.active)]
            time.sleep(0.01)  # the sampling period, bounded by ``for_s``
        assert self.moves() == []
        self.wait_until_answered_by(self.active)
        silence = self.pair.client.silence(from_s=self.since_s, until_s=time.monotonic())
        assert silence.longest_s - silence.own_late_s < 0.5

    def settles_on(self, name: str) -> None:
        """Wait until the pair is settled; it must be this director that holds the VIP."""
        settled = self.pair.settle()
        assert settled == name, f"{settled} holds it, not {name}:\n{self.story()}"

    def story(self) -> str:
        """Return what each bus told since the fault, and which host had the VIP when."""
        lines = [
            f"on the bus of {name}: {observer.line(message)}"
            for name, observer in self.pair.observers.items()
            for message in list(observer.events)[self.heard[name] :]
        ]
        spans = self.pair.witness.holds(since_s=self.since_s)
        return "\n".join([*lines, *map(str, spans)])

    def moves(self) -> list[str]:
        """Return the hosts to which the VIP came since the fault."""
        return [hold.host for hold in self.pair.witness.holds(since_s=self.since_s)]

    def on_two_s(self) -> float:
        """Return for how long both had it since the fault, as kernels or as ARP shows it."""
        until_s = time.monotonic()
        return max(
            self.pair.witness.on_two_s(since_s=self.since_s, until_s=until_s),
            self.pair.witness.answered_by_two_s(since_s=self.since_s, until_s=until_s),
        )

    def mend(self) -> None:
        """Put right what a test has broken."""
        for name, link in self.pair.links.items():
            link.heal()
            if self.pair.processes[name].returncode is not None:
                self.pair.clear(name)
                self.pair.start(name)
            resume(self.pair.pids(name))


def resume(pids: Iterable[int]) -> None:
    """Let paused processes go on.

    One that was paused for long may be gone: the supervisor ends a child that does not feed its
    watchdog for 15 s, and the last time may have been some seconds before the pause.
    """
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
