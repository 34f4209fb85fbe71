"""Keeps events: in memory at once, in the file a moment later; what fails is tried again.

Shell over the file and its thread. While the file cannot be written events wait in memory, the
oldest are lost first, and questions are answered from there. A file that is damaged is set aside
and a new one begun, which peers fill.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import structlog

from heartbus.history.records import Record, is_wanted, newest
from heartbus.history.store import Store, StoreError
from heartbus.history.worker import BusyError, Worker
from heartbus.recording import (
    ANSWER_BYTES_MAX,
    ANSWER_EVENTS_MAX,
    AskEvents,
    FoundEvents,
)

WAITING_MAX: Final = 10_000
MEMORY_MAX: Final = 2_000
"""Events that are remembered for answers while the file cannot be read."""

BATCH: Final = 500
RETRY_S: Final = 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the file holds, as of its last use."""

    events: int = 0
    size_bytes: int = 0
    digest: str = ""
    since_s: float = 0.0


class Keeping:
    """The history of one director.

    ``failed`` and ``restored`` are called when the file cannot be used any more, and when it can
    again; the latter with how many events were lost meanwhile. ``wall`` is the wall clock.
    """

    def __init__(
        self,
        store: Store,
        *,
        wall: Callable[[], float],
        clock: Callable[[], float],
        log: structlog.typing.FilteringBoundLogger,
        failed: Callable[[str], object],
        restored: Callable[[int], object],
        worker: Worker | None = None,
    ) -> None:
        self._store = store
        self._wall = wall
        self._clock = clock
        self._log = log
        self._failed = failed
        self._restored = restored
        self._worker = worker or Worker()
        self._waiting: dict[str, Record] = {}
        self._memory: deque[Record] = deque(maxlen=MEMORY_MAX)
        self._lost = 0
        self._retry_s = float("-inf")
        self._damage: list[str] = []
        self.refill = False
        """The file has lost what processes may still remember: ask them all, then clear it."""
        self.problem: str | None = None
        self.facts = Facts()
        self.arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Events that are not written yet."""
        return len(self._waiting)

    def take(self, records: Iterable[Record]) -> None:
        """Keep events; never waits."""
        for kept in records:
            if kept.id in self._waiting:
                continue
            if len(self._waiting) >= WAITING_MAX:
                del self._waiting[next(iter(self._waiting))]
                self._lost += 1
            self._waiting[kept.id] = kept
            self._memory.append(kept)
        self.arrived.set()

    async def write(self) -> bool:
        """Write what waits; return whether nothing waits any more. Raises nothing."""
        self.arrived.clear()
        if self._clock() < self._retry_s:
            return False
        try:
            if self.problem is not None:
                await self.use(lambda: self._store.touch(now_s=self._wall()), writes=True)
            while self._waiting:
                batch = list(islice(self._waiting.values(), BATCH))
                await self.use(partial(self._store.add, batch), writes=True)
                for kept in batch:
                    self._waiting.pop(kept.id, None)
        except StoreError:
            return False
        return True

    async def tend(self) -> None:
        """Forget what is too old or too much. Raises nothing."""
        try:
            await self.use(lambda: self._store.prune(now_s=self._wall()), writes=True)
        except StoreError:
            return

    async def absent(self, ids: Iterable[str]) -> set[str]:
        """Return which of these are not here.

        Raises:
            StoreError: the file cannot be read.

        """
        unsure = [event_id for event_id in ids if event_id not in self._waiting]
        return await self.use(lambda: self._store.absent(unsure))

    async def unremembered(self, ids: Sequence[str]) -> set[str]:
        """Return which of these are not here; in memory, where the file cannot be read.

        So answers have what processes know of themselves, whatever became of the disk.
        """
        try:
            return await self.absent(ids)
        except StoreError:
            return set(ids) - self._waiting.keys() - {kept.id for kept in self._memory}

    async def missing(self) -> int:
        """Return how many events are named by others and not here.

        Raises:
            StoreError: the file cannot be read.

        """
        since_s = self.facts.since_s
        return await self.use(lambda: self._store.missing(since_s=since_s))

    async def ids(self, bucket: int, *, after: str) -> list[str]:
        """Return the ids of one hour, see ``Store.ids``.

        Raises:
            StoreError: the file cannot be read.

        """
        return await self.use(lambda: self._store.ids(bucket, after=after))

    async def digests(self) -> dict[int, str]:
        """Return the digest of each hour.

        Raises:
            StoreError: the file cannot be read.

        """
        return await self.use(lambda: self._store.digests.by_bucket())

    async def find(self, query: AskEvents) -> FoundEvents:
        """Return what is asked for, as far as it is known. Raises nothing."""
        limit = min(max(query.limit, 1), ANSWER_EVENTS_MAX)
        found = [kept for kept in self._waiting.values() if is_wanted(kept, query)]
        problem = self.problem
        try:
            found += await self.use(lambda: self._store.select(query, limit=limit + 1))
        except StoreError as error:
            problem = str(error)
            found += [kept for kept in self._memory if is_wanted(kept, query)]
        rows, more = newest(found, limit)
        size = 0
        for number, kept in enumerate(reversed(rows)):
            size += len(kept.payload)
            if size > ANSWER_BYTES_MAX:
                rows, more = rows[len(rows) - number :], True
                break
        return FoundEvents(
            payloads=tuple(kept.payload for kept in rows),
            more=more,
            gaps=await self._gaps(rows),
            problem=problem,
        )

    async def _gaps(self, rows: list[Record]) -> tuple[str, ...]:
        here = {kept.id for kept in rows}
        named = {kept.previous: kept.id for kept in rows if kept.previous not in {None, *here}}
        try:
            absent = await self.absent(name for name in named if name is not None)
        except StoreError:
            return ()
        return tuple(named[name] for name in absent)

    async def use(self, what: Callable[[], T], *, writes: bool = False) -> T:
        """Do something with the file, in its thread.

        What can be read may still not be written, so only a success in writing ends a failure.

        Raises:
            StoreError: it cannot be used; that was told.

        """

        def do() -> T:
            if self._store.is_open and self._store.is_gone():
                self._store.close()
            try:
                if not self._store.is_open:
                    self._store.open()
                result = what()
            except StoreError as error:
                if not error.damaged:
                    if not error.full:
                        self._store.close()  # the next try opens it anew
                    raise
                aside = self._store.set_aside()
                self._damage.append(f"{error}; it is {aside} now, and a new one was begun")
                self._store.open()
                result = what()
            self.facts = Facts(
                events=self._store.events,
                size_bytes=self._store.size_bytes,
                digest=self._store.digests.total,
                since_s=self._store.since_s(now_s=self._wall()),
            )
            return result

        try:
            result = await self._worker.do(do)
        except (StoreError, BusyError) as error:
            self._fails(str(error))
            raise StoreError(str(error)) from error
        self._works(written=writes)
        return result

    async def close(self) -> None:
        """Write what waits, if that is possible now, and let the file go."""
        self._retry_s = float("-inf")
        await self.write()
        try:
            await self._worker.do(self._store.close)
        except BusyError:
            return

    def _fails(self, reason: str) -> None:
        self._retry_s = self._clock() + RETRY_S
        if self.problem is None:
            self._log.error("history.failed", problem=reason, then="events wait in memory")
            self.problem = reason
            self._failed(reason)
        self.problem = reason

    def _works(self, *, written: bool) -> None:
        while self._damage:
            reason = self._damage.pop(0)
            self._log.error("history.damaged", problem=reason, then="peers fill it")
            self._failed(reason)
            self._restored(0)
            self.refill = True
        if self.problem is not None and written:
            lost, self._lost, self.problem = self._lost, 0, None
            self.refill = self.refill or lost > 0
            self._log.info("history.restored", lost=lost)
            self._restored(lost)
