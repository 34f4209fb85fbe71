"""Decides which weight each real server is to have, where it is not the configured one.

Sans-I/O. Two things move a weight: the server itself (a field of its answer, the exit status of a
command, the number in a file), and a slow start: after a recovery the weight grows in STEPS equal
steps, so that a server with cold caches is not given its whole share at once. A server that comes
up for the first time since our start was up before, for all we know: it has its full weight.

    weight = full x step / STEPS, at least 1        full: what the server asks for, else configured

Times are monotonic seconds on this node's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from heartbus.model import RealServerName, VirtualServiceName

from .targets import CheckPlan, Listener, Target

STEPS: Final = 10

Key = tuple[VirtualServiceName, RealServerName]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightChange:
    """A real server is to have another weight; None: as configured."""

    key: Key
    weight: int | None
    reason: str


@dataclass(slots=True)
class _Server:
    listener: Listener
    asked: int | None = None
    ramp_begun_s: float | None = None
    said: int | None = None


class Weights:
    """The weights of all real servers that are checked."""

    def __init__(self, plan: CheckPlan) -> None:
        self._listeners = plan.listeners
        self._servers: dict[Key, _Server] = {
            (listener.virtual_service, listener.real_server): _Server(listener)
            for found in plan.listeners.values()
            for listener in found
        }
        self._ramping: dict[Key, _Server] = {}
        self._asking: set[Target] = set()

    def weight(self, key: Key) -> int | None:
        """Return the weight last decided, None for the configured one."""
        server = self._servers.get(key)
        return None if server is None else server.said

    def came_up(self, key: Key, *, recovered: bool, now_s: float) -> int | None:
        """Return the weight to come up with; ``recovered``: it was down before."""
        server = self._servers.get(key)
        if server is None:
            return None
        if recovered and server.listener.slow_start_s > 0:
            server.ramp_begun_s = now_s
            self._ramping[key] = server
        server.said = _weight(server, now_s)
        return server.said

    def went_down(self, key: Key) -> None:
        """Forget a slow start under way."""
        server = self._servers.get(key)
        if server is not None:
            server.ramp_begun_s = server.said = None
            self._ramping.pop(key, None)

    def passed(self, target: Target, weight: int | None, *, now_s: float) -> list[WeightChange]:
        """Take in what a server asks for with a passed check; return what that changes."""
        changes: list[WeightChange] = []
        if weight is not None:
            self._asking.add(target)
        elif target in self._asking:
            self._asking.discard(target)
        else:
            return changes  # as nearly always
        for listener in self._listeners[target]:
            key = (listener.virtual_service, listener.real_server)
            server = self._servers[key]
            server.asked = weight
            changes += self._change(key, server, "the server asks for it", now_s)
        return changes

    @property
    def next_deadline_s(self) -> float | None:
        """When to call ``deadline_passed``; None while nothing grows."""
        return min((_next_step_s(server) for server in self._ramping.values()), default=None)

    def deadline_passed(self, *, now_s: float) -> list[WeightChange]:
        """Let what grows grow."""
        changes = []
        for key, server in list(self._ramping.items()):
            changes += self._change(key, server, "slow start", now_s)
            if _step(server, now_s) >= STEPS:
                server.ramp_begun_s = None
                del self._ramping[key]
        return changes

    def _change(self, key: Key, server: _Server, reason: str, now_s: float) -> list[WeightChange]:
        weight = _weight(server, now_s)
        if weight == server.said:
            return []
        server.said = weight
        return [WeightChange(key=key, weight=weight, reason=reason)]


def _weight(server: _Server, now_s: float) -> int | None:
    step = _step(server, now_s)
    if step >= STEPS:
        return server.asked
    full = server.listener.weight if server.asked is None else server.asked
    return full if full == 0 else max(1, full * step // STEPS)


def _step(server: _Server, now_s: float) -> int:
    """Return the step that a slow start has come to, from 1; STEPS: there is none."""
    if server.ramp_begun_s is None:
        return STEPS
    # The tolerance: a timer that was asked for this very moment must not miss it by rounding.
    gone = (now_s - server.ramp_begun_s) / server.listener.slow_start_s + 1e-9
    return min(STEPS, 1 + int(gone * (STEPS - 1)))


def _next_step_s(server: _Server) -> float:
    assert server.ramp_begun_s is not None
    step_s = server.listener.slow_start_s / (STEPS - 1)
    said = server.said
    full = server.listener.weight if server.asked is None else server.asked
    step = next((s for s in range(1, STEPS) if max(1, full * s // STEPS) > (said or 0)), STEPS)
    return server.ramp_begun_s + (min(step, STEPS) - 1) * step_s
