"""UDP exchanges: one connected socket each, on the loop's own selector.

A connected socket hears the ICMP error of a port where nobody listens, and nobody else's answers.
The conversation is that of ``script``: what it says is a datagram, what it hears is one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable
from typing import Final

from heartbus.log import logger
from heartbus.model import Endpoint

from . import Conversation, Finished, Outcome, ProbeResult, duration

DATAGRAM_BYTES_MAX: Final = 65535
DATAGRAMS_MAX: Final = 64
"""So many are looked at in one check: a flood of wrong ones ends it."""
RESEND_AFTER_S: Final = 1.0
"""A datagram may be lost on the way: what was said is said again, as RFC 2865 and 3261 advise."""


class DatagramProbe:
    """A check that is a conversation in datagrams."""

    def __init__(self, endpoint: Endpoint, conversation: Callable[[], Conversation]) -> None:
        self._endpoint = endpoint
        self._conversation = conversation

    def begin(self, finished: Finished) -> DatagramExchange:
        """Begin a check."""
        return DatagramExchange(self._endpoint, self._conversation(), finished)


class DatagramExchange:
    """One socket and its conversation."""

    def __init__(self, endpoint: Endpoint, conversation: Conversation, finished: Finished) -> None:
        self._loop = asyncio.get_running_loop()
        self._endpoint = endpoint
        self._conversation = conversation
        self._finished: Finished | None = finished
        self._started_s = time.monotonic()
        self._heard = 0
        self._said = b""
        self._again: asyncio.TimerHandle | None = None
        family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
        self._socket: socket.socket | None = None
        try:
            self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.connect((endpoint.address, endpoint.port))
            self._loop.add_reader(self._socket, self._readable)
            self._take(conversation.connected(), at_once=False)
        except OSError as error:
            self._loop.call_soon(self._fail, error)

    def expire(self, within_s: float) -> ProbeResult:
        """Close the socket and say how far it came."""
        self._finished = None
        self._close()
        outcome = self._conversation.broken(f"no answer within {duration(within_s)}")
        took_s = time.monotonic() - self._started_s
        return ProbeResult(passed=outcome.passed, reason=outcome.reason, took_s=took_s)

    def _readable(self) -> None:
        while self._socket is not None:
            try:
                datagram = self._socket.recv(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(error)
                return
            self._heard += 1
            try:
                if self._heard > DATAGRAMS_MAX:
                    step: bytes | Outcome | None = self._conversation.broken(
                        f"more than {DATAGRAMS_MAX} datagrams"
                    )
                else:
                    step = self._conversation.received(datagram)
                self._take(step, at_once=True)
            except OSError as error:
                self._fail(error)
            except Exception as error:  # a defect of ours: it must not end the other checks
                logger().exception("probe.defect", endpoint=str(self._endpoint))
                self._conclude(Outcome(passed=False, reason=f"defect in the probe: {error!r}"))

    def _take(self, step: bytes | Outcome | None, *, at_once: bool) -> None:
        if isinstance(step, Outcome):
            if at_once:
                self._conclude(step)
            else:
                self._loop.call_soon(self._conclude, step)
        elif step:
            self._said = step
            self._say()

    def _say(self) -> None:
        if self._socket is None:
            return
        if self._again is not None:
            self._again.cancel()
        self._again = self._loop.call_later(RESEND_AFTER_S, self._say_again)
        self._socket.send(self._said)

    def _say_again(self) -> None:
        try:
            self._say()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        if self._finished is None:
            return
        code = error.errno or errno.EIO
        words = (
            "nobody listens (ICMP port unreachable)"
            if code == errno.ECONNREFUSED
            else os.strerror(code)
        )
        ours = code in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
        self._conclude(self._conversation.broken(words), conclusive=not ours)

    def _conclude(self, outcome: Outcome, *, conclusive: bool = True) -> None:
        finished, self._finished = self._finished, None
        self._close()
        took_s = time.monotonic() - self._started_s
        if finished is not None:
            finished(
                ProbeResult(
                    passed=outcome.passed,
                    reason=f"{outcome.reason} after {duration(took_s)}",
                    took_s=took_s,
                    conclusive=conclusive,
                    weight=outcome.weight,
                )
            )

    def _close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
