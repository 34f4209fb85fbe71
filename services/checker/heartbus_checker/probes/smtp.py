"""SMTP check: the server greets, answers EHLO (or HELO) and is told QUIT.

Sans-I/O; ``stream`` does the rest. ldirectord ``service=smtp``; RFC 5321.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from . import Outcome, excerpt

ANSWER_BYTES_MAX: Final = 8 * 1024
"""For one reply; RFC 5321 section 4.5.3.1.5 asks for 512 bytes a line."""

_LAST_LINE = re.compile(rb"([2-5][0-9][0-9])(?: [^\n]*|\r?)?\n")
_LINE = re.compile(rb"([2-5][0-9][0-9])-[^\n]*\n")


class _Stage(enum.Enum):
    BANNER = "banner"
    EHLO = "EHLO"
    HELO = "HELO"
    QUIT = "QUIT"


class SmtpGreeting:
    """One greeting; ``name`` is what we call ourselves."""

    __slots__ = ("_name", "_received", "_stage")

    def __init__(self, name: str) -> None:
        self._name = name
        self._stage = _Stage.BANNER
        self._received = b""

    def connected(self) -> bytes:
        """Wait: the server speaks first."""
        return b""

    def received(self, chunk: bytes) -> bytes | Outcome | None:
        """Answer a complete reply; conclude when one is wrong, or after QUIT."""
        self._received += chunk
        if len(self._received) > ANSWER_BYTES_MAX:
            return self._failed(f"more than {ANSWER_BYTES_MAX} bytes without an end")
        reply = self._take_reply() if b"\n" in chunk else None
        if isinstance(reply, Outcome) or reply is None:
            return reply
        code, text = reply
        match self._stage:
            case _Stage.BANNER if code == b"220":
                return self._say(_Stage.EHLO, f"EHLO {self._name}\r\n")
            case _Stage.EHLO if code[:1] == b"5":
                return self._say(_Stage.HELO, f"HELO {self._name}\r\n")
            case _Stage.EHLO | _Stage.HELO if code == b"250":
                return self._say(_Stage.QUIT, "QUIT\r\n")
            case _Stage.QUIT:
                return self._passed()
            case _:
                return self._failed(excerpt(text))

    def ended(self) -> Outcome:
        """Conclude: good after QUIT."""
        if self._stage is _Stage.QUIT:
            return self._passed()
        return self._failed(f"the server closed{self._so_far()}")

    def broken(self, how: str) -> Outcome:
        """Conclude: good after QUIT, whatever becomes of the connection."""
        if self._stage is _Stage.QUIT:
            return self._passed()
        return self._failed(f"{how}{self._so_far()}")

    def _take_reply(self) -> tuple[bytes, bytes] | Outcome | None:
        """Return code and text of a reply of one or more lines; None while it is incomplete."""
        position = 0
        while line := _LINE.match(self._received, position):
            position = line.end()
        last = _LAST_LINE.match(self._received, position)
        if last is None:
            if b"\n" in self._received[position:] and self._stage is not _Stage.QUIT:
                return self._failed(f"not SMTP: {excerpt(self._received[position:])}")
            return None
        text, self._received = self._received[: last.end()], self._received[last.end() :]
        return last[1], text

    def _say(self, stage: _Stage, command: str) -> bytes:
        self._stage = stage
        self._received = b""
        return command.encode()

    def _so_far(self) -> str:
        return f" after {excerpt(self._received)}" if self._received else ""

    def _passed(self) -> Outcome:
        return Outcome(passed=True, reason="SMTP greeting: accepted")

    def _failed(self, what: str) -> Outcome:
        return Outcome(passed=False, reason=f"SMTP {self._stage.value}: {what}")
