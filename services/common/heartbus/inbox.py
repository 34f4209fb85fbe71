"""A bounded queue between whoever receives messages and the one who acts on them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from heartbus.events import Message

INBOX_MESSAGES_MAX: Final = 4096


class Inbox:
    """A bounded queue of messages for one consumer; when full the oldest is dropped and counted.

    Dropping the oldest is right because snapshots repeat: what is lost is told again.
    """

    def __init__(self, *, messages_max: int = INBOX_MESSAGES_MAX) -> None:
        self._messages: deque[Message] = deque(maxlen=messages_max)
        self._arrived = asyncio.Event()
        self.overflowed = 0

    def put(self, message: Message) -> None:
        """Append a message; never waits."""
        if len(self._messages) == self._messages.maxlen:
            self.overflowed += 1
        self._messages.append(message)
        self._arrived.set()

    def get_nowait(self) -> Message | None:
        """Return the oldest message, or None."""
        return self._messages.popleft() if self._messages else None

    async def get(self) -> Message:
        """Wait for the oldest message. Cancelling it loses nothing."""
        while not self._messages:
            self._arrived.clear()
            await self._arrived.wait()
        return self._messages.popleft()

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            yield await self.get()
