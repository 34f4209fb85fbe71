"""What is sent to distribute a configuration; re-exported by ``heartbus.events``.

Sans-I/O.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar


class PushStep(enum.StrEnum):
    """What is asked of each director, in this order; ``rollback`` undoes what was done.

    ``stage``: take a part of the document. ``prepare``: write it beside the file and test it.
    ``commit``: put it in the place of the file and reload. ``confirm``: keep it.
    """

    STAGE = "stage"
    PREPARE = "prepare"
    COMMIT = "commit"
    CONFIRM = "confirm"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushConfig:
    """One step of a push, to the service that writes the file of a director.

    ``push``: which attempt. ``text``: part number ``part`` of ``parts`` (``stage`` only).
    ``digest``: of the whole text (``prepare`` only). ``sent_s``: wall clock of the sender.
    ``mac``: over all of it with the key of the heartbeats, so that only who may read the
    configuration can replace it.
    """

    kind: ClassVar[str] = "command.push"
    push: str
    step: PushStep
    sent_s: float
    mac: str = ""
    text: str = ""
    part: int = 0
    parts: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """Say what the document that is prepared would change, and change nothing.

    ``digest``: of its text.
    """

    kind: ClassVar[str] = "command.dryrun"
    digest: str
