"""How each kind of fault acts on a host; those of the network and the bus act by being active."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from heartbus_simulator.faults import STEPS, Fault, Kind
from heartbus_simulator.host import Host

if TYPE_CHECKING:
    from heartbus_simulator.cluster import Cluster

BUSY_SPACING_S: Final = (0.02, 0.6)
SYNC_CHANCE: Final = 0.5
"""How often a crash loses what was not synced to the disk."""


class Inflictor:
    """Begins and ends faults of hosts; a process held down by several is back after the last."""

    def __init__(self, cluster: Cluster, *, seed: str) -> None:
        self._cluster = cluster
        self._chance = random.Random(f"inflict {seed}")
        self._stale: dict[Fault, tuple[int, dict[str, int]]] = {}

    def begin(self, fault: Fault) -> None:
        """Let a fault of a host begin."""
        host = self._cluster.hosts.get(fault.target)
        if host is None:
            return
        match fault.kind:
            case Kind.PAUSE:
                host.paused.add(fault)
            case Kind.SUSPEND:
                host.suspended.add(fault)
                host.clock.stand()
            case Kind.BUSY:
                self._burst(host, fault)
            case Kind.CLOCK_STEP:
                host.wall_step_s += fault.amount
            case Kind.CRASH:
                self._crash(host, fault)
            case Kind.CRASH_AT:
                host.fuse = (STEPS[int(fault.amount)], lambda: self._crash(host, fault))
            case Kind.DIE_AT:
                host.fuse = (STEPS[int(fault.amount)], lambda: self._kill_membership(host, fault))
            case Kind.MEMBERSHIP_KILL:
                self._kill_membership(host, fault)
            case Kind.MEMBERSHIP_STOP:
                host.membership_down.add(fault)
                if host.membership is not None:
                    host.membership.stop()
            case Kind.MEMBERSHIP_PAUSE:
                host.membership_paused.add(fault)
            case Kind.VIP_KILL:
                host.vip_down.add(fault)
                host.vip = None
            case Kind.VIP_STOP:
                host.vip_down.add(fault)
                if host.vip is not None and host.vip_runs:
                    host.vip.stop()
            case Kind.VIP_PAUSE:
                host.vip_paused.add(fault)
            case Kind.HANG:
                for paused in (host.membership_paused, host.vip_paused, host.others_paused):
                    paused.add(fault)
            case Kind.DISK_FULL:
                host.disk.full = True
            case Kind.DISK_LOST:
                self._kill_membership(host, fault)
                host.disk.lose_all()
                self._cluster.forgot(host)
            case Kind.DISK_STALE:
                self._stale[fault] = (host.disk.incarnation, dict(host.disk.epochs))
            case Kind.START_FAILS:
                host.starts_fail = True
            case Kind.STOP_HANGS:
                host.stops_hang = True
            case _:
                pass

    def end(self, fault: Fault) -> None:
        """Let a fault of a host end."""
        host = self._cluster.hosts.get(fault.target)
        if host is None:
            return
        still = [f.kind for f in self._cluster.active if f.target == host.name]
        match fault.kind:
            case Kind.CLOCK_STEP:
                host.wall_step_s -= fault.amount
            case Kind.DISK_FULL:
                host.disk.full = Kind.DISK_FULL in still
            case Kind.START_FAILS:
                host.starts_fail = Kind.START_FAILS in still
            case Kind.STOP_HANGS:
                host.stops_hang = Kind.STOP_HANGS in still
            case Kind.CRASH_AT | Kind.DIE_AT:
                host.fuse = None
            case Kind.DISK_STALE:
                self._restore(host, fault)
            case _:
                pass
        self._let_go(host, fault)

    def _let_go(self, host: Host, token: object) -> None:
        asleep = not host.membership_runs, not host.vip_runs
        for held in (
            host.off,
            host.paused,
            host.membership_down,
            host.membership_paused,
            host.vip_down,
            host.vip_paused,
            host.others_paused,
        ):
            held.discard(token)
        if token in host.suspended:
            host.suspended.discard(token)
            if not host.suspended:
                host.clock.go()
        self._cluster.conditions_changed()
        if host.membership is not None and asleep[0] and host.membership_runs:
            host.membership.resume()
        if host.vip is not None and asleep[1] and host.vip_runs:
            host.vip.turn()
        if host.runs:
            self._cluster.start(host)

    # --- one kind each ---------------------------------------------------------------------------

    def _kill_membership(self, host: Host, fault: Fault) -> None:
        host.membership_down.add(fault)
        host.forget_process()
        self._bitten(host, fault)

    def _crash(self, host: Host, fault: Fault) -> None:
        host.off.add(fault)
        host.lose_power()
        if self._chance.random() < SYNC_CHANCE:
            host.disk.lose_unsynced()
            self._cluster.forgot(host)
        self._bitten(host, fault)

    def _bitten(self, host: Host, fault: Fault) -> None:
        if fault.kind in (Kind.CRASH_AT, Kind.DIE_AT):
            self._cluster.note(f"{host.name} dies before {STEPS[int(fault.amount)]}")
            self._cluster.counts[f"{fault.kind} {STEPS[int(fault.amount)]}"] += 1
            self._cluster.conditions_changed()

    def _restore(self, host: Host, fault: Fault) -> None:
        """Membership is killed, and an older state file comes back from a backup."""
        host.disk.incarnation, host.disk.epochs = self._stale.pop(fault)
        host.disk.synced = dict(host.disk.epochs)
        self._cluster.forgot(host)
        token = object()
        host.membership_down.add(token)
        host.forget_process()
        self._cluster.conditions_changed()
        self._cluster.timeline.after(0.2, lambda: self._let_go(host, token))

    def _burst(self, host: Host, fault: Fault) -> None:
        """Take the CPU from membership, from vip, or from both, now and again."""
        if fault not in self._cluster.active:
            return
        token = object()
        which = self._chance.choice(
            (
                (host.membership_paused,),
                (host.vip_paused,),
                (host.membership_paused, host.vip_paused),
            )
        )
        for paused in which:
            paused.add(token)
        self._cluster.conditions_changed()
        length_s = fault.amount * self._chance.random()
        self._cluster.timeline.after(length_s, lambda: self._let_go(host, token))
        again_s = length_s + self._chance.uniform(*BUSY_SPACING_S)
        self._cluster.timeline.after(again_s, self._again(host, fault))

    def _again(self, host: Host, fault: Fault) -> Callable[[], None]:
        return lambda: self._burst(host, fault)
