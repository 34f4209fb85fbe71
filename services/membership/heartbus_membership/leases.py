"""Files of membership: leases for vip (gone at boot), epochs and incarnation (kept).

``RUNTIME_DIR/leases.json`` tells vip what it may hold when the bus is silent, and tells our own
next process what it held. ``RUNTIME_DIR/votes.json`` tells it whom we had promised what; promises
are shorter than a boot, and a full disk must not keep a director from taking over.
``STATE_DIR/membership.json`` makes epochs and incarnations grow across
restarts. All are replaced by rename, so a reader sees the old one or the new one. The epochs are
not synced to the disk on the failover path: they must survive a crash of this process, and a host
that crashed has lost its claims and learns the epochs of its peers before it claims anew.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec

from heartbus.events import Lease
from heartbus_membership.claims import StandingLease, Vote
from heartbus_membership.replay import Mark

SCHEMA: Final = 1
LEASES_FILE: Final = "leases.json"
VOTES_FILE: Final = "votes.json"
LEASE_WRITE_PERIOD_S: Final = 0.25
"""A lease that stands is written so often; vip hears of renewals over the bus before that."""
STATE_FILE: Final = "membership.json"
BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id() -> str:
    """Return the kernel's name of this boot (random(4))."""
    return BOOT_ID_FILE.read_text().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseDocument:
    """Content of leases.json; times on the monotonic clock of the boot that ``boot_id`` names.

    ``releasing``: withdrawn, for our own next process: until then vip may not have let go yet.
    """

    schema: int
    boot_id: str
    written_monotonic_s: float
    leases: tuple[Lease, ...]
    releasing: tuple[Lease, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """Content of membership.json: what must only grow."""

    schema: int = SCHEMA
    incarnation: int = 0
    epochs: Mapping[str, int] = field(default_factory=dict)
    standby: tuple[str, ...] = ()
    heard: Mapping[str, Mark] = field(default_factory=dict)


class LeaseFile:
    """Writes leases.json and reads what an earlier process of this boot left there."""

    def __init__(self, directory: Path, *, boot_id: str) -> None:
        self._path = directory / LEASES_FILE
        self._boot_id = boot_id

    def write(
        self, leases: Sequence[Lease], *, releasing: Sequence[StandingLease] = (), now_s: float
    ) -> None:
        """Replace the file.

        Raises:
            OSError: it cannot be written; then an old file was removed where possible, because a
                withdrawn lease must not be read from it.

        """
        document = LeaseDocument(
            schema=SCHEMA,
            boot_id=self._boot_id,
            written_monotonic_s=now_s,
            leases=tuple(leases),
            releasing=tuple(
                Lease(group=x.group, epoch=x.epoch, deadline_monotonic_s=x.deadline_s)
                for x in releasing
            ),
        )
        try:
            _replace(self._path, msgspec.json.encode(document), durable=False)
        except OSError:
            self._path.unlink(missing_ok=True)
            raise

    def standing(self, *, now_s: float) -> tuple[Lease, ...]:
        """Return the leases of this boot that have not ended; an unreadable file has none."""
        document = self._read()
        leases = document.leases if document is not None else ()
        return tuple(x for x in leases if x.deadline_monotonic_s > now_s)

    def claims(self, *, now_s: float) -> tuple[StandingLease, ...]:
        """Return what an earlier process of ours held or was releasing, and that has not ended."""
        document = self._read()
        if document is None:
            return ()
        held = [as_standing(lease) for lease in document.leases]
        released = [
            StandingLease(
                group=x.group, epoch=x.epoch, deadline_s=x.deadline_monotonic_s, releasing=True
            )
            for x in document.releasing
        ]
        return tuple(x for x in (*held, *released) if x.deadline_s > now_s)

    def _read(self) -> LeaseDocument | None:
        try:
            document = msgspec.json.decode(self._path.read_bytes(), type=LeaseDocument)
        except (OSError, msgspec.MsgspecError):
            return None
        current = document.schema == SCHEMA and document.boot_id == self._boot_id
        return document if current else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteDocument:
    """Content of votes.json: whom we support in each group, in one boot."""

    schema: int
    boot_id: str
    votes: Mapping[str, Vote]


class VoteFile:
    """Keeps our votes across restarts in one boot.

    There is none before the first vote: until then our next process knows as little as we do.
    """

    def __init__(self, directory: Path, *, boot_id: str) -> None:
        self._path = directory / VOTES_FILE
        self._boot_id = boot_id
        self._votes = self._read()
        self.earlier = self._votes
        """Votes of earlier processes of this boot, by group; None if nobody knows them."""

    def remember(self, group: str, vote: Vote) -> None:
        """Write whom we support in a group.

        Raises:
            OSError: the file cannot be written.

        """
        votes = {**(self._votes or {}), group: vote}
        document = VoteDocument(schema=SCHEMA, boot_id=self._boot_id, votes=votes)
        _replace(self._path, msgspec.json.encode(document), durable=False)
        self._votes = votes

    def _read(self) -> Mapping[str, Vote] | None:
        try:
            document = msgspec.json.decode(self._path.read_bytes(), type=VoteDocument)
        except (OSError, msgspec.MsgspecError):
            return None
        if document.schema != SCHEMA or document.boot_id != self._boot_id:
            return None
        return document.votes


class StateFile:
    """Keeps incarnation, epochs, standby and marks across boots."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / STATE_FILE
        self._remembered = Remembered()

    def next_incarnation(self, *, wall_ms: int) -> int:
        """Return an incarnation above all earlier ones, safely on disk.

        It follows the wall clock, so that it grows even where the file was lost, and the file, so
        that it grows even where the clock was set back.

        Raises:
            OSError: the file cannot be written.
            ValueError: the file exists but cannot be understood.

        """
        self._remembered = self._read()
        incarnation = max(self._remembered.incarnation + 1, wall_ms)
        self._remembered = replace(self._remembered, incarnation=incarnation)
        _replace(self._path, msgspec.json.encode(self._remembered), durable=True)
        return incarnation

    @property
    def epochs(self) -> Mapping[str, int]:
        """Highest epoch ever known, by group."""
        return self._remembered.epochs

    def remember_epoch(self, group: str, epoch: int) -> None:
        """Write a higher epoch of a group.

        Raises:
            OSError: the file cannot be written.

        """
        epochs = {**self._remembered.epochs, group: epoch}
        self._remembered = replace(self._remembered, epochs=epochs)
        _replace(self._path, msgspec.json.encode(self._remembered), durable=False)

    @property
    def standby(self) -> frozenset[str]:
        """Groups that an operator moved away from here."""
        return frozenset(self._remembered.standby)

    def remember_standby(self, groups: Collection[str]) -> None:
        """Write which groups an operator moved away from here.

        Raises:
            OSError: the file cannot be written.

        """
        self._remembered = replace(self._remembered, standby=tuple(sorted(groups)))
        _replace(self._path, msgspec.json.encode(self._remembered), durable=False)

    @property
    def heard(self) -> Mapping[str, Mark]:
        """Up to where the heartbeats of each peer are old."""
        return self._remembered.heard

    def remember_heard(self, heard: Mapping[str, Mark]) -> None:
        """Write new marks; not synced, as the epochs.

        Raises:
            OSError: the file cannot be written.

        """
        self._remembered = replace(self._remembered, heard=dict(heard))
        _replace(self._path, msgspec.json.encode(self._remembered), durable=False)

    def _read(self) -> Remembered:
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return Remembered()
        if not raw:
            return Remembered()  # the disk lost it in a power cut; peers tell us the epochs
        try:
            return msgspec.json.decode(raw, type=Remembered)
        except msgspec.MsgspecError as error:
            raise ValueError(f"{self._path}: {error}") from error


def as_standing(lease: Lease) -> StandingLease:
    """Return a lease as the core knows it."""
    return StandingLease(
        group=lease.group,
        epoch=lease.epoch,
        deadline_s=lease.deadline_monotonic_s,
        stale_s=LEASE_WRITE_PERIOD_S,
    )


def _replace(path: Path, content: bytes, *, durable: bool) -> None:
    temporary = path.with_name(path.name + ".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        left = memoryview(content)
        while left:  # a disk that fills up takes a part first, and refuses the rest
            left = left[os.write(fd, left) :]
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)
