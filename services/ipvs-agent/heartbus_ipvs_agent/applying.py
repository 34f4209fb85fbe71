"""Reads and changes the kernel's table, and tells what was changed, repaired or refused.

Shell: what is wanted comes from the agent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from heartbus.bus import Bus
from heartbus.events import IpvsChanged, IpvsFailed, IpvsRepaired
from heartbus_ipvs_agent.entries import Action, ServiceKey, Table, carried_out
from heartbus_ipvs_agent.failures import Failure, FailureBook
from heartbus_ipvs_agent.table import IpvsTable, TableError

EVENT_ACTIONS_MAX: Final = 200
"""Actions listed in one event; of more, the first ones and how many there were."""


class Applier:
    """The table between two looks.

    ``known`` is the table as we last saw or changed it. A verdict is acted upon with it alone,
    without reading the kernel first, because that is what takes time; each look puts it right.
    None: the next action begins with a look. ``seen``: the same, or what it was before that.
    """

    def __init__(
        self,
        *,
        table: IpvsTable,
        bus: Bus,
        clock: Callable[[], float],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._table = table
        self._bus = bus
        self._clock = clock
        self._log = log
        self._failures = FailureBook()
        self._trouble: str | None = None
        self.known: Table | None = None
        self.seen = Table()
        self.repairs = 0

    @property
    def standing(self) -> tuple[str, ...]:
        """What cannot be done now, in words."""
        trouble = () if self._trouble is None else (self._trouble,)
        return (*trouble, *self._failures.standing)

    def read(self) -> Table | None:
        """Read the whole table; None: it cannot be read, which is told."""
        try:
            observed = self._table.dump()
        except TableError as error:
            self._failed("ipvs.unreadable", error)
            return None
        self.known = self.seen = observed
        return observed

    def settle(self, actions: Sequence[Action], *, before: Table | None, cause: str | None) -> bool:
        """Carry out what is due of a whole plan; return whether anything was.

        ``before``: the table as it was known before this look. What differs from it others did.
        """
        assert self.known is not None
        observed = self.known.services
        due = self._failures.due(actions, now_s=self._clock())
        drifted = frozenset[ServiceKey]()
        if before is not None:
            entries = before.services
            drifted = frozenset(
                a.service for a in due if entries.get(a.service) != observed.get(a.service)
            )
        failures = self._carry_out(due, cause=cause, drifted=drifted)
        if failures is not None:
            self._trouble = None
            for failure in self._failures.failed(failures, now_s=self._clock()):
                self._bus.publish(IpvsFailed(action=str(failure.action), reason=failure.reason))
        return bool(due)

    def change(self, actions: Sequence[Action], *, cause: str | None) -> tuple[bool, bool]:
        """Carry out what is due of a part of a plan; return whether anything was, and any failed.

        Then the kernel's table is not what we thought: look before saying that anything failed.
        """
        due = self._failures.due_of_part(actions, now_s=self._clock())
        failures = self._carry_out(due, cause=cause, drifted=frozenset())
        return bool(due), bool(failures)

    def _carry_out(
        self, actions: Sequence[Action], *, cause: str | None, drifted: frozenset[ServiceKey]
    ) -> list[Failure] | None:
        """Return the failures; None: the table cannot be changed at all."""
        assert self.known is not None
        if not actions:
            return []
        started_s = self._clock()
        try:
            outcomes = self._table.apply(actions)
        except TableError as error:
            self.known = None
            self._failed("ipvs.unwritable", error)
            return None
        took_s = self._clock() - started_s
        done = [o.action for o in outcomes if o.failure is None]
        self.known = self.seen = carried_out(self.known, done)
        self._failures.carried_out(done)
        repaired = _listed([a for a in done if a.service in drifted])
        changed = _listed([a for a in done if a.service not in drifted])
        if repaired:
            self.repairs += 1
            self._bus.publish(IpvsRepaired(actions=repaired, took_s=took_s), cause=cause)
        if changed:
            self._bus.publish(IpvsChanged(actions=changed, took_s=took_s), cause=cause)
        return [
            Failure(action=o.action, reason=o.failure) for o in outcomes if o.failure is not None
        ]

    def _failed(self, what: str, error: TableError) -> None:
        if self._trouble != str(error):
            self._log.error(what, error=str(error), action="tried again every few seconds")
            self._bus.publish(IpvsFailed(action=what, reason=str(error)))
        self._trouble = str(error)


def _listed(actions: Sequence[Action]) -> tuple[str, ...]:
    listed = [str(a) for a in actions[:EVENT_ACTIONS_MAX]]
    if len(actions) > EVENT_ACTIONS_MAX:
        listed.append(f"... {len(actions)} in all")
    return tuple(listed)
