"""Netlink framing: message headers, attributes, acknowledgements.

Sans-I/O. Layout and numbers are those of linux/netlink.h and linux/genetlink.h. Bytes that do not
hold what they announce end in WireError and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

NLMSG_NOOP: Final = 1
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_OVERRUN: Final = 4

NLM_F_REQUEST: Final = 0x01
NLM_F_MULTI: Final = 0x02
NLM_F_ACK: Final = 0x04
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300

GENL_ID_CTRL: Final = 16
CTRL_CMD_GETFAMILY: Final = 3
CTRL_ATTR_FAMILY_ID: Final = 1
CTRL_ATTR_FAMILY_NAME: Final = 2

NLA_F_NESTED: Final = 0x8000
NLA_TYPE_MASK: Final = 0x3FFF

_HEADER = struct.Struct("=IHHII")
_GENL_HEADER = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_U16 = struct.Struct("=H")

HEADER_BYTES: Final = _HEADER.size
GENL_HEADER_BYTES: Final = _GENL_HEADER.size


class WireError(ValueError):
    """Bytes are not what the kernel sends, or a value does not fit what the kernel takes."""


class Nlmsg(NamedTuple):
    """One netlink message; ``body`` is what follows its header."""

    type: int
    flags: int
    sequence: int
    body: bytes


def message(*, type: int, flags: int, sequence: int, body: bytes) -> bytes:  # noqa: A002
    """Return a whole message, padded to 4 bytes so that another may follow in the same buffer."""
    header = _HEADER.pack(HEADER_BYTES + len(body), type, flags, sequence, 0)
    return header + body + bytes(-len(body) % 4)


def split(datagram: bytes) -> list[Nlmsg]:
    """Return the messages of one datagram, in order.

    Raises:
        WireError: a length is impossible.

    """
    messages = []
    offset, end = 0, len(datagram)
    while end - offset >= HEADER_BYTES:
        length, kind, flags, sequence, _port = _HEADER.unpack_from(datagram, offset)
        if not HEADER_BYTES <= length <= end - offset:
            raise WireError(f"message of {length} bytes in {end - offset} bytes")
        body = datagram[offset + HEADER_BYTES : offset + length]
        messages.append(Nlmsg(kind, flags, sequence, body))
        offset += (length + 3) & ~3
    if offset < end:
        raise WireError(f"{end - offset} bytes after the last message")
    return messages


def error_number(body: bytes) -> int:
    """Return the errno in the body of NLMSG_ERROR or NLMSG_DONE; 0: it is an acknowledgement.

    Raises:
        WireError: the body is too short, or the number is not a negative errno.

    """
    if len(body) < _ERROR.size:
        raise WireError(f"{len(body)} bytes cannot hold an error number")
    number = int(_ERROR.unpack_from(body)[0])
    if number > 0:
        raise WireError(f"error number {number} is not negative")
    return -number


def command(number: int, *attributes_: bytes) -> bytes:
    """Return the body of a generic netlink message: command header and attributes."""
    return _GENL_HEADER.pack(number, 1, 0) + b"".join(attributes_)


def command_number(body: bytes) -> int:
    """Return the command of a generic netlink message.

    Raises:
        WireError: the body is too short.

    """
    if len(body) < GENL_HEADER_BYTES:
        raise WireError(f"{len(body)} bytes cannot hold a generic netlink header")
    return body[0]


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to 4 bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(inner))


def attributes(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the payload of each attribute of ``data`` from ``offset`` on.

    Raises:
        WireError: a length is impossible.

    """
    end = len(data)
    while end - offset >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= end - offset:
            raise WireError(f"attribute of {length} bytes in {end - offset} bytes")
        yield kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def family_request(name: str) -> bytes:
    """Return the body that asks the generic netlink controller for the number of a family."""
    return command(CTRL_CMD_GETFAMILY, attribute(CTRL_ATTR_FAMILY_NAME, name.encode() + b"\0"))


def family_number(body: bytes) -> int:
    """Return the number in the controller's answer.

    Raises:
        WireError: there is none.

    """
    command_number(body)
    for kind, payload in attributes(body, GENL_HEADER_BYTES):
        if kind == CTRL_ATTR_FAMILY_ID and len(payload) == _U16.size:
            return int(_U16.unpack(payload)[0])
    raise WireError("the answer names no family number")
