"""Collects what is said about configuration files, each remark with its place.

Sans-I/O.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from heartbus.config.diagnostics import ConfigError, Diagnostic, Level

DIAGNOSTICS_MAX: Final = 1000
"""A file full of garbage must not fill the memory with remarks about it."""

SHOWN_CHARS_MAX: Final = 80
SUGGESTIONS_MAX: Final = 3

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")

T = TypeVar("T")

Path = tuple[str | int, ...]
"""Where a value sits in the model, in the words of the TOML form: ``("groups", 0, "name")``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the files something was written; ``line`` counts from 1."""

    file: str
    line: int | None = None
    directive: str | None = None

    def of(self, directive: str | None) -> Place:
        """Return the same line, said of another directive."""
        return Place(file=self.file, line=self.line, directive=directive)


class LatePlace(Place):
    """A place that is looked up when somebody says something about it, and not before.

    Most of a file is right, and to know the line of each of 100,000 values takes as long as to read
    them.
    """

    __slots__ = ("_find",)

    _find: Callable[[], Place]

    def __init__(self, find: Callable[[], Place]) -> None:
        object.__setattr__(self, "_find", find)

    @property
    def file(self) -> str:
        """The file that it is in."""
        return self._find().file

    @property
    def line(self) -> int | None:
        """The line, from 1; None: the file as a whole."""
        return self._find().line

    @property
    def directive(self) -> str | None:
        """What is written there."""
        return self._find().directive

    def __eq__(self, other: object) -> bool:
        """Whether it is the same place, looked up or not."""
        return isinstance(other, Place) and self._known() == (
            other.file,
            other.line,
            other.directive,
        )

    def __hash__(self) -> int:
        """Return that of the same place."""
        return hash(self._known())

    def _known(self) -> tuple[str, int | None, str | None]:
        place = self._find()
        return place.file, place.line, place.directive


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Generic[T]):
    """A value and where it was written; ``parts``: where parts of it were, by path within it."""

    value: T
    place: Place
    parts: Mapping[Path, Place] = field(default_factory=dict)


class Places:
    """Finds the place of a part of the model; the nearest known parent if it has none itself.

    ``lookup`` answers for every part without a known parent. ``exact`` answers for what is written
    itself. ``not_written``: places of ``known`` that serve remarks only, the value follows from
    another one.
    """

    def __init__(
        self,
        *,
        whole: Place,
        known: Mapping[Path, Place] | None = None,
        lookup: Callable[[Path], Place] | None = None,
        exact: Callable[[Path], Place | None] | None = None,
        not_written: frozenset[Path] = frozenset(),
    ) -> None:
        self._whole = whole
        self._known = known or {}
        self._lookup = lookup
        self._exact = exact
        self._not_written = not_written

    def origin(self, path: Path) -> Place | None:
        """Return where the value at this path was written; None: it is a default.

        What stands on one line as a whole, a real server say, was written where the line is.
        """
        if path in self._known and path not in self._not_written:
            return self._known[path]
        if self._exact is not None and (place := self._exact(path)) is not None:
            return place
        for length in range(len(path) - 1, 1, -1):
            parent = path[:length]
            on_one_line = isinstance(parent[-1], int) and parent[:-1] != ("virtual_services",)
            if on_one_line and parent in self._known:
                return self._known[parent]
        return None

    def at(self, *path: str | int) -> Place:
        """Return the place of this part."""
        for length in range(len(path), 0, -1):
            if (place := self._known.get(path[:length])) is not None:
                return place
        return self._lookup(path) if self._lookup is not None else self._whole


class Report:
    """The remarks of one load, in the order of files and lines."""

    def __init__(self) -> None:
        self._diagnostics: list[Diagnostic] = []
        self._order: dict[str, int] = {}
        self._left_out = 0
        self._errors = 0
        self.places: Places | None = None
        """Where everything was written, once all files are read."""
        self.included: list[str] = []
        """Files that the main one includes."""
        self.secrets: list[Place] = []
        """Where a secret is written itself, not the name of a file that has it."""
        self.files: dict[str, str] = {}
        """What was read or looked for, with a digest of what it held; empty: nothing was there."""

    @property
    def errors(self) -> int:
        """How many errors there are, those beyond DIAGNOSTICS_MAX included."""
        return self._errors

    def opened(self, file: str) -> None:
        """Give this file its turn among the remarks: files are listed as they were opened."""
        self._order.setdefault(file, len(self._order))

    def error(self, place: Place, message: str) -> None:
        """Refuse the configuration: ``message`` says what is wrong and what is allowed."""
        self._errors += 1
        self._add(Level.ERROR, place, message)

    def warning(self, place: Place, message: str, *, here: bool = False) -> None:
        """Say what is loaded, but not as written; ``here``: because of this machine."""
        self._add(Level.WARNING, place, message, here=here)

    def note(self, place: Place, message: str) -> None:
        """Say what is good to know."""
        self._add(Level.NOTE, place, message)

    def _add(self, level: Level, place: Place, message: str, *, here: bool = False) -> None:
        self.opened(place.file)
        # One error must get in even after a thousand warnings, or a refusal would have no words.
        first_error = level is Level.ERROR and self._errors == 1
        if len(self._diagnostics) >= DIAGNOSTICS_MAX and not first_error:
            self._left_out += 1
            return
        self._diagnostics.append(
            Diagnostic(
                level=level,
                file=place.file,
                line=place.line,
                directive=place.directive,
                message=message,
                here=here,
            )
        )

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Return all remarks: files in the order they were opened, lines ascending."""
        remarks = sorted(self._diagnostics, key=lambda d: (self._order[d.file], d.line or 0))
        if self._left_out:
            last = remarks[-1]
            level = Level.ERROR if self._errors else last.level
            message = f"{self._left_out} more remarks are left out"
            remarks.append(
                Diagnostic(level=level, file=last.file, line=None, directive=None, message=message)
            )
        return tuple(remarks)

    def refuse_errors(self) -> None:
        """Stop here if anything was wrong.

        Raises:
            ConfigError: with every remark so far.

        """
        if self._errors:
            raise ConfigError(self.diagnostics(), files=self.files)


def shown(value: object) -> str:
    """Return a value as it may stand in a message: quoted, escaped and short."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[: SHOWN_CHARS_MAX - 3]}..."


def word(value: str) -> str:
    """Return the name of a directive as it may stand before a message: escaped, short, bare."""
    return shown(value[:SHOWN_CHARS_MAX])[1:-1] or "(empty)"


def closest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X or Y?`` for a name nobody knows, or nothing."""
    names = sorted(set(known))
    matches = difflib.get_close_matches(
        name[:SHOWN_CHARS_MAX].lower(), names, n=SUGGESTIONS_MAX, cutoff=0.6
    )
    return f"; did you mean {' or '.join(map(word, matches))}?" if matches else ""


def dotted(path: Path) -> str:
    """Return a path of the model in TOML words: ``groups[0].name``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE_KEY.fullmatch(part) else shown(part)
            text += f".{name}" if text else name
    return text
