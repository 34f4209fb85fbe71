"""Takes up what is asked of one service over the bus: its snapshot, commands and queries.

Independent of the client library. A requester chooses the subject of the reply, and what its
message says; both are looked at before anything is done.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from heartbus import codec
from heartbus.commands import CommandDesk, refused
from heartbus.events import Answer, CommandOutcome, Message, NoAnswer
from heartbus.queries import QueryDesk
from heartbus.rights import distrust_request

COMMANDS_REMEMBERED: Final = 512
"""One that comes twice is carried out once: a client that changes its key hears on two connections
for a moment."""

STATE_ANSWERS_MAX: Final = 20
"""Snapshots sent on request within a second; they come by themselves every second anyway."""


class Asked(Protocol):
    """A request as the client library gives it."""

    subject: str
    reply: str
    data: bytes


class Requests:
    """``send``: publishes a message; ``answer``: wraps a body, with its cause.

    ``drop``: counts and logs what is not taken up: why, subject, detail.
    """

    def __init__(
        self,
        *,
        desk: CommandDesk,
        queries: QueryDesk,
        snapshots: Callable[[], list[Message]],
        answer: Callable[[CommandOutcome | Answer, str | None], Message],
        send: Callable[[str, Message], Awaitable[object]],
        drop: Callable[[str, str, str], None],
    ) -> None:
        self._desk = desk
        self._queries = queries
        self._snapshots = snapshots
        self._answer_of = answer
        self._send = send
        self._drop = drop
        self._carried_out: set[asyncio.Task[None]] = set()
        self._known: deque[str] = deque(maxlen=COMMANDS_REMEMBERED)
        self._state_answers: deque[float] = deque(maxlen=STATE_ANSWERS_MAX)

    async def state(self, raw: Asked) -> None:
        """Send the snapshot to who asks for it."""
        if not self._may_answer(raw):
            return
        now_s = time.monotonic()
        full = len(self._state_answers) == STATE_ANSWERS_MAX
        if full and now_s - self._state_answers[0] < 1.0:
            self._drop("too-many-requests", raw.subject, f"more than {STATE_ANSWERS_MAX} a second")
            return
        self._state_answers.append(now_s)
        for snapshot in self._snapshots()[:1]:
            await self._send(raw.reply, snapshot)

    async def command(self, raw: Asked) -> None:
        """Begin to carry out a command."""
        await self._take_up(raw, self._carry_out, lambda why: refused(f"not understood: {why}"))

    async def query(self, raw: Asked) -> None:
        """Begin to answer a query."""
        await self._take_up(raw, self._reply, lambda why: NoAnswer(reason=f"not understood: {why}"))

    def _may_answer(self, raw: Asked) -> bool:
        # Answer to inboxes only: a requester picks the reply subject, and must not be able to make
        # us speak on a subject that it may not use itself.
        if str(raw.reply).startswith("_INBOX."):
            return True
        self._drop("bad-reply-subject", raw.subject, str(raw.reply)[:64])
        return False

    async def _take_up(
        self,
        raw: Asked,
        carry_out: Callable[[Asked, Message], Coroutine[Any, Any, None]],
        unclear: Callable[[str], CommandOutcome | Answer],
    ) -> None:
        """Begin to do what a request asks for, beside the read loop."""
        if not self._may_answer(raw):
            return
        try:
            message = codec.decode(raw.data)
        except codec.DecodeError as error:
            self._drop("undecodable", raw.subject, str(error))
            await self._answer(raw, unclear(str(error)), None)
            return
        # Who may ask for a reload may not smuggle a standby in on its subject.
        doubt = distrust_request(raw.subject, message.envelope.kind)
        if doubt is not None:
            self._drop("forged", raw.subject, doubt)
            await self._answer(raw, unclear(f"{raw.subject} {doubt}"), None)
            return
        task = asyncio.get_running_loop().create_task(carry_out(raw, message))
        self._carried_out.add(task)
        task.add_done_callback(self._carried_out.discard)

    async def _carry_out(self, raw: Asked, message: Message) -> None:
        if message.envelope.id in self._known:
            self._drop("repeated", raw.subject, f"from {message.envelope.node}")
            return
        self._known.append(message.envelope.id)
        outcome = await self._desk.carry_out(message, wall_s=time.time())
        await self._answer(raw, outcome, message.envelope.id)

    async def _reply(self, raw: Asked, message: Message) -> None:
        await self._answer(raw, await self._queries.answer(message), message.envelope.id)

    async def _answer(
        self, raw: Asked, outcome: CommandOutcome | Answer, cause: str | None
    ) -> None:
        await self._send(raw.reply, self._answer_of(outcome, cause))
