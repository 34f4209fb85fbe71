"""Asks a recorder over the bus, or reads its file where none answers: for command lines.

A recorder has the events of all directors, so any will do; that of this host is asked if it is
there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from heartbus import codec, subjects
from heartbus.bus import Inbox, NatsBus, bus_of_people
from heartbus.events import AskEvents, FoundEvents, Message, RecorderState
from heartbus.history.records import newest
from heartbus.history.store import Store, StoreError
from heartbus.observer import ClusterView
from heartbus.recording import ANSWER_EVENTS_MAX, ASKED_IDS_MAX

RECORDER: Final = "recorder"
FIND_S: Final = 2.5
"""Snapshots come every second; who has not spoken by then is not there."""

OWN_FIRST_S: Final = 1.2
ANSWER_S: Final = 10.0


class NobodyError(Exception):
    """Nobody can be asked; the message says who was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Events in the order of time. ``source``: whose history, in words. See ``FoundEvents``."""

    messages: tuple[Message, ...]
    source: str
    more: bool = False
    gaps: tuple[str, ...] = ()
    problem: str | None = None


class History(Protocol):
    """Somebody who knows what happened."""

    source: str
    since_s: float

    async def find(self, query: AskEvents) -> Found:
        """Return what is asked for.

        Raises:
            NobodyError: it does not answer.

        """
        ...


class BusHistory:
    """The recorder of one director, over the bus."""

    def __init__(self, bus: NatsBus, node: str, state: RecorderState) -> None:
        self._bus = bus
        self._node = node
        self.source = f"the recorder of {node}"
        self.since_s = state.since_s

    async def find(self, query: AskEvents) -> Found:
        """Return what is asked for.

        Raises:
            NobodyError: it does not answer in time.

        """
        answer = await self._bus.ask(self._node, RECORDER, query, timeout_s=ANSWER_S)
        if answer is None:
            raise NobodyError(f"{self.source} does not answer within {ANSWER_S:g} s")
        if not isinstance(answer, FoundEvents):
            raise NobodyError(f"{self.source}: {getattr(answer, 'reason', 'no answer')}")
        return Found(
            messages=tuple(_decoded(answer.payloads)),
            source=self.source,
            more=answer.more,
            gaps=answer.gaps,
            problem=answer.problem,
        )


class FileHistory:
    """The file of a recorder, read while nobody answers for it."""

    def __init__(self, path: Path) -> None:
        self._store = Store(path, age_s=0.0, bytes_max=0)
        self.source = f"the file {path}"
        self.since_s = 0.0
        try:
            self._store.open(read_only=True)
        except StoreError as error:
            raise NobodyError(str(error)) from error

    async def find(self, query: AskEvents) -> Found:
        """Return what is asked for.

        Raises:
            NobodyError: the file cannot be read.

        """
        try:
            limit = min(max(query.limit, 1), ANSWER_EVENTS_MAX)
            rows, more = newest(self._store.select(query, limit=limit + 1), limit)
            here = {kept.id for kept in rows}
            named = {kept.previous: kept.id for kept in rows if kept.previous not in {None, *here}}
            absent = self._store.absent(name for name in named if name is not None)
        except StoreError as error:
            raise NobodyError(str(error)) from error
        return Found(
            messages=tuple(_decoded(kept.payload for kept in rows)),
            source=self.source,
            more=more,
            gaps=tuple(named[name] for name in absent),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who is asked, and what snapshots say meanwhile."""

    history: History
    view: ClusterView
    reached: bool


