"""TCP connections of all probes, on one epoll that the event loop watches as one descriptor.

An asyncio transport or a task per check costs several times what the check itself does, so
sockets are plain, non-blocking and edge-triggered: connect, one epoll_ctl, send, recv, close.
What is said is up to a Conversation; how long it may take is up to ``deadline``.

To wake up costs more than to go on with a check. So while many checks are under way what arrives is
gathered for some milliseconds and then taken at once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from heartbus.log import logger
from heartbus.model import Endpoint

from . import Conversation, Finished, Outcome, ProbeResult, duration
from .through_vip import VipPath

RECEIVE_BYTES: Final = 65536
FULL_READS_PER_TURN: Final = 4
"""Reads of RECEIVE_BYTES, over all connections with more to read, before others have their turn."""
EVENTS_MAX: Final = 1024
"""Descriptors looked at in one turn of the event loop; the rest is reported again."""

GATHER_S: Final = 0.005
"""While checks are many, so long what arrives waits for more."""
GATHER_EXCHANGES_MIN: Final = 8
"""Fewer under way are answered at once, each."""

_INTEREST: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_BROKEN: Final = select.EPOLLERR | select.EPOLLHUP
_STREAM: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
_Socket: Final = socket.SocketType
"""The socket in C; ``socket.socket`` adds what nothing here uses, for a tenth of a check."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger, socket(7): close sends RST and leaves no TIME_WAIT."""

_OUR_FAULTS: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
)
"""Errors of connect(2) and socket(2) that say nothing of the server."""

_WORDS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset by the server",
    errno.EPIPE: "closed by the server",
    errno.EHOSTUNREACH: "no such host on the network, or no route to it",
    errno.ENETUNREACH: "no route to its network",
    errno.ETIMEDOUT: "no answer",
}


