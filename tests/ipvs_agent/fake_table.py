"""An IPVS table in memory that behaves as the kernel's; it passes the same tests (test_table)."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from heartbus_ipvs_agent.entries import (
    Action,
    AddService,
    Connections,
    DestinationKey,
    Draft,
    EditService,
    Refusal,
    ServiceKey,
    Table,
)
from heartbus_ipvs_agent.table import Outcome, TableError, failure_words

SCHEDULERS = frozenset(
    ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh")
)

_NUMBERS = {
    Refusal.SERVICE_EXISTS: errno.EEXIST,
    Refusal.NO_SERVICE: errno.ESRCH,
    Refusal.DESTINATION_EXISTS: errno.EEXIST,
    Refusal.NO_DESTINATION: errno.ENOENT,
}


class FakeTable:
    """``broken``: every call fails with this until it is None again. ``applied``: what we did."""

    def __init__(self, table: Table | None = None) -> None:
        self.table = table or Table()
        self.broken: str | None = None
        self.applied: list[Action] = []
        self.attempted: list[Action] = []
        self.dumps = 0
        self.schedulers = SCHEDULERS
        self.counters: dict[tuple[ServiceKey, DestinationKey], Connections] = {}

    def dump(self) -> Table:
        self._check()
        self.dumps += 1
        idle = Connections(active=0, inactive=0)
        return Table(
            services=self.table.services,
            connections={
                (k, d): self.counters.get((k, d), idle)
                for k, e in self.table.services.items()
                for d in e.destinations
            },
        )

    def apply(self, actions: Sequence[Action]) -> tuple[Outcome, ...]:
        self._check()
        return tuple(self._apply(action) for action in actions)

    def _apply(self, action: Action) -> Outcome:
        self.attempted.append(action)
        number = self._refusal(action)
        if number:
            return Outcome(action=action, failure=failure_words(action, number))
        self.applied.append(action)
        return Outcome(action=action)

    def _refusal(self, action: Action) -> int:
        if (
            isinstance(action, AddService | EditService)
            and action.settings.scheduler not in self.schedulers
        ):
            known = action.service in self.table.services
            if isinstance(action, AddService) and known:
                return errno.EEXIST
            return errno.ENOENT if known or isinstance(action, AddService) else errno.ESRCH
        draft = Draft(self.table)
        refusal = draft.apply(action)
        if refusal is not None:
            return _NUMBERS[refusal]
        self.table = draft.table()
        return 0

    def _check(self) -> None:
        if self.broken is not None:
            raise TableError(self.broken)
