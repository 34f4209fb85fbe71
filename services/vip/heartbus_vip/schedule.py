"""When the next frame is due that tells the network where a held address is.

Sans-I/O. A burst repairs lost frames, the second one and the later repeats repair caches that were
refilled from a stale source (Heartbeat announced once and never again)::

    start ─► burst ─(again_s after the start)─► burst ─(refresh_s)─► refresh_burst ─┐
                                                          ▲                         │
                                                          └────────(refresh_s)──────┘

Where many addresses come at once, frames on one interface may have to wait for one another, as
keepalived has it (``pacing_s``). Then the first frame of each address goes before the repeats of
all: clients wait for the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heartbus.model import AddressResource, AnnounceForm, AnnounceSettings
from heartbus_vip.frames import ArpForm

FRAMES_AT_ONCE_MAX: Final = 128
"""Frames of one call of ``due``: refreshes of addresses come between, however many are due."""


@dataclass(slots=True)
class _Lane:
    """The frames of one family on one interface; ``sent_s``: when the last one was."""

    sent_s: float = -math.inf


@dataclass(slots=True)
class _Announced:
    """``left``: frames of the burst that runs. ``again_s``: when the second one begins, if ever."""

    settings: AnnounceSettings
    spacing_s: float
    pacing_s: float
    lane: _Lane
    next_s: float
    left: int
    again_s: float | None
    sent: int = 0

    @property
    def ready_s(self) -> float:
        """When its next frame may go out."""
        return max(self.next_s, self.lane.sent_s + self.pacing_s)


class AnnounceSchedule:
    """Counts frames per address; ``own``: settings of addresses that have others than the rest."""

    def __init__(
        self,
        settings: AnnounceSettings,
        own: Mapping[AddressResource, AnnounceSettings] | None = None,
    ) -> None:
        self._settings, self._own = settings, own or {}
        self._announced: dict[AddressResource, _Announced] = {}
        self._lanes: dict[tuple[str, bool], _Lane] = {}

    def use(self, own: Mapping[AddressResource, AnnounceSettings]) -> None:
        """Use these own settings for bursts that begin from now on."""
        self._own = own

    def start(self, address: AddressResource, *, interface: str, now_s: float) -> None:
        """Begin a burst, again if there was one; its first frame is due at once."""
        settings = self._own.get(address, self._settings)
        spacing_s, pacing_s = settings.spacing_s, settings.pacing_s
        if address.ipv6 and settings.spacing_ipv6_s is not None:
            spacing_s = settings.spacing_ipv6_s
        if address.ipv6 and settings.pacing_ipv6_s is not None:
            pacing_s = settings.pacing_ipv6_s
        self._announced[address] = _Announced(
            settings=settings,
            spacing_s=spacing_s,
            pacing_s=pacing_s,
            lane=self._lanes.setdefault((interface, address.ipv6), _Lane()),
            next_s=now_s,
            left=settings.burst,
            again_s=now_s + settings.again_s if settings.again_s > 0 else None,
        )

    def stop(self, address: AddressResource) -> None:
        """Announce it no more."""
        self._announced.pop(address, None)

    def due(self, *, now_s: float) -> list[tuple[AddressResource, ArpForm]]:
        """Return the frames to send now, FRAMES_AT_ONCE_MAX at most, and count them as sent.

        If both forms are wanted they take turns, the request first. What is late is sent once, not
        made up for.
        """
        frames: list[tuple[AddressResource, ArpForm]] = []
        waiting = [(a, entry) for a, entry in self._announced.items() if entry.ready_s <= now_s]
        for address, announced in sorted(waiting, key=lambda each: _turn(each[1])):
            while announced.ready_s <= now_s:  # an earlier one may have taken the lane
                if len(frames) == FRAMES_AT_ONCE_MAX:
                    return frames
                frames.append((address, _form(announced)))
                announced.sent += 1
                announced.left -= 1
                announced.lane.sent_s = now_s
                if not _go_on(announced, now_s=now_s):
                    del self._announced[address]
                    break
        return frames

    @property
    def next_deadline_s(self) -> float | None:
        """When ``due`` has something to say next; None: nothing is announced."""
        return min((a.ready_s for a in self._announced.values()), default=None)


def _turn(announced: _Announced) -> tuple[bool, float]:
    return announced.sent > 0, announced.next_s


def _go_on(announced: _Announced, *, now_s: float) -> bool:
    """Set when the frame after this one is due; return False if there is none."""
    settings, spacing_s = announced.settings, announced.spacing_s
    if announced.left > 0:
        announced.next_s = now_s + spacing_s
    elif announced.again_s is not None:
        announced.next_s, announced.again_s = max(announced.again_s, now_s + spacing_s), None
        announced.left = settings.burst
    elif settings.refresh_s > 0:
        announced.next_s, announced.left = now_s + settings.refresh_s, settings.refresh_burst
    else:
        return False
    return True


def _form(announced: _Announced) -> ArpForm:
    match announced.settings.form:
        case AnnounceForm.REQUEST:
            return ArpForm.REQUEST
        case AnnounceForm.REPLY:
            return ArpForm.REPLY
        case AnnounceForm.BOTH:
            return ArpForm.REQUEST if announced.sent % 2 == 0 else ArpForm.REPLY
