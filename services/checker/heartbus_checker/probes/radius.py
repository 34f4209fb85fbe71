"""RADIUS check: an Access-Request that must be answered by Access-Accept.

Sans-I/O. ldirectord ``service=radius``; RFC 2865, with the Message-Authenticator of RFC 3579 in
front, without which servers that were taught about BlastRADIUS do not answer. Our own lines: one
packet out and one in; the library for it brings dictionaries and a blocking client.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from typing import Final

from . import excerpt
from .script import Failed, Say, Script, Something

ACCESS_REQUEST: Final = 1
ACCESS_ACCEPT: Final = 2
ACCESS_REJECT: Final = 3
ACCESS_CHALLENGE: Final = 11
USER_NAME: Final = 1
USER_PASSWORD: Final = 2
REPLY_MESSAGE: Final = 18
NAS_IDENTIFIER: Final = 32
MESSAGE_AUTHENTICATOR: Final = 80
HEADER_BYTES: Final = 20
PASSWORD_BYTES_MAX: Final = 128
"""RFC 2865, section 5.2."""

_NAMES: Final = {ACCESS_REJECT: "Access-Reject", ACCESS_CHALLENGE: "Access-Challenge"}


def radius(
    login: str, password: str, secret: str, name: str, random_bytes: Callable[[int], bytes]
) -> Script:
    """Ask whether this login may enter."""
    authenticator, number = random_bytes(16), random_bytes(1)[0]
    key = secret.encode()
    request = _request(login, password, key, name, number, authenticator)
    yield Say(request, "Access-Request")
    while True:
        answer = yield Something()
        if len(answer) < HEADER_BYTES:
            raise Failed(f"not RADIUS: {excerpt(answer)}")
        code, answered, length = struct.unpack(">BBH", answer[:4])
        if not HEADER_BYTES <= length <= len(answer):
            raise Failed(f"not RADIUS: {excerpt(answer)}")
        answer = answer[:length]
        proof = hashlib.md5(
            answer[:4] + authenticator + answer[20:] + key, usedforsecurity=False
        ).digest()
        if answered != number:
            continue  # an answer to an earlier check, late
        if not hmac.compare_digest(proof, answer[4:20]):
            raise Failed("an answer that another secret was used for")
        break
    if code != ACCESS_ACCEPT:
        words = _attribute(answer, REPLY_MESSAGE)
        said = f": {excerpt(words)}" if words else ""
        raise Failed(f"{_NAMES.get(code, f'code {code}')}{said}")
    return "Access-Accept"


def _request(
    login: str, password: str, key: bytes, name: str, number: int, authenticator: bytes
) -> bytes:
    attributes = b"".join(
        (
            _encoded(USER_NAME, login.encode()[:253]),
            _encoded(USER_PASSWORD, _hidden(password.encode(), key, authenticator)),
            _encoded(NAS_IDENTIFIER, name.encode()[:253]),
        )
    )
    length = HEADER_BYTES + 18 + len(attributes)
    head = struct.pack(">BBH", ACCESS_REQUEST, number, length) + authenticator
    unsigned = head + _encoded(MESSAGE_AUTHENTICATOR, bytes(16)) + attributes
    signature = hmac.digest(key, unsigned, "md5")
    return head + _encoded(MESSAGE_AUTHENTICATOR, signature) + attributes


def _hidden(password: bytes, key: bytes, authenticator: bytes) -> bytes:
    """Return the password as RFC 2865, section 5.2 hides it."""
    password = password[:PASSWORD_BYTES_MAX]
    password += bytes(-len(password) % 16 or (0 if password else 16))
    hidden, last = b"", authenticator
    for at in range(0, len(password), 16):
        mask = hashlib.md5(key + last, usedforsecurity=False).digest()
        last = bytes(a ^ b for a, b in zip(password[at : at + 16], mask, strict=True))
        hidden += last
    return hidden


def _encoded(kind: int, value: bytes) -> bytes:
    return bytes((kind, len(value) + 2)) + value


def _attribute(packet: bytes, kind: int) -> bytes:
    at = HEADER_BYTES
    while at + 2 <= len(packet):
        length = packet[at + 1]
        if length < 2:
            break
        if packet[at] == kind:
            return packet[at + 2 : at + length]
        at += length
    return b""
