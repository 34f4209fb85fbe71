"""Shows every value of a configuration with the file and line that it came from.

Sans-I/O. Used by ``heartbus config show --origin``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from heartbus.config.document import document, is_secret, leaves
from heartbus.config.report import Place, Places, dotted
from heartbus.model import Cluster

NOT_SHOWN: Final = "(not shown)"
DEFAULT: Final = "(default)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One value and where it was written; ``place`` None: nowhere, it is a default."""

    key: str
    value: Any
    place: Place | None


def origins(cluster: Cluster, places: Places) -> Iterator[Origin]:
    """Yield every value in the order of the TOML form; secrets are replaced."""
    for path, value in leaves(document(cluster, whole=True)):
        shown = NOT_SHOWN if value and is_secret(path) else value
        yield Origin(key=dotted(path), value=shown, place=places.origin(path))


def render_origins(cluster: Cluster, places: Places, *, as_json: bool) -> str:
    """Return one line a value, or JSON; ends in a newline."""
    found = list(origins(cluster, places))
    if as_json:
        rows = [
            {
                "key": origin.key,
                "value": origin.value,
                "file": origin.place.file if origin.place else None,
                "line": origin.place.line if origin.place else None,
            }
            for origin in found
        ]
        return json.dumps(rows, indent=2) + "\n"
    settings = [f"{origin.key} = {json.dumps(origin.value)}" for origin in found]
    width = min(max(map(len, settings)), 60)
    return "".join(
        f"{setting:<{width}}  {_where(origin.place)}\n"
        for setting, origin in zip(settings, found, strict=True)
    )


def _where(place: Place | None) -> str:
    if place is None:
        return DEFAULT
    return place.file if place.line is None else f"{place.file}:{place.line}"
