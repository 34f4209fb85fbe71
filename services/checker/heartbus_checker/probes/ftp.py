"""FTP check: login, and where a request is given, the file that it names must match.

ldirectord ``service=ftp``; RFC 959, passive mode by EPSV (RFC 2428), else PASV. Without ``receive``
ldirectord passed with nothing listening; here the login must be accepted. What PASV says of the
address is not believed: data is taken from the server itself.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from heartbus.model import Endpoint

from . import excerpt
from .pattern import ReceivePattern
from .script import Failed
from .task import Exchange, Say, closed

LINE_BYTES_MAX: Final = 4096
REPLY_LINES_MAX: Final = 100
FILE_BYTES_MAX: Final = 256 * 1024

_EPSV = re.compile(rb"\((.)\1\1([0-9]{1,5})\1\)")
_PASV = re.compile(
    rb"([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3})"
)


def ftp(
    endpoint: Endpoint, login: str, password: str, path: str, receive: ReceivePattern | None
) -> Exchange:
    """Return the exchange of one check."""

    async def exchange(say: Say) -> str:
        reader, writer = await asyncio.open_connection(
            endpoint.address, endpoint.port, limit=LINE_BYTES_MAX
        )
        control = _Control(reader, writer, say)
        try:
            await control.reply("greeting", b"2")
            code = await control.ask(f"USER {login}", b"23")
            if code.startswith(b"3"):
                await control.ask(f"PASS {password}", b"2", shown="PASS")
            if path and receive is not None:
                reason = await _fetch(control, endpoint, path, receive)
            else:
                reason = f"{login} is let in"
            control.send("QUIT")
            return reason
        finally:
            writer.close()
            await closed(writer.wait_closed())

    return exchange


class _Control:
    """The control connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, say: Say
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._say = say
        self.text = b""

    async def ask(self, command: str, wanted: bytes, *, shown: str | None = None) -> bytes:
        """Send a command; its reply must begin with one of the wanted digits; return its code."""
        self.send(command)
        return await self.reply(shown or command, wanted)

    def send(self, command: str) -> None:
        """Send a command; line ends within it would be commands of their own."""
        self._writer.write(command.replace("\r", "").replace("\n", "").encode() + b"\r\n")

    async def reply(self, step: str, wanted: bytes) -> bytes:
        """Return the code of a reply of one or more lines; section 4.2."""
        self._say(step)
        for _ in range(REPLY_LINES_MAX):
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as cut:
                said = f" after {excerpt(cut.partial)}" if cut.partial else ""
                raise Failed(f"the server closed{said}") from None
            except asyncio.LimitOverrunError:
                raise Failed("a line without end") from None
            if re.match(rb"[1-5][0-9][0-9] ", line):
                self.text = line
                if line[0] not in wanted:
                    raise Failed(excerpt(line.strip()))
                return line[:3]
            if not re.match(rb"[1-5][0-9][0-9]-| ", line) and not self.text:
                raise Failed(f"not FTP: {excerpt(line)}")
        raise Failed(f"more than {REPLY_LINES_MAX} lines of one reply")


async def _fetch(control: _Control, endpoint: Endpoint, path: str, receive: ReceivePattern) -> str:
    await control.ask("TYPE I", b"2")
    try:
        await control.ask("EPSV", b"2")
        found = _EPSV.search(control.text)
        port = int(found[2]) if found else 0
    except Failed:
        await control.ask("PASV", b"2")
        passive = _PASV.search(control.text)
        port = int(passive[5]) * 256 + int(passive[6]) if passive else 0
    if not 0 < port < 65536:
        raise Failed(f"no port for data: {excerpt(control.text)}")
    reader, writer = await asyncio.open_connection(endpoint.address, port)
    content = bytearray()
    try:
        await control.ask(f"RETR {path}", b"1")
        while len(content) < FILE_BYTES_MAX:
            piece = await reader.read(65536)
            if not piece:
                break
            content += piece
    finally:
        writer.close()
        await closed(writer.wait_closed())
    if (problem := receive.problem(bytes(content))) is not None:
        raise Failed(f"a file of {len(content)} bytes {excerpt(content)}, {problem}")
    return f"RETR {path}: as expected"
