"""Runs trials: of several pairs in turn, so that the noise of the machine hits all alike."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.benchmarks.takeover.trials import Seen, Trial
from tests.lab.pairs import Pair

FAILURES_MAX: Final = 10
JOIN_MAX_S: Final = 60.0


@dataclass(slots=True)
class Results:
    """What was seen, by pair and trial; ``load``: the load average when each began."""

    seen: dict[tuple[str, str], list[Seen]] = field(default_factory=lambda: defaultdict(list))
    load: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def of(self, label: str, trial: Trial) -> list[Seen]:
        """Return what was seen of a pair in its trials of one kind."""
        return self.seen[(label, trial.__name__)]


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)  # noqa: T201  # a command


def run_in_turn(
    pairs: Sequence[Pair],
    trials: Sequence[Trial],
    *,
    count: int,
    rng: random.Random,
    results: Results,
) -> None:
    """Start the pairs, make ``count`` trials of each kind on each, and stop them.

    A trial that fails is told, counted, and made anew on a restarted pair.

    Raises:
        RuntimeError: too many failed.

    """
    with contextlib.ExitStack() as stack:
        for pair in pairs:
            stack.enter_context(pair)
        for trial in trials:
            results.load.setdefault(trial.__name__, os.getloadavg()[0])
            for number in range(1, count + 1):
                for pair in rng.sample(pairs, len(pairs)):
                    if results.stop.is_set():
                        return
                    seen = _one(pair, trial, rng, results)
                    results.of(pair.label, trial).append(seen)
                    say(
                        f"{trial.__name__} {number}/{count} {pair.label}: "
                        f"gap {seen.gap_s * 1000:.1f} ms, on two {seen.on_two_s:.2f} s "
                        f"(client late {seen.own_late_s * 1000:.1f} ms)"
                    )
        for pair in pairs:
            pair.stop()


def _one(pair: Pair, trial: Trial, rng: random.Random, results: Results) -> Seen:
    while True:
        try:
            return trial(pair, rng)
        except (AssertionError, TimeoutError) as error:
            results.failures.append(f"{trial.__name__} {pair.label}: {error}")
            say(f"FAILED {results.failures[-1]}")
            if len(results.failures) > FAILURES_MAX or results.stop.is_set():
                raise RuntimeError("too many trials failed") from error
            pair.restart()


def together(lanes: Sequence[Callable[[], None]], results: Results) -> None:
    """Run several lanes at the same time, each in a thread, to their end.

    For what is counted in seconds: the lanes disturb each other by some milliseconds.

    Raises:
        RuntimeError: one of them failed.

    """
    errors: list[BaseException] = []

    def guarded(lane: Callable[[], None]) -> None:
        try:
            lane()
        except BaseException as error:
            errors.append(error)
            results.stop.set()

    threads = [threading.Thread(target=guarded, args=(lane,), daemon=True) for lane in lanes]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)  # a signal must reach us meanwhile
    finally:
        results.stop.set()
        for thread in threads:
            thread.join(JOIN_MAX_S)
    results.stop.clear()
    if errors:
        raise RuntimeError("a lane failed") from errors[0]
