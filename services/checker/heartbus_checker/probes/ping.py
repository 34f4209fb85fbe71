"""Ping checks: ICMP echo over IPv4 and IPv6, on one socket per family for all targets.

ldirectord ``checktype=ping``: up to ``checkcount`` questions, each with its own time.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from heartbus.icmp import Address, Icmp, IcmpSockets

from . import Finished, ProbeResult, duration

CANNOT_ASK: Final = "cannot ask by ICMP echo"


class Pings:
    """The sockets, and who waits for an answer of which address."""

    def __init__(self, icmp: Icmp | None = None) -> None:
        self._icmp = icmp or IcmpSockets()
        self._opened = False
        self._problem: str | None = None
        self._waiting: dict[str, set[PingAttempt]] = {}

    def ask(self, address: Address, attempt: PingAttempt) -> str | None:
        """Send one question; return why it could not be sent. The attempt is told the answer."""
        if not self._opened:
            self._opened = True
            self._problem = self._icmp.open(ipv4=True, ipv6=True, readable=self.drain)
        if not self._icmp.can_ask(address):
            return self._problem or CANNOT_ASK
        self._waiting.setdefault(address.key, set()).add(attempt)
        return self._icmp.ask(address)

    def forget(self, address: Address, attempt: PingAttempt) -> None:
        """Tell this attempt nothing more."""
        waiting = self._waiting.get(address.key)
        if waiting is None:
            return
        waiting.discard(attempt)
        if not waiting:
            del self._waiting[address.key]
            self._icmp.forget(address)

    def drain(self) -> None:
        """Take the answers that have arrived; never waits."""
        for address in self._icmp.drain():
            for attempt in list(self._waiting.get(address.key, ())):
                attempt.answered()

    def close(self) -> None:
        """Close the sockets."""
        self._waiting.clear()
        if self._opened:
            self._icmp.close()


class PingProbe:
    """Asks one address; ``within_s`` for each of ``attempts`` questions."""

    def __init__(self, pings: Pings, address: str, *, attempts: int, within_s: float) -> None:
        self._pings = pings
        self._address = Address(address)
        self._attempts = attempts
        self._within_s = within_s

    def begin(self, finished: Finished) -> PingAttempt:
        """Begin a check."""
        return PingAttempt(self._pings, self._address, self._attempts, self._within_s, finished)


class PingAttempt:
    """One check under way."""

    def __init__(
        self, pings: Pings, address: Address, attempts: int, within_s: float, finished: Finished
    ) -> None:
        self._pings = pings
        self._address = address
        self._left = attempts
        self._asked = 0
        self._within_s = within_s
        self._finished: Finished | None = finished
        self._started_s = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle = self._loop.call_soon(self._ask)

    def answered(self) -> None:
        """Conclude: it lives."""
        count = "" if self._asked == 1 else f" at question {self._asked}"
        self._conclude(True, f"ping {self._address.text}: answered{count}")

    def expire(self, within_s: float) -> ProbeResult:
        """Stop waiting."""
        self._finished = None
        self._stop()
        each = f" to {self._asked} questions" if self._asked > 1 else ""
        reason = f"ping {self._address.text}: no answer{each} within {duration(within_s)}"
        took_s = time.monotonic() - self._started_s
        return ProbeResult(passed=False, reason=reason, took_s=took_s)

    def _ask(self) -> None:
        if self._finished is None:
            return
        self._asked += 1
        self._left -= 1
        problem = self._pings.ask(self._address, self)
        if problem is not None:
            unreachable = problem.startswith("sending to")
            self._conclude(False, f"ping {self._address.text}: {problem}", conclusive=unreachable)
        elif self._left > 0:
            self._timer = self._loop.call_later(self._within_s, self._ask)

    def _conclude(self, passed: bool, reason: str, *, conclusive: bool = True) -> None:
        finished, self._finished = self._finished, None
        self._stop()
        took_s = time.monotonic() - self._started_s
        if finished is not None:
            words = f"{reason} after {duration(took_s)}"
            finished(ProbeResult(passed=passed, reason=words, took_s=took_s, conclusive=conclusive))

    def _stop(self) -> None:
        self._timer.cancel()
        self._pings.forget(self._address, self)
