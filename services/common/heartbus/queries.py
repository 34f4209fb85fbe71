"""Queries of recorders and people: answered one by one, bounded, and they change nothing.

Independent of the way they come; ``bus`` brings them over NATS.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from heartbus import codec
from heartbus.events import QUERY_CLASSES, Answer, AskRecent, FoundEvents, Message, NoAnswer, Query
from heartbus.speaker import Speaker

QUERIES_MAX: Final = 8
"""Queries that a service answers at once."""

QueryHandler = Callable[[Query], Awaitable[Answer]]


class QueryDesk:
    """What one service tells who asks; its own last events always."""

    def __init__(
        self, *, service: str, speaker: Speaker, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._service = service
        self._speaker = speaker
        self._log = log
        self._handlers: dict[str, QueryHandler] = {AskRecent.kind: self._recent}
        self._busy = 0

    def serve(self, query_class: type[Query], handler: QueryHandler) -> None:
        """Answer queries of one class with ``handler``."""
        self._handlers[query_class.kind] = handler

    @property
    def kinds(self) -> Iterable[str]:
        """Kinds of queries that are answered."""
        return self._handlers.keys()

    async def answer(self, message: Message) -> Answer:
        """Return the answer to a query. Raises nothing."""
        handler = self._handlers.get(message.envelope.kind)
        if handler is None or not isinstance(message.body, QUERY_CLASSES):
            return NoAnswer(reason=f"{message.envelope.kind} is no query of {self._service}")
        if self._busy >= QUERIES_MAX:
            return NoAnswer(reason=f"{QUERIES_MAX} queries are being answered; ask again later")
        self._busy += 1
        try:
            return await handler(message.body)
        except Exception as error:  # the service must live on
            self._log.exception("query.failed", kind=message.envelope.kind)
            return NoAnswer(reason=f"a defect of {self._service}: {error!r}; see its log")
        finally:
            self._busy -= 1

    async def _recent(self, _query: Query) -> Answer:
        return FoundEvents(payloads=tuple(map(codec.encode, self._speaker.recent)))
