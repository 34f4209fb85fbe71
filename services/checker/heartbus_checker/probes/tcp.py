"""Connect check: does the server accept a TCP connection? ldirectord ``checktype=connect``.

Sans-I/O; ``stream`` does the rest. The connection is reset at once: a server sees a client that
changed its mind, and no TIME_WAIT piles up on the director.
"""

from __future__ import annotations

from heartbus.model import Endpoint

from . import Outcome


class ConnectOnly:
    """Says nothing; remembers nothing, so that one serves all checks of a target."""

    __slots__ = ("_accepted", "_label")

    def __init__(self, endpoint: Endpoint) -> None:
        self._label = f"connect to {endpoint}"
        self._accepted = Outcome(passed=True, reason=f"{self._label}: accepted")

    def conversation(self) -> ConnectOnly:
        """Begin anew."""
        return self

    def connected(self) -> Outcome:
        """Conclude: that was all."""
        return self._accepted

    def received(self, chunk: bytes) -> None:
        """Not reached: the conversation is over once connected."""

    def ended(self) -> Outcome:
        """Not reached: the conversation is over once connected."""
        return self.connected()

    def broken(self, how: str) -> Outcome:
        """Conclude: the connection broke."""
        return Outcome(passed=False, reason=f"{self._label}: {how}")
