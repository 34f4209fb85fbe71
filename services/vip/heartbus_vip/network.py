"""Make the network agree: addresses into the kernel, announcements onto the wire, and logs of it.

An adapter over ``address`` and ``announce``; it decides nothing but when the next frame is due.
What fails is returned where the holder must know, and logged where not; only a stall is raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from heartbus.log import RateLimit
from heartbus.model import AddressResource, AnnounceSettings, ResourceGroup
from heartbus_vip.address import AddressError, Refreshed
from heartbus_vip.announce import AnnounceError
from heartbus_vip.frames import ArpForm
from heartbus_vip.rtnetlink import KernelAddress
from heartbus_vip.schedule import AnnounceSchedule
from heartbus_vip.sysctls import promote_secondaries

SIMILAR_LINES_S: Final = 10.0

DECISION_VALID_S: Final = 0.1
"""Between a look at the lease and the system call that acts on it may pass this much: many times
what it takes in a slow kernel, and little beside what a pause of the process may be."""


class Addresses(Protocol):
    """What is needed of the kernel; ``AddressTable`` is the real one."""

    def put(self, resource: AddressResource, *, lifetime_s: int, not_after_s: float) -> None:
        """Add or refresh one address."""
        ...

    def remove_strays(self, resource: AddressResource) -> None:
        """Remove it from everywhere else."""
        ...

    def refresh(
        self, wanted: Sequence[tuple[AddressResource, int]], *, not_after_s: float
    ) -> list[Refreshed]:
        """Refresh many."""
        ...

    def remove(self, resource: AddressResource) -> bool:
        """Remove one."""
        ...

    def matching(self, resource: AddressResource) -> list[KernelAddress]:
        """Say where it is."""
        ...

    def interface_name(self, resource: AddressResource) -> str | None:
        """Say where it was put."""
        ...


class Announcing(Protocol):
    """What is needed of the wire; ``Announcer`` is the real one."""

    def announce(self, *, address: str, interface: str, form: ArpForm) -> bool:
        """Send one frame."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Upheld:
    """Outcome of a refresh: why some are not there, and what somebody had taken away."""

    problems: dict[AddressResource, str] = field(default_factory=dict)
    repaired: tuple[AddressResource, ...] = ()


