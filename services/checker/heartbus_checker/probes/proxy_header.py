"""The PROXY header that is sent before anything else, for servers behind such a proxy.

Sans-I/O. haproxy's proxy-protocol.txt, versions 1 and 2: a check says UNKNOWN and LOCAL, which
servers must take for the proxy's own connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from . import Conversation, Outcome

HEADERS: Final = {
    1: b"PROXY UNKNOWN\r\n",
    2: b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
}


class ProxyHeader:
    """A conversation whose first bytes are the header."""

    __slots__ = ("_header", "_inner", "broken", "ended", "received")

    def __init__(self, inner: Conversation, header: bytes) -> None:
        self._inner = inner
        self._header = header
        self.received = inner.received
        self.ended = inner.ended
        self.broken = inner.broken

    def connected(self) -> bytes | Outcome:
        """Return the header, and what the conversation says first."""
        first = self._inner.connected()
        return first if isinstance(first, Outcome) else self._header + first


def after_proxy_header(
    inner: Callable[[], Conversation], version: int
) -> Callable[[], Conversation]:
    """Return what begins the conversation anew behind a header of this version."""
    return lambda: ProxyHeader(inner(), HEADERS[version])
