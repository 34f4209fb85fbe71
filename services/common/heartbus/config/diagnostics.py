"""What is said about a configuration file: level, file, line, directive, and what to do.

Sans-I/O.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Level(enum.StrEnum):
    """``error``: refused. ``warning``: loaded, but not as written. ``note``: good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One remark. ``line`` counts from 1; None where the file as a whole is meant.

    ``here``: it is about this machine, and only matters where that is a director.
    """

    level: Level
    file: str
    line: int | None
    directive: str | None
    message: str
    here: bool = False

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        what = self.message if self.directive is None else f"{self.directive}: {self.message}"
        return f"{where}: {what}"


class ConfigError(Exception):
    """The configuration cannot be used; nothing was changed. ``diagnostics`` says all of it.

    As text: one ``FILE:LINE: directive: what is wrong, what is allowed`` a line, errors only.
    ``files``: what was read until then, by digest, so that a repair can be noticed.
    """

    def __init__(
        self, diagnostics: tuple[Diagnostic, ...], *, files: Mapping[str, str] | None = None
    ) -> None:
        self.diagnostics = diagnostics
        self.files: Mapping[str, str] = files or {}
        super().__init__("\n".join(str(d) for d in diagnostics if d.level is Level.ERROR))

    @classmethod
    def plain(cls, message: str, *, files: Mapping[str, str] | None = None) -> ConfigError:
        """Return an error that concerns no single line."""
        error = cls((), files=files)
        error.args = (message,)
        return error
