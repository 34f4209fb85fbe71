"""Cuts the table into pages that fit a message; ``heartbus.page_turns`` says which are due.

Sans-I/O. What stands on a page follows from the configuration alone, so that servers which leave
the kernel's table and come back move nothing to another page. ``edition`` names this division.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heartbus.model import VirtualService, VirtualServiceName
from heartbus.page_turns import PageTurns

PAGE_ENTRIES_MAX: Final = 1000
"""Real servers of one page; with counters about 300 kB."""
PAGE_SERVICES_MAX: Final = 500
EDITION_HEX_DIGITS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Some of the entries of one service: from ``start``, ``count`` of them, None for the rest."""

    service: VirtualService
    start: int = 0
    count: int | None = None


class Pages:
    """The division of one configuration, and the turn of the pages."""

    def __init__(self, services: Iterable[VirtualService]) -> None:
        self._pages: list[list[Slice]] = [[]]
        self._of: dict[VirtualServiceName, set[int]] = {}
        entries = 0
        digest = hashlib.sha256()
        for service in services:
            for part in _slices(service):
                size = _size(part)
                page = self._pages[-1]
                if page and (entries + size > PAGE_ENTRIES_MAX or len(page) >= PAGE_SERVICES_MAX):
                    page = []
                    self._pages.append(page)
                    entries = 0
                page.append(part)
                entries += size
                number = len(self._pages) - 1
                self._of.setdefault(service.name, set()).add(number)
                digest.update(f"{number} {service.name} {part.start}\n".encode())
        self.edition = digest.hexdigest()[:EDITION_HEX_DIGITS]
        self._turns = PageTurns(len(self._pages))

    @property
    def count(self) -> int:
        """How many there are, at least 1."""
        return len(self._pages)

    def slices(self, page: int) -> tuple[Slice, ...]:
        """Return what stands on a page."""
        return tuple(self._pages[page])

    def changed(self, names: Iterable[VirtualServiceName]) -> None:
        """Note that these services are to be told soon."""
        for name in names:
            self._turns.changed(self._of.get(name, ()))

    def due(self, *, now_s: float) -> tuple[int, ...]:
        """Return the pages to tell now; never none."""
        return self._turns.due(now_s=now_s)


def _slices(service: VirtualService) -> Iterable[Slice]:
    """Cut a service that is larger than a page; the last slice has what is not configured too."""
    configured = len(service.real_servers)
    start = 0
    while configured - start > PAGE_ENTRIES_MAX:
        yield Slice(service=service, start=start, count=PAGE_ENTRIES_MAX)
        start += PAGE_ENTRIES_MAX
    yield Slice(service=service, start=start)


def _size(part: Slice) -> int:
    rest = len(part.service.real_servers) - part.start + 1
    return rest if part.count is None else part.count
