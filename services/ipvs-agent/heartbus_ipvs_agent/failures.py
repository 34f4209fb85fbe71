"""Which refused actions were already told about, and when each may be tried again.

Sans-I/O. A refusal is told once and tried again every RETRY_S; if the reason changes it is told
again. When a service cannot be added, its destinations are not tried: they can only fail too.
Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from heartbus_ipvs_agent.entries import Action, AddService, ServiceKey

RETRY_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An action that the kernel refused, and why, in words."""

    action: Action
    reason: str

    def __str__(self) -> str:
        return f"{self.action}: {self.reason}"


@dataclass(slots=True, kw_only=True)
class _Remembered:
    failure: Failure
    retry_s: float


class FailureBook:
    """Failures of the latest plan."""

    def __init__(self) -> None:
        self._failures: dict[Action, _Remembered] = {}

    def due(self, plan: Sequence[Action], *, now_s: float) -> list[Action]:
        """Return the actions of a complete plan to try now; forget failures it does not have."""
        planned = set(plan) if self._failures else set()
        self._failures = {a: f for a, f in self._failures.items() if a in planned}
        return self.due_of_part(plan, now_s=now_s)

    def due_of_part(self, plan: Sequence[Action], *, now_s: float) -> list[Action]:
        """Return the actions of a partial plan to try now."""
        waiting = {a for a, f in self._failures.items() if now_s < f.retry_s}
        absent = _services(waiting)
        return [a for a in plan if a not in waiting and a.service not in absent]

    def carried_out(self, actions: Sequence[Action]) -> None:
        """Forget the failures of actions that succeeded."""
        for action in actions:
            self._failures.pop(action, None)

    def failed(self, failures: Sequence[Failure], *, now_s: float) -> list[Failure]:
        """Remember failures of one attempt; return those to tell about."""
        absent = _services({f.action for f in failures})
        news = []
        for failure in failures:
            follows = failure.action.service in absent
            if follows and not isinstance(failure.action, AddService):
                continue
            before = self._failures.get(failure.action)
            if before is None or before.failure.reason != failure.reason:
                news.append(failure)
            self._failures[failure.action] = _Remembered(failure=failure, retry_s=now_s + RETRY_S)
        return news

    @property
    def standing(self) -> tuple[str, ...]:
        """The failures that stand, in words."""
        return tuple(str(f.failure) for f in self._failures.values())


def _services(actions: set[Action]) -> set[ServiceKey]:
    return {a.service for a in actions if isinstance(a, AddService)}
