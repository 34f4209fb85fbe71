"""The file of the history: SQLite, bounded by age and size; whatever goes wrong is a StoreError.

Synchronous, and used by one thread. Written in WAL mode without a sync for each event: a process
that is killed loses nothing, a host that loses power at most some seconds of history.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from heartbus.history.agreement import Digests
from heartbus.history.records import Record
from heartbus.recording import BUCKET_S, IDS_MAX, AskEvents

SCHEMA: Final = 1
BUSY_S: Final = 5.0
PRUNED_TO: Final = 0.9
"""How much of the allowed size is left after the oldest events were forgotten."""

PRUNE_EVENTS: Final = 500
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_COLUMNS: Final = "id, at_s, bucket, node, kind, previous, payload"

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS events (
  id TEXT PRIMARY KEY, at_s REAL NOT NULL, bucket INTEGER, node TEXT NOT NULL, kind TEXT NOT NULL,
  previous TEXT, payload BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_at ON events (at_s);
CREATE INDEX IF NOT EXISTS events_bucket ON events (bucket, id);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
"""


class StoreError(Exception):
    """The file cannot be used; the message says why.

    ``damaged``: its content is not ours. ``full``: it can be read, and nothing be added to it.
    """

    def __init__(self, message: str, *, damaged: bool = False, full: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged
        self.full = full


class Store:
    """One file; ``age_s`` and ``bytes_max`` bound it.

    ``events``, ``size_bytes`` and ``digests`` are of its content.
    """

    def __init__(self, path: Path, *, age_s: float, bytes_max: int) -> None:
        self._path = path
        self._age_s = age_s
        self._bytes_max = bytes_max
        self._db: sqlite3.Connection | None = None
        self._forgotten_s = 0.0
        self._inode = 0
        self.digests = Digests()
        self.events = 0
        self.size_bytes = 0

    @property
    def is_open(self) -> bool:
        """Whether the file is in use."""
        return self._db is not None

    def open(self, *, read_only: bool = False) -> None:
        """Open the file, or make it.

        Raises:
            StoreError: it cannot be opened, or is not a history of this version.

        """
        self.close()
        with self._errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # As a URI: a mode that makes no file where we only read.
            mode = "ro" if read_only else "rwc"
            uri = f"{self._path.absolute().as_uri()}?mode={mode}"
            db = sqlite3.connect(
                uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(db, read_only=read_only)
            except BaseException:
                db.close()
                raise
            self._db = db
            self._inode = os.stat(self._path).st_ino

    def _prepare(self, db: sqlite3.Connection, *, read_only: bool) -> None:
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreError(f"{self._path} is damaged: {found}", damaged=True)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA):
            raise StoreError(f"{self._path} is of version {version}, not {SCHEMA}", damaged=True)
        if version == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError(f"{self._path} is the database of another program", damaged=True)
        if not read_only:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA journal_size_limit = {4 * 1024 * 1024}")
            db.executescript(_TABLES)
            db.execute(f"PRAGMA user_version = {SCHEMA}")
        self.digests, self.events = Digests(), 0
        for event_id, bucket in db.execute("SELECT id, bucket FROM events"):
            self.events += 1
            self.digests.change(bucket, event_id)
        row = db.execute("SELECT value FROM meta WHERE name = 'forgotten_s'").fetchone()
        self._forgotten_s = row[0] if row else 0.0
        self.size_bytes = self._used(db)

    def is_gone(self) -> bool:
        """Whether somebody removed or replaced the file that is in use."""
        try:
            return os.stat(self._path).st_ino != self._inode
        except OSError:
            return True

    def close(self) -> None:
        """Let the file go; does nothing where it is not open."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def set_aside(self) -> Path:
        """Rename a file that cannot be used, so that a new one can begin; return its new name.

        Raises:
            StoreError: it cannot be renamed.

        """
        self.close()
        aside = self._path.with_name(self._path.name + ".damaged")
        try:
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            os.replace(self._path, aside)
        except OSError as error:
            raise StoreError(f"{self._path} cannot be set aside: {error.strerror}") from error
        return aside

    # --- writing ---------------------------------------------------------------------------------

    def add(self, records: Sequence[Record]) -> int:
        """Write events, all or none; return how many were new.

        Raises:
            StoreError: the disk is full, the file damaged, …

        """
        added: list[Record] = []
        with self._using() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                for kept in records:
                    values = (
                        kept.id, kept.at_s, kept.bucket, kept.node, kept.kind, kept.previous,
                        kept.payload,
                    )  # fmt: skip
                    # A peer whose clock is right may know the hour of one that we could not tell.
                    done = db.execute(
                        f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
                        " ON CONFLICT (id) DO UPDATE SET at_s = excluded.at_s,"
                        " bucket = excluded.bucket"
                        " WHERE bucket IS NULL AND excluded.bucket IS NOT NULL",
                        values,
                    )
                    if done.rowcount:
                        added.append(kept)
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            for kept in added:
                self.digests.change(kept.bucket, kept.id)
            self.events = db.execute("SELECT count(*) FROM events").fetchone()[0]
            self.size_bytes = self._used(db)
        return len(added)

    def touch(self, *, now_s: float) -> None:
        """Write something, to see whether that is possible.

        Raises:
            StoreError: it is not.

        """
        with self._using() as db:
            db.execute(
                "INSERT OR REPLACE INTO meta (name, value) VALUES ('touched_s', ?)", (now_s,)
            )

    def since_s(self, *, now_s: float) -> float:
        """Return the time before which events are forgotten; ``now_s`` is our wall clock."""
        # Never beyond now, whatever was written while the clock was wrong.
        return max(now_s - self._age_s, min(self._forgotten_s, now_s))

    def prune(self, *, now_s: float) -> int:
        """Forget what is too old or too much; return how many events.

        Raises:
            StoreError: as for ``add``.

        """
        forgotten = 0
        with self._using() as db:
            forgotten += self._forget(db, "at_s < ?", (now_s - self._age_s,))
            if self._used(db) > self._bytes_max:
                while self._used(db) > PRUNED_TO * self._bytes_max and self.events:
                    forgotten += self._forget_oldest(db, now_s)
            self.size_bytes = self._used(db)
        return forgotten

    def _forget_oldest(self, db: sqlite3.Connection, now_s: float) -> int:
        oldest = "SELECT max(at_s) FROM (SELECT at_s FROM events ORDER BY at_s LIMIT ?)"
        until_s = db.execute(oldest, (PRUNE_EVENTS,)).fetchone()[0]
        # To the end of its hour: hours are compared as a whole.
        hour_ends_s = (until_s // BUCKET_S + 1) * BUCKET_S
        self._forgotten_s = min(max(self._forgotten_s, hour_ends_s), now_s)
        db.execute(
            "INSERT OR REPLACE INTO meta (name, value) VALUES ('forgotten_s', ?)",
            (self._forgotten_s,),
        )
        return self._forget(db, "at_s <= ?", (until_s,))

    def _forget(self, db: sqlite3.Connection, where: str, values: tuple[float, ...]) -> int:
        # What is forgotten is not missing.
        db.execute(
            "UPDATE events SET previous = NULL WHERE previous IN"
            f" (SELECT id FROM events WHERE {where})",
            values,
        )
        gone = db.execute(f"DELETE FROM events WHERE {where} RETURNING id, bucket", values)
        rows = gone.fetchall()
        for event_id, bucket in rows:
            self.digests.change(bucket, event_id)
        self.events -= len(rows)
        return len(rows)

    # --- reading ---------------------------------------------------------------------------------

    def absent(self, ids: Iterable[str]) -> set[str]:
        """Return which of these are not there.

        Raises:
            StoreError: the file cannot be read.

        """
        wanted = list(dict.fromkeys(ids))
        there: set[str] = set()
        with self._using() as db:
            for start in range(0, len(wanted), 500):
                part = wanted[start : start + 500]
                marks = ", ".join("?" * len(part))
                query = f"SELECT id FROM events WHERE id IN ({marks})"
                there.update(row[0] for row in db.execute(query, part))
        return set(wanted) - there

    def ids(self, bucket: int, *, after: str) -> list[str]:
        """Return the ids of one hour after another one, at most IDS_MAX and one more.

        Raises:
            StoreError: the file cannot be read.

        """
        with self._using() as db:
            rows = db.execute(
                "SELECT id FROM events WHERE bucket = ? AND id > ? ORDER BY id LIMIT ?",
                (bucket, after, IDS_MAX + 1),
            )
            return [row[0] for row in rows]

    def select(self, query: AskEvents, *, limit: int) -> list[Record]:
        """Return the newest ``limit`` events that match, the newest first.

        Raises:
            StoreError: the file cannot be read.

        """
        where, values = _where(query)
        with self._using() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM events WHERE {where} ORDER BY at_s DESC LIMIT ?",
                (*values, limit),
            )
            return [
                Record(
                    id=row[0], at_s=row[1], bucket=row[2], node=row[3], kind=row[4],
                    previous=row[5], payload=row[6],
                )
                for row in rows
            ]  # fmt: skip

    def missing(self, *, since_s: float) -> int:
        """Return how many events since then are named by others and are not here.

        Raises:
            StoreError: the file cannot be read.

        """
        with self._using() as db:
            found = db.execute(
                "SELECT count(DISTINCT previous) FROM events AS e WHERE previous IS NOT NULL"
                " AND at_s >= ? AND NOT EXISTS (SELECT 1 FROM events WHERE id = e.previous)",
                (since_s,),
            ).fetchone()[0]
            return int(found)

    # --- errors ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        if self._db is None:
            raise StoreError(f"{self._path} is not open")
        with self._errors():
            yield self._db

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            raise StoreError(
                f"{self._path}: {error}",
                damaged=code in _DAMAGED,
                full=code == sqlite3.SQLITE_FULL,
            ) from error
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error

    @staticmethod
    def _used(db: sqlite3.Connection) -> int:
        pages, free, size = (
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


def _where(query: AskEvents) -> tuple[str, list[object]]:
    """Return the condition in SQL; ``records.is_wanted`` says the same in Python."""
    terms, values = ["at_s >= ?"], [query.since_s]
    parts: list[tuple[str, list[object]]] = []
    if query.until_s:
        parts.append(("at_s <= ?", [query.until_s]))
    if query.kinds:
        kinds: list[object] = []
        tests = []
        for pattern in query.kinds:
            if pattern.endswith(".*"):
                tests.append("substr(kind, 1, ?) = ?")
                kinds += [len(pattern) - 1, pattern.removesuffix("*")]
            else:
                tests.append("kind = ?")
                kinds.append(pattern)
        parts.append((f"({' OR '.join(tests)})", kinds))
    if query.node:
        parts.append(("node = ?", [query.node]))
    if query.ids:
        parts.append((f"id IN ({', '.join('?' * len(query.ids))})", list(query.ids)))
    if query.about:
        parts.append(("instr(payload, ?) > 0", [query.about.encode()]))
    terms += [term for term, _ in parts]
    return " AND ".join(terms), [*values, *(value for _, more in parts for value in more)]
