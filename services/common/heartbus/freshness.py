"""Which messages are news, and which are leftovers of an outage.

Sans-I/O. NATS delivers late bursts after a partition and old messages after a reconnect. For each
sender (node, service) and kind of message only growing sequences of its newest incarnation pass,
and only while they are young. Messages of different kinds may overtake one another: the client
library runs one task per subscription. Age is judged without comparing wall clocks: the smallest
difference ever seen between our receive time and the sender's ``uptime_s`` is the pure clock
offset plus the fastest delivery; what a message exceeds it by is its delay. A delay that stays the
same is none: then the sender's clock stood still (a paused machine) or drifts, and is taken anew.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from heartbus.events import Envelope

SENDERS_MAX: Final = 1024
"""Senders remembered; beyond this the one silent for longest is forgotten."""

TAKEOVER_SILENCE_S: Final = 3.0
"""A smaller incarnation is believed only after its successor was silent this long: that is a
clock that was set back between two starts, not a late message of a process that is gone."""


REBASE_AFTER_S: Final = 5.0
REBASE_WITHIN_S: Final = 0.5
"""Late messages whose delay varies by less than this for so long are not late: in a burst after an
outage each message is less late than the one before."""


class Freshness(enum.Enum):
    """Why a message passes, or not."""

    FRESH = "fresh"
    REPEATED = "repeated"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


@dataclass(slots=True)
class _Sender:
    incarnation: int
    sequences: dict[str, int]
    offset_s: float
    heard_s: float
    late_offset_s: float | None = None
    late_since_s: float = 0.0

    def is_late(self, offset_s: float, *, valid_for_s: float, now_s: float) -> bool:
        """Return whether a message with this clock difference is older than it may be."""
        self.offset_s = min(self.offset_s, offset_s)
        if offset_s - self.offset_s <= valid_for_s:
            self.late_offset_s = None
            return False
        steady = (
            self.late_offset_s is not None and abs(offset_s - self.late_offset_s) <= REBASE_WITHIN_S
        )
        if not steady:
            self.late_offset_s = offset_s
            self.late_since_s = now_s
        elif now_s - self.late_since_s >= REBASE_AFTER_S:
            self.offset_s = offset_s
            self.late_offset_s = None
            return False
        return True


class FreshnessFilter:
    """Judges envelopes in the order of their arrival; ``now_s`` is our monotonic clock."""

    def __init__(self) -> None:
        self._senders: dict[tuple[str, str], _Sender] = {}

    def judge(self, envelope: Envelope, *, now_s: float) -> Freshness:
        """Return whether to act on a message, and remember it."""
        key = (envelope.node, envelope.service)
        offset_s = now_s - envelope.uptime_s
        sender = self._senders.get(key)
        if sender is None or self._is_successor(sender, envelope, now_s=now_s):
            self._remember(key, envelope, offset_s, now_s)
            return Freshness.FRESH
        if envelope.incarnation != sender.incarnation:
            return Freshness.SUPERSEDED
        if envelope.sequence <= sender.sequences.get(envelope.kind, -1):
            return Freshness.REPEATED
        sender.sequences[envelope.kind] = envelope.sequence
        sender.heard_s = now_s
        late = sender.is_late(offset_s, valid_for_s=envelope.valid_for_s, now_s=now_s)
        return Freshness.EXPIRED if late else Freshness.FRESH

    @staticmethod
    def _is_successor(sender: _Sender, envelope: Envelope, *, now_s: float) -> bool:
        if envelope.incarnation > sender.incarnation:
            return True
        silent_s = now_s - sender.heard_s
        return envelope.incarnation < sender.incarnation and silent_s > TAKEOVER_SILENCE_S

    def _remember(
        self, key: tuple[str, str], envelope: Envelope, offset_s: float, now_s: float
    ) -> None:
        if key not in self._senders and len(self._senders) >= SENDERS_MAX:
            del self._senders[min(self._senders, key=lambda k: self._senders[k].heard_s)]
        self._senders[key] = _Sender(
            incarnation=envelope.incarnation,
            sequences={envelope.kind: envelope.sequence},
            offset_s=offset_s,
            heard_s=now_s,
        )
