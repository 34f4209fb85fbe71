"""LDAP check: bind, one search of the base, exactly one entry.

Sans-I/O. ldirectord ``service=ldap``; RFC 4511 for the messages, X.690 for their encoding (BER).
Simple bind with login and password, anonymous without; ``receive`` is searched in the name of the
entry, as in ldirectord. Our own few lines of BER: the libraries for Python either block or need a
C library, and a check needs three messages.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from . import excerpt
from .pattern import ReceivePattern
from .script import Exactly, Failed, Say, Script, Want

MESSAGE_BYTES_MAX: Final = 128 * 1024
ENTRIES_MAX: Final = 10

BIND_REQUEST: Final = 0x60
BIND_RESPONSE: Final = 0x61
UNBIND_REQUEST: Final = 0x42
SEARCH_REQUEST: Final = 0x63
SEARCH_ENTRY: Final = 0x64
SEARCH_DONE: Final = 0x65
SEARCH_REFERENCE: Final = 0x73
SIMPLE: Final = 0x80
PRESENT: Final = 0x87

RESULTS: Final = {
    # RFC 4511, appendix A.
    1: "operationsError",
    2: "protocolError",
    8: "strongerAuthRequired",
    32: "noSuchObject",
    34: "invalidDNSyntax",
    48: "inappropriateAuthentication",
    49: "invalidCredentials",
    50: "insufficientAccessRights",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
}


def ldap(login: str, password: str, base: str, receive: ReceivePattern | None) -> Script:
    """Bind, search, judge the one entry."""
    anonymous = not (login and password)
    name, secret = (b"", b"") if anonymous else (login.encode(), password.encode())
    bind = _tlv(2, b"\x03") + _tlv(4, name) + _tlv(SIMPLE, secret)
    yield Say(_message(1, _tlv(BIND_REQUEST, bind)), "bind")
    operation, body = yield from _answer(1)
    if operation != BIND_RESPONSE:
        raise Failed(f"operation {operation:#x} instead of a bind response")
    _check_result(body)
    search = (
        _tlv(4, base.encode())
        + _tlv(10, b"\x00")  # the base only
        + _tlv(10, b"\x00")  # aliases as they are
        + _tlv(2, bytes((ENTRIES_MAX,)))
        + _tlv(2, b"\x00")
        + _tlv(1, b"\x00")
        + _tlv(PRESENT, b"objectClass")
        + _tlv(0x30, _tlv(4, b"1.1"))  # no attributes, section 4.5.1.8
    )
    yield Say(_message(2, _tlv(SEARCH_REQUEST, search)), "search")
    names: list[bytes] = []
    while True:
        operation, body = yield from _answer(2)
        if operation == SEARCH_ENTRY and len(names) < ENTRIES_MAX:
            _tag, entry, _rest = _first(body)
            names.append(entry)
        elif operation == SEARCH_DONE:
            _check_result(body)
            break
        elif operation != SEARCH_REFERENCE:
            raise Failed(f"operation {operation:#x} within a search")
    yield Say(_message(3, _tlv(UNBIND_REQUEST, b"")), "unbind")
    if len(names) != 1:
        raise Failed(f"{len(names)} entries instead of one for {base!r}")
    if receive is not None and (problem := receive.problem(names[0])) is not None:
        raise Failed(f"the entry {excerpt(names[0])} {problem}")
    return f"the entry {excerpt(names[0])} is there"


def _check_result(body: bytes) -> None:
    _tag, code, rest = _first(body)
    if code in (b"", b"\x00"):
        return
    number = int.from_bytes(code[:4], "big")
    _tag, _matched, rest = _first(rest)
    _tag, words, _rest = _first(rest)
    said = f": {excerpt(words)}" if words else ""
    raise Failed(f"{RESULTS.get(number, f'result {number}')}{said}")


def _answer(number: int) -> Generator[Want, bytes, tuple[int, bytes]]:
    """Return operation and content of the next message; section 4.1.1."""
    head = yield Exactly(2)
    if head[0] != 0x30:
        raise Failed(f"not LDAP: {excerpt(head)}")
    length = head[1]
    if length >= 0x80:
        if not 1 <= length - 0x80 <= 4:
            raise Failed("not LDAP: a length of more than 4 bytes")
        length = int.from_bytes((yield Exactly(length - 0x80)), "big")
    if length > MESSAGE_BYTES_MAX:
        raise Failed(f"a message of {length} bytes")
    content = (yield Exactly(length)) if length else b""
    _tag, identifier, rest = _first(content)
    if int.from_bytes(identifier[:8], "big") != number:
        raise Failed(f"an answer to message {int.from_bytes(identifier[:8], 'big')}")
    operation, body, _controls = _first(rest)
    return operation, body


def _first(encoded: bytes) -> tuple[int, bytes, bytes]:
    """Return tag and content of the first element, and what follows it."""
    if len(encoded) < 2:
        raise Failed("not LDAP: a message that ends too early")
    length, at = encoded[1], 2
    if length >= 0x80:
        at += length - 0x80
        length = int.from_bytes(encoded[2:at], "big")
    if at > 6 or at + length > len(encoded):
        raise Failed("not LDAP: an element longer than its message")
    return encoded[0], encoded[at : at + length], encoded[at + length :]


def _message(number: int, operation: bytes) -> bytes:
    return _tlv(0x30, _tlv(2, bytes((number,))) + operation)


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    encoded = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(encoded))) + encoded + content
