"""Fakes for tests of services and of what users build on them: a clock and a bus in memory."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable

from heartbus import codec, subjects
from heartbus.bus import ConnectionCallback, EnvelopeCallback, Inbox, StateSource
from heartbus.commands import CommandHandler, arguments, verb
from heartbus.events import (
    Answer,
    AskRecent,
    Body,
    Command,
    CommandOutcome,
    Event,
    FoundEvents,
    Message,
    OperatorAnswered,
    OperatorCommanded,
    Query,
    State,
)
from heartbus.queries import QueryHandler
from heartbus.speaker import Speaker


class ManualClock:
    """A monotonic clock that moves only when told; call it for the time in seconds."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_s

    def advance(self, seconds: float) -> float:
        """Move forward and return the new time."""
        self.now_s += seconds
        return self.now_s


class MemoryHub:
    """What joins the MemoryBus of several services; delivers at once, through the codec."""

    def __init__(self) -> None:
        self.buses: list[MemoryBus] = []
        self.messages: list[Message] = []

    def bus(self, *, node: str, service: str, clock: Callable[[], float]) -> MemoryBus:
        """Return a new bus client on this hub."""
        bus = MemoryBus(self, node=node, service=service, clock=clock)
        self.buses.append(bus)
        return bus

    def deliver(self, subject: str, message: Message) -> None:
        """Hand a message to every connected subscriber."""
        message = codec.decode(codec.encode(message))
        self.messages.append(message)
        for bus in self.buses:
            if bus.connected:
                bus.receive(subject, message)


class MemoryBus:
    """A Bus without a server; ``disconnect`` and ``reconnect`` play its outages."""

    def __init__(
        self, hub: MemoryHub, *, node: str, service: str, clock: Callable[[], float]
    ) -> None:
        self._hub = hub
        self._node = node
        self._service = service
        self._clock = clock
        self._connected = True
        self._speaker = Speaker(node=node, service=service, incarnation=1)
        self._state_source: StateSource | None = None
        self._subscriptions: list[tuple[str, Inbox]] = []
        self._listeners: list[ConnectionCallback] = []
        self._handlers: dict[str, CommandHandler] = {}
        self._answers: dict[str, QueryHandler] = {}
        self._envelope_callbacks: list[tuple[str, EnvelopeCallback]] = []
        self.published: list[Event] = []

    @property
    def connected(self) -> bool:
        """Whether messages can be sent now."""
        return self._connected

    def disconnect(self) -> None:
        """Lose the bus."""
        self._connected = False
        for listener in self._listeners:
            listener(False)

    def reconnect(self) -> None:
        """Find the bus again; the state is published as the real client does."""
        self._connected = True
        for listener in self._listeners:
            listener(True)
        self.publish_state()

    def publish(self, event: Event, *, cause: str | None = None) -> str:
        """Deliver an event at once; lost while disconnected, but kept in ``published``."""
        self.published.append(event)
        return self._tell(event, cause=cause)

    def _tell(self, event: Event, *, cause: str | None = None) -> str:
        message = self._wrap(event, cause=cause)
        if self._connected:
            self._hub.deliver(event.kind, message)
        return message.envelope.id

    def serve_state(self, source: StateSource) -> None:
        """Publish ``source()`` when asked for or told."""
        self._state_source = source

    def publish_state(self) -> None:
        """Deliver the served state now."""
        if self._state_source is not None and self._connected:
            for state in _all(self._state_source()):
                message = self._wrap(state, cause=None)
                self._hub.deliver(subjects.state(self._node, self._service), message)

    def subscribe(self, subjects_: Iterable[str], inbox: Inbox) -> None:
        """Deliver messages on these subjects to ``inbox``."""
        self._subscriptions.extend((subject, inbox) for subject in subjects_)

    def on_connection(self, callback: ConnectionCallback) -> None:
        """Call ``callback(connected)`` whenever the connection comes or goes."""
        self._listeners.append(callback)

    def serve_command(self, command_class: type[Command], handler: CommandHandler) -> None:
        """Carry out commands of one class that ``command`` hands in."""
        self._handlers[command_class.kind] = handler

    async def command(self, command: Command, *, timeout_s: float) -> CommandOutcome:
        """Carry out a command as if it had been sent to this service.

        That it was told is not in ``published``: the service itself does not do it.
        """
        name = verb(command.kind)
        cause = self._tell(OperatorCommanded(command=name, arguments=arguments(command), by="test"))
        outcome = await self._handlers[command.kind](command, timeout_s, cause)
        answered = OperatorAnswered(command=name, done=outcome.done, message=outcome.message)
        self._tell(answered, cause=cause)
        return outcome

    def subscribe_envelopes(self, subjects_: Iterable[str], callback: EnvelopeCallback) -> None:
        """Call ``callback`` with the envelope of each message."""
        self._envelope_callbacks.extend((subject, callback) for subject in subjects_)

    def serve_query(self, query_class: type[Query], handler: QueryHandler) -> None:
        """Answer queries of one class that ``ask`` of any bus on this hub hands in."""
        self._answers[query_class.kind] = handler

    async def ask(
        self, node: str, service: str, query: Query, *, timeout_s: float
    ) -> Answer | None:
        """Return what a connected service on this hub answers, or None."""
        for bus in self._hub.buses:
            if (bus._node, bus._service) == (node, service) and bus.connected and self._connected:
                if isinstance(query, AskRecent):
                    recent = tuple(map(codec.encode, bus._speaker.recent))
                    return FoundEvents(payloads=recent)
                handler = bus._answers.get(query.kind)
                return None if handler is None else await handler(query)
        return None

    async def request_state(self, node: str, service: str, *, timeout_s: float) -> Message | None:
        """Return the snapshot of a connected service on this hub, or None."""
        for bus in self._hub.buses:
            source = bus._state_source
            asked = (bus._node, bus._service) == (node, service)
            if asked and source is not None and bus.connected and self._connected:
                return bus._wrap(_all(source())[0], cause=None)
        return None

    def receive(self, subject: str, message: Message) -> None:
        """Put a message into the inboxes whose subject matches."""
        for pattern, inbox in self._subscriptions:
            if _matches(pattern, subject):
                inbox.put(message)
        for pattern, callback in self._envelope_callbacks:
            if _matches(pattern, subject):
                callback(message.envelope)

    def _wrap(self, body: Body, *, cause: str | None) -> Message:
        return self._speaker.wrap(
            body,
            message_id=uuid.uuid4().hex,
            cause=cause,
            valid_for_s=10.0,
            time_s=0.0,
            uptime_s=self._clock(),
        )


def _all(found: State | tuple[State, ...]) -> tuple[State, ...]:
    return found if isinstance(found, tuple) else (found,)


def _matches(pattern: str, subject: str) -> bool:
    wanted, given = pattern.split("."), subject.split(".")
    for position, token in enumerate(wanted):
        if token == ">":
            return len(given) > position
        if position >= len(given) or token not in ("*", given[position]):
            return False
    return len(wanted) == len(given)
