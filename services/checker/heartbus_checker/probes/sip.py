"""SIP check: OPTIONS must be answered by 200.

Sans-I/O. ldirectord ``service=sip``; RFC 3261, section 11. Unlike ldirectord the Via names the
transport that is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from heartbus import __version__
from heartbus.model import Endpoint

from . import excerpt
from .script import Failed, Say, Script, Something

HEADER_BYTES_MAX = 16 * 1024

_STATUS = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])([^\r\n]*)\r?\n")


def sip(
    endpoint: Endpoint,
    login: str,
    name: str,
    *,
    udp: bool,
    random_bytes: Callable[[int], bytes],
) -> Script:
    """Ask once; provisional answers (1xx) are waited out, as is half a header over TCP."""
    user = login or f"heartbus@{name}"
    branch, call = random_bytes(8).hex(), random_bytes(8).hex()
    message = (
        f"OPTIONS sip:{user} SIP/2.0\r\n"
        f"Via: SIP/2.0/{'UDP' if udp else 'TCP'} {name};branch=z9hG4bK{branch};rport\r\n"
        "Max-Forwards: 70\r\n"
        f"To: <sip:{user}>\r\n"
        f"From: <sip:{user}>;tag={branch[:8]}\r\n"
        f"Call-ID: {call}@{name}\r\n"
        "CSeq: 1 OPTIONS\r\n"
        f"Contact: <sip:{user}>\r\n"
        "Accept: application/sdp\r\n"
        f"User-Agent: heartbus/{__version__}\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    yield Say(message.encode(), "OPTIONS")
    received = b""
    while True:
        piece = yield Something()
        if not piece:
            raise Failed(f"the server closed after {excerpt(received)}")
        received = piece if udp else received + piece
        header, end, rest = received.partition(b"\r\n\r\n")
        status = _STATUS.match(header + b"\r\n")
        if status is None and (udp or end or b"\n" in received):
            raise Failed(f"not SIP: {excerpt(received)}")
        if len(received) > HEADER_BYTES_MAX:
            raise Failed(f"more than {HEADER_BYTES_MAX} bytes of header")
        if status is None or not (end or udp):
            continue
        if call.encode() not in header:
            raise Failed("an answer to another call")
        if status[1].startswith(b"1"):
            received = rest
            continue
        words = f"{status[1].decode()} {excerpt(status[2].strip())[1:-1]}".strip()
        if status[1] != b"200":
            raise Failed(words)
        return words
