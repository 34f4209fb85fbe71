"""The keys of the bus on one director: who its nats-server lets in, and with what a client asks.

    /etc/heartbus/bus/USER/seed        the private key that the client of this user signs with
                      USER/public      keys that the nats-server accepts of it, one a line
                      USER/seed.next   the key that comes next, while keys are being changed
                      route/           certificate.pem key.pem ca.pem: TLS between directors

A user is a service (``vip``), ``operator`` or ``observer``, or one of people with a name:
``observer-grafana``. Each director has keys of its own: a client speaks to its own host's server
alone, so nobody else needs to know them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heartbus.exits import KeyFileError as KeyFileError
from heartbus.rights import PEOPLE, SERVICES, Role

KEYS_DIRECTORY: Final = Path("/etc/heartbus/bus")
KEYS_VARIABLE: Final = "HEARTBUS_BUS_KEYS"
USER_VARIABLE: Final = "HEARTBUS_BUS_USER"
KEYS_MAX: Final = 4
"""Keys of one user that are accepted at once; two while they are being changed."""

SEED: Final = "seed"
NEXT: Final = "seed.next"
PUBLIC: Final = "public"
ROUTE: Final = "route"

FILE_BYTES_MAX: Final = 4096
_NAME = re.compile(r"(operator|observer)(-[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?)?")


@dataclass(frozen=True, slots=True)
class Key:
    """What one client of the bus shows who it is: the seed of ``user`` in ``directory``."""

    directory: Path
    user: str

    @property
    def file(self) -> Path:
        """Where the seed is."""
        return self.directory / self.user / SEED

    def read(self) -> str | None:
        """Return the seed, None if there is none: then the bus has no keys.

        Raises:
            KeyFileError: it cannot be read, or is no seed.

        """
        try:
            text = _content(self.file)
        except FileNotFoundError:
            return None
        seed = text.strip()
        public_of(seed, self.file)
        return seed

    def stamp(self) -> tuple[int, int] | None:
        """Return what changes when another seed is put in its place."""
        try:
            found = self.file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino


@dataclass(frozen=True, slots=True)
class RouteFiles:
    """What proves to other directors' servers who we are, and them to us; PEM files."""

    certificate: Path
    key: Path
    ca: Path


def route_files(directory: Path) -> RouteFiles | None:
    """Return the files for TLS between directors, None if there are none.

    Raises:
        KeyFileError: some of them are missing.

    """
    files = RouteFiles(
        certificate=directory / ROUTE / "certificate.pem",
        key=directory / ROUTE / "key.pem",
        ca=directory / ROUTE / "ca.pem",
    )
    every = (files.certificate, files.key, files.ca)
    try:
        missing = [str(file) for file in every if not file.exists()]
    except OSError as error:
        raise KeyFileError(f"{directory / ROUTE}: {error.strerror}") from error
    if len(missing) == len(every):
        return None
    if missing:
        raise KeyFileError(
            f"{directory / ROUTE}: {', '.join(missing)} is missing; allowed are all of"
            " certificate.pem, key.pem and ca.pem, or none"
        )
    return files


def keys_directory() -> Path:
    """Return where the keys of this host are, as the environment says."""
    return Path(os.environ.get(KEYS_VARIABLE, KEYS_DIRECTORY))


# --- users ---------------------------------------------------------------------------------------


def role_of(user: str, *, witness: bool = False) -> Role | None:
    """Return what a user is, None if no user may be called so."""
    if user in SERVICES:
        return Role.WITNESS if witness and user == "membership" else Role(user)
    found = _NAME.fullmatch(user)
    return Role(found[1]) if found else None


def user_name(user: str) -> str:
    """Return the name of a user of people.

    Raises:
        KeyFileError: nobody may be called so.

    """
    if _NAME.fullmatch(user) is None:
        raise KeyFileError(
            f"{user!r} cannot be a user of the bus; allowed: operator, observer, operator-NAME,"
            " observer-NAME, with NAME of at most 32 lower-case letters, digits and '-'"
        )
    return user


def user_directories(directory: Path) -> tuple[str, ...]:
    """Return every user that has a directory here with anything in it.

    Empty ones are made by the Debian package: a unit shows a service its own directory, which must
    be there when it starts.

    Raises:
        KeyFileError: it cannot be read.

    """
    try:
        names = sorted(
            entry.name for entry in directory.iterdir() if entry.is_dir() and not _is_empty(entry)
        )
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise KeyFileError(f"{directory}: {error.strerror}") from error
    return tuple(name for name in names if role_of(name) is not None)


