"""Resource scripts as Heartbeat knew them: how they are called and what their answers mean.

Sans-I/O. Words and rules of Heartbeat 3 (inventory: stdout of ``status`` decides, its exit status
does not; ``start`` and ``stop`` are judged by theirs).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

_NOT_RUNNING: Final = re.compile(r"[Nn]ot [Rr]unning")
_HELD_WORDS: Final = ("running", "OK")
REASON_CHARS_MAX: Final = 200


class Verb(enum.StrEnum):
    """The last argument of a resource script."""

    STATUS = "status"
    START = "start"
    STOP = "stop"


class ScriptEnd(enum.Enum):
    """How a call ended. ``missing``: no such script in any directory, nothing was called."""

    EXITED = "exited"
    TIMED_OUT = "timed out"
    UNRUNNABLE = "unrunnable"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptResult:
    """Outcome of one call. ``code`` is an exit code, or minus the number of a signal.

    ``output`` holds both streams of the script, cut to a bound; ``detail`` says what was tried
    where there is more to say than a code.
    """

    end: ScriptEnd
    code: int = 0
    output: str = ""
    detail: str = ""

    @property
    def says_held(self) -> bool:
        """Whether a ``status`` call says that the resource runs."""
        if self.end is not ScriptEnd.EXITED or _NOT_RUNNING.search(self.output):
            return False
        return any(word in self.output for word in _HELD_WORDS)

    @property
    def problem(self) -> str | None:
        """Why a ``start`` or ``stop`` failed, or None; a missing script is no failure."""
        if self.end is ScriptEnd.MISSING or (self.end is ScriptEnd.EXITED and self.code == 0):
            return None
        if self.end is ScriptEnd.EXITED:
            said = f"exit code {self.code}" if self.code >= 0 else f"killed by signal {-self.code}"
        else:
            said = self.end.value if not self.detail else f"{self.end.value}: {self.detail}"
        last = self.output.strip().rpartition("\n")[2].strip()
        return f"{said}; it said: {last[:REASON_CHARS_MAX]}" if last else said
