"""Whether enough of a virtual service is up, with hysteresis, and whether that was told.

Sans-I/O. keepalived's rule, in weights of real servers that are given connections:

    gained   the weight reaches quorum + hysteresis
    lost     it falls below quorum - hysteresis, or to 0
    between  as it was

What the kernel's table says at our first look is what an earlier process did and told, so a
restart tells nothing. After a cold start nothing is told before the first checks are through: as
long as servers that nobody has decided about could make the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import NamedTuple

from heartbus.model import VirtualService, VirtualServiceName


class Weights(NamedTuple):
    """The weight of a service that is up, and of servers that nobody has decided about yet."""

    up: int
    undecided: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumChange:
    """A service was gained or lost; ``first``: nothing was known of it before."""

    virtual_service: VirtualServiceName
    gained: bool
    weight: int
    first: bool


class QuorumBook:
    """How the services stand that anything depends on."""

    def __init__(self, services: Iterable[VirtualService]) -> None:
        self._standing: dict[VirtualServiceName, bool] = {}
        self._short: set[VirtualServiceName] = set()
        self._seen: set[VirtualServiceName] = set()
        self.watched: dict[VirtualServiceName, VirtualService] = {}
        self.use(services)

    def use(self, services: Iterable[VirtualService]) -> None:
        """Go on with these services; how those stand that stay is remembered."""
        self.watched = {s.name: s for s in services if s.policy.is_watched}
        for name in self._seen - self.watched.keys():
            self._seen.discard(name)
            self._short.discard(name)
            self._standing.pop(name, None)

    def found(self, name: VirtualServiceName, *, stood: bool) -> None:
        """Take in how a service stood in the kernel when it was first seen."""
        if name not in self._seen:
            self._standing[name] = stood

    def is_new(self, name: VirtualServiceName) -> bool:
        """Return whether a watched service was not weighed yet."""
        return name not in self._seen

    def weighed(self, name: VirtualServiceName, weights: Weights) -> QuorumChange | None:
        """Take in the weight of a service; return what is to be told."""
        policy = self.watched[name].policy
        gain = policy.quorum + policy.hysteresis
        keep = max(policy.quorum - policy.hysteresis, 1)
        before = self._standing.get(name)
        stands = weights.up >= (keep if before else gain)
        self._seen.add(name)
        if stands:
            self._short.discard(name)
        else:
            self._short.add(name)
        if before is stands:
            return None
        if before is None and not stands and weights.up + weights.undecided >= gain:
            return None
        self._standing[name] = stands
        return QuorumChange(
            virtual_service=name, gained=stands, weight=weights.up, first=before is None
        )

    def is_lost(self, name: VirtualServiceName) -> bool:
        """Return whether it was told, by us or before us, that a service is lost."""
        return self._standing.get(name) is False

    @property
    def short(self) -> Set[VirtualServiceName]:
        """Services without quorum now, told or not: their sorry server answers."""
        return self._short