def _is_empty(directory: Path) -> bool:
    try:
        return next(directory.iterdir(), None) is None
    except OSError:  # what we may not see is not nothing
        return False


def accepted(directory: Path, user: str) -> tuple[str, ...]:
    """Return the public keys that are accepted of a user.

    Raises:
        KeyFileError: the file cannot be read, or holds what is no key.

    """
    file = directory / user / PUBLIC
    try:
        lines = _content(file).splitlines()
    except FileNotFoundError:
        return ()
    found = [
        _checked_public(line.strip(), f"{file}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]
    if len(found) > KEYS_MAX:
        raise KeyFileError(f"{file}: {len(found)} keys, at most {KEYS_MAX} are allowed")
    return tuple(dict.fromkeys(found))


def for_people(directory: Path, *wanted: Role) -> Key | None:
    """Return the first key of these roles that we may read; None: the bus has no keys.

    ``HEARTBUS_BUS_USER`` names another user than the one that is called as its role.

    Raises:
        KeyFileError: there are keys, and none that we may read.

    """
    named = os.environ.get(USER_VARIABLE)
    if named is not None and role_of(user_name(named)) in wanted:
        return Key(directory, named)
    keys = [Key(directory, role.value) for role in wanted]
    there = [key for key in keys if os.access(key.file, os.R_OK, effective_ids=True)]
    if there:
        return there[0]
    if not _secured(directory):
        return None
    names = " or ".join(str(key.file) for key in keys)
    raise KeyFileError(
        f"the bus of this director has keys, and {names} cannot be read: run it as a user who may"
    )


def _secured(directory: Path) -> bool:
    try:
        return any((directory / user / PUBLIC).exists() for user in (*SERVICES, *PEOPLE))
    except OSError:
        return True  # it is closed to us: so there is something in it


# --- keys: nkeys is loaded by those who have one, it costs 1.3 MB ---------------------------------


def new_seed() -> str:
    """Return a new private key of a user."""
    import nkeys

    seed: bytes = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
    return seed.decode()


def public_of(seed: str, where: Path) -> str:
    """Return the public key of a seed.

    Raises:
        KeyFileError: it is none; ``where`` is named.

    """
    import nkeys

    try:
        prefix, raw = nkeys.decode_seed(bytearray(seed.encode()))
        # The library does not look at the checksum.
        if nkeys.encode_seed(bytes(raw), prefix).decode() != seed:
            raise nkeys.ErrInvalidSeed
        if prefix != nkeys.PREFIX_BYTE_USER:
            raise nkeys.ErrInvalidPrefixByte
        public: str = nkeys.from_seed(bytearray(seed.encode())).public_key.decode()
    except (nkeys.NkeysError, ValueError, TypeError, IndexError) as error:
        raise KeyFileError(
            f"{where}: not the seed of a user; allowed is one line of 58 characters that begins"
            " with SU, as heartbus bus init writes it"
        ) from error
    return public


def _checked_public(text: str, where: str) -> str:
    import nkeys

    try:
        raw = base64.b32decode(text)
        sound = (
            len(raw) == 35
            and raw[0] == nkeys.PREFIX_BYTE_USER
            and nkeys.crc16(raw[:-2]).to_bytes(2, "little") == raw[-2:]
        )
    except (binascii.Error, ValueError):
        sound = False
    if not sound:
        raise KeyFileError(
            f"{where}: {text[:64]!r} is no public key of a user; allowed is one key a line, 56"
            " characters that begin with U"
        )
    return text


def _content(file: Path) -> str:
    """Return a small text file; FileNotFoundError if it is not there."""
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyFileError(f"{file}: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise KeyFileError(f"{file}: more than {FILE_BYTES_MAX} bytes")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise KeyFileError(f"{file}: not ASCII text") from None


@contextlib.contextmanager
def _replacing(file: Path, mode: int) -> Iterator[Path]:
    """Give a file to write that takes the place of another at once, or not at all."""
    beside = file.with_name(f".{file.name}.new")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield beside
        beside.replace(file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        raise


def write_file(file: Path, text: str, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write a file as a whole; ``owner``: user and group ids.

    Raises:
        OSError: it cannot be written; the old one stands.

    """
    with _replacing(file, 0o600) as beside:
        beside.write_text(text)
        if owner is not None:
            os.chown(beside, *owner)
        beside.chmod(mode)
