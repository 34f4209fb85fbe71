"""Who is in maintenance: a file named after a real server, in a directory of the operator.

ldirectord ``maintenancedir``: ``ADDRESS:PORT`` takes one real server out of all services,
``ADDRESS`` all that have this address; IPv6 addresses stand in brackets. Names of hosts are not
looked for: that took a reverse look-up for each check. A directory that cannot be read leaves
everything as it was.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Final

from heartbus.log import RateLimit, logger
from heartbus.model import RealServerName, VirtualServiceName

PERIOD_S: Final = 1.0
FILES_MAX: Final = 10_000

Key = tuple[VirtualServiceName, RealServerName]


class Maintenance:
    """Reads the directories once a second, beside the event loop: one may hang on a dead disk.

    ``directories``: of each real server that has one. ``changed`` is told who is in maintenance
    now, with the file that says so, whenever that changes.
    """

    def __init__(
        self,
        directories: dict[Key, str],
        *,
        changed: Callable[[dict[Key, str]], None],
        clock: Callable[[], float],
    ) -> None:
        self._directories = directories
        self._changed = changed
        self._clock = clock
        self._taken_out: dict[Key, str] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._lines = RateLimit(period_s=60.0)

    async def run(self) -> None:
        """Look until cancelled; a change is told in the same turn of the loop."""
        while self._directories:
            await self.look()
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        """Look once."""
        for directory in dict.fromkeys(self._directories.values()):
            try:
                self._names[directory] = await asyncio.to_thread(_names, directory)
            except OSError as error:
                held_back = self._lines.passes(directory, now_s=self._clock())
                if held_back is not None:
                    logger().warning(
                        "maintenance.unreadable", directory=directory, error=error.strerror
                    )
        taken_out = dict(self._found())
        if taken_out != self._taken_out:
            self._taken_out = taken_out
            self._changed(taken_out)

    def _found(self) -> Iterable[tuple[Key, str]]:
        for key, directory in self._directories.items():
            names = self._names.get(directory, frozenset())
            for name in file_names(key[1]):
                if name in names:
                    yield key, os.path.join(directory, name)
                    break


def file_names(real_server: RealServerName) -> tuple[str, str]:
    """Return the names of files that take a real server out."""
    return str(real_server), real_server.rpartition(":")[0]


def _names(directory: str) -> frozenset[str]:
    found: set[str] = set()
    with os.scandir(directory) as entries:
        for entry in entries:
            found.add(entry.name)
            if len(found) >= FILES_MAX:
                break
    return frozenset(found)
