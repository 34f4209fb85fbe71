"""A peer that speaks as much of Oracle's protocol as a check does; there is no server to test with.

Scripted after what python-oracledb reads and writes (its thin mode is public): TNS packets of
version 317, fields as of 12.2, the login by an 11g verifier (O5LOGON), a query of one number. What
a real server does beyond that is not tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from heartbus.model import Endpoint

from .launching import LOGIN, PASSWORD

SERVICE: Final = "SHOP"
VERSION: Final = 317
UNIT_BYTES: Final = 8192
FIELDS_OF_12_2: Final = 8
UTF8, UTF16 = 873, 2000
VERIFIER_11G: Final = 0x1B25

CONNECT, ACCEPT, REFUSE, DATA = 1, 2, 4, 6
CONNECT_TEXT_AT: Final = 74
PROTOCOL, DATA_TYPES, FUNCTION, ERROR, ROW_HEADER, ROW, PARAMETERS, STATUS = 1, 2, 3, 4, 6, 7, 8, 9
DESCRIPTION: Final = 16
PHASE_ONE, PHASE_TWO, EXECUTE, LOGOFF = 118, 115, 94, 9
NO_MORE_ROWS: Final = 1403

QUERY: Final = re.compile(rb"SELECT (\d{1,2})( FROM dual WHERE 1 = 0)?")


@contextlib.asynccontextmanager
async def oracle() -> AsyncIterator[Endpoint]:
    """Serve on a loopback port: LOGIN and PASSWORD are let in to SERVICE."""
    sessions: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await Session(reader, writer).hold()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the check has gone
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sessions.add(asyncio.ensure_future(serve(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield Endpoint(address="127.0.0.1", port=listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        for session in sessions:
            session.cancel()
        if sessions:
            await asyncio.wait(sessions)


class Session:
    """One client, from its connect packet to its logoff."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._wide = False  # lengths have four bytes once the version is agreed on
        self._salt = secrets.token_bytes(10)
        self._half = secrets.token_bytes(48)
        self._verifier = hashlib.sha1(PASSWORD.encode() + self._salt).digest() + bytes(4)

    async def hold(self) -> None:
        """Answer until the client has logged off."""
        _kind, asked = await self._packet()
        (length,) = struct.unpack_from(">H", asked, 16)
        if len(asked) + 8 < CONNECT_TEXT_AT + length:
            _kind, asked = await self._packet()
        if f"(SERVICE_NAME={SERVICE})".encode() not in asked.upper():
            text = b"(DESCRIPTION=(TMP=)(VSNNUM=0)(ERR=12514)(ERROR_STACK=(ERROR=(CODE=12514))))"
            self._send(REFUSE, struct.pack(">HH", 0, len(text)) + text)
            await self._reader.read()
            return
        self._send(ACCEPT, struct.pack(">HH10xB9xI", VERSION, 0, 0, UNIT_BYTES))
        self._wide = True
        while True:
            _kind, message = await self._packet()
            answer = self._answer(message[2:])  # after the flags
            if answer is None:
                return
            self._send(DATA, bytes(2) + answer)

    async def _packet(self) -> tuple[int, bytes]:
        head = await self._reader.readexactly(8)
        length = int.from_bytes(head[: 4 if self._wide else 2], "big")
        return head[4], await self._reader.readexactly(length - len(head))

    def _send(self, kind: int, body: bytes) -> None:
        length = len(body) + 8
        size = length.to_bytes(4, "big") if self._wide else length.to_bytes(2, "big") + bytes(2)
        self._writer.write(size + bytes((kind, 0, 0, 0)) + body)

    def _answer(self, message: bytes) -> bytes | None:
        match message[:2]:
            case b"":
                return None
            case bytes(b) if b[0] == PROTOCOL:
                return _protocol()
            case bytes(b) if b[0] == DATA_TYPES:
                return bytes((DATA_TYPES, 0, 0))
            case bytes(b) if b == bytes((FUNCTION, PHASE_ONE)):
                return self._challenge()
            case bytes(b) if b == bytes((FUNCTION, PHASE_TWO)):
                return self._verdict(message)
            case bytes(b) if b == bytes((FUNCTION, EXECUTE)):
                return _rows(message)
            case bytes(b) if b == bytes((FUNCTION, LOGOFF)):
                return _done()
            case other:
                raise AssertionError(f"a message that is not in the script: {other!r}")

    def _challenge(self) -> bytes:
        half = _aes(self._verifier).encryptor().update(self._half)
        fields = {"AUTH_SESSKEY": half.hex().upper(), "AUTH_VFR_DATA": self._salt.hex().upper()}
        return _parameters(fields, {"AUTH_VFR_DATA": VERIFIER_11G}) + _done()

    def _verdict(self, message: bytes) -> bytes:
        other = _aes(self._verifier).decryptor().update(_value(message, b"AUTH_SESSKEY"))
        mixed = bytes(a ^ b for a, b in zip(self._half[16:40], other[16:40], strict=True))
        key = (hashlib.md5(mixed[:16]).digest() + hashlib.md5(mixed[16:]).digest())[:24]
        said = _aes(key).decryptor().update(_value(message, b"AUTH_PASSWORD"))
        password = said[16 : -said[-1]]
        if LOGIN.encode() not in message or password != PASSWORD.encode():
            return _error(1017, "ORA-01017: invalid username/password; logon denied")
        proof = secrets.token_bytes(16) + b"SERVER_TO_CLIENT"
        fields = {
            "AUTH_SVR_RESPONSE": _aes(key).encryptor().update(proof).hex().upper(),
            "AUTH_VERSION_NO": str(12 << 24 | 2 << 20 | 1 << 8),
            "AUTH_SESSION_ID": "7",
            "AUTH_SERIAL_NUM": "11",
            "AUTH_SC_SERVICE_NAME": SERVICE,
            "AUTH_SC_DBUNIQUE_NAME": SERVICE,
            "AUTH_INSTANCENAME": SERVICE,
            "AUTH_MAX_OPEN_CURSORS": "300",
        }
        return _parameters(fields) + _done()


