"""What is really so in a cluster, and since when: the invariants excuse by it.

Times are virtual seconds; nobody in the cluster knows these.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heartbus_simulator.cluster import Cluster
    from heartbus_simulator.host import Host


@dataclass(slots=True)
class Spell:
    """Whether something is well, since when, and the last spell in which it was not."""

    good: bool = False
    since_s: float = 0.0
    bad_from_s: float = 0.0
    bad_to_s: float = float("inf")
    well_from_s: float = 0.0
    """Since when it was well before that."""

    bad_host_s: float = 0.0
    """``bad_from_s`` on the clock of the host, where it is of a host."""

    def begun_s(self, gap_s: float) -> float:
        """When it was no more well; an earlier spell counts if it was well for a moment only."""
        well_s = self.bad_from_s - self.well_from_s
        return float("-inf") if well_s < gap_s else self.bad_from_s

    def put(self, good: bool, now_s: float, host_s: float = 0.0) -> bool:
        """Take over how it is; return whether that is new."""
        if good is self.good:
            return False
        before_s, self.good, self.since_s = self.since_s, good, now_s
        if good:
            self.bad_to_s = now_s
        else:
            self.well_from_s = before_s
            self.bad_from_s, self.bad_to_s, self.bad_host_s = now_s, float("inf"), host_s
        return True


class Conditions:
    """Call ``update`` whenever something broke or was mended."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        names = tuple(cluster.hosts)
        self.host = {name: Spell() for name in names}
        self.membership = {name: Spell() for name in names}
        self.vip = {name: Spell() for name in names}
        self.disk = {name: Spell() for name in names}
        self.stops = {name: Spell() for name in names}
        self.server = {name: Spell() for name in names}
        self.links = {pair: Spell() for pair in itertools.permutations(names, 2)}
        self.shown = {pair: Spell() for pair in itertools.permutations(names, 2)}
        self.changed_s = 0.0

    def update(self) -> None:
        """Look at everything."""
        cluster = self._cluster
        now_s = cluster.timeline.now_s
        changed = False
        for name, host in cluster.hosts.items():
            host_s = host.clock.now_s
            stopping = host.membership is not None and bool(host.membership_down)
            changed |= self.host[name].put(host.runs, now_s, host_s)
            runs = host.membership_runs and not stopping
            changed |= self.membership[name].put(runs, now_s, host_s)
            letting_go = host.vip is not None and host.vip.asked_to_stop
            changed |= self.vip[name].put(host.vip_runs and not letting_go, now_s, host_s)
            changed |= self.disk[name].put(not host.disk.full, now_s, host_s)
            changed |= self.stops[name].put(not host.stops_hang, now_s, host_s)
            changed |= self.server[name].put(cluster.bus.connected(host), now_s, host_s)
        for (one, other), spell in self.links.items():
            changed |= spell.put(self._carries(one, other), now_s)
            shown = cluster.bus.shows(cluster.hosts[one], cluster.hosts[other])
            self.shown[one, other].put(shown, now_s)
        if changed:
            self.changed_s = now_s

    def _carries(self, one: str, other: str) -> bool:
        """Whether heartbeats of one reach the other often enough to keep it alive."""
        network, timers = self._cluster.network, self._cluster.setup.times.timers
        if network.loses or network.is_silent(one, other) or self._passes_for_replay(one, other):
            return False
        return network.latest_s(one, other) < timers.keepalive_s

    def _passes_for_replay(self, one: str, other: str) -> bool:
        """Whether one is not believed: its disk and its clock both went back before it started."""
        speaker, listener = (
            self._cluster.hosts[one].membership,
            self._cluster.hosts[other].membership,
        )
        if speaker is None or listener is None:
            return False
        newest = listener.hearing.newest.get(one)
        return newest is not None and newest.incarnation > speaker.incarnation

    def _between(self, one: Host, other: Host) -> tuple[Spell, ...]:
        return (
            self.host[one.name],
            self.host[other.name],
            self.links[one.name, other.name],
            self.links[other.name, one.name],
        )

    def parted_s(self, one: Host, other: Host) -> float:
        """Since when they do not hear each other."""
        return max(spell.bad_from_s for spell in self._between(one, other) if not spell.good)

    def restored_s(self, one: Host, other: Host) -> float:
        """Since when both hosts run and hear each other; infinity while they do not."""
        spells = self._between(one, other)
        if not all(spell.good for spell in spells):
            return float("inf")
        return max(spell.since_s for spell in spells)
