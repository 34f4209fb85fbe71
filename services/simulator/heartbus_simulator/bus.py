"""The bus as it is seen from a director: one server on each host, joined by routes.

At most once, like the real one: what cannot be carried now is lost. Three services speak on each
host: membership and vip, which are played, and one for all others, which lives while its host does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Final

from heartbus.events import VipState
from heartbus_simulator.clock import Timeline
from heartbus_simulator.faults import Fault, Kind
from heartbus_simulator.host import Host
from heartbus_simulator.network import Network

LOCAL_S: Final = 0.0005
REMOTE_S: Final = 0.002
STATE_PERIOD_S: Final = 1.0


class Bus:
    """Carries what services publish; ``hosts`` by name, witnesses and directors alike."""

    def __init__(
        self, *, hosts: dict[str, Host], network: Network, timeline: Timeline, there: bool
    ) -> None:
        self._hosts, self._network, self._timeline = hosts, network, timeline
        self._there = there
        self._down: frozenset[str] = frozenset()
        self._routes_cut: set[tuple[str, str]] = set()

    def begin(self, chance: random.Random) -> None:
        """Start the services that are not played."""
        if self._there:
            for host in self._hosts.values():
                self._timeline.after(chance.random() * STATE_PERIOD_S, self._speaker(host))

    def set_faults(self, active: Iterable[Fault]) -> None:
        """Take over which faults there are now, and tell those whose connection changed."""
        before = {name: self.connected(host) for name, host in self._hosts.items()}
        down: set[str] = set()
        self._routes_cut = set()
        for fault in active:
            if fault.kind is Kind.BUS_OUT:
                down.update(self._hosts)
            elif fault.kind is Kind.BUS_DOWN:
                down.add(fault.target)
            elif fault.kind is Kind.ROUTE_CUT:
                one, _, other = fault.target.partition("-")
                self._routes_cut |= {(one, other), (other, one)}
        self._down = frozenset(down)
        for name, host in self._hosts.items():
            if self.connected(host) != before[name]:
                host.bus_changed()

    # --- what is so ------------------------------------------------------------------------------

    def connected(self, host: Host) -> bool:
        """Whether the services of a host have their server."""
        return self._there and host.name not in self._down

    def joins(self, one: Host, other: Host) -> bool:
        """Whether messages pass between two hosts."""
        way, back = (one.name, other.name), (other.name, one.name)
        return (
            self.connected(one)
            and self.connected(other)
            and way not in self._routes_cut
            and not self._network.is_cut(*way)
            and not self._network.is_cut(*back)
        )

    def shows(self, host: Host, observer: Host) -> bool:
        """Whether an observer can see on the bus that a host lives."""
        return host.others_run and observer.runs and self.joins(host, observer)

    # --- what it carries -------------------------------------------------------------------------

    def tell_vip(self, host: Host, deliver: Callable[[], None]) -> None:
        """Carry news of a membership to the vip of the same host."""
        if self.connected(host):
            self._timeline.after(LOCAL_S, lambda: host.vip_hears(deliver))

    def tell_state(self, host: Host, state: VipState) -> None:
        """Carry a snapshot of a vip to its own membership, and to the others as a sign of life."""
        if self.connected(host):
            self._timeline.after(LOCAL_S, lambda: host.membership_hears_vip(state))
            self._show(host)

    def ask(
        self, asker: Host, asked: Host, answered: Callable[[bool], None], wait_s: float
    ) -> None:
        """Ask the services of another host for a sign of life; ``answered`` tells how it ended."""
        if self.shows(asked, asker):
            self._timeline.after(2 * REMOTE_S, lambda: answered(True))
        else:
            self._timeline.after(wait_s, lambda: answered(False))

    def _show(self, host: Host) -> None:
        for other in self._hosts.values():
            if other is not host and self.joins(host, other):
                self._timeline.after(REMOTE_S, self._evidence(other, host.name))

    @staticmethod
    def _evidence(observer: Host, shown: str) -> Callable[[], None]:
        return lambda: observer.membership_sees(shown)

    def _speaker(self, host: Host) -> Callable[[], None]:
        def speak() -> None:
            if host.others_run and self.connected(host):
                self._show(host)
            self._timeline.after(STATE_PERIOD_S, speak)

        return speak
