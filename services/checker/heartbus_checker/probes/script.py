"""Conversations written down as they are held: say, listen, judge.

Sans-I/O. A script is a generator: it yields what it says and what it waits for, and returns the
reason of a pass; ``Failed`` is the reason of a failure. Whatever a server sends, what is kept is
bounded, and the reason names the last thing that was said.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

from . import Outcome, excerpt

LINE_BYTES_MAX: Final = 8 * 1024
TOTAL_BYTES_MAX: Final = 256 * 1024
"""So much is read of any server; an honest one says far less."""


class Failed(Exception):  # noqa: N818  # the field's word, and no defect
    """The server is not as it should be; the text says in words how."""


@dataclass(frozen=True, slots=True)
class Say:
    """Send these bytes; ``step`` names what is going on, for the reason."""

    message: bytes
    step: str


@dataclass(frozen=True, slots=True)
class Line:
    """Wait for a line; given without its line end."""


@dataclass(frozen=True, slots=True)
class Exactly:
    """Wait for so many bytes."""

    count: int


@dataclass(frozen=True, slots=True)
class Something:
    """Wait for whatever comes next: of UDP one datagram, of TCP what is there; b"" at the end."""


@dataclass(frozen=True, slots=True)
class Everything:
    """Wait until the server has closed; given is what it sent, ``bytes_max`` at most."""

    bytes_max: int = TOTAL_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Step:
    """Name what is going on, and send nothing."""

    step: str


Want = Say | Line | Exactly | Something | Everything | Step
Script = Generator[Want, bytes, str]


class ScriptConversation:
    """Holds the conversation of one script; ``label`` begins every reason (``IMAP``)."""

    __slots__ = ("_awaited", "_ended", "_label", "_received", "_script", "_step", "_total")

    def __init__(self, label: str, script: Script) -> None:
        self._label = label
        self._script = script
        self._awaited: Want | None = None
        self._received = bytearray()
        self._total = 0
        self._step = "greeting"
        self._ended = False

    def connected(self) -> bytes | Outcome:
        """Return what is said first; empty if the server speaks first."""
        return self._go_on(b"", first=True) or b""

    def received(self, chunk: bytes) -> bytes | Outcome | None:
        """Answer what is complete."""
        self._received += chunk
        self._total += len(chunk)
        step = self._go_on(b"", first=False)
        if step is None and self._total > TOTAL_BYTES_MAX:
            return self._failed(f"more than {TOTAL_BYTES_MAX} bytes: {excerpt(self._received)}")
        return step

    def ended(self) -> Outcome:
        """Conclude: what waits for the end has it, the rest is cut off."""
        self._ended = True
        step = self._go_on(b"", first=False)
        if isinstance(step, Outcome):
            return step
        return self._failed(f"the server closed{self._so_far()}")

    def broken(self, how: str) -> Outcome:
        """Conclude: ``how`` in words, and how far it came."""
        return self._failed(f"{how}{self._so_far()}")

    def _go_on(self, given: bytes, *, first: bool) -> bytes | Outcome | None:
        said = bytearray()
        try:
            if first:
                self._awaited = next(self._script)
            while True:
                awaited = self._awaited
                if isinstance(awaited, Say):
                    said += awaited.message
                    self._step = awaited.step
                    given = b""
                elif isinstance(awaited, Step):
                    self._step = awaited.step
                    given = b""
                else:
                    taken = self._take(awaited)
                    if taken is None:
                        return bytes(said) or None
                    given = taken
                self._awaited = self._script.send(given)
        except StopIteration as end:
            return Outcome(passed=True, reason=f"{self._label}: {end.value}")
        except Failed as failure:
            return self._failed(str(failure))

    def _take(self, awaited: Want | None) -> bytes | None:
        received = self._received
        match awaited:
            case Line():
                end = received.find(b"\n")
                if end < 0 and len(received) > LINE_BYTES_MAX:
                    raise Failed(f"a line without end: {excerpt(received)}")
                return None if end < 0 else self._cut(end + 1).rstrip(b"\r\n")
            case Exactly(count):
                return None if len(received) < count else self._cut(count)
            case Something():
                return self._cut(len(received)) if received or self._ended else None
            case Everything(bytes_max):
                complete = self._ended or len(received) >= bytes_max
                return self._cut(min(len(received), bytes_max)) if complete else None
            case _:
                return None

    def _cut(self, count: int) -> bytes:
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _so_far(self) -> str:
        return f" after {excerpt(self._received)}" if self._received else ""

    def _failed(self, what: str) -> Outcome:
        return Outcome(passed=False, reason=f"{self._label} {self._step}: {what}")


def scripted(label: str, script: Callable[[], Script]) -> Callable[[], ScriptConversation]:
    """Return what begins the conversation anew each time."""
    return lambda: ScriptConversation(label, script())
