"""One sample of every message class, made from its types: a new class needs no new code here."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any, cast

from heartbus.events import Body, Envelope


def sample_envelope(kind: str) -> Envelope:
    return Envelope(
        schema=1,
        kind=kind,
        id="0123456789abcdef",
        time_s=1795348800.0,
        uptime_s=12.5,
        node="linuxha1.linux-ha.org",
        service="vip",
        incarnation=1795348800000,
        sequence=7,
        valid_for_s=10.0,
        cause=None,
    )


def sample_body(body_class: type[Body]) -> Body:
    return cast(Body, _sample(body_class))


def _sample(kind: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = dataclasses.fields(kind)
        return cast(Any, kind)(**{field.name: _sample(hints[field.name]) for field in fields})
    if origin is tuple:
        return (_sample(arguments[0]),)
    if origin is dict:
        return {_sample(arguments[0]): _sample(arguments[1])}
    if origin in (typing.Union, types.UnionType):
        return _sample(arguments[0])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind))
    return {str: "text", int: 3, float: 0.25, bool: True, bytes: b"\x81"}[kind]
