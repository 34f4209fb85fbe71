"""What any observer needs of the bus: all events, all snapshots, and the newest of each.

An observer only listens: nothing that directors do depends on it.
"""

from __future__ import annotations

from typing import Final, TypeVar

from heartbus import subjects
from heartbus.events import (
    EVENT_CLASSES,
    CheckerState,
    DirectorStatus,
    HeartbeatGaps,
    IpvsConnections,
    IpvsDigests,
    IpvsOverrides,
    IpvsState,
    MembershipState,
    Message,
    RecorderState,
    State,
    VipState,
)
from heartbus.table_pages import TablePages, VerdictPages

EVENT_SUBJECTS: Final = tuple(sorted({f"{c.kind.split('.')[0]}.*" for c in EVENT_CLASSES}))
"""Wildcards that match every event: ``node.*``, ``realserver.*``, …"""

PERIODIC_KINDS: Final = frozenset({IpvsConnections.kind, IpvsDigests.kind, IpvsOverrides.kind})
"""Events that directors tell one another again and again; no news for people."""

RECORD_KINDS: Final = frozenset({HeartbeatGaps.kind})
"""Events that are kept for later; shown to people only where they ask for them."""

S = TypeVar("S", MembershipState, VipState, CheckerState, IpvsState, RecorderState)


class ClusterView:
    """The newest snapshot of each service of each director, with its age.

    Sans-I/O: feed it messages with the time of their arrival on any monotonic clock.
    """

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], tuple[State, float]] = {}
        self._tables: dict[str, TablePages] = {}
        self._verdicts: dict[str, VerdictPages] = {}

    def see(self, message: Message, *, now_s: float) -> None:
        """Remember a snapshot; events are ignored."""
        if isinstance(message.body, State):
            key = (message.envelope.node, message.body.kind)
            self._states[key] = (message.body, now_s)
            if isinstance(message.body, IpvsState):
                self._tables.setdefault(message.envelope.node, TablePages()).see(message.body)
            elif isinstance(message.body, CheckerState):
                self._verdicts.setdefault(message.envelope.node, VerdictPages()).see(message.body)

    def nodes(self) -> tuple[str, ...]:
        """Return every director that is heard or spoken of, sorted."""
        names = {node for node, _kind in self._states}
        for state, _heard_s in self._states.values():
            if isinstance(state, MembershipState):
                names.update(director.name for director in state.directors)
        return tuple(sorted(names))

    def state(self, node: str, state_class: type[S]) -> S | None:
        """Return the newest snapshot of this class from a director, or None; pages as a whole."""
        if state_class is IpvsState and node in self._tables:
            table = self._tables[node].state
            return table if isinstance(table, state_class) else None
        if state_class is CheckerState and node in self._verdicts:
            verdicts = self._verdicts[node].state
            return verdicts if isinstance(verdicts, state_class) else None
        found = self._states.get((node, state_class.kind))
        return found[0] if found is not None and isinstance(found[0], state_class) else None

    def age_s(self, node: str, state_class: type[State], *, now_s: float) -> float | None:
        """Return how old the newest snapshot is, or None."""
        found = self._states.get((node, state_class.kind))
        return None if found is None else now_s - found[1]

    def is_complete(self) -> bool:
        """Whether every director that somebody calls alive has sent all its snapshots."""
        alive = {
            director.name
            for state, _heard_s in self._states.values()
            if isinstance(state, MembershipState)
            for director in state.directors
            if director.status in (DirectorStatus.ALIVE, DirectorStatus.LATE)
            and not director.witness
        }
        kinds = (
            MembershipState.kind,
            VipState.kind,
            CheckerState.kind,
            IpvsState.kind,
            RecorderState.kind,
        )
        heard = all((node, kind) in self._states for node in alive for kind in kinds)
        return (
            bool(alive)
            and heard
            and all(self._tables[n].is_complete and self._verdicts[n].is_complete for n in alive)
        )

    @property
    def waits_for_pages(self) -> bool:
        """Whether a large table, or as many verdicts, are not heard whole yet."""
        tables = all(pages.is_complete for pages in self._tables.values())
        return not (tables and all(pages.is_complete for pages in self._verdicts.values()))


def all_subjects(*, states: bool) -> tuple[str, ...]:
    """Return the subjects of all events and, if wanted, of all snapshots."""
    return (*EVENT_SUBJECTS, subjects.ALL_STATES) if states else EVENT_SUBJECTS
