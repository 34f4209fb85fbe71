"""Decides when changed files are read anew: once their content has been still for a moment.

Sans-I/O. Compared is what files hold with what the last load read of them, not with a first look:
a change that was made while the program started is seen too (ldirectord's does not, trap L-19). A
file that was refused is read again when it changes, and not before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SETTLE_S: Final = 1.0
"""An editor writes a file in several steps; a copy of a large one takes a while."""


class Autoreload:
    """Times are monotonic seconds. ``used``: digest of each file as the last load read it."""

    def __init__(self, used: Mapping[str, str]) -> None:
        self._used = dict(used)
        self._found: dict[str, str] = {}
        self._still_since_s = 0.0

    @property
    def files(self) -> tuple[str, ...]:
        """What to look at."""
        return tuple(self._used)

    def loaded(self, files: Mapping[str, str]) -> None:
        """Remember what a load read that was used."""
        self._used = dict(files)
        self._found = {}

    def refused(self, files: Mapping[str, str]) -> None:
        """Remember what a refused load read; it may have stopped at the first file."""
        self._used.update(files)
        self._found = {}

    def differing(self, files: Mapping[str, str]) -> tuple[str, ...]:
        """Return which of these are not as they were last read."""
        return tuple(name for name, digest in files.items() if self._used.get(name) != digest)

    def looked(self, found: Mapping[str, str], *, now_s: float) -> bool:
        """Return whether it is time to read the files anew: they changed, and are still again."""
        if not self.differing(found):
            self._found = {}
            return False
        if found != self._found:
            self._found, self._still_since_s = dict(found), now_s
        return now_s - self._still_since_s >= SETTLE_S
