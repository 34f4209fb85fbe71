"""Tells what is said and heard in one check, for ``heartbus probe``; never a password.

Sans-I/O. Wraps the conversation; where nobody wants to know, there is no wrapper and no cost.
"""

from __future__ import annotations

from collections.abc import Callable

from . import Conversation, Outcome, excerpt

Tell = Callable[[str], None]


class TracedConversation:
    """A conversation whose steps are told; ``secrets`` are covered."""

    __slots__ = ("_inner", "_ready", "_secrets", "_tell")

    def __init__(
        self, inner: Conversation, tell: Tell, ready: str, secrets: tuple[bytes, ...]
    ) -> None:
        self._inner = inner
        self._tell = tell
        self._ready = ready
        self._secrets = secrets

    def connected(self) -> bytes | Outcome:
        """Tell that it may begin, and what is said first."""
        self._tell(self._ready)
        first = self._inner.connected()
        self._told(first)
        return first

    def received(self, chunk: bytes) -> bytes | Outcome | None:
        """Tell what has come, and what is answered."""
        self._tell(f"received {len(chunk)} bytes: {self._shown(chunk)}")
        step = self._inner.received(chunk)
        self._told(step)
        return step

    def ended(self) -> Outcome:
        """Tell that the server has closed."""
        self._tell("the server closed")
        return self._inner.ended()

    def broken(self, how: str) -> Outcome:
        """Pass it on: the result says it."""
        return self._inner.broken(how)

    def _told(self, step: bytes | Outcome | None) -> None:
        if isinstance(step, bytes) and step:
            self._tell(f"sent {len(step)} bytes: {self._shown(step)}")

    def _shown(self, piece: bytes) -> str:
        for secret in self._secrets:
            piece = piece.replace(secret, b"(not shown)")
        return excerpt(piece)


def traced(
    begin: Callable[[], Conversation], tell: Tell, ready: str, secrets: tuple[str, ...]
) -> Callable[[], Conversation]:
    """Return what begins the conversation anew, told."""
    covered = tuple(secret.encode() for secret in secrets if secret)
    return lambda: TracedConversation(begin(), tell, ready, covered)
