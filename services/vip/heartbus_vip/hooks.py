"""Decides what a hook is told, and when: the state of each group, strictly in order.

Sans-I/O. A hook is told states, not edges: the one that is so when ``vip`` starts, and each one
after it. One call at a time; a call that fails is tried again, unless a newer state of its group
waits. A state that another one of its group has overtaken is left out when too many wait.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from heartbus.events import HeldGroup, HoldStatus, ResourceStatus
from heartbus.model import Hook

WAITING_MAX: Final = 64
TRIES_MAX: Final = 3
TRY_AGAIN_S: Final = 5.0


class HookState(enum.StrEnum):
    """What a hook is told. ``failed``: a start failed, or something could not be stopped."""

    ACQUIRED = "acquired"
    RELEASED = "released"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCall:
    """One call: the state of one group under the epoch of its last grant."""

    state: HookState
    group: str
    epoch: int
    addresses: tuple[str, ...] = ()
    reason: str = ""


class HookQueue:
    """What one hook was told, and what waits to be told."""

    def __init__(self, hook: Hook) -> None:
        self._groups = hook.groups
        self._told: dict[str, tuple[HookState, int]] = {}
        self._waiting: list[HookCall] = []
        self._tries = 0
        self._running = False
        self._again_s = float("-inf")

    def seen(self, groups: Sequence[HeldGroup]) -> None:
        """Take in how the groups stand now; what is on its way is not told."""
        for group in groups:
            state = state_of(group)
            if state is None or (self._groups and group.name not in self._groups):
                continue
            if self._told.get(group.name) == (state, group.epoch):
                continue
            self._told[group.name] = (state, group.epoch)
            call = HookCall(
                state=state,
                group=group.name,
                epoch=group.epoch,
                addresses=group.addresses,
                reason=_reason(group),
            )
            self._waiting.append(call)
        self._drop_overtaken()

    def next(self, *, now_s: float) -> HookCall | None:
        """Return the call to begin now; None while one runs, or none waits."""
        if self._running or not self._waiting or now_s < self._again_s:
            return None
        self._running = True
        return self._waiting[0]

    def finished(self, *, ok: bool, now_s: float) -> bool:
        """Take in the end of the call; return whether it was the last word on it."""
        assert self._running
        self._running = False
        call = self._waiting[0]
        self._tries += 1
        overtaken = any(w.group == call.group for w in self._waiting[1:])
        if not ok and self._tries < TRIES_MAX and not overtaken:
            self._again_s = now_s + TRY_AGAIN_S
            return False
        self._waiting.pop(0)
        self._tries, self._again_s = 0, float("-inf")
        return True

    @property
    def idle(self) -> bool:
        """Whether everything was told."""
        return not self._waiting

    @property
    def next_deadline_s(self) -> float | None:
        """When ``next`` has something to say; None: not before something happens."""
        return self._again_s if self._waiting and not self._running else None

    def _drop_overtaken(self) -> None:
        first = 1 if self._running or self._tries else 0
        while len(self._waiting) > WAITING_MAX:
            for index in range(first, len(self._waiting)):
                group = self._waiting[index].group
                if any(later.group == group for later in self._waiting[index + 1 :]):
                    del self._waiting[index]
                    break
            else:
                return  # each is the newest of its group: there are that many groups


def state_of(group: HeldGroup) -> HookState | None:
    """Return what a hook is told of a group, None while it starts or stops."""
    if group.status is HoldStatus.HELD:
        return HookState.ACQUIRED
    if group.status is HoldStatus.FAILED:
        return HookState.FAILED
    if group.status is HoldStatus.RELEASED:
        stuck = any(r.status is ResourceStatus.FAILED for r in group.resources)
        return HookState.FAILED if stuck else HookState.RELEASED
    return None


def _reason(group: HeldGroup) -> str:
    stuck = [r for r in group.resources if r.status is ResourceStatus.FAILED]
    return group.reason or "".join(f"{r.name}: {r.reason}" for r in stuck[:1])
