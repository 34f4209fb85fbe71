"""Parses the text of a TOML file; what the parser would take too long for is refused before.

Sans-I/O.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any, Final

from heartbus.config.report import Place, Report, shown
from heartbus.config.source import Source
from heartbus.config.values import unusable_text

LINE_CHARS_MAX: Final = 64 * 1024
KEY_PARTS_MAX: Final = 32
"""The time of the standard parser grows with the square of the parts of a dotted key."""

_LONG_KEY: Final = re.compile(rf"(?:[\w\"'-]{{1,64}}[ \t]{{0,8}}\.[ \t]{{0,8}}){{{KEY_PARTS_MAX}}}")

_LINES: Final = re.compile(r"(?:[^\n]*+\n){1,256}+|[^\n]++")
_SYNTAX: Final = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)


def parse(file: Source, report: Report) -> dict[str, Any] | None:
    """Return the content of a file, or None after the report was told why there is none."""
    errors = report.errors
    for number, line in _suspects(file.text):
        if (why := _unreadable(line)) is not None:
            report.error(Place(file=file.path, line=number), why)
    if report.errors > errors:
        return None
    try:
        return tomllib.loads(file.text)
    except ValueError as error:  # TOMLDecodeError, or a number of too many digits
        match = _SYNTAX.fullmatch(str(error))
        reason = match[1] if match else str(error)
        at = int(match[2]) if match and match[2] else file.text.count("\n") + 1
        place = Place(file=file.path, line=at if match else None)
        report.error(place, f"no TOML: {shown(reason)[1:-1]}; allowed is TOML 1.0")
        return None


def _suspects(text: str) -> Iterator[tuple[int, str]]:
    """Return every line that may be unreadable with its number; plain ones are left out in bulk."""
    number = 1
    for match in _LINES.finditer(text):
        lines = match[0]
        plain = lines.replace("\n", "")
        if (
            len(plain) > LINE_CHARS_MAX
            or plain.count(".") >= KEY_PARTS_MAX
            or not plain.isprintable()
        ):
            yield from enumerate(lines.split("\n"), number)
        number += lines.count("\n")


def _unreadable(line: str) -> str | None:
    """Return why a line is not even given to the parser, or None."""
    if len(line) > LINE_CHARS_MAX:
        return f"longer than {LINE_CHARS_MAX} characters; at most that is read"
    if line.count(".") >= KEY_PARTS_MAX and _LONG_KEY.search(line):
        return f"a key of more than {KEY_PARTS_MAX} parts; no key is that long"
    if not line.isprintable() and (why := unusable_text(line.rstrip("\r"))) is not None:
        return f"{why}; allowed is UTF-8 text"
    return None
