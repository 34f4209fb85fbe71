"""What follows when the kernel tells that an address went or an interface changed.

Sans-I/O. An address that went is looked after by the refresh that is due anyway; here it is made
due at once, but not more often than REPAIR_SPACING_S, so that another program which takes an
address away again and again cannot keep this one busy. On an interface that runs again, or has
another hardware address, everything is announced anew: a switch has forgotten where it was.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from heartbus_vip.rtnetlink import AddressGone, LinkGone, LinkNews, News

REPAIR_SPACING_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    running: bool
    mac: bytes


class Upkeep:
    """Follows the interfaces; ``addresses``: those of the configuration, in canonical text."""

    def __init__(self, addresses: Collection[str]) -> None:
        self._addresses = frozenset(addresses)
        self._links: dict[int, _Link] = {}
        self._refreshed_s = -math.inf

    def refreshed(self, *, now_s: float) -> None:
        """Note a refresh of the addresses."""
        self._refreshed_s = now_s

    def told(self, news: Iterable[News] | None, *, now_s: float) -> tuple[float | None, list[str]]:
        """Return when to refresh (None: nothing calls for it) and on which interfaces to announce.

        ``news`` None: some were lost, so anything may have happened.
        """
        soon_s = max(now_s, self._refreshed_s + REPAIR_SPACING_S)
        if news is None:
            self._links.clear()
            return soon_s, []
        refresh, announce = False, dict[str, None]()
        for item in news:
            match item:
                case AddressGone():
                    refresh |= item.address.address in self._addresses
                case LinkGone():
                    self._links.pop(item.index, None)
                    refresh = True  # what was there is to be said soon, not when it is due
                case LinkNews():
                    if self._wants_to_be_told(item):
                        announce[item.name] = None
                        refresh = True  # IPv6 has lost its addresses while it was down
        return soon_s if refresh else None, list(announce)

    def _wants_to_be_told(self, link: LinkNews) -> bool:
        before = self._links.get(link.index)
        self._links[link.index] = _Link(running=link.running, mac=link.mac)
        if not link.running:
            return False
        # One that was never heard of before may have been down: the first news are of a change.
        return before is None or not before.running or before.mac != link.mac or link.notify
