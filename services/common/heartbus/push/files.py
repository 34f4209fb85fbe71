"""The file of a configuration and what lies beside it: FILE.pushed before, FILE.old after."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final

from heartbus.config import loader, source

PUSHED: Final = ".pushed"
OLD: Final = ".old"
MODE_MASK: Final = 0o640
"""Never more than this: a configuration may come to hold secrets."""


class PushFileError(Exception):
    """A file cannot be written; the message says which and why."""


def pushed_to(config: str) -> str | None:
    """Return the TOML file that a configuration is read from; None: it has the old form."""
    file = loader.native_file(config)
    return None if file is None else os.path.realpath(file)


def write_pushed(file: str, text: str) -> str:
    """Write a document beside the file, for the same readers; return its path.

    Raises:
        PushFileError: it cannot be written.

    """
    path = file + PUSHED
    try:
        status = os.stat(file)
        mode = stat.S_IMODE(status.st_mode) & MODE_MASK
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as written:
            written.write(text.encode())
            written.flush()
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    except OSError as error:
        raise PushFileError(f"{path}: {error.strerror}") from error
    return path


def put_in_place(file: str) -> None:
    """Replace the file by what was pushed; the old one stays as FILE.old. Atomic for readers.

    Raises:
        PushFileError: it cannot be done; the file is as before.

    """
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file + OLD)
        os.link(file, file + OLD)
        os.replace(file + PUSHED, file)
        _keep_names(file)
    except OSError as error:
        raise PushFileError(f"{file}: {error.strerror}") from error


def put_back(file: str) -> None:
    """Bring FILE.old back.

    Raises:
        PushFileError: it cannot be done.

    """
    try:
        os.replace(file + OLD, file)
        _keep_names(file)
    except OSError as error:
        raise PushFileError(f"{file}{OLD}: {error.strerror}") from error


def discard(file: str) -> None:
    """Remove what was pushed and not put in place, if there is anything."""
    with contextlib.suppress(OSError):
        os.unlink(file + PUSHED)


def digest(file: str) -> str:
    """Return the digest of what was pushed, as ``source`` says it; empty: nothing was."""
    return source.digest_of(file + PUSHED)


def _keep_names(file: str) -> None:
    """Make the kernel write the directory down."""
    descriptor = os.open(os.path.dirname(file) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
