"""Message <-> msgpack bytes; bytes that are not a message of ours end in DecodeError.

Sans-I/O. A message is one msgpack map: the fields of the envelope, and ``data`` with the fields of
the body. Fields that a newer sender added are ignored; a missing or ill-typed one is an error.
The NATS headers repeat the envelope as CloudEvents attributes (binary content mode).
"""

from __future__ import annotations

import contextlib
import dataclasses
from datetime import UTC, datetime
from typing import Any, Final, cast

import msgpack
import msgspec

from heartbus.events import BODY_CLASSES, SCHEMA_VERSION, Envelope, Message

PAYLOAD_BYTES_MAX: Final = 8 * 1024 * 1024
"""A snapshot of 40,000 real servers is about 4 MB; the bus refuses more than this."""

NUMBER_MAX: Final = 4_102_444_800.0
"""No time in an envelope is beyond the year 2099 (NaN and infinity are not within it either)."""

CONTENT_TYPE: Final = "application/msgpack"


def _learn_classes() -> None:
    """Let msgspec look at every class now: it is not safe to do so in two threads at once.

    A process that is forked later has it done already.
    """
    for known in (Envelope, *BODY_CLASSES.values()):
        with contextlib.suppress(msgspec.ValidationError):
            msgspec.convert({}, known)


class DecodeError(ValueError):
    """Bytes from the bus are not a message that this version understands."""


def encode(message: Message) -> bytes:
    """Return the msgpack payload of a message."""
    document = msgspec.to_builtins(message.envelope)
    document["data"] = msgspec.to_builtins(message.body, builtin_types=(bytes,))
    return cast(bytes, msgpack.packb(document, use_bin_type=True))


def decode(payload: bytes) -> Message:
    """Return the message in a payload.

    Raises:
        DecodeError: too long, not msgpack, unknown kind or schema, a field missing or ill-typed.

    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise DecodeError(f"{len(payload)} bytes, at most {PAYLOAD_BYTES_MAX} are allowed")
    try:
        document: Any = msgpack.unpackb(payload, raw=False, strict_map_key=True)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise DecodeError(f"not msgpack: {error}") from error
    if not isinstance(document, dict):
        raise DecodeError(f"a map is expected, not {type(document).__name__}")
    try:
        envelope = msgspec.convert(document, Envelope)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DecodeError(f"envelope: {error}") from error
    if envelope.schema != SCHEMA_VERSION:
        raise DecodeError(f"schema {envelope.schema}, this version reads {SCHEMA_VERSION}")
    if not all(
        0 <= number <= NUMBER_MAX
        for number in (envelope.time_s, envelope.uptime_s, envelope.valid_for_s)
    ):
        raise DecodeError("envelope: a time that is negative, not finite or beyond this century")
    body_class = BODY_CLASSES.get(envelope.kind)
    if body_class is None:
        raise DecodeError(f"unknown kind {envelope.kind[:64]!r}")
    try:
        body = msgspec.convert(document.get("data"), body_class)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DecodeError(f"{envelope.kind}: {error}") from error
    return Message(envelope=envelope, body=body)


def decode_envelope(payload: bytes) -> Envelope:
    """Return the envelope of a payload without looking at the rest, which may be long.

    Raises:
        DecodeError: too long, not msgpack, or the envelope is not one of ours.

    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise DecodeError(f"{len(payload)} bytes, at most {PAYLOAD_BYTES_MAX} are allowed")
    try:
        envelope = msgspec.msgpack.decode(payload, type=Envelope)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DecodeError(f"envelope: {error}") from error
    if envelope.schema != SCHEMA_VERSION:
        raise DecodeError(f"schema {envelope.schema}, this version reads {SCHEMA_VERSION}")
    return envelope


def headers(envelope: Envelope) -> dict[str, str]:
    """Return the NATS headers of a message: CloudEvents 1.0 attributes and the content type."""
    return {
        "ce-specversion": "1.0",
        "ce-type": envelope.kind,
        "ce-source": f"heartbus://{envelope.node}/{envelope.service}",
        "ce-id": envelope.id,
        "ce-time": datetime.fromtimestamp(envelope.time_s, UTC).isoformat().replace("+00:00", "Z"),
        "Content-Type": CONTENT_TYPE,
    }


def to_map(message: Message) -> dict[str, Any]:
    """Return a message as plain values, as ``--json`` prints it."""
    document = cast(dict[str, Any], msgspec.to_builtins(message.envelope))
    document["data"] = msgspec.to_builtins(message.body)
    return document


def field_names(body_class: type) -> tuple[str, ...]:
    """Return the names of the fields of a body class, in order."""
    return tuple(field.name for field in dataclasses.fields(body_class))


_learn_classes()
