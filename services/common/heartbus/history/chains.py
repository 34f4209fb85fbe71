"""Which events a process published that we have not got, from what it says of them.

Sans-I/O; times are seconds on our monotonic clock. Every message names the last event of its
process. One that we do not find a moment later was missed, by us or by everybody because the bus
was away: the process itself is asked, which remembers its last events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from heartbus.events import Envelope

GRACE_S: Final = 0.5
"""The event itself and what names it may overtake one another."""

AGAIN_S: Final = 5.0
TRIES_MAX: Final = 3
SENDERS_MAX: Final = 1024
LOOKS_MAX: Final = 4096

Sender = tuple[str, str]
"""Node and service."""


@dataclass(slots=True)
class _Look:
    look_s: float
    tries: int = 0


class Chains:
    """What is known of the events of each process."""

    def __init__(self) -> None:
        self._named: dict[Sender, str] = {}
        self._looks: dict[tuple[Sender, str], _Look] = {}

    def heard(self, envelope: Envelope, *, now_s: float) -> None:
        """Take in the envelope of any message."""
        sender, event_id = (envelope.node, envelope.service), envelope.previous
        if event_id is None or self._named.get(sender) == event_id:
            return
        if sender not in self._named and len(self._named) >= SENDERS_MAX:
            return
        self._named[sender] = event_id
        if len(self._looks) < LOOKS_MAX:
            self._looks.setdefault((sender, event_id), _Look(now_s + GRACE_S))

    @property
    def senders(self) -> tuple[Sender, ...]:
        """Every process that was heard of and has told an event."""
        return tuple(self._named)

    def due(self, *, now_s: float) -> list[tuple[Sender, str]]:
        """Return the ids that should be there by now, with their senders."""
        return [key for key, look in self._looks.items() if look.look_s <= now_s]

    def found(self, sender: Sender, event_id: str) -> None:
        """Note that an event is there."""
        self._looks.pop((sender, event_id), None)

    def asked(self, sender: Sender, event_id: str, *, now_s: float) -> None:
        """Note that its process was asked, and could not give it; peers may still have it."""
        look = self._looks.get((sender, event_id))
        if look is None:
            return
        look.tries += 1
        look.look_s = now_s + AGAIN_S
        if look.tries >= TRIES_MAX:
            del self._looks[sender, event_id]
