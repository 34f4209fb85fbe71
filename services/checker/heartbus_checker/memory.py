"""The last verdicts, on disk, so that a restart asks as much of a dead server as before it.

One small JSON file in the state directory, replaced whole. What cannot be read, is of another form
or is too old is no memory: the checker starts as if for the first time, which is safe.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from heartbus.events import Health
from heartbus.log import logger
from heartbus.model import RealServerName, VirtualServiceName

MEMORY_FILE: Final = "verdicts.json"
MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024
AGE_S_MAX: Final = 3600.0
"""Of a host that was off for longer nobody knows what its servers did."""

Key = tuple[VirtualServiceName, RealServerName]


class _Document(msgspec.Struct):
    written_s: float
    down: list[tuple[str, str]]


class Memory:
    """The file; ``clock`` is the wall clock, the only one that outlives a restart."""

    def __init__(self, path: Path, *, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock

    def read(self) -> dict[Key, Health]:
        """Return the real servers that were down; none where there is no memory."""
        try:
            with self._path.open("rb") as file:
                document = msgspec.json.decode(file.read(MEMORY_BYTES_MAX), type=_Document)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            logger().warning("verdicts.unreadable", file=str(self._path), error=str(error))
            return {}
        if not 0 <= self._clock() - document.written_s <= AGE_S_MAX:
            return {}
        return {
            (VirtualServiceName(service), RealServerName(server)): Health.DOWN
            for service, server in document.down
        }

    def write(self, healths: Iterable[tuple[Key, Health]]) -> str | None:
        """Replace the file; return what went wrong, None for nothing."""
        down = [key for key, health in healths if health is Health.DOWN]
        draft = self._path.with_name(f"{self._path.name}.new")
        try:
            draft.write_text(json.dumps({"written_s": self._clock(), "down": down}))
            os.replace(draft, self._path)
        except OSError as error:
            return f"{self._path}: {error.strerror}"
        return None
