"""One kind of check per file, and what they have in common.

A probe never raises and never outlives its deadline: what goes wrong is a result with the reason
in words (what was sent, what came, after how long).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

EXCERPT_CHARACTERS_MAX: Final = 60
"""So much of what a server sent is repeated in a reason."""


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How one check ended; ``took_s`` in seconds. A struct: thousands are made in a second.

    ``conclusive`` False: this machine could not even ask (no descriptor, no memory), which says
    nothing of the server. ``weight``: what the server itself asks for, None where it says nothing.
    """

    passed: bool
    reason: str
    took_s: float
    conclusive: bool = True
    weight: int | None = None


Finished = Callable[[ProbeResult], None]


class Attempt(Protocol):
    """One check under way."""

    def expire(self, within_s: float) -> ProbeResult:
        """Give up because ``within_s`` have passed: free everything and say how far it came.

        ``finished`` must not be called any more.
        """
        ...


class Probe(Protocol):
    """One check of one target, begun anew each time it is due."""

    def begin(self, finished: Finished) -> Attempt:
        """Begin a check; ``finished`` is called once, later, unless it expires first."""
        ...


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a conversation concludes; the reason still lacks the time that it took."""

    passed: bool
    reason: str
    weight: int | None = None


class Conversation(Protocol):
    """What is said over one TCP connection, seen from its bytes. Sans-I/O.

    Every method may end the conversation by returning an Outcome; none is called afterwards.
    """

    def connected(self) -> bytes | Outcome:
        """Return what to send first; empty if the server speaks first."""
        ...

    def received(self, chunk: bytes) -> bytes | Outcome | None:
        """Return what to send in answer to these bytes; None to go on listening."""
        ...

    def ended(self) -> Outcome:
        """Conclude: the server will send no more."""
        ...

    def broken(self, how: str) -> Outcome:
        """Conclude: the connection broke, or time is up; ``how`` in words."""
        ...


def excerpt(sent: bytes | bytearray) -> str:
    """Return what a server sent as a short, printable, quoted text."""
    text = sent[: EXCERPT_CHARACTERS_MAX + 1].decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else " " for c in text[:EXCERPT_CHARACTERS_MAX]).strip()
    return f"{shown!r}…" if len(sent) > EXCERPT_CHARACTERS_MAX else repr(shown)


def duration(seconds: float) -> str:
    """Return a duration as people write it: ``2 ms``, ``3 s``, ``1.5 s``."""
    if seconds < 0.0995:
        return f"{max(1, round(seconds * 1000))} ms"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
