"""One connection to a nats-server; the only module that imports nats.

nats-py's own reconnecting gives up for good on some errors of the server, and hangs after
exceptions in callbacks: ``bus`` replaces a lost connection by a new one instead.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

# nats-py tries to import aiohttp for a transport that we do not use: 10 MB in every service.
_UNWANTED = "aiohttp" not in sys.modules
if _UNWANTED:
    sys.modules["aiohttp"] = None  # type: ignore[assignment]
import nats  # noqa: E402
import nats.errors  # noqa: E402

if _UNWANTED:
    del sys.modules["aiohttp"]

RECONNECT_WAIT_S: Final = 0.1
SUBSCRIPTION_MESSAGES_MAX: Final = 4096

NatsError = nats.errors.Error
MessageCallback = Callable[[Any], Awaitable[None]]


class Connection:
    """``lost`` is set for good once it is. ``stamp``: of the key that it was made with.

    ``subscribed``: how many of its owner's subscriptions it has.
    """

    def __init__(self, *, stamp: tuple[int, int] | None) -> None:
        self.client: Any = nats.NATS()
        self.stamp = stamp
        self.lost = asyncio.Event()
        self.subscribed = 0
        self._asking = 0
        self._answered = asyncio.Event()

    async def open(
        self,
        url: str,
        *,
        name: str,
        inbox_prefix: str,
        seed: str | None,
        on_error: Callable[[Exception], Awaitable[None]],
        on_lost: Callable[[], None],
    ) -> None:
        """Connect. Raises NatsError, OSError or anything else that the library lets out."""

        async def lost() -> None:
            self.lost.set()
            on_lost()

        await self.client.connect(
            url,
            name=name,
            inbox_prefix=inbox_prefix,
            nkeys_seed_str=seed,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # else the first connect tries again in there for ever
            reconnect_time_wait=RECONNECT_WAIT_S,
            connect_timeout=1,
            ping_interval=1,
            max_outstanding_pings=2,
            error_cb=on_error,
            disconnected_cb=lost,
            closed_cb=lost,
        )
        # A reset may end its read loop with an exception; ``lost`` tells of it, nobody asks for it.
        reading = getattr(self.client, "_reading_task", None)
        if reading is not None:
            reading.add_done_callback(_ignore_result)

    async def subscribe(self, subject: str, callback: MessageCallback) -> None:
        """Call ``callback`` with what is said on a subject."""
        await self.client.subscribe(
            subject, cb=callback, pending_msgs_limit=SUBSCRIPTION_MESSAGES_MAX
        )

    async def request(
        self, subject: str, payload: bytes, *, headers: dict[str, str] | None, timeout_s: float
    ) -> bytes:
        """Return what is answered. Raises NatsError, TimeoutError or OSError if nothing is."""
        self._asking += 1
        try:
            reply = await self.client.request(subject, payload, timeout=timeout_s, headers=headers)
            return bytes(reply.data)
        finally:
            self._asking -= 1
            if not self._asking:
                self._answered.set()

    async def retire(self, *, within_s: float) -> None:
        """Close it once what was asked over it is answered, at most ``within_s`` from now."""
        try:
            async with asyncio.timeout(within_s):
                while self._asking and not self.lost.is_set():
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            pass
        finally:
            await self.close()

    async def flush(self, *, timeout_s: float) -> None:
        """Wait until the server has taken what was sent, at most ``timeout_s``."""
        # Not cancelled when it is late: nats-py's read loop dies if the answer finds nobody.
        task = asyncio.ensure_future(self._round_trips())
        task.add_done_callback(_ignore_result)
        await asyncio.wait({task}, timeout=timeout_s)

    async def _round_trips(self) -> None:
        # The ping of nats-py overtakes what waits to be written; the next one comes after it.
        await self.client.flush(timeout=30)
        await self.client.flush(timeout=30)

    async def close(self) -> str | None:
        """End it; return what was amiss, which is of no consequence: we are done with it."""
        try:
            async with asyncio.timeout(0.5):
                await self.client.close()
        except Exception as error:  # closing a dead socket may raise anything
            return repr(error)
        return None


async def problem_reaching(url: str) -> str | None:
    """Return why nothing accepts connections there, or None; a client of nats-py costs more."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(1.0):
            _reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 4222)
    except (OSError, TimeoutError) as error:
        return str(error) or "no answer in 1 s"
    writer.transport.abort()
    return None


def _ignore_result(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
