"""Streams what this director said into a JetStream that the user has; an option of [history].

An adapter with a connection of its own, to whatever server the user names. Nothing waits for it:
what cannot be sent is sent later, as long as the history keeps it, and a snapshot says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import nats
import nats.errors
import nats.js.errors
import structlog

from heartbus import codec
from heartbus.events import AskEvents, FoundEvents, Message
from heartbus.history.feed import Feed
from heartbus.model import HistorySettings

LOOK_S: Final = 2.0
RETRY_S: Final = 10.0
ACKNOWLEDGED_S: Final = 5.0
CURSOR_FILE: Final = "history.streamed"
ID_HEADER: Final = "Nats-Msg-Id"
"""By which a JetStream knows what it has already."""

Find = Callable[[AskEvents], Awaitable[FoundEvents]]


class Streamer:
    """Sends events one after the other. ``problem``: why it does not, None while it does."""

    def __init__(
        self,
        settings: HistorySettings,
        *,
        node: str,
        find: Find,
        state_dir: Path,
        wall: Callable[[], float],
        log: structlog.typing.FilteringBoundLogger,
        changed: Callable[[], None],
    ) -> None:
        assert settings.stream is not None
        self._settings = settings
        self._url = settings.stream
        self._find, self._wall, self._log, self._changed = find, wall, log, changed
        self._file = state_dir / CURSOR_FILE
        self._feed = Feed(node=node, cursor_s=self._remembered())
        self.problem: str | None = None
        self._last_error: Exception | None = None

    async def run(self) -> None:
        """Send what there is, and what comes, until cancelled. Raises nothing else."""
        while True:
            try:
                await self._connected()
            except (OSError, TimeoutError, nats.errors.Error, nats.js.errors.Error) as error:
                why = _words(self._last_error or error, self._subjects)
                self._tell(f"not streamed to {self._url}: {why}")
            await asyncio.sleep(RETRY_S)

    @property
    def _subjects(self) -> str:
        return f"{self._settings.stream_subject}.>"

    async def _connected(self) -> None:
        options: dict[str, Any] = {}
        if self._settings.stream_credentials is not None:
            options["user_credentials"] = self._settings.stream_credentials
        self._last_error = None
        client = nats.NATS()
        try:
            # It would go on for minutes by itself, and tell nobody.
            async with asyncio.timeout(ACKNOWLEDGED_S):
                await client.connect(
                    self._url,
                    name="heartbus-recorder",
                    allow_reconnect=False,
                    error_cb=self._failed,
                    **options,
                )
            stream = client.jetstream(timeout=ACKNOWLEDGED_S)
            while True:
                await self._send_all(stream)
                await asyncio.sleep(LOOK_S)
        finally:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await client.close()

    async def _send_all(self, stream: nats.js.JetStreamContext) -> None:
        """Send until nothing is left; return then."""
        behind = True
        while behind:
            found = await self._find(self._feed.query(now_s=self._wall()))
            for message, payload in self._feed.to_send(found):
                await self._send(stream, message, payload)
                self._feed.sent(message)
            if self._feed.finished():
                self._remember()
            behind = found.more or self._feed.behind_s(now_s=self._wall()) > LOOK_S
        self._tell(None)

    async def _send(
        self, stream: nats.js.JetStreamContext, message: Message, payload: bytes
    ) -> None:
        headers = {**codec.headers(message.envelope), ID_HEADER: message.envelope.id}
        subject = f"{self._settings.stream_subject}.{message.envelope.kind}"
        await stream.publish(subject, payload, timeout=ACKNOWLEDGED_S, headers=headers)

    def _tell(self, problem: str | None) -> None:
        if problem == self.problem:
            return
        self.problem = problem
        if problem is None:
            self._log.info("history.streamed", to=self._url)
        else:
            self._log.warning("history.unstreamed", problem=problem)
        self._changed()

    async def _failed(self, error: Exception) -> None:
        """Remember what went wrong, for the call that fails because of it."""
        self._last_error = error

    # --- what outlives us ------------------------------------------------------------------------

    def _remembered(self) -> float:
        """Return up to when all is sent; of a stream that is new, all that is kept is sent."""
        try:
            return min(float(self._file.read_text()), self._wall())
        except (OSError, ValueError):
            return 0.0

    def _remember(self) -> None:
        new = self._file.with_name(self._file.name + ".new")
        with contextlib.suppress(OSError):  # then the ids tell the stream what it has
            new.write_text(f"{self._feed.cursor_s:.3f}\n")
            os.replace(new, self._file)


def _words(error: Exception, subjects: str) -> str:
    if isinstance(error, nats.js.errors.NoStreamResponseError | nats.errors.NoRespondersError):
        return f"no stream there takes the subjects {subjects}"
    return str(error) or type(error).__name__
