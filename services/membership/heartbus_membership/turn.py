"""One turn of membership without its I/O: take in all that waited, judge silence, decide once.

Sans-I/O; times are seconds on our monotonic clock. The order is the point. Whether we were stalled
is judged before anything is concluded from what we did not hear; and while more news waits, nothing
is decided from a part of it: a claim in an old datagram may have ended in the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from heartbus.events import DirectorStatus, NodeDead, NodeLate, NodeLeft, VipState
from heartbus_membership.claims import Effect
from heartbus_membership.detector import FailureDetector, NodeEvent
from heartbus_membership.hearing import Heard
from heartbus_membership.ownership import Ownership


class Turn:
    """The steps of a turn, in the order of the methods.

    ``announce`` tells of an event and returns its id; ``carry_out`` does what the core asks for.
    """

    def __init__(
        self,
        *,
        detector: FailureDetector,
        ownership: Ownership,
        announce: Callable[[NodeEvent], str | None],
        carry_out: Callable[[Iterable[Effect]], None],
    ) -> None:
        self._detector = detector
        self._ownership = ownership
        self._announce = announce
        self._carry_out = carry_out
        self._bus_connected = False

    def woke(self, *, late_s: float, now_s: float) -> bool:
        """Judge how late we are; return whether that was a stall of ours."""
        return self._detector.turned(late_s=max(0.0, late_s), now_s=now_s)

    def vip_reported(self, state: VipState, *, now_s: float) -> None:
        """Take in a snapshot of the own vip."""
        self._ownership.vip_reported(state, now_s=now_s)

    def bus_evidence(self, peer: str, *, now_s: float) -> None:
        """Take in a sign of life of another host."""
        self._detector.bus_evidence(peer, now_s=now_s)

    def heard(self, heard: Heard, *, now_s: float) -> None:
        """Take in a believed datagram."""
        if heard.report is None:
            events = self._detector.copy_received(heard.peer, link=heard.link, now_s=now_s)
            self._tell(events, now_s)
            return
        events = self._detector.heartbeat_received(
            heard.peer,
            link=heard.link,
            incarnation=heard.report.incarnation,
            leaving=heard.leaving,
            now_s=now_s,
        )
        cause = self._tell(events, now_s)
        if heard.leaving:
            effects = self._ownership.peer_left(heard.peer, heard.report, cause=cause, now_s=now_s)
        else:
            effects = self._ownership.peer_heard(heard.peer, heard.report, now_s=now_s)
        self._carry_out(effects)

    def all_heard(self, *, bus_connected: bool, now_s: float) -> bool:
        """Judge silence, once nothing waits any more; return whether the bus came or went."""
        self._tell(self._detector.deadline_passed(now_s=now_s), now_s)
        if bus_connected == self._bus_connected:
            return False
        self._bus_connected = bus_connected
        self._ownership.bus_changed(connected=bus_connected, now_s=now_s)
        return True

    def decide(self, *, now_s: float) -> None:
        """Decide from all that is known now."""
        self._carry_out(self._ownership.tick(now_s=now_s))

    def _tell(self, events: Iterable[NodeEvent], now_s: float) -> str | None:
        """Tell of events, and the core of silence; return the id of that of a departure.

        A director that leaves takes its links with it: they went down because of it.
        """
        departure: str | None = None
        for event in events:
            cause = self._announce(event)
            if isinstance(event, NodeLeft):
                departure = cause
            if isinstance(event, NodeLate | NodeDead):
                late = isinstance(event, NodeLate)
                status = DirectorStatus.LATE if late else DirectorStatus.DEAD
                self._ownership.peer_silent(event.director, status, cause=cause, now_s=now_s)
        return departure
