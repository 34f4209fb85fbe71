"""What an observer on one director hears, collected beside the test that watches it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from heartbus.bus import Inbox, NatsBus
from heartbus.bus_keys import Key, keys_directory
from heartbus.events import (
    CheckerState,
    Command,
    CommandOutcome,
    Event,
    Health,
    HoldStatus,
    IpvsState,
    MembershipState,
    Message,
    VipState,
)
from heartbus.observer import ClusterView, all_subjects
from tests.lab.network import Host

E = TypeVar("E", bound=Event)

MESSAGES_MAX: Final = 100_000

_numbers = itertools.count(1)


class Observer:
    """A bus client inside a host, in a thread of its own; enter it to start, leave it to stop.

    ``events`` grows in the order of arrival; ``view`` holds the newest snapshots.
    """

    def __init__(
        self, host: Host, *, url: str = "nats://127.0.0.1:4222", keys: Path | None = None
    ) -> None:
        """``keys``: the directory with the keys of this host's bus; as the environment says."""
        self._host = host
        self._key = Key(keys or keys_directory(), "observer")
        self._url = url
        self.view = ClusterView()
        self.events: deque[Message] = deque(maxlen=MESSAGES_MAX)
        self._changed = threading.Condition()
        self._bus: NatsBus | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name=f"observer-{host.name}")

    def __enter__(self) -> Self:
        # A thread inherits the namespaces of the thread that starts it.
        self._host.call(self._thread.start)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # it ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    # --- asking ----------------------------------------------------------------------------------

    def wait_for(
        self, condition: Callable[[], bool], what: str, *, timeout_s: float = 30.0
    ) -> float:
        """Wait until a condition on ``events`` and ``view`` holds; return the seconds it took.

        Raises:
            AssertionError: it does not hold in time; the message shows the last events.
        """
        started_s = time.monotonic()
        with self._changed:
            while not condition():
                left_s = started_s + timeout_s - time.monotonic()
                assert left_s > 0, (
                    f"{what}: not within {timeout_s:g} s on {self._host.name}; last events:\n"
                    + "\n".join(map(self.line, list(self.events)[-15:]))
                )
                self._changed.wait(min(left_s, 0.5))
        return time.monotonic() - started_s

    @staticmethod
    def line(message: Message) -> str:
        """Return an event as one line."""
        from heartbus.cli.watch import text_line

        return text_line(message, colour=False)

    def said(self, event_class: type[E], *, since: int = 0) -> list[E]:
        """Return the events of one class, from the ``since``-th message on."""
        heard = list(self.events)[since:]
        return [m.body for m in heard if isinstance(m.body, event_class)]

    def vip_holders(self) -> list[str]:
        """Return the directors whose vip holds every group that it knows."""
        found = []
        for node in self.view.nodes():
            state = self.view.state(node, VipState)
            age_s = self.view.age_s(node, VipState, now_s=time.monotonic())
            if state is None or age_s is None or age_s > 3.0 or not state.groups:
                continue
            if all(group.status is HoldStatus.HELD for group in state.groups):
                found.append(node)
        return found

    def healths(self, node: str) -> dict[str, Health]:
        """Return the verdicts of one director's checker by real server."""
        state = self.view.state(node, CheckerState)
        return {v.real_server: v.health for v in state.verdicts} if state else {}

    def weights(self, node: str) -> dict[str, int]:
        """Return the weights in one director's kernel table by real server."""
        state = self.view.state(node, IpvsState)
        entries = [e for s in (state.services if state else ()) for e in s.real_servers]
        return {entry.real_server: entry.weight for entry in entries}

    def membership(self, node: str) -> MembershipState | None:
        """Return the newest snapshot of one director's membership."""
        return self.view.state(node, MembershipState)

    def order(
        self, node: str, service: str, command: Command, *, timeout_s: float
    ) -> CommandOutcome:
        """Give a command as the CLI does, without the start of a program; return its outcome.

        An answer that the bus has lost is none: it is asked again, and what was done is done.

        Raises:
            AssertionError: nobody answers within three times ``timeout_s``.
        """
        ends_s = time.monotonic() + 3 * timeout_s
        while time.monotonic() < ends_s:
            if self._bus is not None and self._loop is not None and self._bus.connected:
                asking = self._bus.request(node, service, command, timeout_s=timeout_s)
                outcome = asyncio.run_coroutine_threadsafe(asking, self._loop).result()
                if outcome is not None:
                    return outcome
            time.sleep(0.1)  # the bus comes back by itself; bounded by the loop's own limit
        raise AssertionError(f"{node} did not answer {command.kind}")

    # --- hearing ---------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._listen())

    async def _listen(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        inbox = Inbox()
        name = f"observer-{os.getpid()}-{next(_numbers)}"
        bus = NatsBus(
            url=self._url,
            node="observer",
            service=name,
            incarnation=time.time_ns(),
            key=self._key,
        )
        bus.subscribe(all_subjects(states=True), inbox)
        self._bus = bus
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.run())
            async for message in inbox:
                with self._changed:
                    self.view.see(message, now_s=time.monotonic())
                    if not message.body.kind.startswith("state."):
                        self.events.append(message)
                    self._changed.notify_all()
