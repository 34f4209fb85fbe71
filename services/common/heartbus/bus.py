"""The bus as services see it, and its NATS client; the only module that imports nats.

Losing the bus is normal: ``publish`` never waits and never raises, a lost connection is
replaced for ever, and its owner is told. nats-py can stay connected yet deaf after an exception in
its read loop, so a beat to ourselves every second shows whether we still hear.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from heartbus import codec, subjects
from heartbus.bus_protocol import Bus as Bus
from heartbus.bus_protocol import ConnectionCallback as ConnectionCallback
from heartbus.bus_protocol import EnvelopeCallback as EnvelopeCallback
from heartbus.bus_protocol import StateSource as StateSource
from heartbus.commands import CommandDesk, CommandHandler, refused, verb
from heartbus.events import (
    ANSWER_CLASSES,
    Answer,
    Body,
    Command,
    CommandOutcome,
    Event,
    Message,
    NoAnswer,
    Query,
)
from heartbus.freshness import Freshness, FreshnessFilter
from heartbus.inbox import INBOX_MESSAGES_MAX as INBOX_MESSAGES_MAX
from heartbus.inbox import Inbox as Inbox
from heartbus.log import RateLimit, logger
from heartbus.observer import PERIODIC_KINDS
from heartbus.queries import QueryDesk, QueryHandler
from heartbus.speaker import Speaker

# nats-py tries to import aiohttp for a transport that we do not use: 10 MB in every service.
_UNWANTED = "aiohttp" not in sys.modules
if _UNWANTED:
    sys.modules["aiohttp"] = None  # type: ignore[assignment]
import nats  # noqa: E402
import nats.errors  # noqa: E402

if _UNWANTED:
    del sys.modules["aiohttp"]

EVENT_VALID_S: Final = 10.0
STATE_VALID_S: Final = 3.0
OUTBOX_MESSAGES_MAX: Final = 4096
ECHO_PERIOD_S: Final = 1.0
ECHO_MISSED_MAX: Final = 3

RECONNECT_WAIT_S: Final = 0.1

MessageCallback = Callable[[Any], Awaitable[None]]


class NatsBus:
    """One connection to the nats-server of this host.

    ``incarnation`` grows each time the process starts. All methods but ``run`` and
    ``request_state`` return at once and may be called before the bus is there.
    """

    def __init__(self, *, url: str, node: str, service: str, incarnation: int) -> None:
        self._url = url
        self._node = node
        self._service = service
        self._speaker = Speaker(node=node, service=service, incarnation=incarnation)
        self._client: Any = None
        self._connected = False
        self._lost = asyncio.Event()
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
        self._carried_out: set[asyncio.Task[None]] = set()
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

    def publish(self, event: Event, *, cause: str | None = None) -> str:
        """Send an event and return its id; lost if the bus is down, which is counted."""
        message = self._wrap(event, cause=cause, valid_for_s=EVENT_VALID_S)
        # What directors tell one another every few seconds is no news.
        say = self._log.debug if event.kind in PERIODIC_KINDS else self._log.info
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
        client = self._client
        if client is None:
            return None
        message = self._wrap(query, cause=None, valid_for_s=timeout_s)
        subject = subjects.query(node, service, verb(query.kind))
        reply = await self._ask(client, subject, message, timeout_s=timeout_s)
        return reply.body if reply is not None and isinstance(reply.body, ANSWER_CLASSES) else None

    async def request(
        self, node: str, service: str, command: Command, *, timeout_s: float
    ) -> CommandOutcome | None:
        """Send a command and return its outcome; None if nobody answers in time.

        It must not be carried out later than ``timeout_s`` after it was sent, which it says.
        """
        client = self._client
        if client is None:
            return None
        message = self._wrap(command, cause=None, valid_for_s=timeout_s)
        subject = subjects.command(node, service, verb(command.kind))
        reply = await self._ask(client, subject, message, timeout_s=timeout_s)
        return reply.body if reply is not None and isinstance(reply.body, CommandOutcome) else None

    async def request_state(self, node: str, service: str, *, timeout_s: float) -> Message | None:
        """Ask one service on one director for its snapshot; None if it does not answer."""
        client = self._client
        if client is None:
            return None
        subject = subjects.command(node, service, "state")
        return await self._ask(client, subject, None, timeout_s=timeout_s)

    async def _ask(
        self, client: Any, subject: str, message: Message | None, *, timeout_s: float
    ) -> Message | None:
        payload = b"" if message is None else codec.encode(message)
        headers = None if message is None else codec.headers(message.envelope)
        try:
            reply = await client.request(subject, payload, timeout=timeout_s, headers=headers)
            return codec.decode(reply.data)
        except codec.DecodeError as error:
            self._drop("undecodable", subject, str(error))
        except (nats.errors.Error, TimeoutError, OSError):
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

    async def flush(self, *, timeout_s: float) -> None:
        """Wait until what was published has left this process, at most ``timeout_s``."""
        deadline_s = time.monotonic() + timeout_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._outbox.join()
        if self._client is not None:
            # Not cancelled when it is late: nats-py's read loop dies if the answer finds nobody.
            task = asyncio.ensure_future(self._client.flush(timeout=30))
            task.add_done_callback(_ignore_result)
            await asyncio.wait({task}, timeout=max(0.0, deadline_s - time.monotonic()))

    async def _keep_connected(self) -> None:
        # nats-py's own reconnecting gives up for good on some errors of the server, and hangs
        # after exceptions in callbacks: a lost client is replaced by a new one instead.
        # asyncio.wait_for of Python 3.11 loses a cancellation that meets an error, hence _ending.
        while not self._ending:
            if not await self._listens():
                await asyncio.sleep(RECONNECT_WAIT_S)
                continue
            client: Any = nats.NATS()
            lost = asyncio.Event()
            try:
                await self._connect(client, lost)
                await self._live_on(client, lost)
            except Exception as error:  # whatever it was, the next connection may do better
                self._say("bus.unreachable", url=self._url, error=repr(error))
            finally:
                self._client = None
                self._set_connected(False)
                await self._discard(client)
            await asyncio.sleep(RECONNECT_WAIT_S)

    async def _listens(self) -> bool:
        """Return whether something accepts connections there; a client of nats-py costs more."""
        parts = urlsplit(self._url)
        try:
            async with asyncio.timeout(1.0):
                _reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 4222)
        except (OSError, TimeoutError) as error:
            self._say("bus.unreachable", url=self._url, error=str(error) or "no answer in 1 s")
            return False
        writer.transport.abort()
        return True

    async def _connect(self, client: Any, lost: asyncio.Event) -> None:
        async def on_lost() -> None:
            lost.set()
            self._wake.set()

        await client.connect(
            self._url,
            name=f"{self._service}@{self._node}",
            inbox_prefix=f"_INBOX.{subjects.node_token(self._node)}.{self._service}",
            allow_reconnect=False,
            max_reconnect_attempts=1,  # else the first connect tries again in there for ever
            reconnect_time_wait=RECONNECT_WAIT_S,
            connect_timeout=1,
            ping_interval=1,
            max_outstanding_pings=2,
            error_cb=self._on_error,
            disconnected_cb=on_lost,
            closed_cb=on_lost,
        )

    async def _live_on(self, client: Any, lost: asyncio.Event) -> None:
        """Serve one connection until it is lost, or heard nothing of for too long."""
        self._lost = lost
        self._echo_heard_s = time.monotonic()
        for subject, callback in self._own_subscriptions():
            await self._subscribe(client, subject, callback)
        subscribed = 0
        while not lost.is_set():
            self._wake.clear()
            for subject, callback in self._subscriptions[subscribed:]:
                await self._subscribe(client, subject, callback)
                subscribed += 1
            if self._client is None:
                self._client = client
                self._set_connected(True)
                self._state_wanted.set()
            await self._wake.wait()

    def _own_subscriptions(self) -> list[tuple[str, MessageCallback]]:
        return [
            (subjects.echo(self._node, self._service), self._on_echo),
            (subjects.command(self._node, self._service, "state"), self._on_state_request),
            *(
                (subjects.command(self._node, self._service, verb(kind)), self._on_command)
                for kind in self._desk.kinds
            ),
            *(
                (subjects.query(self._node, self._service, verb(kind)), self._on_query)
                for kind in self._queries.kinds
            ),
        ]

    async def _discard(self, client: Any) -> None:
        try:
            async with asyncio.timeout(0.5):
                await client.close()
        except Exception as error:  # closing a dead socket may raise anything; we are done with it
            self._log.debug("bus.close", error=str(error))

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
        subject = subjects.echo(self._node, self._service)
        while True:
            await asyncio.sleep(ECHO_PERIOD_S)
            if not self._connected:
                continue
            await self._try_publish(subject, b"", None)
            if time.monotonic() - self._echo_heard_s > ECHO_MISSED_MAX * ECHO_PERIOD_S:
                self.counters["deaf"] += 1
                self._say("bus.deaf", action="reconnect")
                self._lost.set()
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
        client = self._client
        if client is None:
            self.counters["unsent"] += 1
            return False
        try:
            await client.publish(subject, data, headers=headers)
        except (nats.errors.Error, OSError) as error:
            self.counters["unsent"] += 1
            self._say("bus.unsent", subject=subject, error=str(error))
            return False
        return True

    # --- receiving -------------------------------------------------------------------------------

    async def _subscribe(self, client: Any, subject: str, callback: MessageCallback) -> None:
        await client.subscribe(subject, cb=callback, pending_msgs_limit=INBOX_MESSAGES_MAX)

    def _receiver(self, inbox: Inbox) -> Callable[[Any], Awaitable[None]]:
        async def receive(raw: Any) -> None:
            try:
                message = codec.decode(raw.data)
            except codec.DecodeError as error:
                self._drop("undecodable", raw.subject, str(error))
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
                callback(codec.decode_envelope(raw.data))
            except codec.DecodeError as error:
                self._drop("undecodable", raw.subject, str(error))

        return receive

    def _freshness_of(self, message: Message) -> Freshness:
        # Two subscriptions may both match a message; each sender has one filter, so the second
        # copy would look repeated: services therefore subscribe disjoint subjects.
        return self._freshness.judge(message.envelope, now_s=time.monotonic())

    def _may_answer(self, raw: Any) -> bool:
        # Answer to inboxes only: a requester picks the reply subject, and must not be able to make
        # us speak on a subject that it may not use itself.
        if str(raw.reply).startswith("_INBOX."):
            return True
        self._drop("bad-reply-subject", raw.subject, str(raw.reply)[:64])
        return False

    async def _on_state_request(self, raw: Any) -> None:
        for snapshot in self._snapshots()[:1] if self._may_answer(raw) else ():
            await self._try_publish(
                raw.reply, codec.encode(snapshot), codec.headers(snapshot.envelope)
            )

    async def _on_command(self, raw: Any) -> None:
        await self._take_up(raw, self._carry_out, lambda why: refused(f"not understood: {why}"))

    async def _on_query(self, raw: Any) -> None:
        await self._take_up(raw, self._reply, lambda why: NoAnswer(reason=f"not understood: {why}"))

    async def _take_up(
        self,
        raw: Any,
        carry_out: Callable[[Any, Message], Coroutine[Any, Any, None]],
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
        task = asyncio.get_running_loop().create_task(carry_out(raw, message))
        self._carried_out.add(task)
        task.add_done_callback(self._carried_out.discard)

    async def _carry_out(self, raw: Any, message: Message) -> None:
        outcome = await self._desk.carry_out(message, wall_s=time.time())
        await self._answer(raw, outcome, message.envelope.id)

    async def _reply(self, raw: Any, message: Message) -> None:
        await self._answer(raw, await self._queries.answer(message), message.envelope.id)

    async def _answer(self, raw: Any, outcome: CommandOutcome | Answer, cause: str | None) -> None:
        answer = self._wrap(outcome, cause=cause, valid_for_s=EVENT_VALID_S)
        await self._try_publish(raw.reply, codec.encode(answer), codec.headers(answer.envelope))

    def _drop(self, why: str, subject: str, detail: str) -> None:
        self.counters[why] += 1
        self._say("bus.dropped", key=why, why=why, subject=subject, detail=detail)

    def _say(self, event: str, *, key: str | None = None, **fields: object) -> None:
        held_back = self._lines.passes(key or event, now_s=time.monotonic())
        if held_back is not None:
            self._log.warning(event, similar=held_back, **fields)


def _fields(event: Event) -> dict[str, object]:
    return {name: getattr(event, name) for name in codec.field_names(type(event))}


def _ignore_result(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
