"""What follows when the kernel tells that an address went or an interface changed.

Sans-I/O. An address that went is looked after by the refresh that is due anyway; here it is made
due at once, but not more often than REPAIR_SPACING_S, so that another program which takes an
address away again and again cannot keep this one busy.

On an interface that runs again everything is announced anew, because a switch may have forgotten
where it was; but not before the other directors can be heard there. Another one may hold our
addresses by then, and announcing them would turn its clients away from it. On one that has another
hardware address, or is a bond that failed over, they are announced at once: it was never away.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from heartbus_vip.rtnetlink import AddressGone, LinkGone, LinkNews, News

REPAIR_SPACING_S: Final = 0.05


class LinkIs(enum.Enum):
    """What has become of an interface: nothing is announced, later, or at once."""

    SILENT = "not running"
    BACK = "running again"
    ANOTHER = "sending otherwise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Follows:
    """``refresh_s``: when to refresh the addresses; None: nothing calls for it."""

    refresh_s: float | None = None
    links: Mapping[str, LinkIs] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """``back_s``: when it began to run, as far as was told."""

    running: bool
    mac: bytes
    back_s: float


_UNHEARD_OF: Final = _Link(running=False, mac=b"", back_s=-math.inf)
"""It may have been down: the first news of an interface are of a change."""


class Upkeep:
    """Follows the interfaces; ``addresses``: those of the configuration, in canonical text.

    ``settles_s``: so long after an interface runs again the others have been heard there.
    """

    def __init__(self, addresses: Collection[str], *, settles_s: float) -> None:
        self._addresses, self._settles_s = frozenset(addresses), settles_s
        self._links: dict[int, _Link] = {}
        self._refreshed_s = -math.inf

    def use_addresses(self, addresses: Collection[str]) -> None:
        """Look after these from now on."""
        self._addresses = frozenset(addresses)

    def refreshed(self, *, now_s: float) -> None:
        """Note a refresh of the addresses."""
        self._refreshed_s = now_s

    def told(self, news: Iterable[News] | None, *, now_s: float) -> Follows:
        """Return what follows; ``news`` None: some were lost, so anything may have happened."""
        soon_s = max(now_s, self._refreshed_s + REPAIR_SPACING_S)
        if news is None:
            self._links.clear()
            return Follows(refresh_s=soon_s)
        refresh = False
        links: dict[str, LinkIs] = {}
        for item in news:
            match item:
                case AddressGone():
                    refresh |= item.address.address in self._addresses
                case LinkGone():
                    self._links.pop(item.index, None)
                    refresh = True  # what was there is to be said soon, not when it is due
                case LinkNews():
                    changed = self._changed(item, now_s=now_s)
                    if changed is not None:
                        links[item.name] = changed
                    refresh |= changed is LinkIs.BACK  # IPv6 has lost its addresses meanwhile
        return Follows(refresh_s=soon_s if refresh else None, links=links)

    def _changed(self, link: LinkNews, *, now_s: float) -> LinkIs | None:
        before = self._links.get(link.index, _UNHEARD_OF)
        back_s = before.back_s if before.running else now_s
        self._links[link.index] = _Link(running=link.running, mac=link.mac, back_s=back_s)
        if not link.running:
            return LinkIs.SILENT
        if not before.running:
            return LinkIs.BACK
        if now_s - back_s < self._settles_s:
            return None  # a bond that comes back asks for announcements too: they wait already
        return LinkIs.ANOTHER if before.mac != link.mac or link.notify else None
