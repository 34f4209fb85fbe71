"""Plays many seeds in several processes and adds up what happened."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.simulation.scenario import from_seed, play
from tests.simulation.shrink import as_test, shrink

SHRUNK_MAX: Final = 3
"""So many failing seeds are shrunk; the others are named."""

CHUNK: Final = 16


@dataclass(slots=True)
class Summary:
    """What a campaign found. ``failing``: the violation by seed."""

    scenarios: int = 0
    simulated_s: float = 0.0
    steps: int = 0
    longest_dual_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    failing: dict[int, str] = field(default_factory=dict)

    @property
    def cluster_hours(self) -> float:
        """Simulated time of all clusters."""
        return self.simulated_s / 3600

    def lines(self) -> Iterator[str]:
        """Return the summary to print."""
        yield (
            f"{self.scenarios} scenarios, {self.cluster_hours:.1f} simulated cluster-hours,"
            f" {self.steps} steps, {len(self.failing)} failing"
        )
        for title, prefix in (("faults by kind", "fault "), ("what happened", "")):
            chosen = {
                name.removeprefix(prefix): number
                for name, number in sorted(self.counts.items())
                if name.startswith("fault ") is bool(prefix)
            }
            yield f"{title} ({sum(chosen.values())}):" if prefix else f"{title}:"
            for name, number in chosen.items():
                yield f"  {number:9} {name}"

    def failures(self) -> Iterator[str]:
        """Return the failing seeds, the first of them as tests to keep."""
        for number, (seed, violation) in enumerate(sorted(self.failing.items())):
            yield f"seed {seed}: {violation}"
            if number < SHRUNK_MAX:
                yield as_test(shrink(from_seed(seed), violation), violation)


@dataclass(frozen=True, slots=True)
class _Outcome:
    seed: int
    violation: str | None
    simulated_s: float
    steps: int
    longest_dual_s: float
    counts: Counter[str]


def _play(seed: int) -> _Outcome:
    result = play(from_seed(seed))
    return _Outcome(
        seed,
        result.violation,
        result.simulated_s,
        result.steps,
        result.longest_dual_s,
        result.counts,
    )


def run(
    *,
    first: int,
    seeds: int,
    processes: int,
    progress: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Play ``seeds`` seeds from ``first`` on; ``progress`` is called after each."""
    summary = Summary()
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        for outcome in pool.imap_unordered(_play, range(first, first + seeds), CHUNK):
            summary.scenarios += 1
            summary.simulated_s += outcome.simulated_s
            summary.steps += outcome.steps
            summary.longest_dual_s = max(summary.longest_dual_s, outcome.longest_dual_s)
            summary.counts += outcome.counts
            if outcome.violation is not None:
                summary.failing[outcome.seed] = outcome.violation
            progress(summary)
    return summary