class Network:
    """The virtual IPs of this director, in its kernel and towards its neighbours."""

    def __init__(
        self,
        *,
        addresses: Addresses,
        announcer: Announcing,
        settings: AnnounceSettings,
        groups: Iterable[ResourceGroup] = (),
        log: structlog.typing.FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses, self._announcer = addresses, announcer
        self._schedule = AnnounceSchedule(settings)
        self.use_groups(groups)
        self._log, self._clock = log, clock
        self._lines = RateLimit(period_s=SIMILAR_LINES_S)
        self._just_put: list[AddressResource] = []
        self._silent: set[str] = set()

    def use_groups(self, groups: Iterable[ResourceGroup]) -> None:
        """Announce the addresses of these groups as they say, from the next burst on."""
        own = {a: g.announce for g in groups if g.announce is not None for a in g.addresses}
        self._schedule.use(own)

    @property
    def next_deadline_s(self) -> float | None:
        """When ``announce_due`` has something to do."""
        return float("-inf") if self._just_put else self._schedule.next_deadline_s

    def present(self, resources: Iterable[AddressResource]) -> list[AddressResource]:
        """Return those that the kernel has already, left by an earlier life or set by hand."""
        return [resource for resource in resources if self._addresses.matching(resource)]

    def put(self, resource: AddressResource, *, lifetime_s: int, decided_s: float) -> str | None:
        """Add an address or refresh it; return what went wrong.

        Raises:
            StalledError: too long after ``decided_s``, when the lease was looked at.

        """
        try:
            self._addresses.put(
                resource, lifetime_s=lifetime_s, not_after_s=decided_s + DECISION_VALID_S
            )
        except AddressError as error:
            return str(error)
        self._just_put.append(resource)
        return None

    def remove(self, resource: AddressResource) -> str | None:
        """Announce an address no more and remove it; return what went wrong."""
        self._schedule.stop(resource)
        try:
            permanent = [a for a in self._addresses.matching(resource) if a.valid_s is None]
            removed = self._addresses.remove(resource)
        except AddressError as error:
            return str(error)
        if permanent:
            self._log.warning(
                "address.foreign",
                address=resource.name,
                reason="somebody else had set it, without end; it is removed, because this "
                "director has no lease for it: take it out of the system's network configuration",
            )
        if removed:
            self._log.info("address.removed", address=resource.name)
        return None

    def refresh(self, wanted: Sequence[tuple[AddressResource, int]], *, decided_s: float) -> Upheld:
        """Set lifetimes (seconds) anew; what somebody took away is put back and announced.

        Raises:
            StalledError: too long after ``decided_s``, when the leases were looked at.

        """
        if not wanted:
            return Upheld()
        try:
            outcomes = self._addresses.refresh(wanted, not_after_s=decided_s + DECISION_VALID_S)
        except AddressError as error:
            self._say("address.refresh", reason=str(error))
            return Upheld(problems={resource: str(error) for resource, _ in wanted})
        problems: dict[AddressResource, str] = {}
        repaired: list[AddressResource] = []
        for outcome in outcomes:
            if outcome.problem is not None:
                problems[outcome.resource] = outcome.problem
                self._say("address.refresh", reason=outcome.problem)
            elif outcome.missing:
                repaired.append(outcome.resource)
                self._log.warning("address.repaired", address=outcome.resource.name)
                self._begin(outcome.resource)
        return Upheld(problems=problems, repaired=tuple(repaired))

    def announce(self, resource: AddressResource) -> None:
        """Begin a burst; its first frame is sent at once."""
        self._begin(resource)
        self._send_due()

    def link_silent(self, interface: str, held: Iterable[AddressResource]) -> None:
        """Announce nothing on an interface that carries nothing: it would go out when it runs."""
        self._silent.add(interface)
        for resource in self._held_on(interface, held):
            self._schedule.stop(resource)

    def link_runs(
        self, interface: str, held: Iterable[AddressResource], *, after_s: float = 0.0
    ) -> None:
        """Begin a burst, in ``after_s`` seconds, for each address that is held on an interface."""
        self._silent.discard(interface)
        again = self._held_on(interface, held)
        if again:
            self._log.info("address.reannounced", interface=interface, addresses=len(again))
        for resource in again:
            self._schedule.start(resource, interface=interface, now_s=self._clock() + after_s)

    def _held_on(self, interface: str, held: Iterable[AddressResource]) -> list[AddressResource]:
        return [r for r in held if self._addresses.interface_name(r) == interface]

    def _begin(self, resource: AddressResource) -> None:
        interface = self._addresses.interface_name(resource)
        if interface is not None and interface not in self._silent:
            self._schedule.start(resource, interface=interface, now_s=self._clock())

    def announce_due(self) -> None:
        """Send the frames whose time has come; then do what a new address needs besides."""
        self._send_due()
        while self._just_put:
            self._follow_up(self._just_put.pop(0))

    def _follow_up(self, resource: AddressResource) -> None:
        """Do what clients do not wait for: they wait for the announcement."""
        interface = self._addresses.interface_name(resource)
        if interface is None:
            return  # removed again
        self._log.info("address.put", address=resource.name, interface=interface)
        try:
            self._addresses.remove_strays(resource)
        except AddressError as error:
            self._say("address.stray", reason=str(error))
        warning = None if resource.ipv6 else promote_secondaries(interface)
        if warning is not None:
            self._say("address.promote_secondaries", reason=warning)

    def _send_due(self) -> None:
        for resource, form in self._schedule.due(now_s=self._clock()):
            interface = self._addresses.interface_name(resource)
            if interface is None:
                continue
            try:
                self._announcer.announce(address=resource.address, interface=interface, form=form)
            except AnnounceError as error:
                self._say("address.announce", reason=str(error))

    def _say(self, event: str, *, reason: str) -> None:
        held_back = self._lines.passes(event, now_s=self._clock())
        if held_back is not None:
            self._log.warning(event, reason=reason, similar=held_back)
