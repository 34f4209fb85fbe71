"""When the next frame is due that tells the network where a held address is.

Sans-I/O. A burst repairs lost frames, the second one and the later repeats repair caches that were
refilled from a stale source (Heartbeat announced once and never again)::

    start ─► burst ─(again_s after the start)─► burst ─(refresh_s)─► refresh_burst ─┐
                                                          ▲                         │
                                                          └────────(refresh_s)──────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heartbus.model import AddressResource, AnnounceForm, AnnounceSettings
from heartbus_vip.frames import ArpForm

FRAMES_AT_ONCE_MAX: Final = 128
"""Frames of one call of ``due``: refreshes of addresses come between, however many are due."""


@dataclass(slots=True)
class _Announced:
    """``left``: frames of the burst that runs. ``again_s``: when the second one begins, if ever."""

    settings: AnnounceSettings
    next_s: float
    left: int
    again_s: float | None
    sent: int = 0


class AnnounceSchedule:
    """Counts frames per address; ``own``: settings of addresses that have others than the rest."""

    def __init__(
        self,
        settings: AnnounceSettings,
        own: Mapping[AddressResource, AnnounceSettings] | None = None,
    ) -> None:
        self._settings, self._own = settings, own or {}
        self._announced: dict[AddressResource, _Announced] = {}

    def use(self, own: Mapping[AddressResource, AnnounceSettings]) -> None:
        """Use these own settings for bursts that begin from now on."""
        self._own = own

    def start(self, address: AddressResource, *, now_s: float) -> None:
        """Begin a burst, again if there was one; its first frame is due at once."""
        settings = self._own.get(address, self._settings)
        self._announced[address] = _Announced(
            settings=settings,
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
        for address, announced in list(self._announced.items()):
            while announced.next_s <= now_s:
                if len(frames) == FRAMES_AT_ONCE_MAX:
                    return frames
                frames.append((address, _form(announced)))
                announced.sent += 1
                announced.left -= 1
                if not _go_on(announced, _spacing_s(address, announced.settings), now_s=now_s):
                    del self._announced[address]
                    break
        return frames

    @property
    def next_deadline_s(self) -> float | None:
        """When ``due`` has something to say next; None: nothing is announced."""
        return min((a.next_s for a in self._announced.values()), default=None)


def _go_on(announced: _Announced, spacing_s: float, *, now_s: float) -> bool:
    """Set when the frame after this one is due; return False if there is none."""
    settings = announced.settings
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


def _spacing_s(address: AddressResource, settings: AnnounceSettings) -> float:
    if address.ipv6 and settings.spacing_ipv6_s is not None:
        return settings.spacing_ipv6_s
    return settings.spacing_s


def _form(announced: _Announced) -> ArpForm:
    match announced.settings.form:
        case AnnounceForm.REQUEST:
            return ArpForm.REQUEST
        case AnnounceForm.REPLY:
            return ArpForm.REPLY
        case AnnounceForm.BOTH:
            return ArpForm.REQUEST if announced.sent % 2 == 0 else ArpForm.REPLY
