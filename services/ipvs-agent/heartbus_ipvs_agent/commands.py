"""What is run when a virtual service is lost and gained, strictly in order for each service.

Sans-I/O. Each change is a turn: its commands one after the other, and the next turn after them. A
service that swings faster than its commands run drops two turns that undo one another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from heartbus.model import VirtualService, VirtualServiceName
from heartbus_ipvs_agent.quorum import QuorumChange

TURNS_MAX: Final = 8
"""Waiting of one service; an even number, so that what is dropped undoes itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One program to run. ``what``: the key that it was configured with."""

    virtual_service: VirtualServiceName
    what: str
    argv: tuple[str, ...]
    gained: bool

    def __str__(self) -> str:
        return f"{self.what} of {self.virtual_service}"


def calls(service: VirtualService, change: QuorumChange) -> tuple[Call, ...]:
    """Return what a change of a service has run, in order.

    ldirectord calls its command with stop only after start; keepalived tells each state.
    """
    policy = service.policy
    found: list[tuple[str, tuple[str, ...]]] = []
    if policy.fallback_command and not (change.gained and change.first):
        word = "stop" if change.gained else "start"
        argv = (*policy.fallback_command, word, *_who(service))
        found.append(("fallback_command", argv))
    found.append(
        ("quorum_up", policy.quorum_up) if change.gained else ("quorum_down", policy.quorum_down)
    )
    return tuple(
        Call(virtual_service=service.name, what=what, argv=argv, gained=change.gained)
        for what, argv in found
        if argv
    )


def _who(service: VirtualService) -> tuple[str, str]:
    """Return what ldirectord gives: address and port (here of a mark its number), and protocol."""
    address = str(service.fwmark) if service.fwmark else str(service.endpoint)
    return address, str(service.protocol)


class CommandQueues:
    """What waits to be run, service by service."""

    def __init__(self) -> None:
        self._turns: dict[VirtualServiceName, deque[tuple[Call, ...]]] = {}
        self._busy: set[VirtualServiceName] = set()

    def add(self, turn: tuple[Call, ...]) -> None:
        """Put in a turn, the calls of one service for one change."""
        if not turn:
            return
        turns = self._turns.setdefault(turn[0].virtual_service, deque())
        if len(turns) >= TURNS_MAX:
            turns.popleft()
            turns.popleft()
        turns.append(turn)

    def ready(self) -> Iterator[VirtualServiceName]:
        """Yield each service with a turn to run and none running; it counts as running then."""
        for name in [n for n in self._turns if n not in self._busy]:
            self._busy.add(name)
            yield name

    def next_turn(self, name: VirtualServiceName) -> tuple[Call, ...]:
        """Return the next turn of a service that is running; none ends it."""
        turns = self._turns.get(name)
        if turns:
            return turns.popleft()
        self._turns.pop(name, None)
        self._busy.discard(name)
        return ()

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self._turns and not self._busy
