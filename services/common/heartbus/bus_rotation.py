"""Makes keys of the bus, and replaces them in three steps during which no client is cut off.

Each step may be interrupted and done again. Between ``begin`` and ``end`` the nats-server accepts
the old and the new key, once it has read its configuration anew.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from heartbus.bus_keys import (
    NEXT,
    PUBLIC,
    SEED,
    Key,
    KeyFileError,
    accepted,
    new_seed,
    public_of,
    write_file,
)


def make(directory: Path, user: str, *, mode: int, owner: tuple[int, int] | None) -> bool:
    """Make the key of a user; return whether there was none.

    Raises:
        KeyFileError: what is there is no key.
        OSError: it cannot be written.

    """
    home = directory / user
    home.mkdir(mode=0o755, parents=True, exist_ok=True)
    seed = Key(directory, user).read()
    made = seed is None and not accepted(directory, user)
    if made:
        seed = new_seed()
        write_file(home / SEED, seed + "\n", mode=mode, owner=owner)
    if seed is not None:  # the seed first: a public key whose seed is lost would help nobody
        _accept(directory, user, public_of(seed, home / SEED))
    return made


def begin(directory: Path, user: str) -> bool:
    """Make the next key of a user and let it be accepted too; False: it has no seed here.

    Raises:
        KeyFileError: a file is no key.
        OSError: it cannot be written.

    """
    seed_file, next_file = directory / user / SEED, directory / user / NEXT
    if Key(directory, user).read() is None:
        return False
    if not next_file.exists():
        as_before = seed_file.stat()
        owner = (as_before.st_uid, as_before.st_gid)
        mode = as_before.st_mode & 0o777
        write_file(next_file, new_seed() + "\n", mode=mode, owner=owner if _is_root() else None)
    _accept(directory, user, public_of(next_file.read_text().strip(), next_file))
    return True


def switch(directory: Path, user: str) -> bool:
    """Let the client use the next key; False: there is none.

    Raises:
        KeyFileError: a file is no key.
        OSError: it cannot be written.

    """
    next_file = directory / user / NEXT
    with contextlib.suppress(FileNotFoundError):
        public = public_of(next_file.read_text().strip(), next_file)
        if public not in accepted(directory, user):
            raise KeyFileError(f"{next_file}: not accepted yet: heartbus bus rotate begin {user}")
        next_file.replace(directory / user / SEED)
        return True
    return False


def end(directory: Path, user: str) -> bool:
    """Accept the key in use and no other one; False: it has no seed here.

    Raises:
        KeyFileError: the next key is not in use yet, or a file is no key.
        OSError: it cannot be written.

    """
    if (directory / user / NEXT).exists():
        raise KeyFileError(f"{user} has a next key: heartbus bus rotate switch {user}")
    seed = Key(directory, user).read()
    if seed is None:
        return False
    public = public_of(seed, directory / user / SEED)
    if accepted(directory, user) != (public,):
        _write_public(directory, user, (public,))
    return True


def _accept(directory: Path, user: str, public: str) -> None:
    known = accepted(directory, user)
    if public not in known:
        _write_public(directory, user, (*known, public))


def _write_public(directory: Path, user: str, keys: tuple[str, ...]) -> None:
    lines = [f"# Keys that the nats-server of this director accepts of {user}, one a line.", *keys]
    write_file(directory / user / PUBLIC, "\n".join(lines) + "\n", mode=0o644)


def _is_root() -> bool:
    return os.geteuid() == 0
