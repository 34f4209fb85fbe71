"""The file that keeps operators' wishes over restarts of the process and of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from heartbus.model import RealServerName, VirtualServiceName
from heartbus.overrides import Override
from heartbus_ipvs_agent.desired import Server

FILE_NAME: Final = "ipvs-overrides.json"
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
SCHEMA: Final = 2
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class OverrideFileError(Exception):
    """The file cannot be read or written; the message says which, why and what follows."""


class _Content(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``written_s``: when it was written, on the monotonic clock of the boot ``boot_id``."""

    schema: int
    boot_id: str
    written_s: float
    overrides: tuple[Override, ...]
    drained: tuple[tuple[str, str], ...]


class OverrideFile:
    """The file in the state directory; synced to disk, because it is not found anywhere else.

    Deadlines go on while nobody runs, within one boot of the machine. After another one they go on
    from where they were written down last: a drain may take longer then, and never ends early.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME

    def read(self, *, now_s: float) -> tuple[tuple[Override, ...], tuple[Server, ...]]:
        """Return the overrides and the servers that are drained; none if there is no file.

        ``now_s``: monotonic seconds.

        Raises:
            OverrideFileError: the file is there and cannot be used.

        """
        try:
            with self._path.open("rb") as file:
                text = file.read(FILE_BYTES_MAX + 1)
            if len(text) > FILE_BYTES_MAX:
                raise ValueError(f"more than {FILE_BYTES_MAX} bytes")
            content = msgspec.json.decode(text, type=_Content)
            if content.schema != SCHEMA:
                raise ValueError(f"schema {content.schema}, this version reads {SCHEMA}")
            passed_s = now_s - content.written_s if content.boot_id == _boot_id() else 0.0
        except FileNotFoundError:
            return (), ()
        except (OSError, ValueError, RecursionError) as error:
            raise OverrideFileError(
                f"{self._path}: {error}; drained, disabled and weighted servers are as a peer"
                " remembers them, or as the configuration says"
            ) from error
        drained = tuple((VirtualServiceName(s), RealServerName(r)) for s, r in content.drained)
        left = (
            replace(o, left_s=max(o.left_s - max(passed_s, 0.0), 0.0)) for o in content.overrides
        )
        return tuple(left), drained

    def write(
        self, overrides: Iterable[Override], drained: Iterable[Server], *, now_s: float
    ) -> None:
        """Replace the file; ``now_s``: monotonic seconds, as of which deadlines are told.

        Raises:
            OverrideFileError: it cannot be written.

        """
        content = _Content(
            schema=SCHEMA,
            boot_id=_boot_id(),
            written_s=now_s,
            overrides=tuple(overrides),
            drained=tuple(sorted(drained)),
        )
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(content), indent=1))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except OSError as error:
            raise OverrideFileError(
                f"{self._path}: cannot be written: {error.strerror}; the overrides of operators"
                " are lost when all directors restart"
            ) from error


def _boot_id() -> str:
    return BOOT_ID.read_text().strip()
