"""Lets what the kernel tells of addresses and interfaces have its consequences.

The shell around ``upkeep``: it hears by ``kernel_news`` and has the network act.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, assert_never

from heartbus.model import AddressResource
from heartbus_vip.kernel_news import KernelNews
from heartbus_vip.network import Network
from heartbus_vip.upkeep import Follows, LinkIs, Upkeep

HEARD_WITHIN_S: Final = 0.25
"""On a link that is back the others are heard within two heartbeats; acting on it takes this."""


class KernelWatch:
    """Watches for these addresses. ``news`` None: nothing is heard, the refresh period remains.

    ``held``: those that are held now. ``changed(refresh_s)`` is called when something follows, with
    the time at which to refresh the addresses, if at all.
    """

    def __init__(
        self,
        news: KernelNews | None,
        *,
        addresses: Iterable[str],
        network: Network,
        held: Callable[[], list[AddressResource]],
        changed: Callable[[float | None], None],
        keepalive_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._news, self._network, self._clock = news, network, clock
        self._settles_s = 2 * keepalive_s + HEARD_WITHIN_S
        self._upkeep = Upkeep(frozenset(addresses), settles_s=self._settles_s)
        self._held, self._tell = held, changed

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Hear news while the block runs."""
        if self._news is None:
            yield
            return
        loop = asyncio.get_running_loop()
        loop.add_reader(self._news.fileno(), self._look, self._news)
        try:
            yield
        finally:
            loop.remove_reader(self._news.fileno())

    def use_addresses(self, addresses: Iterable[str]) -> None:
        """Watch for these from now on."""
        self._upkeep.use_addresses(frozenset(addresses))

    def refreshed(self, *, now_s: float) -> None:
        """Note a refresh of the addresses."""
        self._upkeep.refreshed(now_s=now_s)

    def _look(self, news: KernelNews) -> None:
        follows = self._upkeep.told(news.read(), now_s=self._clock())
        if follows == Follows():
            return
        held = self._held()
        for interface, link in follows.links.items():
            match link:
                case LinkIs.SILENT:
                    self._network.link_silent(interface, held)
                case LinkIs.BACK:
                    self._network.link_runs(interface, held, after_s=self._settles_s)
                case LinkIs.ANOTHER:
                    self._network.link_runs(interface, held)
                case _:
                    assert_never(link)
        self._tell(follows.refresh_s)
