"""Cuts the table into pages that fit a message, and says which are due.

Sans-I/O. A small table is one page, told whole each time. Of a large one each telling has the pages
that changed and a share of the others, so that all of it is told every ROUND_S: 40,000 real servers
are 9 MB, and a director must not spend its time on telling them every second.

What stands on a page follows from the configuration alone, so that servers which leave the kernel's
table and come back move nothing to another page. ``edition`` names this division.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heartbus.model import VirtualService, VirtualServiceName

PAGE_ENTRIES_MAX: Final = 1000
"""Real servers of one page; with counters about 300 kB."""
PAGE_SERVICES_MAX: Final = 500
ROUND_S: Final = 10.0
CHANGED_PAGES_MAX: Final = 8
"""Pages that changed in one telling; the rest of them in the next one."""
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
        self._changed: set[int] = set()
        self._turn = 0
        self._told_s: float | None = None
        self._owed = 0.0

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
            self._changed |= self._of.get(name, set())

    def due(self, *, now_s: float) -> tuple[int, ...]:
        """Return the pages to tell now; never none."""
        if self.count == 1:
            return (0,)
        elapsed_s = ROUND_S if self._told_s is None else max(now_s - self._told_s, 0.0)
        self._told_s = now_s
        self._owed = min(self._owed + elapsed_s * self.count / ROUND_S, self.count)
        due = sorted(self._changed)[:CHANGED_PAGES_MAX]
        self._changed -= set(due)
        turns = int(self._owed)
        self._owed -= turns
        for _ in range(turns if due else max(turns, 1)):
            if self._turn not in due:
                due.append(self._turn)
            self._turn = (self._turn + 1) % self.count
        return tuple(due)


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
