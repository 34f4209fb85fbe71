"""Makes a failing scenario small: fewer faults, shorter faults, a simpler cluster.

Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002)
over the list of faults, then one change at a time while the same invariant still breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from heartbus_simulator.faults import Fault
from tests.simulation.scenario import Scenario, violation_of
from tests.simulation.setup import Setup

PLAYS_MAX: Final = 600
"""A scenario is played at most so often; what is small by then is small enough."""

DURATIONS_S: Final = (0.1, 0.3, 0.5, 1.0, 2.0)


class _Search:
    """Counts plays, and knows what the failure looks like."""

    def __init__(self, scenario: Scenario, violation: str) -> None:
        self.best = scenario
        self._kind = kind_of(violation)
        self._left = PLAYS_MAX

    def try_(self, candidate: Scenario) -> bool:
        """Take a candidate over if it fails in the same way."""
        if self._left == 0 or candidate == self.best:
            return False
        self._left -= 1
        violation = violation_of(candidate)
        if violation is None or kind_of(violation) != self._kind:
            return False
        self.best = candidate
        return True


def kind_of(violation: str) -> str:
    """Return what is broken, without names, numbers and times."""
    words = violation.partition(": ")[2].split()
    return " ".join(word for word in words if word in _TELLING)


_TELLING: Final = frozenset(
    (
        *("both", "answer", "nobody", "takes", "gives", "keeps", "up", "settle"),
        *("epoch", "again", "without", "vip", "membership", "cause"),
    )
)


def shrink(scenario: Scenario, violation: str) -> Scenario:
    """Return a smaller scenario that breaks the same invariant; the same one if there is none."""
    search = _Search(scenario, violation)
    _fewer(search)
    while sum(_simpler(search, changes) for changes in (_setups, _durations, _begins)):
        pass
    _fewer(search)
    return search.best


def _fewer(search: _Search) -> None:
    size = max(1, len(search.best.faults) // 2)
    while True:
        faults = search.best.faults
        chunks = range(0, len(faults), size)
        gone = any(
            search.try_(replace(search.best, faults=faults[:at] + faults[at + size :]))
            for at in chunks
        )
        if not gone:
            if size == 1:
                return
            size = size // 2
        size = max(1, min(size, len(search.best.faults)))


def _simpler(search: _Search, changes: Callable[[Scenario], Iterator[Scenario]]) -> bool:
    moved = False
    while any(search.try_(candidate) for candidate in changes(search.best)):
        moved = True
    return moved


def _setups(scenario: Scenario) -> Iterator[Scenario]:
    setup = scenario.setup
    simpler: list[Setup] = []
    if setup.groups > 1:
        simpler.append(replace(setup, groups=setup.groups - 1))
    if setup.links > 1:
        simpler.append(replace(setup, links=1))
    if setup.failback:
        simpler.append(replace(setup, failback=False))
    if not setup.bus:
        simpler.append(replace(setup, bus=True))
    for setup_ in simpler:
        yield replace(scenario, setup=setup_)


def _durations(scenario: Scenario) -> Iterator[Scenario]:
    for index, fault in enumerate(scenario.faults):
        for duration_s in DURATIONS_S:
            if duration_s < fault.end_s - fault.begin_s:
                shorter = replace(fault, end_s=round(fault.begin_s + duration_s, 2))
                yield _with(scenario, index, shorter)


def _begins(scenario: Scenario) -> Iterator[Scenario]:
    """Move all that follows a gap towards what comes before it."""
    ends_s = 2.0
    for index, fault in enumerate(scenario.faults):
        earlier_s = round(fault.begin_s - ends_s - 0.5, 2)
        if earlier_s >= 0.5:
            rest = tuple(_earlier(f, earlier_s) for f in scenario.faults[index:])
            yield replace(scenario, faults=scenario.faults[:index] + rest)
        ends_s = max(ends_s, fault.end_s)


def _earlier(fault: Fault, by_s: float) -> Fault:
    return replace(
        fault, begin_s=round(fault.begin_s - by_s, 2), end_s=round(fault.end_s - by_s, 2)
    )


def _with(scenario: Scenario, index: int, fault: Fault) -> Scenario:
    faults = scenario.faults
    return replace(scenario, faults=(*faults[:index], fault, *faults[index + 1 :]))


def as_test(scenario: Scenario, violation: str) -> str:
    """Return a test to paste into test_regressions.py."""
    lines = "\n".join(f"        {line}" for line in str(scenario).splitlines())
    return (
        f"def test_seed_{scenario.seed}() -> None:\n"
        f"    # {violation}\n"
        f'    holds(\n        """\n{lines}\n        """\n    )\n'
    )
