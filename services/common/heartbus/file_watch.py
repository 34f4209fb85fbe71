"""Looks at files for changes: at their status first, at their content only if that changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Final

from heartbus.config import source

LOOK_PERIOD_S: Final = 1.0

RECENT_S: Final = 2.0
"""A file that was written so lately may be written again within one tick of its time stamp."""

_Status = tuple[int, int, int, int, int]


class FileWatch:
    """Remembers what it saw, so that a look at files that rest costs one stat(2) each."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[_Status, str]] = {}

    def look(self, paths: Iterable[str]) -> dict[str, str]:
        """Return the digest of what each file holds now; empty: it is not there or not for us."""
        found = {path: self._digest(path) for path in paths}
        self._seen = {path: seen for path, seen in self._seen.items() if path in found}
        return found

    def _digest(self, path: str) -> str:
        try:
            now = os.stat(path)
        except (OSError, ValueError):
            self._seen.pop(path, None)
            return ""
        status = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
        seen = self._seen.get(path)
        recent = time.time() - now.st_ctime < RECENT_S
        if seen is not None and seen[0] == status and not recent:
            return seen[1]
        digest = source.digest_of(path)
        self._seen[path] = (status, digest)
        return digest
