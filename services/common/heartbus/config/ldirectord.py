"""Reads an ldirectord file: lines into global settings and virtual sections.

Sans-I/O. The grammar is the table in ldirectord_directives.py; this is how lines belong together.
ldirectord opens a section with ``virtual=`` at column 0, takes lines with at least four blanks (or
a tab) into it and ends it at a blank line or at column 0. What it refuses is taken here with a
warning wherever only one meaning is possible, lost indentation above all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from heartbus.config.hosts import HOSTS_FILE, Hosts
from heartbus.config.ldirectord_directives import (
    DIRECTIVES,
    OPENING,
    REPLACED,
    UNUSED,
    Directive,
    Quotes,
    Section,
    Settings,
    Where,
    quoted_value,
)
from heartbus.config.report import Place, Report, Setting, closest, shown, word
from heartbus.config.values import BadValueError, Odd, unusable_text

INDENT_MIN: Final = 4
NAMING_SERVERS: Final = ("real", "real6", "fallback", "fallback6")
TAB: Final = " " * INDENT_MIN

FULL_WIDTH: Final = {
    **{chr(ord(sign) + 0xFEE0): sign for sign in '=:,"#/.->0123456789'},
    "\u201c": '"',
    "\u201d": '"',
}
"""What Chinese keyboards and web pages write for these signs (U+FF01 to U+FF5E, and quotes)."""

_LINE = re.compile(r"([A-Za-z0-9_-]+)\s*=\s*(.*)", re.ASCII)


@dataclass(slots=True, kw_only=True)
class LdirectordFile:
    """The content of one file."""

    file: str
    settings: Settings = field(default_factory=Settings)
    sections: list[Section] = field(default_factory=list)


def parse(text: str, file: str, report: Report, hosts: Hosts | None = None) -> LdirectordFile:
    """Return the content of the file; everything wrong or odd goes to the report."""
    reader = _Reader(file, report, hosts or Hosts())
    if "\r\n" in text:
        report.warning(
            Place(file=file, line=1), "lines end in CR LF; ldirectord refuses yes and no there"
        )
    for number, raw in enumerate(text.split("\n"), 1):
        reader.line(number, raw.rstrip("\r").replace("\t", TAB))
    reader.end_section()
    return reader.result


class _Reader:
    """Keeps which section is open, and which of its lines are not indented."""

    def __init__(self, file: str, report: Report, hosts: Hosts) -> None:
        self._hosts = hosts
        self.result = LdirectordFile(file=file)
        self._report = report
        self._section: Section | None = None
        self._open = False  # no blank line since the last line of the section
        self._flat = False  # the last line of the section was at column 0
        self._unindented: list[Place] = []

    def line(self, number: int, text: str) -> None:
        """Take one line, tabs already turned into blanks."""
        stripped = text.strip(" ")
        if not stripped.strip():  # blanks of any kind, full-width ones too
            self._open = False
            return
        if stripped.startswith("#"):
            return
        indent = len(text) - len(text.lstrip(" "))
        if not stripped.isascii():
            stripped = self._half_width(stripped, Place(file=self.result.file, line=number))
        match = _LINE.fullmatch(stripped)
        name = match[1] if match is not None else ""
        directive = name if name in DIRECTIVES else word(name) if name else None
        place = Place(file=self.result.file, line=number, directive=directive)
        if (why := unusable_text(stripped)) is not None:
            self._report.error(place.of(None), f"{why}; allowed is plain UTF-8 text")
            return
        if match is None:
            self._no_value(stripped, place)
            return
        value = self._without_comment(match[2], place)
        if match[1] in OPENING:
            self._open_section(match[1], value, indent, place)
        else:
            self._directive(match[1], value, indent, place)

    def _half_width(self, text: str, place: Place) -> str:
        """Return the line with ASCII signs for full-width ones, but within quotes and comments."""
        signs, found, quoted = list(text), [], False
        for index, sign in enumerate(text):
            quoted ^= sign == '"'
            if sign == "#" and not quoted:
                break
            if sign in FULL_WIDTH and not quoted:
                signs[index] = FULL_WIDTH[sign]
                found.append(sign)
        if found:
            meant = ", ".join(f"{sign} as {FULL_WIDTH[sign]}" for sign in dict.fromkeys(found))
            self._report.warning(place, f"full-width signs; taken are {meant}")
        return "".join(signs)

    def end_section(self) -> None:
        """Say once for a whole section that its lines are not indented."""
        if not self._unindented or self._section is None:
            return
        first, last = self._unindented[0], self._unindented[-1]
        opening = self._section.place
        which = f"lines {first.line} to {last.line} are" if first != last else "the line is"
        self._report.warning(
            first,
            f"{which} not indented; ldirectord refuses that, here they belong to"
            f" the {opening.directive}= of line {opening.line}"
            if first != last
            else f"{which} not indented; ldirectord refuses that, here it belongs to"
            f" the {opening.directive}= of line {opening.line}",
        )
        self._unindented = []

    def _no_value(self, text: str, place: Place) -> None:
        name = text.split(None, 1)[0]
        place = place.of(word(name))
        if name == "supervised":
            self._report.warning(place, _unused(UNUSED["supervised"][1]))
            return
        known = (*DIRECTIVES, *UNUSED, *OPENING)
        if name in known:
            self._report.error(place, f"no value; allowed is {name}=value")
        else:
            suggestion = closest(name, known)
            self._report.error(
                place, f"no directive of ldirectord; allowed is name=value{suggestion}"
            )

    def _without_comment(self, value: str, place: Place) -> str:
        """Cut a comment after the value; within quotes the signs are text."""
        if "#" not in value and "//" not in value:
            return value.strip()
        quoted = False
        for index, char in enumerate(value):
            quoted ^= char == '"'
            starts = char == "#" or (value.startswith("//", index) and value[:index].endswith(" "))
            if starts and not quoted:
                if self._section is None or not self._open:
                    self._report.warning(
                        place, "text after the value is left out; ldirectord reads it as value"
                    )
                return value[:index].strip()
        if "#" in value:
            self._report.warning(
                place, "ldirectord cuts the line at #, also within quotes; here it is kept"
            )
        return value.strip()

    def _open_section(self, name: str, value: str, indent: int, place: Place) -> None:
        self.end_section()
        if indent:
            self._report.warning(place, "indented; ldirectord refuses that, taken as not indented")
        address = None
        first, _, rest = self._with_addresses(name, value, place).partition(" ")
        try:
            address = OPENING[name](first)
        except BadValueError as error:
            self._report.error(place, str(error))
        if rest:
            self._report.warning(place, f"{shown(rest.strip())} after the address is left out")
        self._section = Section(place=place, address=address)
        self._open = self._flat = True
        self.result.sections.append(self._section)

    def _directive(self, name: str, value: str, indent: int, place: Place) -> None:
        if name in REPLACED:
            self._report.error(place, REPLACED[name])
            return
        row = DIRECTIVES.get(name)
        where = row.where if row is not None else UNUSED.get(name, (None, ""))[0]
        if where is None:
            suggestion = closest(name, (*DIRECTIVES, *UNUSED, *OPENING))
            self._report.error(place, f"no directive of ldirectord{suggestion}")
            return
        belongs = self._belongs_to_section(where, indent)
        if not belongs and Where.GLOBAL not in where:
            self._report.error(place, "belongs to a virtual service; allowed is below virtual=")
            return
        if belongs:
            self._indentation(indent, place)
        else:
            if indent:
                self._report.warning(
                    place, "indented; ldirectord refuses that, taken as a global setting"
                )
            self._open = False
        if row is None:
            self._report.warning(place, _unused(UNUSED[name][1]))
            return
        section = self._section if belongs else None
        self._store(row, value, section.settings if section else self.result.settings, place)

    def _belongs_to_section(self, where: Where, indent: int) -> bool:
        if self._section is None or Where.VIRTUAL not in where:
            return False
        if Where.GLOBAL not in where or indent:
            return True
        # May stand in both parts, at column 0: global for ldirectord, unless this section has lost
        # its indentation (as on the web pages that the classic samples come from).
        return self._open and self._flat

    def _indentation(self, indent: int, place: Place) -> None:
        if indent < INDENT_MIN:
            self._unindented.append(place)
        elif not self._open and self._section is not None:
            self._report.warning(
                place,
                "ldirectord ends the section at the blank line above; here the line belongs to"
                f" the {self._section.place.directive}= of line {self._section.place.line}",
            )
        self._open = True
        self._flat = indent == 0

    def _with_addresses(self, name: str, value: str, place: Place) -> str:
        """Replace host names by their addresses of the hosts file."""
        value, found = self._hosts.replaced(value, ipv6=name.endswith("6"))
        for host, address in found.items():
            self._report.note(place, f"{host} is {address}, by {HOSTS_FILE} of this director")
        return value

    def _store(self, row: Directive, value: str, settings: Settings, place: Place) -> None:
        unquoted = row.quotes is Quotes.OPTIONAL and '"' not in value
        if row.trailing_text or (unquoted and not row.whole):
            value, _, rest = value.partition(" ")
            if rest.strip():
                self._report.warning(place, f"{shown(rest.strip())} after the value is left out")
        if row.name in NAMING_SERVERS:
            value = self._with_addresses(row.name, value, place)
        try:
            parsed = row.value(quoted_value(value, row.quotes))
        except BadValueError as error:
            words = 'allowed is text in double quotes: "text"' if row.secret else str(error)
            self._report.error(place, words)
            return
        if isinstance(parsed, Odd):
            self._report.warning(place, parsed.warning)
            parsed = parsed.value
        if row.note is not None:
            self._report.note(place, row.note)
        setting = Setting(value=parsed, place=place)
        before: Setting[object] | list[Setting[object]] | None = getattr(settings, row.sets)
        if isinstance(before, list):
            before.append(setting)
            return
        if before is not None:
            self._report.warning(place, f"also given on line {before.place.line}; this one counts")
        setattr(settings, row.sets, setting)


def _unused(why: str) -> str:
    return f"known to ldirectord, not used by this version: {why}"
