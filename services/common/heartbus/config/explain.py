"""Explains a directive of the old files or a key of the TOML form, whichever name is known.

Sans-I/O. Used by ``heartbus config explain`` and by the generator of docs/configuration.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from heartbus.config import ha_cf, ldirectord_directives
from heartbus.config.keys import Form, Key
from heartbus.config.keys_services import KEYS
from heartbus.config.old_names import HA_CF, LDIRECTORD, OLD_DIRECTIVES, OldDirective
from heartbus.config.report import closest

_WORD: Final = re.compile(r"[A-Za-z0-9_.-]+")


def explain(name: str) -> str | None:
    """Return what this name means, a paragraph for each meaning; None: nobody knows it."""
    wanted = name.strip().strip("[]").lower()
    parts = [_old(row) for row in OLD_DIRECTIVES if row.name == wanted]
    parts += [_key(key) for key in KEYS if _is_meant(key, wanted)]
    if not parts:
        parts = [_key(key) for key in KEYS if wanted in old_words(key)]
    return "\n\n".join(parts) if parts else None


def suggestion(name: str) -> str:
    """Return ``; did you mean …?`` for a name that nobody knows, or nothing."""
    known = {row.name for row in OLD_DIRECTIVES} | {key.name for key in KEYS}
    return closest(name, known)


def became(row: OldDirective) -> str:
    """Return what an old directive is in heartbus: TOML keys, or why it is not acted on."""
    reason = reason_unused(row)
    if reason is not None:
        return f"not used: {reason}"
    keys = [key.path for key in KEYS if f"{row.file} {row.name}" in old_names(key)]
    return ", ".join(f"`{path}`" for path in keys) or "read in the old file"


def reason_unused(row: OldDirective) -> str | None:
    """Return why the grammars do not act on this directive, or None."""
    if row.file == HA_CF:
        return ha_cf.UNUSED.get(row.name)
    if row.name in ldirectord_directives.REPLACED:
        return ldirectord_directives.REPLACED[row.name]
    unused = ldirectord_directives.UNUSED.get(row.name)
    return unused[1] if unused is not None else None


def old_names(key: Key) -> tuple[str, ...]:
    """Return the old directives of a key, each with its file: ``ha.cf ucast``."""
    file, _, names = key.old.partition(" ")
    return tuple(f"{file} {name.strip()}".strip() for name in names.split(",")) if file else ()


def old_words(key: Key) -> frozenset[str]:
    """Return every word by which the old programs call it, in lower case."""
    return frozenset(word.lower() for word in _WORD.findall(key.old))


def value_of(key: Key) -> str:
    """Return what may be written, with its unit."""
    if key.words:
        return ", ".join(key.words)
    match key.form:
        case Form.TIME:
            return 'seconds, or "75ms", "2s"' + (", 0 too" if key.zero else "")
        case Form.INTEGER:
            return f"{key.low} to {key.high}"
        case _:
            return str(key.form.value)


def default_of(key: Key) -> str:
    """Return what holds when it is not written."""
    return "(must be written)" if key.default is None else key.default or "(see its keys)"


def _is_meant(key: Key, wanted: str) -> bool:
    return wanted in (key.path, key.name)


def _old(row: OldDirective) -> str:
    return "\n".join(
        _rows(
            f"{row.name} ({row.file})",
            ("meaning", row.text),
            ("value", row.value),
            ("default", row.default),
            ("here", became(row).replace("`", "")),
        )
    )


def _key(key: Key) -> str:
    return "\n".join(
        _rows(
            f"{key.path} (heartbus.toml)",
            ("meaning", key.text.replace("`", "")),
            ("value", value_of(key)),
            ("default", default_of(key)),
            ("old name", key.old),
        )
    )


def _rows(title: str, *rows: tuple[str, str]) -> Iterator[str]:
    yield title
    for label, text in rows:
        if text:
            yield f"  {label:<10}{text}"


def reference() -> str:
    """Return docs/configuration.md."""
    return "\n".join(_reference()) + "\n"


def _reference() -> Iterator[str]:
    yield "# Configuration"
    yield ""
    yield "Made by `heartbus config reference` from the tables that the readers use; a test checks"
    yield "that it is current. A commented example is `examples/heartbus.toml`; `heartbus config"
    yield "schema` prints a JSON Schema for editors, `heartbus config explain NAME` one entry."
    yield ""
    yield 'Times are seconds (`2`, `0.5`) or text with a unit (`"75ms"`, `"2s"`). Unknown keys are'
    yield "errors. `heartbus config convert` writes old files in this form."
    yield ""
    yield "## heartbus.toml"
    for table in dict.fromkeys(key.table for key in KEYS):
        yield ""
        if table:
            owner = next(key for key in KEYS if key.path == table)
            brackets = f"[[{table}]]" if owner.form is Form.TABLES else f"[{table}]"
            yield f"### `{brackets}`"
            yield ""
            yield owner.text
        else:
            yield "### Tables"
        yield ""
        yield "| key | value | default | old name | meaning |"
        yield "| --- | --- | --- | --- | --- |"
        for key in KEYS:
            if key.table == table:
                cells = (f"`{key.name}`", value_of(key), default_of(key), key.old, key.text)
                yield f"| {' | '.join(cells)} |"
    for file in (LDIRECTORD, HA_CF):
        yield ""
        yield f"## {file}"
        yield ""
        yield "| directive | value | default of the old program | meaning | here |"
        yield "| --- | --- | --- | --- | --- |"
        for row in OLD_DIRECTIVES:
            if row.file == file:
                cells = (f"`{row.name}`", row.value, row.default, row.text, became(row))
                yield f"| {' | '.join(cells)} |"
