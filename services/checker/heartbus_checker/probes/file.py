"""File checks: a file on the director says whether a real server is up; keepalived FILE_CHECK.

The file holds one whole number: below 0 the server is down; else it is up, and with
``dynamic_weight`` the number is its weight. A file that is not there, or holds anything else, is a
failure with the reason in words.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from typing import Final

from . import Finished, ProbeResult, excerpt

FILE_BYTES_MAX: Final = 64

_NUMBER = re.compile(rb"\s*(-?[0-9]{1,6})\s*")
WEIGHT_MAX: Final = 65535


class FileProbe:
    """Reads one file."""

    def __init__(self, path: str, *, dynamic_weight: bool) -> None:
        self._path = path
        self._dynamic_weight = dynamic_weight

    def begin(self, finished: Finished) -> FileAttempt:
        """Read it; the result comes in the next turn of the loop."""
        return FileAttempt(self._judge, finished)

    def _judge(self) -> tuple[bool, str, int | None]:
        try:
            # Never waits: a pipe or a device in its place would.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            return False, f"file {self._path}: {error.strerror}", None
        try:
            content = os.read(descriptor, FILE_BYTES_MAX)
        except OSError as error:
            return False, f"file {self._path}: {error.strerror}", None
        finally:
            os.close(descriptor)
        number = _NUMBER.fullmatch(content)
        if number is None or int(number[1]) > WEIGHT_MAX:
            return False, f"file {self._path}: not one whole number: {excerpt(content)}", None
        value = int(number[1])
        weight = value if self._dynamic_weight and value >= 0 else None
        return value >= 0, f"file {self._path}: {value}", weight


class FileAttempt:
    """One reading."""

    def __init__(
        self, judge: Callable[[], tuple[bool, str, int | None]], finished: Finished
    ) -> None:
        self._judge = judge
        self._finished = finished
        self._handle = asyncio.get_running_loop().call_soon(self._read)

    def _read(self) -> None:
        started_s = time.monotonic()
        passed, reason, weight = self._judge()
        took_s = time.monotonic() - started_s
        self._finished(ProbeResult(passed=passed, reason=reason, took_s=took_s, weight=weight))

    def expire(self, within_s: float) -> ProbeResult:
        """Not read in time: this process was busy."""
        self._handle.cancel()
        return ProbeResult(
            passed=False, reason="file: not read in time", took_s=within_s, conclusive=False
        )
