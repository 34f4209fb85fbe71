"""Makes the AsyncAPI document of everything on the bus from its classes and subjects.

Sans-I/O. ``make docs`` writes it to docs/asyncapi.yaml. Each message has an example as plain
values, and the same as the bytes that travel (``x-msgpack``, base64), so that an observer in
whatever language can be tried without a director.
"""

from __future__ import annotations

import base64
import inspect
from typing import Any, Final, cast

import msgspec

from heartbus import __version__, codec, subjects
from heartbus.asyncapi_examples import example_body, example_envelope
from heartbus.events import (
    ANSWER_CLASSES,
    BODY_CLASSES,
    COMMAND_CLASSES,
    EVENT_CLASSES,
    QUERY_CLASSES,
    STATE_CLASSES,
    Body,
    CommandOutcome,
    Envelope,
    Message,
)

SERVICES: Final = ("checker", "ipvs-agent", "membership", "recorder", "vip")

_NODE: Final = "linuxha1.linux-ha.org"
_INFO: Final = """\
Everything that the services of heartbus say to one another, and to anybody who listens.

Events are facts: published once, on the subject that is their name, at most once. Snapshots
(`state.…`) are the whole truth of one service on one director, published about every second, on
change and when the bus is back: who has to know what is so reads these. Commands and queries are
requests; queries change nothing. The node in a subject is the name of a director with `_` for
each `.`.

A payload is one msgpack map: the fields of the envelope, and `data`. Integers may need 64 bits.
What a schema here calls a base64 string is bytes on the wire. Ignore fields that you do not know:
newer versions add some. `x-msgpack` of a message is its example as it travels, in base64.
"""


def document() -> dict[str, Any]:
    """Return the document (AsyncAPI 3.0) as plain values, those that JSON has."""
    classes = tuple(BODY_CLASSES.values())
    _, schemas = msgspec.json.schema_components(
        (Envelope, *classes), ref_template="#/components/schemas/{name}"
    )
    whole = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "heartbus",
            "version": __version__,
            "description": _INFO,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": codec.CONTENT_TYPE,
        "servers": {
            "director": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "The nats-server of a director; it listens on loopback.",
            }
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": {kind: _message(BODY_CLASSES[kind]) for kind in BODY_CLASSES},
            "schemas": {name: _plain(schema) for name, schema in sorted(schemas.items())},
        },
    }
    return cast(dict[str, Any], msgspec.json.decode(msgspec.json.encode(whole)))


# --- where ---------------------------------------------------------------------------------------


def _channels() -> dict[str, Any]:
    channels = {body.kind: _channel(body.kind, body) for body in EVENT_CLASSES}
    for state in STATE_CLASSES:
        address = _template(subjects.state(_NODE, state.kind.partition(".")[2]))
        channels[state.kind] = _channel(address, state)
    for asked in (*COMMAND_CLASSES, *QUERY_CLASSES):
        family, _, verb = asked.kind.partition(".")
        make = subjects.command if family == "command" else subjects.query
        channels[asked.kind] = _channel(_template(make(_NODE, "service", verb)), asked)
    for name, bodies in (("outcome", (CommandOutcome,)), ("answer", ANSWER_CLASSES)):
        channels[name] = {
            "address": None,
            "description": "The inbox that the request names (`reply` of NATS).",
            "messages": {body.kind: _ref("components/messages", body.kind) for body in bodies},
        }
    return channels


def _template(subject: str) -> str:
    """Return a subject with what varies as parameters."""
    return subject.replace(subjects.node_token(_NODE), "{node}").replace(".service.", ".{service}.")


def _channel(address: str, body: type[Body]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if "{node}" in address:
        parameters["node"] = {
            "description": "A director; each `.` of its name is a `_` here.",
            "examples": [subjects.node_token(_NODE)],
        }
    if "{service}" in address:
        parameters["service"] = {"description": "Who is asked.", "enum": list(SERVICES)}
    channel: dict[str, Any] = {
        "address": address,
        "messages": {body.kind: _ref("components/messages", body.kind)},
    }
    return channel | ({"parameters": parameters} if parameters else {})


def _operations() -> dict[str, Any]:
    """Return what a director does: it tells events and snapshots, and answers requests."""
    operations: dict[str, Any] = {}
    for told in (*EVENT_CLASSES, *STATE_CLASSES):
        operations[f"tell.{told.kind}"] = {"action": "send", "channel": _ref("channels", told.kind)}
    for asked in (*COMMAND_CLASSES, *QUERY_CLASSES):
        reply = "outcome" if asked in COMMAND_CLASSES else "answer"
        operations[f"answer.{asked.kind}"] = {
            "action": "receive",
            "channel": _ref("channels", asked.kind),
            "reply": {"channel": _ref("channels", reply)},
        }
    return operations


# --- what ----------------------------------------------------------------------------------------


def _message(body_class: type[Body]) -> dict[str, Any]:
    summary, _, rest = inspect.cleandoc(body_class.__doc__ or "").partition("\n")
    message = Message(envelope=example_envelope(body_class.kind), body=example_body(body_class))
    payload = {
        "allOf": [
            _ref("components/schemas", "Envelope"),
            {
                "type": "object",
                "required": ["data"],
                "properties": {
                    "kind": {"const": body_class.kind},
                    "data": _ref("components/schemas", body_class.__name__),
                },
            },
        ]
    }
    headers = codec.headers(message.envelope)
    return {
        "name": body_class.kind,
        "title": body_class.__name__,
        "summary": summary,
        **({"description": rest.strip()} if rest.strip() else {}),
        "contentType": codec.CONTENT_TYPE,
        "headers": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in headers},
        },
        "payload": payload,
        "examples": [{"headers": headers, "payload": codec.to_map(message)}],
        "x-msgpack": base64.b64encode(codec.encode(message)).decode(),
    }


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose description is paragraphs, as it is shown."""
    if "description" in schema:
        schema = {**schema, "description": inspect.cleandoc(schema["description"])}
    return schema


def _ref(where: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/{where}/{name}"}


def examples() -> dict[str, bytes]:
    """Return the example of each message by its kind, as it travels."""
    messages = cast(dict[str, Any], document()["components"]["messages"])
    return {kind: base64.b64decode(found["x-msgpack"]) for kind, found in messages.items()}
