"""Which override counts for which real server, and what is left on those that drain.

Sans-I/O. Commands make overrides, those of peers are merged: the greatest (revision, node) wins,
so directors agree in whatever order they hear. Times are monotonic seconds on this node's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from heartbus.model import TransportProtocol, VirtualService, VirtualServiceName
from heartbus.overrides import (
    OVERRIDES_MAX,
    Disable,
    Drain,
    Enable,
    Maintain,
    Override,
    OverrideAction,
    OverrideCommand,
    SetWeight,
)
from heartbus_ipvs_agent.desired import Server
from heartbus_ipvs_agent.entries import Connections

PEER_REVISION_STEP_MAX: Final = 2**53


class OverrideError(ValueError):
    """A command that cannot be obeyed; the text says what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left on a draining real server."""

    active: int
    udp_flows: int
    persistent: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.active + self.udp_flows + self.persistent


class OverrideBook:
    """The overrides of one director over the real servers of its configuration."""

    def __init__(self, services: Iterable[VirtualService], *, node: str) -> None:
        self._node = node
        self._services = {s.name: s for s in services}
        self._by_name: dict[str, list[Server]] = {}
        for service in self._services.values():
            for real in service.real_servers:
                for name in {real.endpoint.address, str(real.endpoint)}:
                    self._by_name.setdefault(name, []).append((service.name, real.name))
        self._overrides: dict[tuple[str, str], Override] = {}
        self._cut_s: dict[tuple[str, str], float] = {}
        self._drained: set[Server] = set()
        self.effective: dict[Server, Override] = {}

    @property
    def overrides(self) -> tuple[Override, ...]:
        """All that is known, oldest first."""
        return tuple(sorted(self._overrides.values(), key=_order))

    def told(self, *, now_s: float) -> tuple[Override, ...]:
        """Return all that is known with what is left of deadlines, oldest first."""
        return tuple(
            override
            if not override.deadline_s
            else replace(override, left_s=max(self._cut_s[_key(override)] - now_s, 0.0))
            for override in self.overrides
        )

    @property
    def drained(self) -> frozenset[Server]:
        """Draining servers of which the end was told."""
        return frozenset(self._drained)

    def restored(
        self, overrides: Iterable[Override], drained: Iterable[Server], *, now_s: float
    ) -> None:
        """Take in what an earlier process of this director knew."""
        self.merged(overrides, now_s=now_s)
        self._drained = {
            server
            for server in drained
            if (found := self.effective.get(server)) and found.action is OverrideAction.DRAIN
        }

    def commanded(self, command: OverrideCommand, *, now_s: float) -> Override:
        """Obey a command; return the override that it made.

        Raises:
            OverrideError: no such server or service, or too many overrides.

        """
        self._known(command.server, command.service)
        newest = max((o.revision for o in self._overrides.values()), default=0)
        action, weight, deadline_s = OverrideAction.ENABLE, 0, 0.0
        match command:
            case Drain():
                action = OverrideAction.DRAIN
                deadline_s = command.deadline_s
            case Disable():
                action = OverrideAction.DISABLE
            case Maintain():
                action = OverrideAction.MAINTENANCE
            case SetWeight():
                action, weight = OverrideAction.WEIGHT, command.weight
            case Enable():
                pass
        override = Override(
            server=command.server,
            service=command.service,
            action=action,
            revision=newest + 1,
            node=self._node,
            weight=weight,
            deadline_s=deadline_s,
            left_s=deadline_s,
        )
        if _key(override) not in self._overrides and len(self._overrides) >= OVERRIDES_MAX:
            raise OverrideError(
                f"{OVERRIDES_MAX} overrides are known already; allowed is to enable or change those"
            )
        self.merged((override,), now_s=now_s)
        return override

    def merged(self, overrides: Iterable[Override], *, now_s: float) -> set[VirtualServiceName]:
        """Take in overrides of a peer or of ours; return the services that this changes."""
        for override in overrides:
            if not 0 < override.revision < PEER_REVISION_STEP_MAX:
                continue
            key = _key(override)
            known = self._overrides.get(key)
            if known is None and len(self._overrides) >= OVERRIDES_MAX:
                continue
            if known is None or _order(override) > _order(known):
                self._overrides[key] = override
                self._cut_s[key] = now_s + _left_s(override)
        before, self.effective = self.effective, self._effective()
        changed = {
            server
            for server in before.keys() | self.effective.keys()
            if before.get(server) != self.effective.get(server)
        }
        self._drained -= {s for s in changed if not _same_drain(before, self.effective, s)}
        return {service for service, _real in changed}

    def left(self, server: Server, connections: Connections) -> Left:
        """Return what counts of the counters of a draining server.

        Closing TCP connections need nobody any more; flows of UDP are never active. By firewall
        mark either may come.
        """
        tcp = self._services[server[0]].protocol in (TransportProtocol.TCP, TransportProtocol.SCTP)
        return Left(
            active=connections.active,
            udp_flows=0 if tcp else connections.inactive,
            persistent=connections.persistent,
        )

    def draining(self) -> list[Server]:
        """Return the servers that drain and of which the end was not told."""
        return [
            server
            for server, override in self.effective.items()
            if override.action is OverrideAction.DRAIN and server not in self._drained
        ]

    def is_cut(self, server: Server, *, now_s: float) -> bool:
        """Return whether the deadline of a draining server has come."""
        override = self.effective.get(server)
        if override is None or not override.deadline_s:
            return False
        return self._cut_s[_key(override)] <= now_s

    def ended(self, server: Server) -> None:
        """Remember that the end of a drain was told."""
        self._drained.add(server)

    def servers(self, server: str, service: str) -> list[Server]:
        """Return the real servers that a command names."""
        return [s for s in self._by_name.get(server, []) if service in ("", s[0])]

    def _known(self, server: str, service: str) -> None:
        if service and service not in self._services:
            raise OverrideError(
                f"{service} is no virtual service; allowed is {_some(self._services)}"
            )
        if not self.servers(server, service):
            raise OverrideError(
                f"{server} is no real server{' of ' + service if service else ''}; allowed is"
                f" {_some(self._by_name)}"
            )

    def _effective(self) -> dict[Server, Override]:
        found: dict[Server, Override] = {}
        for override in self.overrides:
            for server in self.servers(override.server, override.service):
                found[server] = override
        return {s: o for s, o in found.items() if o.action is not OverrideAction.ENABLE}


def _key(override: Override) -> tuple[str, str]:
    return override.server, override.service


def _left_s(override: Override) -> float:
    """Return what is left of a deadline, within bounds: it may have come from the network."""
    return min(max(override.left_s, 0.0), max(override.deadline_s, 0.0))


def _order(override: Override) -> tuple[int, str]:
    return override.revision, override.node


def _same_drain(
    before: Mapping[Server, Override], after: Mapping[Server, Override], server: Server
) -> bool:
    """Two directors that obeyed the same command have an override each; one of them wins."""
    old, new = before.get(server), after.get(server)
    return old is not None and new is not None and old.action is new.action


def _some(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - 10} more" if len(known) > 10 else ""
    return f"{', '.join(known[:10])}{more}" if known else "none, there is none"
