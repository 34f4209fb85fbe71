"""An example of every message, made from its types: a new class needs no new code here.

Sans-I/O. Names of fields say what a value looks like; what no name says is made from the type.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, Final, cast

from heartbus.events import SCHEMA_VERSION, Body, Envelope

_WALL_S: Final = 1795348800.0
_OTHER: Final = "linuxha2.linux-ha.org"

_BY_NAME: Final[Mapping[str, Any]] = {
    "action": "set weight of 192.168.7.11:80 in tcp:192.168.7.110:80 to 0",
    "actions": ("set weight of 192.168.7.11:80 in tcp:192.168.7.110:80 to 0",),
    "address": "192.168.7.110",
    "addresses": ("192.168.7.110",),
    "arguments": "scope=local",
    "by": "observer-root-4711",
    "cause": "9f86d081884c7d65",
    "command": "standby",
    "config_digest": "9f86d081884c7d65",
    "device": "/dev/watchdog",
    "digest": "9f86d081884c7d65",
    "director": _OTHER,
    "epoch": 7,
    "group": "IPaddr::192.168.7.110/24",
    "heard": (_OTHER,),
    "holder": _OTHER,
    "incarnation": 1795348800000,
    "interface": "eth0",
    "link": "bcast:eth1",
    "mac": "02:00:c0:a8:07:0b",
    "message": "linuxha2.linux-ha.org holds all groups",
    "name": "IPaddr::192.168.7.110/24",
    "ours": "9f86d081884c7d65",
    "pid": 4711,
    "ping_node": "192.168.7.1",
    "problem": None,
    "quorum": 2,
    "real_server": "192.168.7.11:80",
    "reason": "silent on all links for 0.31 s (deadtime)",
    "reasons": ("ha.cf:12: deadtime: 0 is not allowed; allowed is a time above 0",),
    "resource": "apache",
    "sent_s": _WALL_S,
    "server": "192.168.7.11",
    "service": "tcp:192.168.7.110:80",
    "since_s": _WALL_S - 86_400.0,
    "source": "/etc/ha.d",
    "theirs": "2c26b46b68ffc68f",
    "time_s": _WALL_S,
    "until_s": 0.0,
    "version": "0.1.0",
    "virtual_service": "tcp:192.168.7.110:80",
    "voters": 3,
    "weight": 1,
}
_BY_TYPE: Final[Mapping[type, Any]] = {
    str: "text",
    int: 1,
    float: 0.31,
    bool: False,
    bytes: b"\x81\xa4kind\xa9node.dead",
}


def example_envelope(kind: str) -> Envelope:
    """Return the envelope of an example."""
    return Envelope(
        schema=SCHEMA_VERSION,
        kind=kind,
        id="0a1b2c3d4e5f6071",
        time_s=_WALL_S,
        uptime_s=86412.5,
        node="linuxha1.linux-ha.org",
        service="membership",
        incarnation=1795348800000,
        sequence=42,
        valid_for_s=10.0,
        cause="9f86d081884c7d65",
        previous="8e95c1708739c652",
    )


def example_body(body_class: type[Body]) -> Body:
    """Return an example of what such a message says."""
    return cast(Body, _example("", body_class))


def _example(name: str, kind: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = dataclasses.fields(kind)
        return cast(Any, kind)(**{f.name: _example(f.name, hints[f.name]) for f in fields})
    known = _BY_NAME.get(name, kind)
    if known is not kind and _fits(known, kind, arguments):
        return known
    if origin is tuple:
        return (_example("", arguments[0]),)
    if origin is dict:
        return {_example("", arguments[0]): _example("", arguments[1])}
    if origin in (typing.Union, types.UnionType):
        return _example(name, arguments[0])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind))
    return _BY_TYPE[kind]


def _fits(value: Any, kind: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether the value that a name stands for is of the type that the field has here."""
    origin = typing.get_origin(kind)
    if origin is tuple:
        return isinstance(value, tuple) and arguments[0] is str
    if origin in (typing.Union, types.UnionType):
        return type(value) in arguments
    return type(value) is kind
