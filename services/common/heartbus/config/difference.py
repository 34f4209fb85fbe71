"""Tells in what two configurations differ, in terms of the model: what was added, removed, changed.

Sans-I/O. Parts are matched by what they are (a virtual service by its address, a real server by
its, a group by its name), not by where they stand in a file.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from heartbus.config.document import document, is_secret
from heartbus.config.report import Path
from heartbus.model import Cluster

NOT_SHOWN: Final = "(not shown)"

_IDENTITY: Final[dict[str, tuple[str, ...]]] = {
    "directors": ("name",),
    "witnesses": ("name",),
    "groups": ("name",),
    "links": ("kind", "interface", "device", "peer", "group"),
    "keys": ("id",),
    "ping_groups": ("name",),
    "fences": ("director", "command"),
    "clients": ("user", "command"),
    "virtual_services": ("protocol", "address", "fwmark", "family"),
    "real_servers": ("address",),
}
"""By which keys an element of a list is found in the other configuration."""


class Kind(enum.StrEnum):
    """What happened to a part."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One part that differs. ``old`` and ``new``: its values in the words of the TOML form."""

    kind: Kind
    part: str
    old: Any = None
    new: Any = None

    def __str__(self) -> str:
        match self.kind:
            case Kind.ADDED:
                return f"+ {self.part}{_value(self.new)}"
            case Kind.REMOVED:
                return f"- {self.part}{_value(self.old)}"
            case Kind.CHANGED:
                return f"~ {self.part}: {_plain(self.old)} -> {_plain(self.new)}"


def differences(old: Cluster, new: Cluster) -> tuple[Difference, ...]:
    """Return everything that differs, in the order of the document; secrets are never shown."""
    own = {os.path.join(os.path.abspath(each.source), "resource.d") for each in (old, new)}
    return tuple(_tables((), "", _document(old, own), _document(new, own)))


def _document(cluster: Cluster, own: set[str]) -> dict[str, Any]:
    """Return the document without the directory that a configuration in the old form brings."""
    path = tuple(directory for directory in cluster.resource_path if directory not in own)
    return document(replace(cluster, resource_path=path), whole=True)


def _tables(
    path: Path, part: str, old: dict[str, Any], new: dict[str, Any]
) -> Iterator[Difference]:
    for key in (*old, *(key for key in new if key not in old)):
        yield from _values((*path, key), f"{part}.{key}" if part else key, old, new, key)


def _values(
    path: Path, part: str, old: dict[str, Any], new: dict[str, Any], key: str
) -> Iterator[Difference]:
    before, after = old.get(key), new.get(key)
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _tables(path, part, before, after)
    elif key in _IDENTITY and _is_tables(before) and _is_tables(after):
        yield from _elements(path, part, key, before or [], after or [])
    else:
        yield _difference(path, part, before, after)


def _elements(
    path: Path, part: str, key: str, old: list[dict[str, Any]], new: list[dict[str, Any]]
) -> Iterator[Difference]:
    before, after = _by_name(key, old), _by_name(key, new)
    for name in (*before, *(name for name in after if name not in before)):
        at = f"{part}[{name}]"
        if name not in after:
            yield _difference(path, at, before[name], None)
        elif name not in before:
            yield _difference(path, at, None, after[name])
        else:
            yield from _tables(path, at, before[name], after[name])
    common = [name for name in before if name in after]
    if common != [name for name in after if name in before]:
        yield Difference(
            kind=Kind.CHANGED, part=f"order of {part}", old=list(before), new=list(after)
        )


def _by_name(key: str, elements: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for element in elements:
        words = [str(element[word]) for word in _IDENTITY[key] if element.get(word)]
        name = base = ":".join(words)
        again = 1
        while name in result:
            again += 1
            name = f"{base}#{again}"
        result[name] = element
    return result


def _is_tables(value: Any) -> bool:
    return value is None or (
        isinstance(value, list) and all(isinstance(item, dict) for item in value)
    )


def _difference(path: Path, part: str, old: Any, new: Any) -> Difference:
    kind = Kind.ADDED if old is None else Kind.REMOVED if new is None else Kind.CHANGED
    return Difference(kind=kind, part=part, old=_shown(path, old), new=_shown(path, new))


def _shown(path: Path, value: Any) -> Any:
    """Return the value without the secrets in it."""
    if isinstance(value, dict):
        return {key: _shown((*path, key), inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(path, inner) for inner in value]
    return NOT_SHOWN if value and is_secret(path) else value


def _value(value: Any) -> str:
    """Return what is worth saying of a part that came or went: its plain values."""
    if isinstance(value, dict):
        plain = [
            f"{key} {_plain(inner)}"
            for key, inner in value.items()
            if inner not in ("", [], {}, 0, False) and not isinstance(inner, dict | list)
        ]
        return f": {', '.join(plain)}" if plain else ""
    return f": {_plain(value)}"


def _plain(value: Any) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items()) + "}"
    return str(value)
