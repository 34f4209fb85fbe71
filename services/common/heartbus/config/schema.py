"""Makes the JSON Schema of the TOML form from its table of keys.

Sans-I/O. For editors that complete and check TOML (taplo, Even Better TOML): ``heartbus config
schema`` prints it. What depends on several keys at once is said by ``heartbus config check``.
"""

from __future__ import annotations

from typing import Any, Final

from heartbus.config.keys import Form, Key
from heartbus.config.keys_services import KEYS

_TIME: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^(\d{1,9}(\.\d{0,9})?|\.\d{1,9})(s|ms)?$"},
    ]
}
_TEXTS: Final[dict[str, Any]] = {"type": "array", "items": {"type": "string"}}
_NEEDED_BY_KIND: Final = ("interface", "peer", "group", "device")
"""Keys of links that some kinds need and others do not have."""


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) as plain values."""
    schema = _table("")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "heartbus.toml",
        **schema,
    }


def _table(path: str) -> dict[str, Any]:
    inner = [key for key in KEYS if key.table == path]
    needed = [
        key.name
        for key in inner
        if key.default is None and not (path == "membership.links" and key.name in _NEEDED_BY_KIND)
    ]
    table: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _value(key) for key in inner},
    }
    return table | ({"required": needed} if needed else {})


def _value(key: Key) -> dict[str, Any]:
    description = key.text if not key.default else f"{key.text} Default: {key.default}."
    return {"description": description, **_form(key)}


def _form(key: Key) -> dict[str, Any]:
    match key.form:
        case Form.TEXT:
            return {"type": "string"} | ({"enum": list(key.words)} if key.words else {})
        case Form.TIME:
            return _TIME if key.zero else {**_TIME, "not": {"const": 0}}
        case Form.INTEGER:
            bounds = {"minimum": key.low, "maximum": key.high}
            return {"type": "integer"} | {k: v for k, v in bounds.items() if v is not None}
        case Form.BOOLEAN:
            return {"type": "boolean"}
        case Form.TEXTS:
            return _TEXTS
        case Form.WORDS:
            return {"anyOf": [{"type": "string"}, _TEXTS]}
        case Form.TABLE:
            return _table(key.path)
        case Form.TABLES:
            return {"type": "array", "items": _table(key.path)}
        case Form.RESOURCES:
            return {
                "type": "array",
                "items": {"anyOf": [{"type": "string"}, _table(key.path)]},
            }
        case Form.OPTIONS:
            return {
                "type": "object",
                "additionalProperties": {"type": ["string", "integer", "boolean"]},
            }
