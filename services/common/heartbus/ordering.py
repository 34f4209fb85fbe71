"""What operators ask of a director as a whole: commands, and the answer to any command.

Sans-I/O. ``heartbus.events`` names these too; import them from there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import ClassVar


class GroupScope(enum.StrEnum):
    """Which groups a command is about, as seen by the director it is sent to (Heartbeat's words).

    ``local``: those that prefer it. ``foreign``: those that prefer others.
    """

    ALL = "all"
    LOCAL = "local"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """Give resource groups to other directors, and leave them there while there are any.

    ``force``: also to one whose configuration or table is another one.
    """

    kind: ClassVar[str] = "command.standby"
    scope: GroupScope = GroupScope.ALL
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    """Ask the holders of resource groups to hand them over to the director that is told.

    ``force``: also where its configuration or table is another one than theirs.
    """

    kind: ClassVar[str] = "command.takeover"
    scope: GroupScope = GroupScope.ALL
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FailBack:
    """Give groups that prefer another director to that one, where it is ready.

    ``force``: also where its configuration or table is another one.
    """

    kind: ClassVar[str] = "command.failback"
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """Read the configuration files anew and take up what can be used at once."""

    kind: ClassVar[str] = "command.reload"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutcome:
    """The answer to a command. ``done``: what was asked for is so now; ``message`` says what is.

    ``holders``: who holds each group that the command was about, "" if nobody is known to.
    ``details``: more about it, a line each. ``digest``: of the configuration that runs now.
    """

    kind: ClassVar[str] = "command.outcome"
    done: bool
    message: str
    holders: dict[str, str] = field(default_factory=dict)
    took_s: float = 0.0
    details: tuple[str, ...] = ()
    digest: str = ""
