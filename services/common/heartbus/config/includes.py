"""Reads a TOML file with the files that it includes: ``include = "conf.d/*.toml"``."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from typing import Any, Final

from heartbus.config import source, toml_text
from heartbus.config.report import Place, Report, shown
from heartbus.config.toml_joined import INCLUDE, JoinedFiles
from heartbus.config.toml_table import Table, TomlFile

FILES_MAX: Final = 1000
_SIGNS: Final = "*?["


def read_joined(
    main: source.Source, report: Report
) -> tuple[JoinedFiles, dict[str, source.Source]] | None:
    """Return the main file joined with what it includes, and each file by its path.

    None after the report was told what of it cannot be read.
    """
    content = toml_text.parse(main, report)
    if content is None:
        return None
    errors = report.errors
    joined = JoinedFiles(_file(main, report), content)
    sources = {main.path: main}
    chars = len(main.text)
    for path, place in _included(joined, content, report):
        if path in sources:
            report.error(place, f"{path} is included twice; allowed is once")
            continue
        file = source.read(path, report)
        if file is None:
            continue
        chars += len(file.text)
        if chars > source.FILE_BYTES_MAX:
            report.error(place, f"all files together are larger than {source.FILE_BYTES_MAX} bytes")
            break
        sources[path] = file
        added = toml_text.parse(file, report)
        if added is not None:
            joined.add(_file(file, report), added)
    report.included = [path for path in sources if path != main.path]
    return (joined, sources) if report.errors == errors else None


def _file(file: source.Source, report: Report) -> TomlFile:
    return TomlFile(path=file.path, text=file.text, report=report)


def _included(
    joined: JoinedFiles, content: dict[str, Any], report: Report
) -> Iterator[tuple[str, Place]]:
    table = Table(joined, (), content)
    if isinstance(content.get(INCLUDE), str):
        text = table.text(INCLUDE, str)
        patterns = [] if text is None else [text]
    else:
        patterns = table.texts(INCLUDE, str)
    content.pop(INCLUDE, None)
    for pattern in patterns:
        place = table.at(INCLUDE)
        for path in included_files(pattern, joined.path, place, report):
            yield path, place


def included_files(pattern: str, main: str, place: Place, report: Report) -> list[str]:
    """Return the files that a pattern names, sorted by name; relative to the main file.

    Only the last part of a pattern may have signs (``*``, ``?``, ``[abc]``). A pattern may match
    nothing; a plain name must be there. Names that begin with a dot are left out.
    """
    path = os.path.join(os.path.dirname(main), pattern)
    directory, name = os.path.split(path)
    if not name or any(sign in directory for sign in _SIGNS):
        report.error(
            place,
            f"{shown(pattern)} is not allowed; allowed is a file, or signs (*, ?) in its last part:"
            ' "conf.d/*.toml"',
        )
        return []
    if not any(sign in name for sign in _SIGNS):
        return [path]
    names = source.listing(directory or ".")
    report.files[directory or "."] = source.names_digest(names)
    found = [
        os.path.join(directory, each)
        for each in names
        if not each.startswith(".") and fnmatch.fnmatchcase(each, name)
    ]
    found = [each for each in found if os.path.realpath(each) != os.path.realpath(main)]
    if not found:
        report.note(place, f"{shown(pattern)}: no such file, so nothing is included")
    if len(found) > FILES_MAX:
        report.error(place, f"{len(found)} files; at most {FILES_MAX} are included")
        return []
    return found
