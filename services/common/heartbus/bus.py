"""The bus as services see it, over one connection to the nats-server of this host.

Losing the bus is normal: ``publish`` never waits and never raises, a lost connection is
replaced for ever, and its owner is told. nats-py can stay connected yet deaf after an exception in
its read loop, so a beat to ourselves every second shows whether we still hear.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from heartbus import codec, subjects
from heartbus.bus_keys import Key, KeyFileError, for_people, keys_directory
from heartbus.bus_protocol import Bus as Bus
from heartbus.bus_protocol import ConnectionCallback as ConnectionCallback
from heartbus.bus_protocol import EnvelopeCallback as EnvelopeCallback
from heartbus.bus_protocol import StateSource as StateSource
from heartbus.bus_requests import Requests
from heartbus.commands import CommandDesk, CommandHandler, verb
from heartbus.events import (
    ANSWER_CLASSES,
    Answer,
    Body,
    Command,
    CommandOutcome,
    Event,
    Message,
    Query,
)
from heartbus.freshness import Freshness, FreshnessFilter
from heartbus.inbox import INBOX_MESSAGES_MAX as INBOX_MESSAGES_MAX
from heartbus.inbox import Inbox as Inbox
from heartbus.log import RateLimit, logger
from heartbus.nats_client import (
    RECONNECT_WAIT_S,
    Connection,
    MessageCallback,
    NatsError,
    problem_reaching,
)
from heartbus.observer import PERIODIC_KINDS, RECORD_KINDS
from heartbus.queries import QueryDesk, QueryHandler
from heartbus.rights import STATE_VERB, Role, distrust
from heartbus.speaker import Speaker

EVENT_VALID_S: Final = 10.0
STATE_VALID_S: Final = 3.0
OUTBOX_MESSAGES_MAX: Final = 4096
ECHO_PERIOD_S: Final = 1.0
ECHO_MISSED_MAX: Final = 3

REFUSED_WAIT_S: Final = 1.0
"""Who is not let in is let in no sooner for asking often."""

FLUSH_S: Final = 1.0
RETIRE_S: Final = 60.0
"""No command takes longer; a connection with an old key is closed after that."""


class BusUnreachableError(Exception):
    """The bus was not there in time; the message says why."""


class NatsBus:
    """One connection to the nats-server of this host.

    ``incarnation`` grows each time the process starts. All methods but ``run`` and
    ``request_state`` return at once and may be called before the bus is there.
    """

    def __init__(
        self, *, url: str, node: str, service: str, incarnation: int, key: Key | None = None
    ) -> None:
        """``key``: what we show the server who we are with; it may come later, and change."""
        self._url = url
        self._node = node
        self._service = service
        self._key = key
        # Each user has inboxes of its own: nobody reads what another one was answered.
        self._serves = key is None or key.user == service
        place = node if key is None or self._serves else key.user
        self._inboxes = f"_INBOX.{subjects.node_token(place)}.{service}"
        self._echo = subjects.echo(place, service)
        self._speaker = Speaker(node=node, service=service, incarnation=incarnation)
        self._client: Any = None
        self._line: Connection | None = None
        self._sending = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._connected = False
        self.refusal: str | None = None
        """Why the server does not let us in, as far as that is why we are not connected."""
        self._wake = asyncio.Event()
        self._ending = False
        self._outbox: asyncio.Queue[tuple[str, bytes, dict[str, str]]] = asyncio.Queue(
            OUTBOX_MESSAGES_MAX
        )
        self._state_source: StateSource | None = None
        self._state_wanted = asyncio.Event()
        self._subscriptions: list[tuple[str, MessageCallback]] = []
        self._listeners: list[ConnectionCallback] = []
        self._desk = CommandDesk(
            service=service,
            log=logger(node=node, service=service),
            tell=lambda event, cause: self.publish(event, cause=cause),
        )
        self._queries = QueryDesk(
            service=service, speaker=self._speaker, log=logger(node=node, service=service)
        )
        self._requests = Requests(
            desk=self._desk,
            queries=self._queries,
            snapshots=self._snapshots,
            answer=lambda body, cause: self._wrap(body, cause=cause, valid_for_s=EVENT_VALID_S),
            send=self._send,
            drop=self._drop,
        )
        self._freshness = FreshnessFilter()
        self._echo_heard_s = time.monotonic()
        self._lines = RateLimit(period_s=10.0)
        self._log = logger(node=node, service=service)
        self.counters: Counter[str] = Counter()

    # --- what services call ----------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether messages can be sent now."""
        return self._connected

    @property
    def unreachable(self) -> str:
        """Why we are not connected, for people."""
        return self.refusal or f"no nats-server at {self._url}: is the director up?"

    def publish(self, event: Event, *, cause: str | None = None) -> str:
        """Send an event and return its id; lost if the bus is down, which is counted."""
        message = self._wrap(event, cause=cause, valid_for_s=EVENT_VALID_S)
        # What directors tell one another every few seconds is no news.
        say = self._log.debug if event.kind in PERIODIC_KINDS | RECORD_KINDS else self._log.info
        say("event", kind=event.kind, id=message.envelope.id, cause=cause, data=_fields(event))
        self._enqueue(event.kind, message)
        return message.envelope.id

    def serve_state(self, source: StateSource) -> None:
        """Publish ``source()`` about every second, on reconnect and when asked for."""
        self._state_source = source

    def publish_state(self) -> None:
        """Publish the served state now, because it changed."""
        self._state_wanted.set()

    def subscribe(self, subjects_: Iterable[str], inbox: Inbox) -> None:
        """Deliver decoded, fresh messages on these subjects to ``inbox``."""
        self._subscriptions.extend((subject, self._receiver(inbox)) for subject in subjects_)
        self._wake.set()

    def subscribe_envelopes(self, subjects_: Iterable[str], callback: EnvelopeCallback) -> None:
        """Call ``callback`` with the envelope of each message, fresh or not; no more is read."""
        receiver = self._envelope_receiver(callback)
        self._subscriptions.extend((subject, receiver) for subject in subjects_)
        self._wake.set()

    def on_connection(self, callback: ConnectionCallback) -> None:
        """Call ``callback(connected)`` whenever the connection comes or goes."""
        self._listeners.append(callback)

    def serve_command(self, command_class: type[Command], handler: CommandHandler) -> None:
        """Carry out commands of one class that are sent to us; call it before ``run``."""
        self._desk.serve(command_class, handler)

    def serve_query(self, query_class: type[Query], handler: QueryHandler) -> None:
        """Answer queries of one class that are sent to us; call it before ``run``."""
        self._queries.serve(query_class, handler)

    async def ask(
        self, node: str, service: str, query: Query, *, timeout_s: float
    ) -> Answer | None:
        """Return what one service on one director answers; None if it does not, in time."""
        line = self._line
        if line is None:
            return None
        message = self._wrap(query, cause=None, valid_for_s=timeout_s)
        subject = subjects.query(node, service, verb(query.kind))
        reply = await self._ask(line, subject, message, timeout_s=timeout_s)
        return reply.body if reply is not None and isinstance(reply.body, ANSWER_CLASSES) else None

    async def request(
        self, node: str, service: str, command: Command, *, timeout_s: float
    ) -> CommandOutcome | None:
        """Send a command and return its outcome; None if nobody answers in time.

        It must not be carried out later than ``timeout_s`` after it was sent, which it says.
        """
        line = self._line
        if line is None:
            return None
        message = self._wrap(command, cause=None, valid_for_s=timeout_s)
        subject = subjects.command(node, service, verb(command.kind))
        reply = await self._ask(line, subject, message, timeout_s=timeout_s)
        return reply.body if reply is not None and isinstance(reply.body, CommandOutcome) else None

    async def request_state(self, node: str, service: str, *, timeout_s: float) -> Message | None:
        """Ask one service on one director for its snapshot; None if it does not answer."""
        line = self._line
        if line is None:
            return None
        subject = subjects.command(node, service, STATE_VERB)
        return await self._ask(line, subject, None, timeout_s=timeout_s)

    async def _ask(
        self, line: Connection, subject: str, message: Message | None, *, timeout_s: float
    ) -> Message | None:
        payload = b"" if message is None else codec.encode(message)
        headers = None if message is None else codec.headers(message.envelope)
        try:
            return codec.decode(
                await line.request(subject, payload, headers=headers, timeout_s=timeout_s)
            )
        except codec.DecodeError as error:
            self._drop("undecodable", subject, str(error))
        except (NatsError, TimeoutError, OSError):
            self.counters["unanswered"] += 1
        return None

    # --- the connection --------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the connection, until cancelled. Raises nothing but CancelledError."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_connected())
            tasks.create_task(self._send_outbox())
            tasks.create_task(self._publish_states())
            tasks.create_task(self._watch_echo())
            try:
                await asyncio.Event().wait()
            finally:
                self._ending = True
                for task in self._retiring:
                    task.cancel()

    async def flush(self, *, timeout_s: float) -> None:
        """Wait until what was published has left this process, at most ``timeout_s``."""
        deadline_s = time.monotonic() + timeout_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._outbox.join()
        if self._line is not None:
            await self._line.flush(timeout_s=max(0.0, deadline_s - time.monotonic()))

    async def _keep_connected(self) -> None:
        # asyncio.wait_for of Python 3.11 loses a cancellation that meets an error, hence _ending.
        while not self._ending:
            line = await self._opened() if await self._listens() else None
            wait_s = RECONNECT_WAIT_S if self.refusal is None else REFUSED_WAIT_S
            while line is not None and not self._ending:
                line = await self._live_on(line)
            await asyncio.sleep(wait_s)

    async def _listens(self) -> bool:
        problem = await problem_reaching(self._url)
        if problem is not None:
            self.refusal = None
            self._say("bus.unreachable", url=self._url, error=problem)
        return problem is None

    async def _opened(self) -> Connection | None:
        """Return a new connection that hears all we want to hear, None if there is none now."""
        line = Connection(stamp=self._key.stamp() if self._key else None)
        usable = False
        try:
            await self._connect(line)
            for subject, callback in self._own_subscriptions():
                await line.subscribe(subject, callback)
            await self._subscribe_more(line)
            self.refusal, usable = None, True
        except KeyFileError as error:
            self._refused(str(error))
        except Exception as error:  # whatever it was, the next connection may do better
            if "authorization" in str(error).lower():
                shown = self._key.file if self._key and line.stamp else "a client without a key"
                self._refused(f"the nats-server at {self._url} does not accept {shown}")
            else:
                self._say("bus.unreachable", url=self._url, error=repr(error))
        finally:
            if not usable:
                await line.close()
        return line if usable else None

    def _refused(self, why: str) -> None:
        self.refusal = why
        self._say("bus.refused", reason=why)

    async def _connect(self, line: Connection) -> None:
        await line.open(
            self._url,
            name=f"{self._service}@{self._node}",
            inbox_prefix=self._inboxes,
            seed=await asyncio.to_thread(self._key.read) if self._key is not None else None,
            on_error=self._on_error,
            on_lost=self._wake.set,
        )

    async def _live_on(self, line: Connection) -> Connection | None:
        """Serve one connection until it is lost, or heard nothing of for too long.

        Returns the connection that follows without a gap when our key was replaced, else None.
        """
        successor = None
        try:
            if self._client is None:
                self._use(line)
            while not line.lost.is_set():
                self._wake.clear()
                await self._subscribe_more(line)
                if self._has_another_key(line):
                    successor = await self._changed_key(line)
                    if successor is not None:
                        return successor
                await self._wake.wait()
        except Exception as error:  # of a dying connection; the next one may do better
            self._say("bus.unreachable", url=self._url, error=repr(error))
        finally:
            if successor is None:
                self._client = self._line = None
                self._set_connected(False)
                problem = await line.close()
                self._log.debug("bus.close", problem=problem)
            else:
                # Answers to what we asked over it are still to come.
                task = asyncio.get_running_loop().create_task(line.retire(within_s=RETIRE_S))
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
        return None

    def _use(self, line: Connection) -> None:
        self._echo_heard_s = time.monotonic()
        self._client, self._line = line.client, line
        self._set_connected(True)
        self._state_wanted.set()

    def _has_another_key(self, line: Connection) -> bool:
        return self._key is not None and self._key.stamp() != line.stamp

    async def _changed_key(self, line: Connection) -> Connection | None:
        """Open a connection with the new key and speak over that one; the old one hears on."""
        successor = await self._opened()
        if successor is None:
            return None
        await successor.flush(timeout_s=FLUSH_S)
        async with self._sending:
            # What was said over the old one arrives first: a later sequence makes an earlier one
            # look repeated.
            await line.flush(timeout_s=FLUSH_S)
            self._client, self._line = successor.client, successor
        self._log.info("bus.key_changed", key=str(self._key.file) if self._key else None)
        return successor

    async def _subscribe_more(self, line: Connection) -> None:
        for subject, callback in self._subscriptions[line.subscribed :]:
            await line.subscribe(subject, callback)
            line.subscribed += 1

    def _own_subscriptions(self) -> list[tuple[str, MessageCallback]]:
        found: list[tuple[str, MessageCallback]] = [(self._echo, self._on_echo)]
        if not self._serves:
            return found
        asked = (self._node, self._service)
        found.append((subjects.command(*asked, STATE_VERB), self._requests.state))
        found.extend(
            (subjects.command(*asked, verb(kind)), self._requests.command)
            for kind in self._desk.kinds
        )
        found.extend(
            (subjects.query(*asked, verb(kind)), self._requests.query)
            for kind in self._queries.kinds
        )
        return found

    async def _on_error(self, error: Exception) -> None:
        if self._ending:
            raise asyncio.CancelledError  # the cancellation that was lost, see _keep_connected
        self.counters["errors"] += 1
        if not isinstance(error, ConnectionRefusedError):
            self._say("bus.error", error=f"{type(error).__name__}: {error}")

    def _set_connected(self, connected: bool) -> None:
        if connected == self._connected:
            return
        self._connected = connected
        self._log.info("bus.connected" if connected else "bus.disconnected", url=self._url)
        for listener in self._listeners:
            try:
                listener(connected)
            except Exception as error:  # a defect of one listener must not end the bus of all
                self._log.error("bus.listener", error=repr(error))

    async def _watch_echo(self) -> None:
        while True:
            await asyncio.sleep(ECHO_PERIOD_S)
            line = self._line
            if line is None:
                continue
            if self._has_another_key(line):
                self._wake.set()
            await self._try_publish(self._echo, b"", None)
            if time.monotonic() - self._echo_heard_s > ECHO_MISSED_MAX * ECHO_PERIOD_S:
                self.counters["deaf"] += 1
                self._say("bus.deaf", action="reconnect")
                line.lost.set()
                self._wake.set()

    async def _on_echo(self, _message: Any) -> None:
        self._echo_heard_s = time.monotonic()

    # --- sending ---------------------------------------------------------------------------------

    def _wrap(self, body: Body, *, cause: str | None, valid_for_s: float) -> Message:
        return self._speaker.wrap(
            body,
            message_id=uuid.uuid4().hex,
            cause=cause,
            valid_for_s=valid_for_s,
            time_s=time.time(),
            uptime_s=time.monotonic(),
        )

    def _enqueue(self, subject: str, message: Message) -> None:
        if not self._connected:
            self.counters["unsent"] += 1
            return
        try:
            self._outbox.put_nowait(
                (subject, codec.encode(message), codec.headers(message.envelope))
            )
        except asyncio.QueueFull:
            self.counters["unsent"] += 1

    def _snapshots(self) -> list[Message]:
        if self._state_source is None:
            return []
        found = self._state_source()
        states = found if isinstance(found, tuple) else (found,)
        return [self._wrap(state, cause=None, valid_for_s=STATE_VALID_S) for state in states]

    async def _send_outbox(self) -> None:
        while True:
            await self._try_publish(*await self._outbox.get())
            self._outbox.task_done()

    async def _publish_states(self) -> None:
        while True:
            try:
                async with asyncio.timeout(1.0):
                    await self._state_wanted.wait()
            except TimeoutError:
                pass
            self._state_wanted.clear()
            for snapshot in self._snapshots() if self._connected else ():
                self._enqueue(subjects.state(self._node, self._service), snapshot)

    async def _try_publish(self, subject: str, data: bytes, headers: dict[str, str] | None) -> bool:
        try:
            async with self._sending:
                if self._client is None:
                    self.counters["unsent"] += 1
                    return False
                await self._client.publish(subject, data, headers=headers)
        except (NatsError, OSError) as error:
            self.counters["unsent"] += 1
            self._say("bus.unsent", subject=subject, error=str(error))
            return False
        return True

    async def _send(self, subject: str, message: Message) -> bool:
        return await self._try_publish(
            subject, codec.encode(message), codec.headers(message.envelope)
        )

    # --- receiving -------------------------------------------------------------------------------

    def _receiver(self, inbox: Inbox) -> Callable[[Any], Awaitable[None]]:
        own = subjects.state(self._node, self._service)

        async def receive(raw: Any) -> None:
            if raw.subject == own:
                return  # whoever says it knows it; one of thousands of verdicts takes long to read
            try:
                message = codec.decode(raw.data)
            except codec.DecodeError as error:
                self._drop("undecodable", raw.subject, str(error))
                return
            doubt = distrust(raw.subject, message.envelope)
            if doubt is not None:
                self._drop("forged", raw.subject, doubt)
                return
            freshness = self._freshness_of(message)
            if freshness is not Freshness.FRESH:
                self._drop(freshness.value, raw.subject, f"from {message.envelope.node}")
                return
            inbox.put(message)

        return receive

    def _envelope_receiver(self, callback: EnvelopeCallback) -> MessageCallback:
        async def receive(raw: Any) -> None:
            try:
                envelope = codec.decode_envelope(raw.data)
            except codec.DecodeError as error:
                self._drop("undecodable", raw.subject, str(error))
                return
            doubt = distrust(raw.subject, envelope)
            if doubt is not None:
                self._drop("forged", raw.subject, doubt)
                return
            callback(envelope)

        return receive

    def _freshness_of(self, message: Message) -> Freshness:
        # Two subscriptions may both match a message; each sender has one filter, so the second
        # copy would look repeated: services therefore subscribe disjoint subjects.
        return self._freshness.judge(message.envelope, now_s=time.monotonic())

    def _drop(self, why: str, subject: str, detail: str) -> None:
        self.counters[why] += 1
        self._say("bus.dropped", key=why, why=why, subject=subject, detail=detail)

    def _say(self, event: str, *, key: str | None = None, **fields: object) -> None:
        held_back = self._lines.passes(key or event, now_s=time.monotonic())
        if held_back is not None:
            self._log.warning(event, similar=held_back, **fields)


def _fields(event: Event) -> dict[str, object]:
    return {name: getattr(event, name) for name in codec.field_names(type(event))}


def bus_of_people(url: str, name: str, *, commands: bool = False) -> NatsBus:
    """Return the bus as people use it; ``commands``: to tell services what to do, not only look.

    Raises:
        KeyFileError: the bus of this director has keys, and none that we may read is good for it.

    """
    wanted = (Role.OPERATOR,) if commands else (Role.OBSERVER, Role.OPERATOR)
    key = for_people(keys_directory(), *wanted)
    return NatsBus(url=url, node="observer", service=name, incarnation=time.time_ns(), key=key)
