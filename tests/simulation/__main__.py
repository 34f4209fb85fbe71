"""Play seeds, or one scenario from a file: ``python -m tests.simulation --seeds 20000``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from tests.simulation import campaign
from tests.simulation.campaign import Summary
from tests.simulation.scenario import Scenario, from_seed, parse, play

SEEDS: Final = 3000
PROCESSES: Final = 2
PROGRESS_S: Final = 5.0


def main() -> int:
    """Return 0 if every invariant held, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    add = parser.add_argument
    add("--seeds", type=int, default=SEEDS, help="how many scenarios (default %(default)s)")
    add("--first", type=int, default=0, help="the first seed (default %(default)s)")
    add("--processes", type=int, default=PROCESSES, help="side by side (default %(default)s)")
    add("--seed", type=int, help="play this one only, and tell its story")
    add("--scenario", type=Path, metavar="FILE", help="play the text form in a file instead")
    options = parser.parse_args()
    if options.seed is not None:
        return _tell(from_seed(options.seed))
    if options.scenario is not None:
        return _tell(parse(options.scenario.read_text()))
    return _campaign(options.first, options.seeds, options.processes)


def _tell(scenario: Scenario) -> int:
    result = play(scenario)
    print(scenario, *result.story, sep="\n")
    print(result.violation or f"every invariant held, {result.simulated_s:.1f} s simulated")
    return 0 if result.violation is None else 1


def _campaign(first: int, seeds: int, processes: int) -> int:
    begun_s = told_s = time.monotonic()

    def progress(summary: Summary) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= PROGRESS_S:
            told_s = time.monotonic()
            rate = summary.scenarios / (told_s - begun_s)
            print(
                f"{summary.scenarios} of {seeds} scenarios, {rate:.0f} per second,"
                f" {len(summary.failing)} failing",
                file=sys.stderr,
                flush=True,
            )

    summary = campaign.run(first=first, seeds=seeds, processes=processes, progress=progress)
    print(*summary.lines(), sep="\n")
    print(*summary.failures(), sep="\n", end="")
    print(f"{time.monotonic() - begun_s:.1f} s")
    return 1 if summary.failing else 0


if __name__ == "__main__":
    sys.exit(main())
