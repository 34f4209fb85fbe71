"""Joins the TOML files of one configuration: the main file and those that it includes.

Sans-I/O. Tables are joined key by key, arrays of tables in the order of the files; a value may
stand in one file only. Where everything was written is known as if it were one file.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from heartbus.config.report import LatePlace, Path, Place, Report, shown
from heartbus.config.toml_table import TomlFile

INCLUDE: Final = "include"


class JoinedFiles:
    """What a table reads from. ``content`` grows with each file that is added."""

    def __init__(self, main: TomlFile, content: dict[str, Any]) -> None:
        self.content = content
        self._main = main
        self._origins: dict[Path, tuple[TomlFile, Path]] = {}

    @property
    def path(self) -> str:
        """The main file."""
        return self._main.path

    @property
    def report(self) -> Report:
        """Where remarks go."""
        return self._main.report

    def add(self, file: TomlFile, content: dict[str, Any]) -> None:
        """Join another file; what it may not say is reported with its place, and left out."""
        if INCLUDE in content:
            self.report.error(
                file.place((INCLUDE,)),
                f"in a file that is included itself; allowed is in {self.path} only",
            )
            content = {key: value for key, value in content.items() if key != INCLUDE}
        self._join((), self.content, file, content)

    def place(self, path: Path) -> Place:
        """Return the place of a key; the nearest parent's line if it is not written."""
        return LatePlace(partial(self._find, path))

    def written(self, path: Path) -> Place | None:
        """Return the place of a key that is written, or None."""
        file, inner = self._origin(path)
        return file.written(inner)

    def _join(
        self, path: Path, into: dict[str, Any], file: TomlFile, content: dict[str, Any]
    ) -> None:
        for key, value in content.items():
            inner = (*path, key)
            if key not in into:
                into[key] = value
                self._origins[inner] = (file, inner)
                continue
            there = into[key]
            if isinstance(there, dict) and isinstance(value, dict):
                self._join(inner, there, file, value)
            elif _is_tables(there) and _is_tables(value):
                for number, table in enumerate(value):
                    self._origins[*inner, len(there)] = (file, (*inner, number))
                    there.append(table)
            else:
                before = self.place(inner)
                self.report.error(
                    file.place(inner),
                    f"{shown(value)[:40]} is given in {before.file}:{before.line} too; allowed is"
                    " one of the two",
                )

    def _find(self, path: Path) -> Place:
        file, inner = self._origin(path)
        return file.place(inner)

    def _origin(self, path: Path) -> tuple[TomlFile, Path]:
        for length in range(len(path), 0, -1):
            if (found := self._origins.get(path[:length])) is not None:
                file, start = found
                return file, (*start, *path[length:])
        return self._main, path


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)
