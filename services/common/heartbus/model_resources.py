"""The vocabulary of resource groups beyond addresses: how scripts are watched, hooks, trackers.

Sans-I/O. Part of ``heartbus.model``, which is where to import it from.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

STOP_TIMEOUTS_MAX: Final = 3
"""Stopping one resource takes at most this many script timeouts, its retries included."""

SCORE_MAX: Final = 30_000
"""Scores travel in heartbeats as 16-bit numbers."""


class StopFailure(enum.StrEnum):
    """What follows when a resource still cannot be stopped after all retries.

    ``tell``: an alarm, and the group goes on to the next director. ``fence``: the fence commands of
    this director turn it off first.
    """

    TELL = "tell"
    FENCE = "fence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A program that is told the state of resource groups, one call after the other.

    Called as ``command STATE GROUP EPOCH``. ``groups``: those it is told of; empty is all.
    """

    command: str
    timeout_s: float = 30.0
    groups: tuple[str, ...] = ()


class TrackKind(enum.StrEnum):
    """What a tracker looks at; keepalived's ``track_interface``, ``track_file`` and so on."""

    INTERFACE = "interface"
    FILE = "file"
    PROCESS = "process"
    SCRIPT = "script"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracker:
    """Something that a director must have to hold groups, or that makes it a better holder.

    ``target``: name of the interface, path of the file, name of the process (as in ps), or command
    line. ``weight`` 0: while it is down, this director is no candidate. Above 0: added to the score
    while up. Below 0: added while down. A file holds a whole number: it is multiplied by the weight
    and added; with weight 0 a number other than 0 is down. ``rise`` and ``fall``: so many equal
    results in a row make a change. ``quorum``: so many processes of that name must run.
    ``groups``: those it counts for; empty is all.
    """

    name: str
    kind: TrackKind
    target: str
    weight: int = 0
    interval_s: float = 1.0
    timeout_s: float = 5.0
    rise: int = 1
    fall: int = 1
    quorum: int = 1
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSettings:
    """How the scripts of held groups are watched and stopped, and who is told.

    A script is asked for its state every ``monitor_interval_s`` (0: never); after ``monitor_fall``
    answers in a row that it does not run, its group fails here. A stop that fails is tried
    ``stop_retries`` times again, ``stop_retry_s`` apart.
    """

    monitor_interval_s: float = 10.0
    monitor_fall: int = 2
    stop_retries: int = 10
    stop_retry_s: float = 1.0
    on_stop_failure: StopFailure = StopFailure.TELL
    hooks: tuple[Hook, ...] = field(default=())
    trackers: tuple[Tracker, ...] = field(default=())
