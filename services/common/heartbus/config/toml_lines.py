"""Finds the line of every key and array element in a TOML text that is known to be valid.

Sans-I/O. The standard parser drops positions; messages need them. Used only when there is something
to say about a file.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

from heartbus.config.report import Path

DEPTH_MAX: Final = 12
"""Deeper keys have the line of their parent; no key of heartbus is that deep."""

_BLANKS: Final = re.compile(r"[ \t]*+")
# Possessive (++ and *+): a way back for each of a million blank lines costs half a gigabyte.
_SPACE: Final = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_KEY: Final = re.compile(r"""[A-Za-z0-9_-]++|"(?:[^"\\\n]++|\\.)*+"|'[^'\n]*+'""")
_STRING: Final = re.compile(
    r'"{3}(?:[^"\\]++|\\[\s\S]|"{1,2}+(?!"))*+"{3,5}'
    r"|'{3}(?:[^']++|'{1,2}+(?!'))*+'{3,5}"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'[^'\n]*+'"
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]*+")


def line_index(text: str) -> dict[Path, int]:
    """Return the line (from 1) of each path; the text must have been accepted by tomllib."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


class LineIndex:
    """The lines of a text, found from its top only as far as somebody asks."""

    def __init__(self, text: str) -> None:
        self._scanner = _Scanner(text.replace("\r\n", "\n"))

    def get(self, path: Path) -> int | None:
        """Return the line (from 1) of a path, or None; as ``line_index`` has it."""
        scanner = self._scanner
        # The line of a plain table is that of its own header, which may still come.
        final = any(isinstance(part, int) for part in path)
        while not scanner.ended and not (final and path in scanner.lines):
            scanner.statement()
        return scanner.lines.get(path)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._arrays: dict[Path, int] = {}
        self._table: Path = ()

    @property
    def ended(self) -> bool:
        return self._at >= len(self._text)

    def document(self) -> None:
        while not self.ended:
            self.statement()

    def statement(self) -> None:
        """Take one header, or one key with its value, and the space around it."""
        self._skip(_SPACE)
        if self.ended:
            return
        if self._peek("["):
            self._table = self._header()
        else:
            self._key_value(self._table)
        self._skip(_SPACE)

    def _header(self) -> Path:
        is_array = self._text.startswith("[[", self._at)
        line = self._line_now()
        self._at += 2 if is_array else 1
        path: Path = ()
        parts = self._keys()
        for position, part in enumerate(parts, 1):
            path = _below(path, part)
            self.lines.setdefault(path, line)
            if path in self._arrays and not (is_array and position == len(parts)):
                path = _below(path, self._arrays[path])
        self._at += 2 if is_array else 1
        if is_array:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            path = _below(path, self._arrays[path])
            self.lines[path] = line
        else:
            self.lines[path] = line
        return path

    def _keys(self) -> list[str]:
        parts = []
        while True:
            self._skip(_BLANKS)
            match = _KEY.match(self._text, self._at)
            assert match is not None, "the text was accepted as TOML"
            self._at = match.end()
            parts.append(_key_text(match[0]))
            self._skip(_BLANKS)
            if not self._peek("."):
                return parts
            self._at += 1

    def _key_value(self, table: Path) -> None:
        line = self._line_now()
        path = table
        for part in self._keys():
            path = _below(path, part)
            self.lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip(_BLANKS)
        if self._peek("["):
            self._array(path)
        elif self._peek("{"):
            self._inline_table(path)
        elif not self._skip(_STRING):
            self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        self._skip(_SPACE)
        while not self._peek("]"):
            element = _below(path, index)
            self.lines[element] = self._line_now()
            self._value(element)
            index += 1
            self._skip(_SPACE)
            if self._peek(","):
                self._at += 1
            self._skip(_SPACE)
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._skip(_SPACE)
        while not self._peek("}"):
            self._key_value(path)
            self._skip(_SPACE)
            if self._peek(","):
                self._at += 1
            self._skip(_SPACE)
        self._at += 1

    def _peek(self, sign: str) -> bool:
        assert self._at <= len(self._text), "the text was accepted as TOML"
        return self._text.startswith(sign, self._at)

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self._text, self._at)
        if match is None:
            return False
        self._at = match.end()
        return True

    def _line_now(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line


def _below(path: Path, part: str | int) -> Path:
    return (*path, part) if len(path) < DEPTH_MAX else path


def _key_text(written: str) -> str:
    if written[0] == "'":
        return written[1:-1]
    if written[0] == '"':
        (name,) = tomllib.loads(f"{written} = 0")
        return name
    return written
