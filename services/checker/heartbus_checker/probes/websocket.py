"""WebSocket check: the server agrees to the upgrade.

Sans-I/O. RFC 6455, section 4.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Final

from heartbus import __version__
from heartbus.model import Endpoint

from . import excerpt
from .script import Failed, Line, Say, Script

FIELDS_MAX: Final = 100
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def websocket(
    endpoint: Endpoint, path: str, host: str | None, random_bytes: Callable[[int], bytes]
) -> Script:
    """Ask for the upgrade; the proof of the server must be right."""
    key = base64.b64encode(random_bytes(16))
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {host or endpoint}\r\nUser-Agent: heartbus/{__version__}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key.decode()}\r\n\r\n"
    )
    yield Say(request.encode(), f"GET {path}")
    status = yield Line()
    if not status.startswith(b"HTTP/1.1 "):
        raise Failed(f"the answer is not HTTP: {excerpt(status)}")
    if not status.startswith(b"HTTP/1.1 101"):
        raise Failed(f"{excerpt(status[9:])[1:-1]} instead of 101")
    wanted = base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())
    proven = False
    for _ in range(FIELDS_MAX):
        field = yield Line()
        if not field:
            if not proven:
                raise Failed("101, but without the proof of Sec-WebSocket-Accept")
            # A close frame, masked, so that the server does not wait for us; section 5.5.1.
            yield Say(b"\x88\x80" + random_bytes(4), "close")
            return "101, upgraded"
        name, _, value = field.partition(b":")
        proven |= name.strip().lower() == b"sec-websocket-accept" and value.strip() == wanted
    raise Failed(f"more than {FIELDS_MAX} fields")
