"""One thread that may wait for a disk, so that its owner's event loop need not.

A daemon thread: a process whose disk hangs can still end.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

PATIENCE_S: Final = 10.0

T = TypeVar("T")


class BusyError(Exception):
    """The thread has not come back from what it was given before."""


class Worker:
    """Does one thing after the other, in the order in which they were asked for."""

    def __init__(self, *, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._hung: asyncio.Future[Any] | None = None
        threading.Thread(target=self._run, name="disk", daemon=True).start()

    async def do(self, what: Callable[[], T]) -> T:
        """Return what ``what()`` returns, or raise what it raises.

        Raises:
            BusyError: it took longer than ``patience_s``, or something before it still does. It may
                be carried out later all the same.

        """
        if self._hung is not None and not self._hung.done():
            raise BusyError(f"the disk has not answered for more than {self._patience_s:g} s")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            try:
                result = what()
            except BaseException as error:
                self._tell(loop, future, None, error)
            else:
                self._tell(loop, future, result, None)

        self._jobs.put(job)
        await asyncio.wait({future}, timeout=self._patience_s)
        if not future.done():
            self._hung = future
            future.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise BusyError(f"the disk does not answer within {self._patience_s:g} s")
        return future.result()

    def _run(self) -> None:
        while True:
            self._jobs.get()()

    @staticmethod
    def _tell(
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[T],
        result: T | None,
        error: BaseException | None,
    ) -> None:
        def tell() -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell)
