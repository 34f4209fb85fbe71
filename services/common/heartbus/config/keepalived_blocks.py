"""Reads keepalived.conf into blocks: words, what stands in braces, and the line of each.

Sans-I/O: included files are read by the caller's ``Files``. Known are comments (``#`` and ``!``),
quotes, ``include``, definitions (``$NAME=value``, used as ``$NAME`` or ``${NAME}``) and conditions
(``@ID words`` and ``@^ID words``: only with, or without, this configuration id).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from heartbus.config.report import Place, Report, shown, word
from heartbus.config.values import unusable_text

DEPTH_MAX: Final = 16
INCLUDES_MAX: Final = 256
BLOCKS_MAX: Final = 1_000_000
LINE_CHARS_MAX: Final = 64 * 1024

_TOKEN: Final = re.compile(r'"([^"]*)"|([{}])|([^\s{}"]+)')
_DEFINITION: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_USE: Final = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_CONDITION: Final = re.compile(r"@(\^?)(\S+)(?:\s+(.*))?")


class Files(Protocol):
    """Finds the files that ``include`` names."""

    def included(self, pattern: str, file: str, place: Place) -> Iterator[tuple[str, str]]:
        """Yield path and text of each; what is wrong goes to the report."""
        ...


@dataclass(slots=True, kw_only=True)
class Block:
    """One statement. ``words``: its name and values; ``inner``: what stands in its braces."""

    words: list[str]
    place: Place
    inner: list[Block] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its first word."""
        return self.words[0]

    @property
    def values(self) -> list[str]:
        """The words after the first one."""
        return self.words[1:]


def parse(
    text: str, file: str, report: Report, files: Files, *, config_id: str = ""
) -> list[Block]:
    """Return the blocks of the file, those of included files in their place."""
    reader = _Reader(report, files, config_id)
    reader.read(text, file, depth=0)
    reader.end(file)
    return reader.top.inner


class _Reader:
    """Keeps which braces are open and what is defined."""

    def __init__(self, report: Report, files: Files, config_id: str) -> None:
        self.top = Block(words=[""], place=Place(file=""))
        self._open = [self.top]
        self._report = report
        self._files = files
        self._id = config_id
        self._defined: dict[str, str] = {}
        self._includes = 0
        self._blocks = 0

    def read(self, text: str, file: str, *, depth: int) -> None:
        """Take in one file."""
        start, parts = 0, []
        for number, raw in enumerate(text.split("\n"), 1):
            line = _without_comment(raw.rstrip("\r"))
            start = start or number
            if line.endswith("\\"):
                parts.append(line[:-1])
                continue
            parts.append(line)
            self._line("".join(parts).strip(), Place(file=file, line=start), depth)
            start, parts = 0, []
        if parts:
            self._line("".join(parts).strip(), Place(file=file, line=start), depth)

    def end(self, file: str) -> None:
        """Say which braces are not closed."""
        if len(self._open) > 1:
            block = self._open[-1]
            self._report.error(block.place.of(word(block.name)), "no } for its {")
        self._open = [self.top]

    def _line(self, line: str, place: Place, depth: int) -> None:
        if not line:
            return
        if (why := unusable_text(line)) is not None or len(line) > LINE_CHARS_MAX:
            self._report.error(place, f"{why or 'too long a line'}; allowed is plain UTF-8 text")
            return
        if line.startswith("@"):
            match = _CONDITION.fullmatch(line)
            if match is None or not match[3] or (match[2] == self._id) == (match[1] == "^"):
                return
            line = match[3].strip()
        if (definition := _DEFINITION.fullmatch(line)) is not None:
            self._defined[definition[1]] = self._replaced(definition[2], place)
            return
        line = self._replaced(line, place).strip()
        if not line:
            return
        if line.split(None, 1)[0] in ("include", "includer", "includem", "includew", "includeb"):
            self._include(line.split(None, 1)[1:], place, depth)
            return
        self._tokens(line, place)

    def _replaced(self, line: str, place: Place) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name not in self._defined:
                self._report.error(place.of(f"${name}"), "is not defined above")
            return self._defined.get(name, "")

        replaced = _USE.sub(value, line)
        if len(replaced) > LINE_CHARS_MAX:
            self._report.error(place, f"longer than {LINE_CHARS_MAX} characters with definitions")
            return ""
        return replaced

    def _include(self, pattern: list[str], place: Place, depth: int) -> None:
        self._includes += 1
        if not pattern or depth >= DEPTH_MAX or self._includes > INCLUDES_MAX:
            self._report.error(
                place.of("include"),
                f"allowed is a file name, {DEPTH_MAX} deep, {INCLUDES_MAX} times",
            )
            return
        for path, text in self._files.included(pattern[0].strip('"'), place.file, place):
            self.read(text, path, depth=depth + 1)

    def _tokens(self, line: str, place: Place) -> None:
        words: list[str] = []
        for match in _TOKEN.finditer(line):
            if match[2] is None:
                words.append(match[1] if match[1] is not None else match[3])
                continue
            if words:
                self._add(words, place)
                words = []
            if match[2] == "{":
                self._begin(place)
            elif len(self._open) == 1:
                self._report.error(place, "} without a {")
            else:
                self._open.pop()
        if words:
            self._add(words, place)

    def _add(self, words: list[str], place: Place) -> None:
        self._blocks += 1
        if self._blocks > BLOCKS_MAX:
            if self._blocks == BLOCKS_MAX + 1:
                self._report.error(
                    place, f"more than {BLOCKS_MAX} statements; at most that is read"
                )
            return
        self._open[-1].inner.append(Block(words=words, place=place.of(word(words[0]))))

    def _begin(self, place: Place) -> None:
        inner = self._open[-1].inner
        if not inner or len(self._open) > DEPTH_MAX:
            self._report.error(place, f"{shown('{')} opens nothing, or is too deep")
            self._open[-1].inner.append(Block(words=["{"], place=place))
        self._open.append(self._open[-1].inner[-1])


def _without_comment(line: str) -> str:
    quoted = False
    for index, char in enumerate(line):
        quoted ^= char == '"'
        if char in "#!" and not quoted:
            return line[:index].rstrip()
    return line
