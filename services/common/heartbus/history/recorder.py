"""The recorder of one director: hears all events, keeps them, finds those that it missed.

Shell. It is an observer like any other: nobody waits for it, and whatever becomes of it moves no
VIP. When the bus is gone nothing is heard; the processes themselves remember their last events and
are asked when it is back. What this recorder missed as a whole it gets from its peers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

import structlog

from heartbus import codec, subjects
from heartbus.bus import Bus, Inbox
from heartbus.events import (
    AskBuckets,
    AskEvents,
    AskIds,
    AskRecent,
    Event,
    FoundBuckets,
    FoundEvents,
    FoundIds,
    HistoryFailed,
    HistoryRestored,
    NoAnswer,
    Query,
    RecorderState,
)
from heartbus.history.agreement import Agreement, differing
from heartbus.history.chains import Chains, Sender
from heartbus.history.keeping import BATCH, Keeping
from heartbus.history.records import record
from heartbus.history.store import Store, StoreError
from heartbus.history.streaming import Streamer
from heartbus.observer import EVENT_SUBJECTS
from heartbus.recording import ASKED_IDS_MAX, IDS_MAX
from heartbus.runner import Context

SERVICE: Final = "recorder"
FILE: Final = "history.db"
WRITE_AFTER_S: Final = 0.1
"""Events that come together are written together."""

LOOK_PERIOD_S: Final = 0.5
TEND_PERIOD_S: Final = 60.0
ASK_TIMEOUT_S: Final = 5.0
BUCKETS_MAX: Final = 200
"""Hours that are compared in one go; the rest follows a little later."""

UNSAID_MAX: Final = 16
"""Of its own news that nobody could hear yet; the newest are kept."""


class Recorder:
    """What is heard, asked for and answered."""

    def __init__(
        self, *, node: str, bus: Bus, keeping: Keeping, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._node = node
        self._bus = bus
        self._keeping = keeping
        self._log = log
        self._chains = Chains()
        self._agreement = Agreement()
        self._missing = 0
        self._tended_s = float("-inf")
        self.streamer: Streamer | None = None

    def serve(self, events: Inbox, peers: Inbox) -> None:
        """Listen, and answer."""
        self._bus.subscribe(EVENT_SUBJECTS, events)
        self._bus.subscribe([subjects.states_of_service(SERVICE)], peers)
        self._bus.subscribe_envelopes(
            [subjects.ALL_STATES],
            lambda envelope: self._chains.heard(envelope, now_s=time.monotonic()),
        )
        self._bus.serve_state(self._state)
        for query_class in (AskEvents, AskBuckets, AskIds):
            self._bus.serve_query(query_class, self._answer)

    async def take_in(self, events: Inbox) -> None:
        """Keep what is heard."""
        async for message in events:
            self._chains.heard(message.envelope, now_s=time.monotonic())
            kept = record(message, now_s=time.time())
            if kept is not None:
                self._keeping.take([kept])

    async def write(self) -> None:
        """Write what was taken in, and what could not be written before."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._keeping.arrived.wait()
            await asyncio.sleep(WRITE_AFTER_S)
            await self._keeping.write()

    async def hear_peers(self, peers: Inbox) -> None:
        """Note how much the others have."""
        async for message in peers:
            if isinstance(message.body, RecorderState) and message.envelope.node != self._node:
                self._agreement.told(
                    message.envelope.node, message.body.digest, now_s=time.monotonic()
                )

    async def look(self) -> None:
        """Find what is missing, forget what is old."""
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            with contextlib.suppress(StoreError):  # told already
                await self._ask_senders()
                own = self._keeping.facts.digest
                peer = self._agreement.due(own, now_s=time.monotonic())
                if peer is not None:
                    gained = await self._compare(peer)
                    self._agreement.compared(peer, own, gained=gained, now_s=time.monotonic())
                if time.monotonic() - self._tended_s >= TEND_PERIOD_S:
                    self._tended_s = time.monotonic()
                    await self._keeping.tend()
                    self._missing = await self._keeping.missing()

    # --- what was missed -------------------------------------------------------------------------

    async def _ask_senders(self) -> None:
        if self._keeping.refill:
            self._keeping.refill = False
            for sender in self._chains.senders:
                await self._ask_sender(sender)
        due = self._chains.due(now_s=time.monotonic())
        if not due:
            return
        absent = await self._keeping.unremembered([event_id for _sender, event_id in due])
        asked: set[Sender] = set()
        for sender, event_id in due:
            if event_id not in absent:
                self._chains.found(sender, event_id)
                continue
            if sender not in asked:
                asked.add(sender)
                await self._ask_sender(sender)
            self._chains.asked(sender, event_id, now_s=time.monotonic())

    async def _ask_sender(self, sender: Sender) -> None:
        node, service = sender
        try:
            answer = await self._bus.ask(node, service, AskRecent(), timeout_s=1.0)
        except ValueError:
            return  # no subject can be made of that name: nobody of ours has it
        if isinstance(answer, FoundEvents):
            self._keep(answer.payloads, of=sender)
            await self._keeping.write()

    async def _compare(self, peer: str) -> int:
        """Get from a peer what we have not; return how many events."""
        answer = await self._bus.ask(peer, SERVICE, AskBuckets(), timeout_s=ASK_TIMEOUT_S)
        if not isinstance(answer, FoundBuckets):
            return 0
        theirs = {int(b): digest for b, digest in answer.digests.items() if b.isdecimal()}
        since_s = max(self._keeping.facts.since_s, answer.since_s)
        gained = 0
        ours = await self._keeping.digests()
        for bucket in differing(ours, theirs, since_s=since_s)[:BUCKETS_MAX]:
            gained += await self._get_bucket(peer, bucket)
        if gained:
            self._log.info("history.filled", peer=peer, events=gained)
        return gained

    async def _get_bucket(self, peer: str, bucket: int) -> int:
        gained, after, more = 0, "", True
        while more:
            asked = AskIds(bucket=bucket, after=after)
            answer = await self._bus.ask(peer, SERVICE, asked, timeout_s=ASK_TIMEOUT_S)
            if not isinstance(answer, FoundIds) or not answer.ids or answer.ids[-1] <= after:
                return gained
            after, more = answer.ids[-1], answer.more
            absent = sorted(await self._keeping.absent(answer.ids[:IDS_MAX]))
            for start in range(0, len(absent), ASKED_IDS_MAX):
                part = tuple(absent[start : start + ASKED_IDS_MAX])
                query = AskEvents(ids=part, limit=len(part))
                found = await self._bus.ask(peer, SERVICE, query, timeout_s=ASK_TIMEOUT_S)
                if not isinstance(found, FoundEvents):
                    return gained
                gained += self._keep(found.payloads)
                if not await self._keeping.write():
                    return gained
        return gained

    def _keep(self, payloads: Iterable[bytes], *, of: Sender | None = None) -> int:
        """Keep events that somebody has sent us; ``of``: whose they must be."""
        found = []
        for payload in payloads:
            try:
                message = codec.decode(payload)
            except codec.DecodeError as error:
                self._log.debug("history.undecodable", error=str(error))
                continue
            if of is not None and (message.envelope.node, message.envelope.service) != of:
                continue
            kept = record(message, now_s=time.time(), heard=False)
            if kept is not None and kept.at_s >= self._keeping.facts.since_s:
                found.append(kept)
        self._keeping.take(found)
        return len(found)

    # --- what is asked for -----------------------------------------------------------------------

    async def _answer(self, query: Query) -> FoundEvents | FoundBuckets | FoundIds | NoAnswer:
        try:
            match query:
                case AskEvents():
                    if len(query.ids) > ASKED_IDS_MAX:
                        return NoAnswer(reason=f"at most {ASKED_IDS_MAX} ids at once")
                    return await self._keeping.find(query)
                case AskBuckets():
                    digests = await self._keeping.digests()
                    return FoundBuckets(
                        since_s=self._keeping.facts.since_s,
                        digests={str(bucket): digest for bucket, digest in digests.items()},
                    )
                case AskIds():
                    ids = await self._keeping.ids(query.bucket, after=query.after)
                    return FoundIds(ids=tuple(ids[:IDS_MAX]), more=len(ids) > IDS_MAX)
                case _:
                    return NoAnswer(reason=f"{query.kind} is no query of {SERVICE}")
        except StoreError as error:
            return NoAnswer(reason=str(error))

    def _state(self) -> RecorderState:
        facts = self._keeping.facts
        return RecorderState(
            events=facts.events,
            digest=facts.digest,
            since_s=facts.since_s,
            size_bytes=facts.size_bytes,
            waiting=self._keeping.waiting,
            missing=self._missing,
            problem=self._keeping.problem,
            stream_problem=None if self.streamer is None else self.streamer.problem,
        )


