"""Obeys operators: drain, disable, maintenance, enable, weight; watches drains end.

What was asked for is told to peers, and remembered.

Shell: the agent brings the table to what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import structlog

from heartbus.bus import Bus
from heartbus.commands import refused
from heartbus.events import Command, CommandOutcome, IpvsOverrides
from heartbus.model import VirtualService, VirtualServiceName
from heartbus.overrides import (
    Disable,
    Drain,
    Enable,
    Maintain,
    Override,
    OverrideAction,
    RealServerDrained,
    RealServerDraining,
    RealServerOverridden,
    SetWeight,
)
from heartbus_ipvs_agent.desired import Server, real_server_key, service_key
from heartbus_ipvs_agent.entries import Connections, DestinationKey, ServiceKey, Table
from heartbus_ipvs_agent.override_file import OverrideFile, OverrideFileError
from heartbus_ipvs_agent.overrides import OverrideBook, OverrideError

TELL_PERIOD_S: Final = 5.0
"""How often peers that were away are told all overrides."""

_NOTHING: Final = Connections(active=0, inactive=0)


class Operators:
    """The overrides of one director.

    ``changed``: brings these services to what is wanted, because of a command, if of any.
    """

    def __init__(
        self,
        *,
        node: str,
        services: Iterable[VirtualService],
        bus: Bus,
        file: OverrideFile,
        clock: Callable[[], float],
        changed: Callable[[Iterable[VirtualServiceName], str | None], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        services = tuple(services)
        self._node = node
        self._bus = bus
        self._file = file
        self._clock = clock
        self._changed = changed
        self._log = log
        self._keys = _keys(services)
        self.book = OverrideBook(services, node=node)
        self._cut: set[Server] = set()

    def start(self) -> None:
        """Remember what was asked for earlier, and serve commands."""
        try:
            self.book.restored(*self._file.read(now_s=self._clock()), now_s=self._clock())
        except OverrideFileError as error:
            self._log.warning("overrides.unreadable", error=str(error))
        now_s = self._clock()
        self._cut = {s for s in self.book.effective if self.book.is_cut(s, now_s=now_s)}
        for command_class in (Drain, Disable, Maintain, Enable, SetWeight):
            self._bus.serve_command(command_class, self._obey)

    def use(self, services: Iterable[VirtualService]) -> None:
        """Go on with other services; what was asked for stands where the server is still there."""
        services = tuple(services)
        before, self.book = self.book, OverrideBook(services, node=self._node)
        now_s = self._clock()
        self.book.restored(before.told(now_s=now_s), before.drained, now_s=now_s)
        self._keys = _keys(services)
        self._cut &= self.book.effective.keys()

    @property
    def cut(self) -> frozenset[Server]:
        """Draining servers whose deadline has come: they leave the table."""
        return frozenset(self._cut)

    def tell(self) -> None:
        """Tell peers all that is known; nothing is told where nothing ever was asked for."""
        if self.book.overrides:
            told = self.book.told(now_s=self._clock())
            self._bus.publish(IpvsOverrides(overrides=told))

    def heard(self, overrides: Iterable[Override]) -> None:
        """Take in what a peer knows."""
        before = self.book.overrides
        services = self.book.merged(overrides, now_s=self._clock())
        if self.book.overrides != before:
            self._keep()
            self._act(services)

    def looked(self, table: Table) -> None:
        """See what is left on draining servers; ``table`` is fresh from the kernel."""
        now_s = self._clock()
        ended = False
        cut: set[VirtualServiceName] = set()
        for server in self.book.draining():
            service, destination = self._keys[server]
            entry = table.services.get(service)
            settings = None if entry is None else entry.destinations.get(destination)
            if settings is not None and settings.answers:
                continue  # the kernel refused so far
            left = self.book.left(server, table.connections.get((service, destination), _NOTHING))
            due = self.book.is_cut(server, now_s=now_s)
            if left.total and not due:
                continue
            self.book.ended(server)
            self._bus.publish(
                RealServerDrained(virtual_service=server[0], real_server=server[1], cut=left.total)
            )
            ended = True
            if due:
                self._cut.add(server)
                cut.add(server[0])
        if ended:
            self._keep()
        if cut:
            self._changed(cut, None)

    async def _obey(self, command: Command, _within_s: float, cause: str) -> CommandOutcome:
        assert isinstance(command, Drain | Disable | Maintain | Enable | SetWeight)
        try:
            override = self.book.commanded(command, now_s=self._clock())
        except OverrideError as error:
            return refused(str(error))
        self._keep()
        servers = self.book.servers(command.server, command.service)
        self._act({service for service, _real in servers}, cause=cause)
        if override.action is not OverrideAction.DRAIN:
            self._bus.publish(
                RealServerOverridden(
                    server=override.server,
                    service=override.service,
                    action=override.action,
                    weight=override.weight,
                ),
                cause=cause,
            )
        self.tell()
        return CommandOutcome(done=True, message=_told(self._node, override, len(servers)))

    def _act(self, services: Iterable[VirtualServiceName], *, cause: str | None = None) -> None:
        drains = set(self.book.draining())
        now_s = self._clock()
        self._cut = {s for s in self._cut if self.book.is_cut(s, now_s=now_s)}
        self._changed(services, cause)
        for server in drains:
            if server[0] in services:
                self._bus.publish(
                    RealServerDraining(virtual_service=server[0], real_server=server[1]),
                    cause=cause,
                )

    def _keep(self) -> None:
        try:
            now_s = self._clock()
            self._file.write(self.book.told(now_s=now_s), self.book.drained, now_s=now_s)
        except OverrideFileError as error:
            self._log.warning("overrides.unwritable", error=str(error))


def _told(node: str, override: Override, servers: int) -> str:
    what = {
        OverrideAction.DRAIN: "given no new connections",
        OverrideAction.DISABLE: "out of the table",
        OverrideAction.MAINTENANCE: "in maintenance",
        OverrideAction.ENABLE: "as configured",
        OverrideAction.WEIGHT: f"of weight {override.weight}",
    }[override.action]
    entries = "entry" if servers == 1 else "entries"
    return f"{node}: {override.server} is {what} ({servers} {entries})"


def _keys(
    services: Iterable[VirtualService],
) -> dict[Server, tuple[ServiceKey, DestinationKey]]:
    """Return what names each real server in the kernel."""
    return {
        (s.name, real.name): (service_key(s), real_server_key(s, real))
        for s in services
        for real in s.real_servers
    }
