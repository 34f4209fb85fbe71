"""Tells when the lease file was replaced, as inotify(7) sees it.

So a grant is acted on when it is written, a millisecond or two before its event has gone through
the bus, and just as fast when there is no bus.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import Final, Self

IN_MOVED_TO: Final = 0x80  # sys/inotify.h
IN_NONBLOCK: Final = os.O_NONBLOCK
IN_CLOEXEC: Final = os.O_CLOEXEC
_EVENT: Final = struct.Struct("=iIII")  # struct inotify_event: wd, mask, cookie, length of the name
_READ_BYTES: Final = 65536

_libc: Final = ctypes.CDLL(None, use_errno=True)


class FileWatch:
    """Watches for one name in a directory; whoever replaces that file renames another to it."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name.encode()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Begin to watch a file, which need not be there yet.

        Raises:
            OSError: its directory is not there, or this user watches too many (inotify(7)).

        """
        descriptor = _checked(_libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC), path)
        try:
            directory = os.fsencode(path.parent)
            _checked(_libc.inotify_add_watch(descriptor, directory, IN_MOVED_TO), path)
        except OSError:
            os.close(descriptor)
            raise
        return cls(descriptor, path.name)

    def fileno(self) -> int:
        """Return what becomes readable when something in the directory was replaced."""
        return self._descriptor

    def replaced(self) -> bool:
        """Whether the file was replaced since the last call. Never waits."""
        found = False
        while True:
            try:
                events = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                return found
            at = 0
            while at < len(events):
                watch, _, _, length = _EVENT.unpack_from(events, at)
                name = events[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                found |= name == self._name or watch == -1  # -1: the queue was full, who knows
                at += _EVENT.size + length

    def close(self) -> None:
        """Watch no more."""
        os.close(self._descriptor)


def _checked(result: int, path: Path) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot watch {path}: {os.strerror(number)}")
    return result