async def keep_history(context: Context) -> None:
    """Keep the history of all directors until told to stop. Raises nothing."""
    settings = context.cluster.history
    bus = context.bus

    # A damaged file is found at the start, before the bus is there: an alarm must not be lost.
    unsaid: deque[Event] = deque(maxlen=UNSAID_MAX)

    def say(event: Event | None = None) -> None:
        if event is not None:
            unsaid.append(event)
        while unsaid and bus.connected:
            bus.publish(unsaid.popleft())
        bus.publish_state()

    def failed(reason: str) -> None:
        say(HistoryFailed(reason=reason))

    def restored(lost: int) -> None:
        say(HistoryRestored(lost=lost))

    bus.on_connection(lambda connected: say() if connected else None)
    path = context.state_dir / FILE
    keeping = Keeping(
        Store(path, age_s=settings.age_s, bytes_max=settings.size_max_bytes),
        wall=time.time,
        clock=time.monotonic,
        log=context.log,
        failed=failed,
        restored=restored,
    )
    recorder = Recorder(node=context.node, bus=bus, keeping=keeping, log=context.log)
    # As many as a peer may send at once, and what comes meanwhile.
    events, peers = Inbox(messages_max=8 * BATCH), Inbox(messages_max=64)
    recorder.serve(events, peers)
    await keeping.tend()
    work = [
        recorder.take_in(events),
        recorder.write(),
        recorder.hear_peers(peers),
        recorder.look(),
    ]
    if settings.stream is not None:
        recorder.streamer = Streamer(
            settings,
            node=context.node,
            find=keeping.find,
            state_dir=context.state_dir,
            wall=time.time,
            log=context.log,
            changed=bus.publish_state,
        )
        work.append(recorder.streamer.run())
    tasks = [asyncio.create_task(part) for part in work]
    context.ready()
    try:
        stop = asyncio.create_task(context.stopping.wait())
        done, _ = await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stop}:
            task.result()  # it never ends by itself: this raises what ended it
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await keeping.close()