@contextlib.asynccontextmanager
async def opened(
    *, nats: str, observer: str, node: str | None, file: Path | None, fallback: Path
) -> AsyncIterator[Asked]:
    """Find a history. ``file``: read this one; ``fallback``: the one of this host.

    Raises:
        NobodyError: no recorder is heard, and there is no file.

    """
    if file is not None:
        yield Asked(history=FileHistory(file), view=ClusterView(), reached=False)
        return
    bus = bus_of_people(nats, observer)
    inbox, view = Inbox(), ClusterView()
    bus.subscribe([subjects.ALL_STATES], inbox)
    run = asyncio.create_task(bus.run())
    try:
        found = await _find(inbox, view, node)
        if found is not None:
            yield Asked(history=BusHistory(bus, *found), view=view, reached=True)
            return
        who = f"the recorder of {node}" if node else "a recorder"
        tried = f"{who} is not heard"
        if not bus.connected:
            tried = bus.refusal or f"no nats-server at {nats}"
        try:
            history = FileHistory(fallback)
        except NobodyError as error:
            raise NobodyError(f"{tried}, and {error}: is the director up?") from error
        yield Asked(history=history, view=view, reached=bus.connected)
    finally:
        run.cancel()
        await asyncio.wait({run})


async def _find(
    inbox: Inbox, view: ClusterView, wanted: str | None
) -> tuple[str, RecorderState] | None:
    """Return the recorder to ask, as soon as it is clear which."""
    own = wanted or os.uname().nodename
    started_s = time.monotonic()
    heard: dict[str, RecorderState] = {}
    while (left_s := started_s + FIND_S - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(min(left_s, 0.2)):
                message = await inbox.get()
        except TimeoutError:
            pass
        else:
            view.see(message, now_s=time.monotonic())
            if isinstance(message.body, RecorderState):
                heard[message.envelope.node] = message.body
        mine = [node for node in heard if node == own or node.split(".")[0] == own.split(".")[0]]
        if mine:
            return mine[0], heard[mine[0]]
        if heard and wanted is None and time.monotonic() - started_s >= OWN_FIRST_S:
            node = min(heard)
            return node, heard[node]
    return None


async def gather(
    history: History, about: str, *, kinds: tuple[str, ...], around_s: float, limit: int = 500
) -> Found:
    """Return the newest events that name something, those that led to them, and what was around.

    ``around_s``: so long before each group of them everything is fetched, of all directors.

    Raises:
        NobodyError: the history does not answer.

    """
    base = await history.find(AskEvents(about=about, kinds=kinds, limit=limit))
    known = {m.envelope.id: m for m in base.messages}
    gaps = set(base.gaps)
    await _with_causes(history, known, gaps)
    for from_s, until_s in _spans(known.values(), around_s):
        found = await history.find(
            AskEvents(since_s=from_s, until_s=until_s, limit=ANSWER_EVENTS_MAX)
        )
        known.update((m.envelope.id, m) for m in found.messages)
        gaps.update(found.gaps)
    await _with_causes(history, known, gaps)
    return replace(base, messages=tuple(known.values()), gaps=tuple(gaps))


async def _with_causes(history: History, known: dict[str, Message], gaps: set[str]) -> None:
    """Add what events name as their causes, step by step."""
    for _ in range(8):
        wanted = {m.envelope.cause for m in known.values() if m.envelope.cause} - known.keys()
        if not wanted:
            return
        ids = tuple(sorted(wanted)[:ASKED_IDS_MAX])
        found = await history.find(AskEvents(ids=ids, limit=len(ids)))
        if not found.messages:
            return
        known.update((m.envelope.id, m) for m in found.messages)
        gaps.update(found.gaps)


SPANS_MAX: Final = 6


def _spans(messages: Iterable[Message], around_s: float) -> list[tuple[float, float]]:
    """Return times around events, joined where they overlap; the newest ones first."""
    spans: list[tuple[float, float]] = []
    for at_s in sorted((m.envelope.time_s for m in messages), reverse=True):
        from_s, until_s = at_s - around_s, at_s + around_s / 2
        if spans and until_s >= spans[-1][0]:
            spans[-1] = (from_s, spans[-1][1])
        elif len(spans) < SPANS_MAX:
            spans.append((from_s, until_s))
    return spans


def _decoded(payloads: Iterable[bytes]) -> Iterable[Message]:
    for payload in payloads:
        # One that a newer version wrote, or that was damaged, takes nothing from the others.
        with contextlib.suppress(codec.DecodeError):
            yield codec.decode(payload)
