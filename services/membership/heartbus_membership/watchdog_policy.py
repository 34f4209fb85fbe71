"""Decides when the watchdog device is opened and when it is fed.

Sans-I/O. It is fed at the end of a turn of membership and never anywhere else: a loop that hangs
or a turn that fails stops the feeding, and the device resets the host.

    absent ──opened──► armed ──failed──► absent       (tried again every RETRY_S)
       └───────────────┴── stop ──► stopped
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Final

from heartbus.events import WatchdogView

MARGIN_S: Final = 0.010
"""Heartbeat's own: its watchdog fires deadtime + 10 ms after the last sign of life."""
TIMEOUT_MIN_S: Final = 5
"""A restarted membership feeds again after a second, after three in the lab kernel: a crash that is
repaired must not reset the host, however short deadtime is."""
FEEDS_PER_TIMEOUT: Final = 4
RETRY_S: Final = 5.0


def timeout_s(*, deadtime_s: float) -> int:
    """Return the timeout in whole seconds: deadtime + 10 ms, rounded up, and 5 s at least."""
    # Milliseconds first: 30 + 0.01 is a little more than 30.01 in binary, 1.99 + 0.01 than 2.
    return max(TIMEOUT_MIN_S, math.ceil(round(deadtime_s + MARGIN_S, 6)))


class WatchdogStep(enum.Enum):
    """What the shell is to do with the device after a turn."""

    OPEN = "open"
    FEED = "feed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something to be told once: ``usable`` or the ``problem``."""

    usable: bool
    text: str


class WatchdogPolicy:
    """One device. Times are monotonic seconds."""

    def __init__(self, *, device: str, deadtime_s: float) -> None:
        self._device = device
        self._wanted_s = timeout_s(deadtime_s=deadtime_s)
        self._timeout_s: float = self._wanted_s
        self._armed = False
        self._stopped = False
        self._problem: str | None = None
        self._due_s = float("-inf")

    @property
    def wanted_s(self) -> int:
        """The timeout to ask the driver for, in whole seconds."""
        return self._wanted_s

    def turn_finished(self, *, now_s: float) -> WatchdogStep | None:
        """Return what is due, after a turn that ended well."""
        if self._stopped or now_s < self._due_s:
            return None
        if not self._armed:
            self._due_s = now_s + RETRY_S
            return WatchdogStep.OPEN
        self._due_s = now_s + self._timeout_s / FEEDS_PER_TIMEOUT
        return WatchdogStep.FEED

    def opened(self, *, timeout_s: float, now_s: float) -> Remark:
        """Note that the device is open and counts ``timeout_s``, which the driver chose.

        Opening it fed it, by the kernel's contract (Documentation/watchdog/watchdog-api.rst).
        """
        self._armed = True
        self._timeout_s = timeout_s
        self._due_s = now_s + timeout_s / FEEDS_PER_TIMEOUT
        self._problem = None
        text = f"resets this host {timeout_s:g} s after membership stops working"
        if timeout_s != self._wanted_s:
            self._problem = f"the driver counts {timeout_s:g} s instead of {self._wanted_s} s"
            text += f"; {self._problem}"
        return Remark(usable=True, text=text)

    def failed(self, problem: str, *, now_s: float) -> Remark | None:
        """Note that the device cannot be opened or fed; return a remark if this is new."""
        known = self._problem == problem and not self._armed
        self._armed = False
        self._problem = problem
        self._due_s = now_s + RETRY_S
        return None if known else Remark(usable=False, text=problem)

    def stop(self) -> bool:
        """Feed nothing any more: membership stops as it was asked to.

        Return whether the device must be disarmed.
        """
        armed, self._armed, self._stopped = self._armed, False, True
        return armed

    def view(self) -> WatchdogView:
        """Return what is told about the device."""
        return WatchdogView(
            device=self._device,
            armed=self._armed,
            timeout_s=self._timeout_s,
            problem=self._problem,
        )
