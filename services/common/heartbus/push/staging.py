"""What one director does of a push: collects, tests, puts in place, keeps or takes back.

Sans-I/O.

    idle --stage--> collecting --prepare--> prepared --commit--> committed --confirm--> idle (kept)
      ^                 |                      |                     |
      +---- rollback or nobody goes on --------+--- discarded        +--- rollback, or no word
                                                                         within CONFIRM_S: restored

What is committed is kept only when told so: a director that whoever pushes can no longer reach goes
back by itself, as the others do then.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from heartbus.push.messages import PushConfig, PushStep
from heartbus.push.trust import text_digest

TEXT_CHARS_MAX: Final = 16 * 1024 * 1024
PART_CHARS_MAX: Final = 256 * 1024
PARTS_MAX: Final = TEXT_CHARS_MAX // PART_CHARS_MAX
PREPARE_S: Final = 60.0
"""So long what is collected or prepared waits for the next step."""
CONFIRM_S: Final = 30.0
"""So long what is committed waits to be confirmed."""


class Phase(enum.Enum):
    """Where a push is on this director."""

    IDLE = enum.auto()
    COLLECTING = enum.auto()
    PREPARED = enum.auto()
    COMMITTED = enum.auto()


class Act(enum.Enum):
    """What the shell is to do. NOTHING: it is so already."""

    NOTHING = enum.auto()
    PREPARE = enum.auto()
    COMMIT = enum.auto()
    KEEP = enum.auto()
    RESTORE = enum.auto()
    DISCARD = enum.auto()
    REFUSE = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One act and what to say; ``text``: the whole document, of PREPARE."""

    act: Act
    message: str = ""
    text: str = ""


class Staging:
    """The pushes to one director, one at a time. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.phase = Phase.IDLE
        self.push = ""
        self._parts: list[str] = []
        self._expected = 0
        self._until_s: float | None = None
        self._kept = ""

    @property
    def next_deadline_s(self) -> float | None:
        """When to call ``deadline_passed``; None: never."""
        return self._until_s

    def received(self, message: PushConfig, *, now_s: float) -> Answer:
        """Take a message that is believed; return what to do."""
        ours = message.push == self.push and self.phase is not Phase.IDLE
        match message.step:
            case PushStep.STAGE:
                return self._stage(message, ours=ours, now_s=now_s)
            case PushStep.PREPARE:
                return self._prepare(message, ours=ours)
            case PushStep.COMMIT:
                if ours and self.phase is Phase.COMMITTED:
                    return Answer(act=Act.NOTHING, message="committed already")
                if ours and self.phase is Phase.PREPARED:
                    return Answer(act=Act.COMMIT)
                return _refuse("this push is not prepared here: it took too long, or vip restarted")
            case PushStep.CONFIRM:
                if ours and self.phase is Phase.COMMITTED:
                    self._kept = self.push
                    self._end()
                    return Answer(act=Act.KEEP, message="kept")
                if message.push == self._kept:
                    return Answer(act=Act.NOTHING, message="kept already")
                return _refuse(
                    "this push is not committed here: it was taken back, or vip restarted"
                )
            case PushStep.ROLLBACK:
                return self._rollback(message, ours=ours)

    def prepared(self, *, now_s: float) -> None:
        """Note that the document is beside the file and can be used."""
        self.phase = Phase.PREPARED
        self._parts = []
        self._until_s = now_s + PREPARE_S

    def committed(self, *, now_s: float) -> None:
        """Note that the document is in its place, and that the services run with it."""
        self.phase = Phase.COMMITTED
        self._until_s = now_s + CONFIRM_S

    def failed(self) -> None:
        """Note that it could not be prepared or committed; the shell has put everything back."""
        self._end()

    def deadline_passed(self, *, now_s: float) -> Answer | None:
        """Return what to do because nobody went on, or None."""
        if self._until_s is None or now_s < self._until_s:
            return None
        act = Act.RESTORE if self.phase is Phase.COMMITTED else Act.DISCARD
        self._end()
        return Answer(act=act, message="nobody went on with this push")

    def _stage(self, message: PushConfig, *, ours: bool, now_s: float) -> Answer:
        if self.phase is not Phase.IDLE and not ours:
            left_s = (self._until_s or now_s) - now_s
            return _refuse(f"another push is under way; it ends within {max(0.0, left_s):.0f} s")
        if ours and self.phase is not Phase.COLLECTING:
            return _refuse("this push is prepared already")
        if not 1 <= message.parts <= PARTS_MAX or len(message.text) > PART_CHARS_MAX:
            return _refuse(f"too large: at most {PARTS_MAX} parts of {PART_CHARS_MAX} characters")
        if not ours:
            self._parts, self._expected = [], message.parts
        if message.part != len(self._parts) or message.parts != self._expected:
            self._end()
            return _refuse(f"part {message.part} of {message.parts} is out of turn")
        self.phase, self.push = Phase.COLLECTING, message.push
        self._parts.append(message.text)
        self._until_s = now_s + PREPARE_S
        return Answer(act=Act.NOTHING, message=f"part {message.part + 1} of {message.parts}")

    def _prepare(self, message: PushConfig, *, ours: bool) -> Answer:
        if not ours or self.phase is not Phase.COLLECTING or len(self._parts) != self._expected:
            return _refuse("the document did not arrive whole")
        text = "".join(self._parts)
        if text_digest(text) != message.digest:
            self._end()
            return _refuse("the document did not arrive as it was sent")
        return Answer(act=Act.PREPARE, text=text)

    def _rollback(self, message: PushConfig, *, ours: bool) -> Answer:
        if ours:
            act = Act.RESTORE if self.phase is Phase.COMMITTED else Act.DISCARD
            self._end()
            return Answer(act=act, message="taken back")
        if message.push == self._kept:
            return _refuse("it was confirmed and is kept")
        return Answer(act=Act.NOTHING, message="there was nothing to take back")

    def _end(self) -> None:
        self.phase, self.push = Phase.IDLE, ""
        self._parts, self._expected, self._until_s = [], 0, None


def _refuse(why: str) -> Answer:
    return Answer(act=Act.REFUSE, message=why)
