"""Decides when a program beside membership is started again, and when no more.

Sans-I/O. The rules are Heartbeat's (ha.cf ``respawn``): an end with status 100 is final, every
other end is followed by a start, and after more than EXITS_MAX runs in a row that were shorter
than QUICK_EXIT_S it is given up.

    start ─► running ─ended─► waiting ─► running …     status 100: done; too often: given up
       └──── refused (tried again every RETRY_S)       stop: stopped
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from heartbus.events import ClientStatus, ClientView
from heartbus.model import SupervisedClient

FINAL_STATUS: Final = 100
QUICK_EXIT_S: Final = 30.0
EXITS_MAX: Final = 10
PAUSE_S: Final = 1.0
"""Before the start that follows a short run; Heartbeat starts at once and may spin."""
RETRY_S: Final = 30.0
COMMAND_CHARS_MAX: Final = 200
"""So much of a command line is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartClient:
    """Start client number ``index`` at this time, or now if that has passed."""

    index: int
    at_s: float


@dataclass(slots=True, kw_only=True)
class _Client:
    client: SupervisedClient
    status: ClientStatus = ClientStatus.WAITING
    started_s: float = 0.0
    quick_exits: int = 0
    exits: int = 0
    reason: str = ""


class ClientsPolicy:
    """All clients but those that are built in. Times are monotonic seconds."""

    def __init__(self, clients: Sequence[SupervisedClient]) -> None:
        self._clients = [_Client(client=client) for client in clients if not client.built_in]
        self._stopping = False

    def client(self, index: int) -> SupervisedClient:
        """Return what is to be started."""
        return self._clients[index].client

    def status(self, index: int) -> ClientStatus:
        """Return what became of it."""
        return self._clients[index].status

    def start(self, *, now_s: float) -> list[StartClient]:
        """Membership is ready: start all, in the order of the configuration."""
        return [StartClient(index=index, at_s=now_s) for index in range(len(self._clients))]

    def started(self, index: int, *, now_s: float) -> None:
        """Note that it runs."""
        state = self._clients[index]
        state.status, state.started_s = ClientStatus.RUNNING, now_s

    def refused(self, index: int, reason: str, *, now_s: float) -> list[StartClient]:
        """Note that it cannot be started: no such user or program, no privilege."""
        state = self._clients[index]
        state.reason = reason
        if self._stopping:
            state.status = ClientStatus.STOPPED
            return []
        state.status = ClientStatus.REFUSED
        return [StartClient(index=index, at_s=now_s + RETRY_S)]

    def ended(self, index: int, code: int, *, now_s: float) -> list[StartClient]:
        """Note its end: exit status, or minus the number of the signal that killed it."""
        state = self._clients[index]
        state.exits += 1
        state.reason = _words(code)
        if self._stopping:
            state.status = ClientStatus.STOPPED
            return []
        if code == FINAL_STATUS:
            state.status = ClientStatus.DONE
            state.reason = f"ended with status {FINAL_STATUS}: not started again"
            return []
        quick = now_s - state.started_s < QUICK_EXIT_S
        state.quick_exits = state.quick_exits + 1 if quick else 0
        if state.quick_exits > EXITS_MAX:
            state.status = ClientStatus.GIVEN_UP
            state.reason = (
                f"ended {state.quick_exits} times in a row within {QUICK_EXIT_S:g} s of its start,"
                f" at last {_words(code)}: not started again"
            )
            return []
        state.status = ClientStatus.WAITING
        return [StartClient(index=index, at_s=now_s + (PAUSE_S if quick else 0.0))]

    def stop(self) -> list[int]:
        """Membership stops: return which clients to end, in this order; the last started first."""
        self._stopping = True
        running = []
        for index, state in reversed(list(enumerate(self._clients))):
            if state.status is ClientStatus.RUNNING:
                running.append(index)
            elif state.status in (ClientStatus.WAITING, ClientStatus.REFUSED):
                state.status = ClientStatus.STOPPED
        return running

    def views(self) -> tuple[ClientView, ...]:
        """Return what became of each."""
        return tuple(
            ClientView(
                command=state.client.command[:COMMAND_CHARS_MAX],
                user=state.client.user,
                status=state.status,
                exits=state.exits,
                reason=state.reason,
            )
            for state in self._clients
        )


def _words(code: int) -> str:
    if code >= 0:
        return f"with status {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
