"""Decides whether another director would serve a group as we do, before it is moved on purpose.

Sans-I/O. Configurations are compared by ``agreement``, the tables of the kernel by the agents: they
tell (``ipvs.differs``) what has differed for longer than two checkers ever do. What was not told is
unknown, and no reason against anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from heartbus.events import ConfigDifference, IpvsDiffers

SERVICES_MAX: Final = 1000
"""Services that are remembered for each director; more of them differ for the same reason."""


class Likeness:
    """The tables of the other directors, as our own agent, on ``node``, compares them."""

    def __init__(self, node: str, peers: Collection[str]) -> None:
        self._node = node
        self._differing: dict[str, set[str]] = {peer: set() for peer in peers}

    def table_told(self, told: IpvsDiffers) -> None:
        """Take in what our own agent says of the table of another director."""
        services = self._differing.get(told.director)
        if services is None:
            return
        if told.agreed:
            services.discard(told.virtual_service)
        elif len(services) < SERVICES_MAX:
            services.add(told.virtual_service)

    def gone(self, peer: str) -> None:
        """Note that a director is dead or has left: what it had says nothing any more."""
        if peer in self._differing:
            self._differing[peer].clear()

    def why_not(self, peer: str, differences: Iterable[ConfigDifference]) -> str | None:
        """Return in words in what a director differs from us; None: in nothing that is known."""
        reasons = []
        for difference in differences:
            if difference.director == peer:
                what = f" ({', '.join(difference.differs)})" if difference.differs else ""
                reasons.append(f"its configuration differs from that of {self._node}{what}")
        if services := sorted(self._differing.get(peer, ())):
            more = f" and {len(services) - 1} more" if len(services) > 1 else ""
            reasons.append(f"its IPVS table differs from that of {self._node}: {services[0]}{more}")
        return " and ".join(reasons) or None
