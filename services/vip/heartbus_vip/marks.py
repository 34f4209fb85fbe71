"""Remember across a crash of ours which groups have scripts that may run.

A file in the runtime directory, so it is gone after a boot like the scripts' effects. Without it a
``vip`` that was killed, and lost its lease before it came back, would leave resources running here
that run on another director by then.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

MARK_FILE: Final = "vip-started.json"
MARK_FILE_BYTES_MAX: Final = 1024 * 1024

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    boot_id: str
    groups: tuple[str, ...]


class StartedMarks:
    """The names of groups with scripts that were started and not yet stopped."""

    def __init__(self, runtime_dir: Path, *, boot_id: str) -> None:
        self._path = runtime_dir / MARK_FILE
        self._boot_id = boot_id

    def read(self) -> frozenset[str]:
        """Return what an earlier life left behind in this boot; nothing if it cannot be read."""
        try:
            with self._path.open("rb") as file:
                document = msgspec.json.decode(file.read(MARK_FILE_BYTES_MAX), type=_Document)
        except (OSError, msgspec.DecodeError):
            return frozenset()
        return frozenset(document.groups if document.boot_id == self._boot_id else ())

    def write(self, groups: Collection[str]) -> None:
        """Replace the file in one step.

        Raises:
            OSError: the runtime directory cannot be written.

        """
        document = _Document(boot_id=self._boot_id, groups=tuple(sorted(groups)))
        draft = self._path.with_suffix(".new")
        # The directory may belong to a user with less rights, who could have put a link here.
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, _NEW_FILE, 0o644)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(document))
        os.replace(draft, self._path)
