"""Cuts the verdicts into pages that fit a message; ``heartbus.page_turns`` says which are due.

Sans-I/O. The verdicts of 40,000 real servers are more than the bus carries in one message. What
stands on a page follows from the configuration alone, which ``edition`` names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from heartbus.events import CheckerState, Verdict
from heartbus.page_turns import PageTurns

from .peers import Key

PAGE_VERDICTS_MAX: Final = 500
"""About 150 kB; with the longest names and reasons half a megabyte."""
EDITION_HEX_DIGITS: Final = 12


class SnapshotPages:
    """The division of one configuration, and the turn of the pages.

    ``keys``: of all verdicts, in the order of the snapshots.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        digest, count = hashlib.sha256(), 0
        for service, real_server in keys:
            digest.update(f"{service} {real_server}\n".encode())
            count += 1
        self._edition = digest.hexdigest()[:EDITION_HEX_DIGITS]
        self._turns = PageTurns(max(1, -(-count // PAGE_VERDICTS_MAX)))
        self._told: dict[int, tuple[Verdict, ...]] = {}

    def due(self, whole: CheckerState, *, now_s: float) -> tuple[CheckerState, ...]:
        """Return what to tell now of a snapshot; ``now_s``: monotonic."""
        count = self._turns.count
        if count == 1:
            return (whole,)
        pages = [
            whole.verdicts[number * PAGE_VERDICTS_MAX : (number + 1) * PAGE_VERDICTS_MAX]
            for number in range(count)
        ]
        # A verdict that did not change is the same object, so this costs next to nothing.
        self._turns.changed(n for n, page in enumerate(pages) if page != self._told.get(n))
        due = self._turns.due(now_s=now_s)
        self._told.update((number, pages[number]) for number in due)
        return tuple(
            replace(whole, verdicts=pages[n], page=n, pages=count, edition=self._edition)
            for n in due
        )