def _protocol() -> bytes:
    compiled = bytearray(46)
    compiled[7] = FIELDS_OF_12_2
    forms = bytes(9) + UTF16.to_bytes(2, "big")
    return (
        bytes((PROTOCOL, 6, 0))
        + b"Linux, as scripted\0"
        + struct.pack("<HBH", UTF8, 0, 0)
        + len(forms).to_bytes(2, "big")
        + forms
        + bytes((len(compiled),))
        + compiled
        + bytes((11,))
        + bytes(11)
    )


def _rows(message: bytes) -> bytes:
    asked = QUERY.search(message)
    if asked is None:
        return _error(900, "ORA-00900: invalid SQL statement")
    column = bytes((2, 0, 0, 0)) + _number(22) + bytes(5)  # NUMBER; sizes, no object, no charset
    column += bytes(3) + bytes((1, 0)) + _text("N") + bytes(4)
    answer = bytes((DESCRIPTION, 0)) + _number(22) + _number(1) + bytes(1) + column + bytes(6)
    if asked[2] is None:
        digit = 0xC1, int(asked[1]) + 1  # in base 100, from 1
        answer += bytes((ROW_HEADER, *bytes(7), ROW, len(digit), *digit))
    return answer + _error(NO_MORE_ROWS, "ORA-01403: no data found")


def _error(number: int, text: str) -> bytes:
    said = text.encode()
    # Counts, flags, the address of a row, what a batch would have: all nothing.
    return bytes((ERROR, *bytes(28))) + _number(number) + bytes(1) + _short(said)


def _done() -> bytes:
    return bytes((STATUS, 0, 0))


def _parameters(fields: Mapping[str, str], flags: Mapping[str, int] | None = None) -> bytes:
    pairs = (_text(k) + _text(v) + _number((flags or {}).get(k, 0)) for k, v in fields.items())
    return bytes((PARAMETERS,)) + _number(len(fields)) + b"".join(pairs)


def _number(value: int) -> bytes:
    body = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes((len(body),)) + body


def _short(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def _text(text: str) -> bytes:
    return _number(len(text)) + (_short(text.encode()) if text else b"")


def _value(message: bytes, name: bytes) -> bytes:
    """Return a value of hexadecimal digits that follows its name and two lengths."""
    at = message.index(name) + len(name)
    at += 1 + message[at]
    return bytes.fromhex(message[at + 1 : at + 1 + message[at]].decode())


def _aes(key: bytes) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES(key), modes.CBC(bytes(16)))
