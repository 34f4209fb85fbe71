"""Puts the pages of a director's IPVS table together again.

Sans-I/O. Pages of another edition than the newest message are dropped: they are of a configuration
that does not run any more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from heartbus.states import IpvsState, TableService

PAGES_MAX: Final = 10_000
"""What comes from the network is bounded: ten million real servers."""


class TablePages:
    """The pages of one director."""

    def __init__(self) -> None:
        self._newest: IpvsState | None = None
        self._pages: dict[int, IpvsState] = {}
        self._whole: IpvsState | None = None

    def see(self, state: IpvsState) -> None:
        """Take in one page."""
        before = self._newest
        if before is None or (before.edition, before.pages) != (state.edition, state.pages):
            self._pages.clear()
        self._newest = state
        self._whole = None
        if 0 <= state.page < state.pages <= PAGES_MAX:
            self._pages[state.page] = state

    @property
    def is_complete(self) -> bool:
        """Whether every page was heard."""
        return self._newest is not None and len(self._pages) >= min(self._newest.pages, PAGES_MAX)

    @property
    def state(self) -> IpvsState | None:
        """What was heard of the table as one snapshot; all but the services is from the newest."""
        if self._newest is None or self._newest.pages == 1:
            return self._newest
        if self._whole is None:
            services: dict[str, TableService] = {}
            for page in sorted(self._pages):
                for service in self._pages[page].services:
                    begun = services.get(service.virtual_service)
                    if begun is not None:
                        together = begun.real_servers + service.real_servers
                        service = replace(service, real_servers=together)
                    services[service.virtual_service] = service
            self._whole = replace(self._newest, services=tuple(services.values()), page=0, pages=1)
        return self._whole
