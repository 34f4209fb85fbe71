"""Redis, memcached, AMQP, MQTT and plain lines of text: one short exchange each.

Sans-I/O. RESP of redis.io; doc/protocol.txt of memcached; AMQP 0-9-1 section 4.2; MQTT 3.1.1.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator
from typing import Final

from . import excerpt
from .pattern import ReceivePattern
from .script import LINE_BYTES_MAX, Exactly, Failed, Line, Say, Script, Something, Step, Want

MQTT_KEEPALIVE_S: Final = 60
MQTT_REFUSALS: Final = {
    1: "the protocol version is not served",
    2: "the client identifier is not allowed",
    3: "the server is not available",
    4: "wrong user name or password",
    5: "not authorised",
}
_ESCAPE = re.compile(r"\\(?:([nrt0\\])|x([0-9A-Fa-f]{2}))")
_ESCAPED: Final = {"n": b"\n", "r": b"\r", "t": b"\t", "0": b"\0", "\\": b"\\"}
AMQP_METHOD_FRAME: Final = 1
AMQP_CONNECTION_START: Final = (10, 10)


def redis(login: str, password: str) -> Script:
    """AUTH where a password is given, then PING."""
    if password:
        yield Say(_resp("AUTH", *([login] if login else []), password), "AUTH")
        yield from _redis_answer(b"+OK")
    yield Say(_resp("PING"), "PING")
    yield from _redis_answer(b"+PONG")
    return "PING is answered"


def _resp(*words: str) -> bytes:
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        encoded = word.encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(encoded), encoded))
    return b"".join(parts)


def _redis_answer(wanted: bytes) -> Generator[Want, bytes, None]:
    line = yield Line()
    if line != wanted:
        raise Failed(excerpt(line))


def memcached() -> Script:
    """Ask for the version."""
    yield Say(b"version\r\n", "version")
    line = yield Line()
    if not line.startswith(b"VERSION "):
        raise Failed(excerpt(line))
    return excerpt(line)


def amqp() -> Script:
    """Send the protocol header; the server begins with connection.start (RabbitMQ and others)."""
    yield Say(b"AMQP\x00\x00\x09\x01", "header")
    head = yield Exactly(7)
    if head.startswith(b"AMQP"):
        raise Failed(f"another version is wanted: {excerpt(head)}")
    kind, _channel, size = struct.unpack(">BHI", head)
    if kind != AMQP_METHOD_FRAME or not 4 <= size <= 65536:
        raise Failed(f"not AMQP: {excerpt(head)}")
    method = struct.unpack(">HH", (yield Exactly(4)))
    if method != AMQP_CONNECTION_START:
        raise Failed(f"method {method[0]}.{method[1]} instead of connection.start")
    return "connection.start has come"


def mqtt(login: str, password: str, name: str) -> Script:
    """CONNECT with a clean session; CONNACK must accept; sections 3.1 and 3.2."""
    flags = 0x02 | (0x80 if login else 0) | (0x40 if password else 0)
    body = _mqtt_text("MQTT") + bytes((4, flags)) + struct.pack(">H", MQTT_KEEPALIVE_S)
    body += _mqtt_text(name)
    if login:
        body += _mqtt_text(login)
    if password:
        body += _mqtt_text(password)
    yield Say(b"\x10" + _mqtt_length(len(body)) + body, "CONNECT")
    answer = yield Exactly(4)
    if answer[:2] != b"\x20\x02":
        raise Failed(f"not MQTT: {excerpt(answer)}")
    if answer[3]:
        raise Failed(MQTT_REFUSALS.get(answer[3], f"refused with code {answer[3]}"))
    yield Say(b"\xe0\x00", "DISCONNECT")
    return "accepted"


def _mqtt_text(text: str) -> bytes:
    encoded = text.encode()[:65535]
    return struct.pack(">H", len(encoded)) + encoded


def _mqtt_length(length: int) -> bytes:
    """Return a length in groups of seven bits; section 2.2.3."""
    encoded = bytearray()
    while True:
        length, group = length >> 7, length & 0x7F
        encoded.append(group | (0x80 if length else 0))
        if not length:
            return bytes(encoded)


def simple_tcp(request: str, receive: ReceivePattern | None) -> Script:
    r"""Send the request, ``\n`` in it being a line end; one line of the answer must match.

    ldirectord ``service=simpletcp``. Unlike there the connection stays open on our side: servers
    exist that take its half-close for the end. An answer without a line end counts, too.
    """
    message = request.replace("\\n", "\n").encode()
    yield Say(message, "request") if message else Step("greeting")
    last = b""
    while True:
        piece = yield Something()
        *lines, last = (last + piece).split(b"\n")
        if not piece:
            lines.append(last)
        for line in lines:
            if receive is None and line:
                return f"answered {excerpt(line)}"
            if receive is not None and receive.problem(line + b"\n") is None:
                return f"{excerpt(line)}, as expected"
        if not piece:
            wanted = "" if receive is None else f" {receive.text!r}"
            raise Failed(f"the server closed without a line{wanted}: {excerpt(last)}")
        if receive is not None and receive.problem(last) is None:
            return f"{excerpt(last)}, as expected"
        if receive is None and last:
            return f"answered {excerpt(last)}"
        if len(last) > LINE_BYTES_MAX:
            raise Failed(f"a line without end: {excerpt(last)}")


def udp(request: str, receive: ReceivePattern | None) -> Script:
    r"""Send one datagram; with ``receive`` an answer must match it; keepalived UDP_CHECK.

    ``\n`` and ``\xHH`` in the request are these bytes.
    """
    yield Say(_unescaped(request), "request")
    answer = yield Something()
    if receive is not None and (problem := receive.problem(answer)) is not None:
        raise Failed(f"{excerpt(answer)} {problem}")
    return f"answered {excerpt(answer)}"


def _unescaped(text: str) -> bytes:
    pieces, at = [], 0
    for escape in _ESCAPE.finditer(text):
        pieces.append(text[at : escape.start()].encode())
        pieces.append(_ESCAPED[escape[1]] if escape[1] else bytes((int(escape[2], 16),)))
        at = escape.end()
    return b"".join(pieces) + text[at:].encode()
