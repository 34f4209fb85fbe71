"""Composes our heartbeats and says when the next one is due.

Sans-I/O; times are seconds on our monotonic clock. Votes are on disk before a heartbeat says them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from heartbus.model import Timers
from heartbus_membership.hearing import Hearing
from heartbus_membership.ownership import Ownership
from heartbus_membership.pingnodes import Reach
from heartbus_membership.signing import Keyring
from heartbus_membership.wire import Heartbeat, encode, name_id


class Beats:
    """The heartbeats of one process. ``leaving``: say that these are the last ones.

    ``wanted``: news that the peers should have now, not with the next keepalive. ``write_votes``:
    writes new votes, returns the groups of those that could not be and must not be said.
    """

    def __init__(
        self,
        *,
        node: str,
        incarnation: int,
        timers: Timers,
        keyring: Keyring,
        ownership: Ownership,
        hearing: Hearing,
        write_votes: Callable[[], Collection[str]],
        started_s: float,
    ) -> None:
        self._node = node
        self._incarnation = incarnation
        self._timers = timers
        self._keyring = keyring
        self._ownership = ownership
        self._hearing = hearing
        self._write_votes = write_votes
        self._sequence = 0
        self.next_s = started_s
        self.wanted = False
        self.leaving = False

    def due(self, *, now_s: float) -> bool:
        """Whether one should be sent now."""
        return self.wanted or now_s >= self.next_s

    def compose(self, *, digest: bytes, parts: bytes, reach: Reach | None, now_s: float) -> bytes:
        """Return the next heartbeat, signed; send it at once."""
        self._sequence += 1
        self.wanted = False
        unwritten = self._write_votes()
        self._ownership.votes_written(unwritten)
        # One that was late does not delay the next, or each would add its lateness to the period.
        period_s = self._timers.keepalive_s
        self.next_s = max(min(self.next_s, now_s), now_s - period_s / 2) + period_s
        claims = self._ownership.claims(now_s=now_s)
        beat = Heartbeat(
            node=self._node,
            incarnation=self._incarnation,
            sequence=self._sequence,
            settled=self._ownership.settled,
            ready=self._ownership.is_ready(now_s=now_s),
            leaving=self.leaving,
            deadtime_ms=round(self._timers.deadtime_s * 1000),
            config_digest=digest,
            claims=tuple((name_id(name), claim) for name, claim in claims.items()),
            heard=self._hearing.marks(),
            votes=tuple(
                (name_id(name), name_id(whom))
                for name, whom in self._ownership.votes(now_s=now_s).items()
                if name not in unwritten
            ),
            reach=reach,
            config_parts=parts,
        )
        self._hearing.own_sequence = self._sequence
        self._ownership.beat_sent(self._sequence, now_s=now_s)
        return encode(beat, self._keyring)
