"""What membership needs of its links; ``media`` makes them, each kind of medium is a module.

A link that cannot be used is a problem of that link, told and tried again, never an end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from heartbus_membership.snapshot import LinkCondition

POINTS_AT_US: Final = "points at ourselves"
"""Harmless: it lets all directors share one ha.cf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One datagram; ``link`` None: it came over an interface by a way that is not configured.

    ``hops``: how many serial lines it may pass, the one that it came over included; else 0.
    """

    datagram: bytes
    link: str | None
    source: str
    hops: int = 0


class Medium(Protocol):
    """The links of one kind of medium."""

    def open(self, readable: Callable[[], None]) -> None:
        """Open what can be opened; ``readable`` is called when datagrams wait.

        Raises:
            MachineError: a privilege is missing or a port is taken.

        """
        ...

    def send(self, datagram: bytes) -> None:
        """Send one datagram of ours on every usable link; never raises, never waits."""
        ...

    def drain(self) -> list[Received]:
        """Return what has arrived; never waits."""
        ...

    async def repair(self) -> None:
        """Try again what failed; call it about every second."""
        ...

    def conditions(self) -> Sequence[LinkCondition]:
        """Return the condition of each link."""
        ...

    def dropped(self) -> Mapping[str, int]:
        """Return counts of what was lost below the datagrams, by reason."""
        ...

    def close(self) -> None:
        """Close everything."""
        ...


class Links(Medium, Protocol):
    """What the shell needs of its links."""

    def relay(self, datagram: bytes, *, origin: str, heard_on: str, hops: int) -> None:
        """Pass a datagram of another director on to the serial lines it did not come over."""
        ...
