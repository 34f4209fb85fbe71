"""Connect check: does the server accept a TCP connection? ldirectord ``checktype=connect``.

Sans-I/O; ``stream`` does the rest. The connection is reset at once: a server sees a client that
changed its mind, and no TIME_WAIT piles up on the director.
"""

from __future__ import annotations

from heartbus.model import Endpoint

from . import Outcome


class ConnectOnly:
    """Says nothing."""

    __slots__ = ("_endpoint",)

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def connected(self) -> Outcome:
        """Conclude: that was all."""
        return Outcome(passed=True, reason=f"connect to {self._endpoint}: accepted")

    def received(self, chunk: bytes) -> None:
        """Not reached: the conversation is over once connected."""

    def ended(self) -> Outcome:
        """Not reached: the conversation is over once connected."""
        return self.connected()

    def broken(self, how: str) -> Outcome:
        """Conclude: the connection broke."""
        return Outcome(passed=False, reason=f"connect to {self._endpoint}: {how}")
