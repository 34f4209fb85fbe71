"""Decides which events go to a JetStream next, so that each gets there once, in order of time.

Sans-I/O. Only what this director said itself is sent: each sends its own, so that nothing is
there twice. A cursor on the wall clock says up to when all is sent; a moment before it is asked for
again, because an event may have reached our own file late. What was sent lately is remembered by
its id; a JetStream itself drops an id that it had within two minutes (``Nats-Msg-Id``).
"""

from __future__ import annotations

from typing import Final

from heartbus import codec
from heartbus.events import AskEvents, FoundEvents, Message
from heartbus.recording import ANSWER_EVENTS_MAX

OVERLAP_S: Final = 60.0
WINDOW_S: Final = 3600.0
WINDOW_MIN_S: Final = 0.1


class Feed:
    """What one director has sent. ``cursor_s``: wall clock up to which all was sent before."""

    def __init__(self, *, node: str, cursor_s: float) -> None:
        self._node = node
        self.cursor_s = cursor_s
        self._window_s = WINDOW_S
        self._until_s = cursor_s
        self._sent: dict[str, float] = {}

    def query(self, *, now_s: float) -> AskEvents:
        """Return what to ask for next."""
        self._until_s = min(self.cursor_s + self._window_s, now_s)
        return AskEvents(
            since_s=max(0.0, self.cursor_s - OVERLAP_S),
            until_s=self._until_s,
            node=self._node,
            limit=ANSWER_EVENTS_MAX,
        )

    def to_send(self, found: FoundEvents) -> list[tuple[Message, bytes]]:
        """Return what of an answer is to be sent, in order; nothing of one that was cut off."""
        if found.more and self._window_s > WINDOW_MIN_S:
            self._window_s /= 2
            self._until_s = self.cursor_s
            return []
        messages = ((codec.decode(payload), payload) for payload in found.payloads)
        return [(m, payload) for m, payload in messages if m.envelope.id not in self._sent]

    def sent(self, message: Message) -> None:
        """Take in that an event is in the stream."""
        self._sent[message.envelope.id] = message.envelope.time_s

    def finished(self) -> bool:
        """Take in that all of the last answer is sent; return whether the cursor moved."""
        moved = self._until_s > self.cursor_s
        if moved:
            self.cursor_s = self._until_s
            self._window_s = 2 * self._window_s  # years without an event are soon over
        oldest_s = self.cursor_s - OVERLAP_S
        for id_ in [id_ for id_, at_s in self._sent.items() if at_s < oldest_s]:
            del self._sent[id_]
        return moved

    def behind_s(self, *, now_s: float) -> float:
        """How far what was sent is behind what was said."""
        return max(0.0, now_s - self.cursor_s)
