"""When the next gratuitous ARP frame of each held address is due.

Sans-I/O. A burst repairs lost frames; the later repeats repair caches that were refilled from a
stale source (Heartbeat announced once and never again).
"""

from __future__ import annotations

from dataclasses import dataclass

from heartbus.model import AddressResource, VipSettings
from heartbus_vip.frames import ArpForm


@dataclass(slots=True)
class _Announced:
    sent: int
    next_s: float


class AnnounceSchedule:
    """Counts frames per address; ``settings`` gives count, spacing and later repeats."""

    def __init__(self, settings: VipSettings) -> None:
        self._settings = settings
        self._announced: dict[AddressResource, _Announced] = {}

    def start(self, address: AddressResource, *, now_s: float) -> None:
        """Begin a burst, again if there was one; its first frame is due at once."""
        self._announced[address] = _Announced(sent=0, next_s=now_s)

    def stop(self, address: AddressResource) -> None:
        """Announce it no more."""
        self._announced.pop(address, None)

    def due(self, *, now_s: float) -> list[tuple[AddressResource, ArpForm]]:
        """Return the frames to send now, and count them as sent.

        The two forms take turns, the request first. What is late is sent once, not made up for.
        """
        frames: list[tuple[AddressResource, ArpForm]] = []
        for address, announced in list(self._announced.items()):
            if announced.next_s > now_s:
                continue
            burst = announced.sent < self._settings.announce_count
            if burst or self._settings.announce_refresh_s > 0:
                even = announced.sent % 2 == 0
                frames.append((address, ArpForm.REQUEST if even else ArpForm.REPLY))
                announced.sent += 1
            more = announced.sent < self._settings.announce_count
            period_s = (
                self._settings.announce_spacing_s if more else self._settings.announce_refresh_s
            )
            if period_s <= 0 and not more:
                del self._announced[address]
            else:
                announced.next_s = now_s + period_s
        return frames

    @property
    def next_deadline_s(self) -> float | None:
        """When ``due`` has something to say next; None: nothing is announced."""
        return min((a.next_s for a in self._announced.values()), default=None)
