"""Plays what an operator asks: from how the cluster is now, some faults, until nothing moves.

Sans-I/O. One play takes a few milliseconds for each second; times on a page are seconds after the
first fault began. When a fault falls between two heartbeats is chance, so the same is played
several times and the range is told.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from heartbus.events import Lease
from heartbus_simulator.cluster import Cluster
from heartbus_simulator.faults import Fault, Kind
from heartbus_simulator.plan import Plan

PLAY_S_MAX: Final = 900.0
HAPPENINGS_MAX: Final = 200
WARM_S: Final = 3.0


class UnlikeError(Exception):
    """The play does not come to the state that the cluster is in; says what differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """How the cluster is before anything happens.

    ``held``: group to holder and epoch. ``down``: directors and witnesses that nobody hears.
    """

    held: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    down: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that a director says, ``at_s`` seconds after the first fault began."""

    at_s: float
    director: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlay:
    """What became of one group. ``gap_s``: without a holder; ``double_s``: with two, in all."""

    holders: tuple[str, ...]
    gap_s: float
    double_s: float
    moves: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One play; ``settled`` False: something still moved when it was stopped."""

    happenings: tuple[Happening, ...]
    groups: Mapping[str, GroupPlay]
    settled: bool


class _Stage(Cluster):
    """A cluster that remembers what it was told, and who held what for how long."""

    def __init__(self, plan: Plan, now: Now, *, seed: str) -> None:
        super().__init__(plan, seed=seed)
        self.told: list[tuple[float, str]] = []
        self.begun_s = float("inf")
        self.changed_s = 0.0
        self._groups = tuple(group.name for group in plan.resource_groups)
        self.holders_of: dict[str, tuple[str, ...]] = dict.fromkeys(self._groups, ())
        self._since_s = 0.0
        self.gap_s = dict.fromkeys(self._groups, 0.0)
        self.double_s = dict.fromkeys(self._groups, 0.0)
        self.moves = dict.fromkeys(self._groups, 0)
        for name in now.down:
            self.begin(Fault(Kind.CRASH, name, 0.0, 0.0))
        for group, (holder, epoch) in now.held.items():
            self._hand(group, holder, epoch)
        self.timeline.after_step = self.look

    def _hand(self, group: str, holder: str, epoch: int) -> None:
        """Let a director have a group, as after a restart of its membership."""
        host = self.hosts[holder]
        deadline_s = host.clock.now_s + self.setup.times.lease_s
        lease = Lease(group=group, epoch=epoch, deadline_monotonic_s=deadline_s)
        leases = host.leases.read()
        held = (*leases.leases, lease) if leases is not None else (lease,)
        host.leases.write(held, releasing=(), now_s=host.clock.now_s)
        host.put_address(group, lifetime_s=self.setup.times.lifetime_s)
        host.marks |= {group}

    def note(self, line: str) -> None:
        """Remember what a director says; what begins and ends the player knows."""
        if line.startswith("begin "):
            return
        line = "*: what was wrong is over" if line.startswith("end ") else line
        self.told.append((self.timeline.now_s, line))
        if self.timeline.now_s >= self.begun_s:
            self.changed_s = self.timeline.now_s

    def look(self) -> None:
        """Count the time since the last look for whoever held each group in it."""
        now_s = self.timeline.now_s
        passed_s = now_s - max(self._since_s, min(self.begun_s, now_s))
        self._since_s = now_s
        for group in self._groups:
            before = self.holders_of[group]
            if passed_s > 0:
                self.gap_s[group] += passed_s if not before else 0.0
                self.double_s[group] += passed_s if len(before) > 1 else 0.0
            holders = tuple(self.holders(group))
            if holders == before:
                continue
            self.holders_of[group] = holders
            self.changed_s = now_s
            if now_s >= self.begun_s:
                self.moves[group] += 1
                who = " and ".join(holders) or "nobody"
                self.told.append((now_s, f"*: {group} is on {who}"))


def play(plan: Plan, now: Now, faults: Sequence[Fault], *, seed: int) -> Play:
    """Play faults, whose times count from the first of them, once.

    Raises:
        UnlikeError: the cores do not come to the state ``now``.

    """
    stage = _Stage(plan, now, seed=str(seed))
    timers = plan.times.timers
    begin_s = timers.initdead_s + plan.times.lease_s + plan.tail_s + timers.deadtime_s + WARM_S
    begin_s += timers.keepalive_s * random.Random(f"begin {seed}").random()
    stage.timeline.run_until(begin_s)
    stage.look()
    _must_be_like(stage, now)
    stage.begun_s = stage.changed_s = begin_s
    for time_s, begins, fault in _points(faults):
        stage.timeline.run_until(begin_s + time_s)
        (stage.begin if begins else stage.end)(fault)
        stage.look()
    settled = _until_quiet(stage, begin_s)
    return Play(
        happenings=tuple(
            _happening(time_s - begin_s, line) for time_s, line in stage.told if time_s >= begin_s
        )[:HAPPENINGS_MAX],
        groups={
            name: GroupPlay(
                holders=stage.holders_of[name],
                gap_s=stage.gap_s[name],
                double_s=stage.double_s[name],
                moves=stage.moves[name],
            )
            for name in stage.gap_s
        },
        settled=settled,
    )


def _must_be_like(stage: _Stage, now: Now) -> None:
    for group, (holder, _epoch) in now.held.items():
        if stage.holders_of[group] != (holder,):
            played = " and ".join(stage.holders_of[group]) or "nobody"
            raise UnlikeError(f"{group} is on {holder}, but the cores give it to {played}")


def _points(faults: Sequence[Fault]) -> list[tuple[float, bool, Fault]]:
    points = [(fault.begin_s, True, fault) for fault in faults]
    points += [(f.end_s, False, f) for f in faults if f.end_s != float("inf")]
    return sorted(points, key=lambda point: point[:2])


def _until_quiet(stage: _Stage, begin_s: float) -> bool:
    """Let time pass until nothing has changed for longer than anything may take."""
    times = stage.setup.times
    quiet_s = 2 * times.timers.deadtime_s + times.lease_s + times.grace_s + times.lifetime_s
    quiet_s += stage.setup.tail_s + 2.0
    while stage.timeline.now_s < stage.changed_s + quiet_s:
        if stage.timeline.now_s > begin_s + PLAY_S_MAX:
            return False
        stage.timeline.run_until(stage.timeline.now_s + times.timers.keepalive_s)
    return True


def _happening(at_s: float, line: str) -> Happening:
    director, separator, text = line.partition(": ")
    if not separator:
        director, text = "", line
    return Happening(at_s=round(at_s, 4), director="" if director == "*" else director, text=text)
