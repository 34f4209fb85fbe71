"""Which pages of a large snapshot are told now: those that changed, and the others in turn.

Sans-I/O. What is one page is told whole each time. Of many pages each telling has those that
changed and a share of the others, so that all of them are told every ROUND_S: 40,000 real servers
are 9 MB, and a director must not spend its time on telling them every second.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

ROUND_S: Final = 10.0
CHANGED_PAGES_MAX: Final = 8
"""Pages that changed in one telling; the rest of them in the next one."""


class PageTurns:
    """The turn of ``count`` pages; the first telling has all of them. Times are monotonic."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._changed: set[int] = set()
        self._turn = 0
        self._told_s: float | None = None
        self._owed = 0.0

    def changed(self, pages: Iterable[int]) -> None:
        """Note that these pages are to be told soon."""
        self._changed.update(pages)

    def due(self, *, now_s: float) -> tuple[int, ...]:
        """Return the pages to tell now; never none."""
        if self.count == 1:
            return (0,)
        elapsed_s = ROUND_S if self._told_s is None else max(now_s - self._told_s, 0.0)
        self._told_s = now_s
        self._owed = min(self._owed + elapsed_s * self.count / ROUND_S, self.count)
        due = sorted(self._changed)[:CHANGED_PAGES_MAX]
        turns = int(self._owed)
        self._owed -= turns
        for _ in range(turns if due else max(turns, 1)):
            if self._turn not in due:
                due.append(self._turn)
            self._turn = (self._turn + 1) % self.count
        self._changed.difference_update(due)
        return tuple(due)
