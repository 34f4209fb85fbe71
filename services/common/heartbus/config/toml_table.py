"""Reads typed values out of a TOML table; what is wrong is reported with file, line and key.

Sans-I/O. Every key that is asked for is known; ``close`` reports the others.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, TypeVar

from heartbus.config.report import Path, Place, Report, closest, dotted, shown
from heartbus.config.toml_lines import LineIndex
from heartbus.config.values import TIME_MAX_S, BadValueError, duration, usable

T = TypeVar("T")
E = TypeVar("E", bound=enum.StrEnum)

SHOWN_CHOICES_MAX = 20


class Document(Protocol):
    """What a table is part of."""

    @property
    def report(self) -> Report:
        """Where remarks go."""
        ...

    def place(self, path: Path) -> Place:
        """Return where a key is written."""
        ...


class TomlFile:
    """One parsed file and where its keys are."""

    def __init__(self, *, path: str, text: str, report: Report) -> None:
        self.path = path
        self._report = report
        self._text = text

    @property
    def report(self) -> Report:
        """Where remarks go."""
        return self._report

    @cached_property
    def _lines(self) -> LineIndex:
        return LineIndex(self._text)

    def place(self, path: Path) -> Place:
        """Return the place of a key; the nearest parent's line if it is not written."""
        for length in range(len(path), 0, -1):
            if (line := self._lines.get(path[:length])) is not None:
                return Place(file=self.path, line=line, directive=dotted(path))
        return Place(file=self.path, directive=dotted(path) or None)

    def written(self, path: Path) -> Place | None:
        """Return the place of a key that is written, or None."""
        line = self._lines.get(path)
        return None if line is None else Place(file=self.path, line=line, directive=dotted(path))


class Table:
    """One table of the file; missing tables read as empty ones."""

    def __init__(self, file: Document, path: Path, content: dict[str, object]) -> None:
        self._file = file
        self._path = path
        self._content = content
        self._known: list[str] = []

    @property
    def path(self) -> Path:
        """Where the table is in the file."""
        return self._path

    @property
    def report(self) -> Report:
        """Where remarks go."""
        return self._file.report

    def at(self, *keys: str | int) -> Place:
        """Return the place of a key of this table."""
        return self._file.place((*self._path, *keys))

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that are written, known or not."""
        return tuple(self._content)

    def has(self, key: str) -> bool:
        """Return whether the key is written."""
        return key in self._content

    def peek(self, key: str) -> object | None:
        """Return the value of this key as it is, or None."""
        return self._take(key)

    def close(self) -> None:
        """Report every key that nobody asked for."""
        for key in self._content:
            if key not in self._known:
                allowed = ", ".join(self._known)
                suggestion = closest(key, self._known)
                self.report.error(self.at(key), f"unknown key; allowed is {allowed}{suggestion}")

    def required(self, key: str, value: T | None) -> T | None:
        """Report a key that must be written and is not; give back its value."""
        if key not in self._content:
            place = self.at().of(dotted((*self._path, key)))
            self.report.error(place, "missing; this key is needed")
        return value

    def text(self, key: str, parse: Callable[[str], T]) -> T | None:
        """Return the value of a text key, or None."""
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.refuse(key, value, 'text in quotes: "text"')
            return None
        try:
            return parse(usable(value))
        except BadValueError as error:
            self.report.error(self.at(key), str(error))
            return None

    def secret(self, key: str) -> str | None:
        """Return the value of a text key, any characters, or None; it is never shown."""
        value = self._take(key)
        if value is None or isinstance(value, str):
            return value
        self.report.error(self.at(key), 'not text; allowed is text in quotes: "text"')
        return None

    def choice(self, key: str, choices: type[E]) -> E | None:
        """Return the member that the text of this key names, or None."""
        return self.text(key, lambda text: _member(text, choices))

    def word(self, key: str, choices: Sequence[str]) -> str | None:
        """Return the text of this key, one of these words, or None."""

        def parse(text: str) -> str:
            if text in choices:
                return text
            raise BadValueError(
                f"{shown(text)} is not allowed; allowed is {' or '.join(choices)}"
                f"{closest(text, choices)}"
            )

        return self.text(key, parse)

    def integer(self, key: str, low: int, high: int) -> int | None:
        """Return a whole number within these bounds, or None."""
        value = self._take(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.refuse(key, value, f"a whole number from {low} to {high}")
        return None

    def boolean(self, key: str) -> bool | None:
        """Return true or false, or None."""
        value = self._take(key)
        if value is None or isinstance(value, bool):
            return value
        self.refuse(key, value, "true or false")
        return None

    def seconds(self, key: str, *, zero: bool = False) -> float | None:
        """Return a time in seconds, given as a number or as text with a unit, or None."""
        value = self._take(key)
        if value is None:
            return None
        seconds: float | None = None
        if isinstance(value, str):
            try:
                seconds = duration(value)
            except BadValueError as error:
                self.report.error(self.at(key), str(error))
                return None
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
        if seconds is None or not (0 < seconds <= TIME_MAX_S or (zero and seconds == 0)):
            bound = "0 or more" if zero else "above 0"
            self.refuse(
                key, value, f'seconds {bound}, as a number or as text such as "75ms" or "2s"'
            )
            return None
        return seconds

    def texts(self, key: str, parse: Callable[[str], T]) -> list[T]:
        """Return the values of a list of texts; refused ones are left out."""
        result: list[T] = []
        for index, value in enumerate(self.items(key)):
            if not isinstance(value, str):
                self.refuse(key, value, 'text in quotes: "text"', index)
                continue
            try:
                result.append(parse(usable(value)))
            except BadValueError as error:
                self.report.error(self.at(key, index), str(error))
        return result

    def items(self, key: str) -> list[object]:
        """Return the elements of an array; none if it is not written."""
        value = self._take(key)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        self.refuse(key, value, "a list: [ … ]")
        return []

    def table(self, key: str) -> Table:
        """Return the table of this key; an empty one if it is not written."""
        value = self._take(key)
        if isinstance(value, dict):
            return Table(self._file, (*self._path, key), value)
        if value is not None:
            self.refuse(key, value, f"a table: [{dotted((*self._path, key))}]")
        return Table(self._file, (*self._path, key), {})

    def tables(self, key: str) -> list[Table]:
        """Return the tables of an array of tables; none if it is not written."""
        result: list[Table] = []
        value = self._take(key)
        if value is None:
            return result
        allowed = f"tables: [[{dotted((*self._path, key))}]]"
        if not isinstance(value, list):
            self.refuse(key, value, allowed)
            return result
        for index, item in enumerate(value):
            if isinstance(item, dict):
                result.append(self.element(key, index, item))
            else:
                self.refuse(key, item, allowed, index)
        return result

    def element(self, key: str, index: int, content: dict[str, object]) -> Table:
        """Return the table that is an element of an array."""
        return Table(self._file, (*self._path, key, index), content)

    def refuse(self, key: str, value: object, allowed: str, *index: int) -> None:
        """Report a value of the wrong kind."""
        message = f"{shown(value)} is not allowed; allowed is {allowed}"
        self.report.error(self.at(key, *index), message)

    def _take(self, key: str) -> object | None:
        if key not in self._known:
            self._known.append(key)
        return self._content.get(key)


def _member(text: str, choices: type[E]) -> E:
    try:
        return choices(text)
    except ValueError:
        allowed = ", ".join(list(choices)[:SHOWN_CHOICES_MAX])
        raise BadValueError(
            f"{shown(text)} is not allowed; allowed is {allowed}{closest(text, choices)}"
        ) from None
