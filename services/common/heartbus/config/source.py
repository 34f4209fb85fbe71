"""Reads configuration files: bounded, never blocking, with the reason when it cannot be done."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heartbus.config.report import Place, Report

FILE_BYTES_MAX: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file: text with bytes that are not UTF-8 kept as surrogates, and its permission bits."""

    path: str
    text: str
    mode: int

    @property
    def readable_by_others(self) -> bool:
        """Whether group or others may read it."""
        return bool(self.mode & (stat.S_IRGRP | stat.S_IROTH))


def read(path: str, report: Report) -> Source | None:
    """Return the file, or None after the report was told why not."""
    report.opened(path)
    report.files[path] = ""
    place = Place(file=path)
    try:
        # O_NONBLOCK: a named pipe in the place of a file must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                report.error(place, "not a regular file; a configuration file is needed here")
                return None
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        report.error(place, f"cannot be read: {error.strerror}")
        return None
    except ValueError:  # a NUL in the path
        report.error(place, "cannot be read: not a possible file name")
        return None
    report.files[path] = content_digest(content)
    if len(content) > FILE_BYTES_MAX:
        limit_mib = FILE_BYTES_MAX // 1024**2
        report.error(place, f"larger than {limit_mib} MiB; at most that is read")
        return None
    text = content.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    return Source(path=path, text=text, mode=stat.S_IMODE(status.st_mode))


def digest_of(path: str) -> str:
    """Return the digest of a file as ``read`` takes it down, or of the names in a directory.

    Empty: it is not there, or cannot be read. Never blocks, never fails.
    """
    try:
        if os.path.isdir(path):
            return names_digest(listing(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            return content_digest(file.read(FILE_BYTES_MAX + 1))
    except (OSError, ValueError):
        return ""


def names_digest(names: Iterable[str]) -> str:
    """Return what tells these names of files from others."""
    return content_digest("\0".join(names).encode("utf-8", "surrogateescape"))


def content_digest(content: bytes) -> str:
    """Return what tells this content from any other, 32 hex digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def is_file(path: str) -> bool:
    """Return whether a file is there, whoever may read it; never fails."""
    try:
        return os.path.isfile(path)
    except ValueError:
        return False


def find(name: str, directories: tuple[str, ...], report: Report) -> str | None:
    """Return the first file of this name; another spelling of its letters with a warning."""
    for directory in directories:
        path = os.path.join(directory, name)
        if is_file(path):
            return path
    for directory in directories:
        for entry in listing(directory):
            path = os.path.join(directory, entry)
            if entry.lower() == name.lower() and is_file(path):
                report.warning(
                    Place(file=path), f"taken as {name}; Heartbeat does not find this spelling"
                )
                return path
    return None


def listing(directory: str) -> tuple[str, ...]:
    """Return the names in a directory, sorted; none if it cannot be read."""
    try:
        return tuple(sorted(os.listdir(directory)))
    except OSError:
        return ()
