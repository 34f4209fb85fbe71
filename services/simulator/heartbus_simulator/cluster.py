"""The cluster of one scenario: hosts, what joins them, what is wrong now, and who watches."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from heartbus_membership.claims import Grant, Revoke
from heartbus_simulator.bus import Bus
from heartbus_simulator.clock import HostClock, Timeline
from heartbus_simulator.faults import Fault
from heartbus_simulator.host import DiskFullError, Host
from heartbus_simulator.inflict import Inflictor
from heartbus_simulator.network import Network
from heartbus_simulator.plan import Plan
from heartbus_simulator.process import MembershipProcess
from heartbus_simulator.vip import VipProcess

DRIFT_MAX: Final = 1e-3
STORY_LINES: Final = 60
RESTART_S: Final = 0.05
RESTART_AGAIN_S: Final = 1.0
"""A membership that cannot start is started again, as its supervisor does."""


GRANTS: Final = {
    "must yield": "conflict won",
    "tried again": "start tried again",
    "is dead": "taken from the dead",
    "left": "taken from one that left",
    "preferred director": "free, preferred",
    "does not take it": "free, not preferred",
}
REVOKES: Final = {
    "holds it with epoch": "conflict lost",
    "failback": "handed over, failback",
    "stops": "handed over, stop",
    "start failed": "handed over, start failed",
    "vip": "handed over, vip not ready",
}


def _named(reason: str, names: Mapping[str, str]) -> str:
    """Return what a reason is counted as."""
    return next((name for words, name in names.items() if words in reason), "other")


class Watcher(Protocol):
    """What the invariants want to know, beyond what they can look at."""

    def conditions_changed(self) -> None:
        """Something broke or was mended."""

    def granted(self, host: Host, effect: Grant) -> None:
        """Take in that a membership granted a group."""

    def revoked(self, host: Host, effect: Revoke) -> None:
        """Take in that a membership withdrew a grant."""

    def left(self, host: Host) -> None:
        """Take in that a membership says that it leaves."""

    def forgot(self, host: Host) -> None:
        """Take in that the disk of a host went back, or lost everything."""


class Cluster:
    """Hosts on one virtual time. ``counts``: what happened how often; ``story``: the last lines."""

    def __init__(self, setup: Plan, *, seed: str) -> None:
        self.setup = setup
        self.timeline = Timeline()
        self.counts: Counter[str] = Counter()
        self.story: deque[str] = deque(maxlen=STORY_LINES)
        self.watcher: Watcher | None = None
        self.active: list[Fault] = []
        chance = random.Random(f"cluster {seed}")
        names = setup.directors + setup.witness_names
        self.hosts = {name: self._host(name, chance) for name in names}
        self.network = Network(
            hosts=names, links=setup.link_names, timeline=self.timeline, seed=seed
        )
        self.network.arrive = self._arrive
        self.bus = Bus(
            hosts=self.hosts, network=self.network, timeline=self.timeline, there=setup.bus
        )
        self.bus.begin(chance)
        self._inflictor = Inflictor(self, seed=seed)
        for host in self.hosts.values():
            self.timeline.after(0.3 * chance.random(), self._starter(host))

    def _host(self, name: str, chance: random.Random) -> Host:
        clock = HostClock(
            self.timeline,
            offset_s=chance.uniform(10.0, 1e5),
            drift=chance.uniform(-DRIFT_MAX, DRIFT_MAX),
        )
        return Host(name, timeline=self.timeline, clock=clock)

    def _arrive(self, receiver: str, link: str, sender: str, datagram: bytes) -> None:
        self.hosts[receiver].datagram_arrives(datagram, link, sender)

    # --- faults ----------------------------------------------------------------------------------

    def begin(self, fault: Fault) -> None:
        """Let a fault begin."""
        self.note(f"begin {fault}")
        self.active.append(fault)
        self._set_faults()
        self._inflictor.begin(fault)
        self.conditions_changed()

    def end(self, fault: Fault) -> None:
        """Let a fault end."""
        self.note(f"end {fault}")
        self.active.remove(fault)
        self._set_faults()
        self._inflictor.end(fault)
        self.conditions_changed()

    def _set_faults(self) -> None:
        self.network.set_faults(self.active)
        self.bus.set_faults(self.active)

    # --- processes -------------------------------------------------------------------------------

    def start(self, host: Host) -> None:
        """Start what does not run and is not held down."""
        self.start_membership(host)
        self.start_vip(host)

    def start_membership(self, host: Host) -> None:
        """Start membership, or try again later."""
        if not host.on or host.membership_down or host.membership is not None:
            return
        host.forget_process()
        if host.wall_step_s:
            self.counts["start with a wrong clock"] += 1
        for group, epochs in host.granted.items():
            self.counts["start without epochs"] += host.disk.epochs.get(group, 0) < epochs[-1]
        try:
            host.membership = MembershipProcess(self, host)
        except DiskFullError:
            self.counts["start refused by the disk"] += 1
            self.timeline.after(RESTART_AGAIN_S, lambda: self.start_membership(host))
            return
        self.conditions_changed()
        host.membership.wake()

    def start_vip(self, host: Host) -> None:
        """Start vip; a witness has none."""
        if not host.on or host.vip_down or host.vip is not None:
            return
        if host.name in self.setup.directors:
            host.vip = VipProcess(self, host)
            self.conditions_changed()
            host.vip.turn()

    def exited(self, host: Host) -> None:
        """Start a process of this host again that ended as asked; it may be wanted again by now."""
        self.conditions_changed()
        self.timeline.after(RESTART_S, self._starter(host))

    def _starter(self, host: Host) -> Callable[[], None]:
        return lambda: self.start(host)

    # --- what is told ----------------------------------------------------------------------------

    def holders(self, group: str) -> list[str]:
        """Return the hosts that answer for the address of a group."""
        return [host.name for host in self.hosts.values() if host.has_address(group)]

    def note(self, line: str) -> None:
        """Add a line to the story that a failure prints."""
        self.story.append(f"{self.timeline.now_s:8.3f} {line}")

    def granted(self, host: Host, effect: Grant) -> None:
        """Note a grant."""
        self.note(f"{host.name}: granted {effect.group} {effect.epoch}: {effect.reason}")
        self.counts[f"grant: {_named(effect.reason, GRANTS)}"] += 1
        host.granted.setdefault(effect.group, []).append(effect.epoch)
        if self.watcher is not None:
            self.watcher.granted(host, effect)

    def revoked(self, host: Host, effect: Revoke) -> None:
        """Note a revocation."""
        self.note(f"{host.name}: revoked {effect.group} {effect.epoch}: {effect.reason}")
        self.counts[f"revoke: {_named(effect.reason, REVOKES)}"] += 1
        if self.watcher is not None:
            self.watcher.revoked(host, effect)

    def forgot(self, host: Host) -> None:
        """Note that the disk of a host went back, or lost everything."""
        if self.watcher is not None:
            self.watcher.forgot(host)

    def conditions_changed(self) -> None:
        """Something broke or was mended."""
        if self.watcher is not None:
            self.watcher.conditions_changed()

    def left(self, host: Host) -> None:
        """Note that a membership says that it leaves."""
        if self.watcher is not None:
            self.watcher.left(host)
