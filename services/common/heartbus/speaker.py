"""Puts what one process says into envelopes, and remembers its last events.

Sans-I/O. Every message names the event before it (``previous``): so a recorder that has not got
that one knows, and asks for it. What was published while the bus was away is found that way too.
"""

from __future__ import annotations

from collections import deque

from heartbus.events import EVENT_CLASSES, SCHEMA_VERSION, Body, Envelope, Message
from heartbus.observer import PERIODIC_KINDS
from heartbus.recording import RECENT_EVENTS_MAX


class Speaker:
    """The voice of one process; ``incarnation`` grows each time it starts."""

    def __init__(self, *, node: str, service: str, incarnation: int) -> None:
        self._node = node
        self._service = service
        self._incarnation = incarnation
        self._sequence = 0
        self._previous: str | None = None
        self._recent: deque[Message] = deque(maxlen=RECENT_EVENTS_MAX)

    @property
    def recent(self) -> tuple[Message, ...]:
        """Its last events, oldest first, whether anybody heard them or not."""
        return tuple(self._recent)

    def wrap(
        self,
        body: Body,
        *,
        message_id: str,
        cause: str | None,
        valid_for_s: float,
        time_s: float,
        uptime_s: float,
    ) -> Message:
        """Return a message; ``time_s`` is the wall clock, ``uptime_s`` the monotonic one."""
        self._sequence += 1
        envelope = Envelope(
            schema=SCHEMA_VERSION,
            kind=body.kind,
            id=message_id,
            time_s=time_s,
            uptime_s=uptime_s,
            node=self._node,
            service=self._service,
            incarnation=self._incarnation,
            sequence=self._sequence,
            valid_for_s=valid_for_s,
            cause=cause,
            previous=self._previous,
        )
        message = Message(envelope=envelope, body=body)
        if isinstance(body, EVENT_CLASSES) and body.kind not in PERIODIC_KINDS:
            self._previous = message_id
            self._recent.append(message)
        return message
