"""The bus as services see it; ``heartbus.bus`` has the real one and names these too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from heartbus.commands import CommandHandler
from heartbus.events import Answer, Command, Envelope, Event, Message, Query, State
from heartbus.inbox import Inbox
from heartbus.queries import QueryHandler

ConnectionCallback = Callable[[bool], None]
StateSource = Callable[[], State | tuple[State, ...]]
"""A snapshot; one that is too large for a message, as several, of which each says what it is of."""

EnvelopeCallback = Callable[[Envelope], None]


class Bus(Protocol):
    """What a service needs of the bus. ``MemoryBus`` in heartbus.testing is the other one."""

    @property
    def connected(self) -> bool:
        """Whether messages can be sent now."""
        ...

    def publish(self, event: Event, *, cause: str | None = None) -> str:
        """Send an event and return its id; lost if the bus is down, which is counted."""
        ...

    def serve_state(self, source: StateSource) -> None:
        """Publish ``source()`` about every second, on reconnect and when asked for."""
        ...

    def publish_state(self) -> None:
        """Publish the served state now, because it changed."""
        ...

    def subscribe(self, subjects_: Iterable[str], inbox: Inbox) -> None:
        """Deliver decoded, fresh messages on these subjects to ``inbox``."""
        ...

    def on_connection(self, callback: ConnectionCallback) -> None:
        """Call ``callback(connected)`` whenever the connection comes or goes."""
        ...

    def serve_command(self, command_class: type[Command], handler: CommandHandler) -> None:
        """Carry out commands of one class that are sent to this service on this director."""
        ...

    async def request_state(self, node: str, service: str, *, timeout_s: float) -> Message | None:
        """Ask one service on one director for its snapshot; None if it does not answer."""
        ...

    def subscribe_envelopes(self, subjects_: Iterable[str], callback: EnvelopeCallback) -> None:
        """Call ``callback`` with the envelope of each message, fresh or not; no more is read."""
        ...

    def serve_query(self, query_class: type[Query], handler: QueryHandler) -> None:
        """Answer queries of one class that are sent to this service on this director."""
        ...

    async def ask(
        self, node: str, service: str, query: Query, *, timeout_s: float
    ) -> Answer | None:
        """Return what one service on one director answers; None if it does not, in time."""
        ...