class Streams:
    """Every TCP exchange under way. ``close`` resets what is left."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._epoll = select.epoll()
        self._exchanges: dict[int, Exchange] = {}
        self._unread: deque[Exchange] = deque()
        self._continuing = False
        self._gathering: asyncio.TimerHandle | None = None
        self._drained_s = clock()
        loop.add_reader(self._epoll.fileno(), self._arrived)

    def __len__(self) -> int:
        return len(self._exchanges)

    def begin(
        self,
        endpoint: Endpoint,
        conversation: Conversation,
        finished: Finished,
        path: VipPath | None = None,
    ) -> Exchange:
        """Connect and hold the conversation; ``finished`` is called once, in a later turn."""
        return Exchange(self, endpoint, conversation, finished, path)

    def drain(self) -> None:
        """Take what has arrived, without waiting; called before any deadline is judged.

        Of an answer longer than RECEIVE_BYTES only a part: the rest in later turns of the loop.
        """
        self._take()

    def _arrived(self) -> None:
        """Take what has arrived; where there was something a moment ago too, gather from now on."""
        often = self._clock() - self._drained_s < GATHER_S
        self._take()
        if often and len(self._exchanges) >= GATHER_EXCHANGES_MIN and not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._gathering = self._loop.call_later(GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        if self._take() and len(self._exchanges) >= GATHER_EXCHANGES_MIN:
            self._gathering = self._loop.call_later(GATHER_S, self._gathered)
        elif not self._epoll.closed:
            self._loop.add_reader(self._epoll.fileno(), self._arrived)

    def _take(self) -> bool:
        """Go on with those that can; return whether there were any."""
        if self._epoll.closed:
            return False
        self._drained_s = self._clock()
        unread = [
            self._unread.popleft() for _ in range(min(FULL_READS_PER_TURN, len(self._unread)))
        ]
        found = self._epoll.poll(0, EVENTS_MAX)
        for descriptor, events in found:
            exchange = self._exchanges.get(descriptor)
            if exchange is not None:
                exchange.ready(events)
        for exchange in unread:
            exchange.read_on()
        if self._unread and not self._continuing:
            self._continuing = True
            self._loop.call_soon(self._continue)
        return bool(found or unread)

    def later(self, exchange: Exchange) -> None:
        """Let it read on in a later turn; its socket may have more and will not say so again."""
        self._unread.append(exchange)

    def _continue(self) -> None:
        self._continuing = False
        self.drain()

    def close(self) -> None:
        """Reset every connection and forget it; its ``finished`` is not called."""
        if self._epoll.closed:
            return
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        else:
            self._loop.remove_reader(self._epoll.fileno())
        for exchange in list(self._exchanges.values()):
            exchange.abandon()
        self._unread.clear()
        self._epoll.close()


class Exchange:
    """One connection and its conversation."""

    __slots__ = (
        "_connected",
        "_conversation",
        "_descriptor",
        "_ending",
        "_endpoint",
        "_finished",
        "_note",
        "_path",
        "_peer_closed",
        "_socket",
        "_started_s",
        "_streams",
        "_unread",
        "_unsent",
    )

    def __init__(
        self,
        streams: Streams,
        endpoint: Endpoint,
        conversation: Conversation,
        finished: Finished,
        path: VipPath | None,
    ) -> None:
        self._streams = streams
        self._path = path
        self._note = None if path is None else path.note()
        self._endpoint = endpoint
        self._conversation = conversation
        self._finished: Finished | None = finished
        self._started_s = streams._clock()
        self._connected = False
        self._peer_closed = False
        self._ending = False  # an event said that the end of the stream has come
        self._unread = False  # waits for its next turn to read
        self._unsent = b""
        self._socket: socket.SocketType | None = None
        self._descriptor = -1
        failure = self._connect()
        if isinstance(failure, str):
            streams._loop.call_soon(self._unasked, failure)
        elif failure:
            streams._loop.call_soon(self._fail, failure)

    def expire(self, within_s: float) -> ProbeResult:
        """Reset the connection and say how far it came within this time."""
        self._finished = None
        self.abandon()
        how = f"no answer within {duration(within_s)}"
        outcome = (
            self._conversation.broken(how)
            if self._connected
            else Outcome(passed=False, reason=f"connect to {self._where}: {how}")
        )
        took_s = self._streams._clock() - self._started_s
        lost = self._path.lost(self._note) if self._path is not None else None
        return ProbeResult(
            passed=outcome.passed,
            reason=outcome.reason if lost is None else f"{outcome.reason}, but {lost}",
            took_s=took_s,
            conclusive=lost is None,
        )

    def abandon(self) -> None:
        """Close the socket now; nothing is reported."""
        if self._socket is None:
            return
        # Closing takes it out of the epoll too: nobody else holds a copy of the descriptor.
        del self._streams._exchanges[self._descriptor]
        try:
            if not self._peer_closed:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        except OSError:
            pass  # a socket that is broken already needs no reset
        finally:
            self._socket.close()
            self._socket = None

    def ready(self, events: int) -> None:
        """Go on: the socket can be read or written, or is broken."""
        try:
            self._go_on(events)
        except OSError as error:
            self._fail(error.errno or errno.EIO)
        except Exception as error:  # a defect of ours: it must not end the other checks
            logger().exception("probe.defect", endpoint=str(self._endpoint))
            self._conclude(Outcome(passed=False, reason=f"defect in the probe: {error!r}"), "")

    def read_on(self) -> None:
        """Go on: the socket may have more to read."""
        self._unread = False
        self.ready(select.EPOLLIN)

    @property
    def _where(self) -> str:
        through = f" through {self._path.real_server}" if self._path is not None else ""
        return f"{self._endpoint}{through}"

    def _connect(self) -> int | str:
        """Begin; return the error, or in words why it cannot be asked."""
        address = self._endpoint.address
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._socket = sock = _Socket(family, _STREAM, 0)
        except OSError as error:
            return error.errno or errno.EIO
        self._descriptor = sock.fileno()
        self._streams._exchanges[self._descriptor] = self
        if self._path is not None and (obstacle := self._path.take(sock)) is not None:
            return obstacle
        try:
            code = sock.connect_ex((address, self._endpoint.port))
            if code and code != errno.EINPROGRESS:
                return code
            self._streams._epoll.register(self._descriptor, _INTEREST)
        except OSError as error:  # also an address that is none: socket.gaierror
            return error.errno or errno.EIO
        return 0

    def _go_on(self, events: int) -> None:
        sock = self._socket
        if sock is None:
            return
        if not self._connected:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if events & _BROKEN else 0
            if code:
                self._fail(code)
                return
            if not events & (select.EPOLLOUT | select.EPOLLIN):
                return
            self._connected = True
            if self._take(self._conversation.connected()):
                return
        elif self._unsent and events & select.EPOLLOUT and self._send(self._unsent):
            return
        if events & (select.EPOLLRDHUP | _BROKEN):
            self._ending = True
        if events & (select.EPOLLIN | select.EPOLLRDHUP | _BROKEN) and not self._unread:
            self._receive()

    def _receive(self) -> None:
        while self._socket is not None:
            try:
                chunk = self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            if not chunk:
                self._peer_closed = True
                self._conclude(self._conversation.ended())
                return
            # The event says that the end of the stream has come, too, so its reset is not needed.
            short = len(chunk) < RECEIVE_BYTES
            self._peer_closed = self._ending and short
            if self._take(self._conversation.received(chunk)):
                return
            if not short:
                self._unread = True
                self._streams.later(self)
                return
            # A short read empties the queue; what comes later is a new edge. After the end of the
            # stream nothing comes, so that what is left to read here is bounded.
            if not self._ending:
                return

    def _take(self, step: bytes | Outcome | None) -> bool:
        if step is None or step == b"":
            return False
        if isinstance(step, bytes):
            return self._send(step)
        self._conclude(step)
        return True

    def _send(self, pending: bytes) -> bool:
        assert self._socket is not None
        try:
            sent = self._socket.send(pending)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError) as error:
            # The server may have said why before it closed: read that first.
            self._ending = True
            if not self._unread:
                self._receive()
            if self._socket is not None and not self._unread:
                self._fail(error.errno or errno.EPIPE)
            return True
        self._unsent = pending[sent:]
        return False

    def _fail(self, code: int) -> None:
        if self._finished is None:
            return
        words = _WORDS.get(code) or os.strerror(code)
        if self._connected:
            outcome = self._conversation.broken(words)
        else:
            outcome = Outcome(passed=False, reason=f"connect to {self._where}: {words}")
        self._conclude(outcome, conclusive=self._connected or code not in _OUR_FAULTS)

    def _unasked(self, words: str) -> None:
        outcome = Outcome(passed=False, reason=f"connect to {self._where}: {words}")
        self._conclude(outcome, "", conclusive=False)

    def _conclude(
        self, outcome: Outcome, join: str = " after ", *, conclusive: bool = True
    ) -> None:
        finished, self._finished = self._finished, None
        took_s = self._streams._clock() - self._started_s
        self.abandon()
        if finished is not None:
            reason = f"{outcome.reason}{join}{duration(took_s)}" if join else outcome.reason
            if self._path is not None and conclusive and not outcome.passed:
                lost = self._path.lost(self._note)
                if lost is not None:
                    reason, conclusive = f"{reason}, but {lost}", False
            finished(
                ProbeResult(
                    passed=outcome.passed,
                    reason=reason,
                    took_s=took_s,
                    conclusive=conclusive,
                    weight=outcome.weight,
                )
            )


class StreamProbe:
    """A check that is a conversation over one TCP connection; ``path``: by the VIP."""

    __slots__ = ("_conversation", "_endpoint", "_path", "_streams")

    def __init__(
        self,
        streams: Streams,
        endpoint: Endpoint,
        conversation: Callable[[], Conversation],
        path: VipPath | None = None,
    ) -> None:
        self._streams = streams
        self._endpoint = endpoint
        self._conversation = conversation
        self._path = path

    def begin(self, finished: Finished) -> Exchange:
        """Begin a check."""
        return self._streams.begin(self._endpoint, self._conversation(), finished, self._path)
