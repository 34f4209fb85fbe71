"""What goes wrong in a scenario: frozen values, with a text form."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


class Kind(enum.StrEnum):
    """A kind of fault. Targets: ``a`` a host, ``a>b`` a direction, ``a-b`` a pair, ``*`` all."""

    LOSS = "loss"
    DELAY = "delay"
    REORDER = "reorder"
    DUPLICATE = "duplicate"
    LINK = "link"
    ONE_WAY = "one-way"
    LINK_ONE_WAY = "link-one-way"
    CUT = "cut"
    ISOLATE = "isolate"
    PAUSE = "pause"
    SUSPEND = "suspend"
    BUSY = "busy"
    CLOCK_STEP = "clock-step"
    CRASH = "crash"
    CRASH_AT = "crash-at"
    DIE_AT = "die-at"
    MEMBERSHIP_KILL = "membership-kill"
    MEMBERSHIP_STOP = "membership-stop"
    MEMBERSHIP_PAUSE = "membership-pause"
    VIP_KILL = "vip-kill"
    VIP_STOP = "vip-stop"
    VIP_PAUSE = "vip-pause"
    HANG = "hang"
    BUS_DOWN = "bus-down"
    BUS_OUT = "bus-out"
    ROUTE_CUT = "route-cut"
    DISK_FULL = "disk-full"
    DISK_LOST = "disk-lost"
    DISK_STALE = "disk-stale"
    START_FAILS = "start-fails"
    STOP_HANGS = "stop-hangs"


STEPS: Final = ("persist", "grant", "revoke", "write", "send")
"""Where CRASH_AT (the host) and DIE_AT (membership) end it; ``amount`` is an index."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; ``amount`` is a rate, a time in seconds or an index, as its kind has it."""

    kind: Kind
    target: str
    begin_s: float
    end_s: float
    amount: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.target} {self.begin_s:g}-{self.end_s:g} {self.amount:g}"


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Return the faults of a text, one on each line."""
    return tuple(_parse(line) for line in text.strip().splitlines() if line.strip())


def _parse(line: str) -> Fault:
    kind, target, when, amount = line.split()
    begin, _, end = when.partition("-")
    return Fault(Kind(kind), target, float(begin), float(end), float(amount))


def format_faults(faults: Iterable[Fault]) -> str:
    """Return the text form."""
    return "\n".join(str(fault) for fault in faults)
