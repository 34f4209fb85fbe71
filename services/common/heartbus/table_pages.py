"""Puts together what one service of a director tells in pages: its IPVS table, its verdicts.

Sans-I/O. Pages of another edition than the newest message are dropped: they are of a configuration
that does not run any more.
"""

from __future__ import annotations

import abc
from dataclasses import replace
from typing import Final, Generic, TypeVar

from heartbus.states import CheckerState, IpvsState, TableService

PAGES_MAX: Final = 10_000
"""What comes from the network is bounded: ten million real servers."""

S = TypeVar("S", CheckerState, IpvsState)


class _Pages(abc.ABC, Generic[S]):
    """The pages of one service of one director."""

    def __init__(self) -> None:
        self._newest: S | None = None
        self._pages: dict[int, S] = {}
        self._whole: S | None = None

    def see(self, state: S) -> bool:
        """Take in one page; return whether those that were heard before it still count."""
        before = self._newest
        goes_on = before is not None and (
            1 < before.pages == state.pages and before.edition == state.edition
        )
        if not goes_on:
            self._pages.clear()
        self._newest = state
        self._whole = None
        if 0 <= state.page < state.pages <= PAGES_MAX:
            self._pages[state.page] = state
        return goes_on

    @property
    def is_complete(self) -> bool:
        """Whether every page was heard."""
        return self._newest is not None and len(self._pages) >= min(self._newest.pages, PAGES_MAX)

    @property
    def state(self) -> S | None:
        """What was heard as one snapshot; all but what stands on pages is from the newest."""
        if self._newest is None or self._newest.pages == 1:
            return self._newest
        if self._whole is None:
            self._whole = self._joined(
                self._newest, [self._pages[page] for page in sorted(self._pages)]
            )
        return self._whole

    @staticmethod
    @abc.abstractmethod
    def _joined(newest: S, pages: list[S]) -> S:
        """Return the newest snapshot with what stands on all pages."""


class TablePages(_Pages[IpvsState]):
    """The table of one director."""

    @staticmethod
    def _joined(newest: IpvsState, pages: list[IpvsState]) -> IpvsState:
        services: dict[str, TableService] = {}
        for page in pages:
            for service in page.services:
                begun = services.get(service.virtual_service)
                if begun is not None:
                    together = begun.real_servers + service.real_servers
                    service = replace(service, real_servers=together)
                services[service.virtual_service] = service
        return replace(newest, services=tuple(services.values()), page=0, pages=1)


class VerdictPages(_Pages[CheckerState]):
    """The verdicts of one director's checker."""

    @staticmethod
    def _joined(newest: CheckerState, pages: list[CheckerState]) -> CheckerState:
        verdicts = tuple(verdict for page in pages for verdict in page.verdicts)
        return replace(newest, verdicts=verdicts, page=0, pages=1)
