"""Plays one scenario, from a seed or from an explicit setup and list of faults."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from heartbus_simulator.cluster import Cluster
from heartbus_simulator.faults import Fault, format_faults, parse_faults
from tests.simulation import bounds
from tests.simulation.draw import draw_faults
from tests.simulation.invariants import Invariants, ViolationError
from tests.simulation.setup import GROUPS, Setup, draw_setup, parse_setup

LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is played; ``seed`` also names the chances that the network and the hosts take."""

    seed: str
    setup: Setup
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        return f"{self.seed} | {self.setup}\n{format_faults(self.faults)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How it went; ``violation`` None: every invariant held. ``counts``: what happened."""

    violation: str | None
    simulated_s: float
    steps: int
    longest_dual_s: float
    counts: Counter[str] = field(default_factory=Counter)
    story: Sequence[str] = ()


def from_seed(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    chance = random.Random(seed)
    setup = draw_setup(chance)
    return Scenario(seed=str(seed), setup=setup, faults=draw_faults(setup, chance))


def parse(text: str) -> Scenario:
    """Return the scenario of a text form."""
    head, _, faults = text.strip().partition("\n")
    seed, _, setup = head.partition(" | ")
    return Scenario(seed=seed.strip(), setup=parse_setup(setup), faults=parse_faults(faults))


def play(scenario: Scenario) -> Result:
    """Play a scenario to its end, or to the first violation."""
    cluster = Cluster(scenario.setup, seed=scenario.seed)
    invariants = Invariants(cluster)
    violation: str | None = None
    try:
        _inflict(cluster, scenario.faults)
        _settle(cluster, scenario.setup, invariants)
    except AssertionError as error:
        violation = f"{type(error).__name__} {error}"
    for fault in scenario.faults:
        cluster.counts[f"fault {fault.kind}"] += 1
    network = cluster.network
    cluster.counts["datagrams lost"] += network.lost
    cluster.counts["datagrams repeated"] += network.repeated
    cluster.counts["datagrams delayed"] += network.delayed
    return Result(
        violation=violation,
        simulated_s=cluster.timeline.now_s,
        steps=cluster.timeline.steps,
        longest_dual_s=invariants.longest_dual_s,
        counts=cluster.counts,
        story=tuple(cluster.story),
    )


def _inflict(cluster: Cluster, faults: Sequence[Fault]) -> None:
    points = [(fault.begin_s, 1, fault) for fault in faults]
    points += [(fault.end_s, 0, fault) for fault in faults]
    for time_s, begins, fault in sorted(points, key=lambda point: point[:2]):
        cluster.timeline.run_until(time_s)
        if begins:
            cluster.begin(fault)
        else:
            cluster.end(fault)


def _settle(cluster: Cluster, setup: Setup, invariants: Invariants) -> None:
    """All faults have ended: soon each group has one holder, and then nothing moves any more."""
    timeline = cluster.timeline
    quiet_s = bounds.quiet_s(setup)
    end_s = timeline.now_s + bounds.somebody_s(setup) + quiet_s
    failed = invariants.failed
    while True:
        timeline.run_until(timeline.now_s + LOOK_S)
        changed_s = max(invariants.changed_s, invariants.conditions.changed_s)
        holders = {group: cluster.holders(group) for group in GROUPS[: setup.groups]}
        single = all(len(names) == 1 for names in holders.values())
        if single and timeline.now_s - changed_s >= quiet_s:
            break
        if timeline.now_s >= end_s and not failed:
            invariants.fail(f"it does not settle; holders {holders}, last change {changed_s:.3f}")
        if timeline.now_s >= end_s:
            return  # a start that failed bars a director for longer than we look
    if not invariants.all_hear_all:
        return  # one of them does not know who is there
    for group in setup.resource_groups:
        names = holders[group.name]
        if setup.failback and group.preferred not in names and group.preferred not in failed:
            invariants.fail(f"{names[0]} keeps {group.name}, {group.preferred} is preferred")


def violation_of(scenario: Scenario) -> str | None:
    """Play a scenario and return what did not hold."""
    return play(scenario).violation


__all__ = ["Result", "Scenario", "ViolationError", "from_seed", "parse", "play", "violation_of"]
