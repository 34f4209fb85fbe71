"""The model of who may hold a group, checked by spin; docs/model.md says what it means.

Each configuration is small enough to be searched to its end. Each mutant is the rule with a part
left out: spin must find what goes wrong, or the model would not see it in the real rule either.
States, depth, memory and time of each search are printed, also where it passes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.cores

HERE: Final = Path(__file__).parent
UNPACKED: Final = HERE.parents[1] / "build" / "lab" / "root" / "usr" / "bin" / "spin"
DEPTH_MAX: Final = 300_000
MEMORY_MAX_MB: Final = 1_400
SEARCH_MAX_S: Final = 300.0
WORKERS: Final = 2
WORDS: Final = {
    "depth": r"depth reached (\d+)",
    "errors": r"errors: (\d+)",
    "states": r"(\d+) states, stored",
    "memory_mb": r"([\d.]+)\s+total actual memory usage",
    "time_s": r"elapsed time ([\d.e+]+) seconds",
}


@dataclass(frozen=True, kw_only=True)
class Search:
    """One run of spin: a model, its constants by name, and what went wrong (None: nothing)."""

    model: str
    constants: str
    violated: str | None = None

    def __str__(self) -> str:
        return f"{self.model} {self.constants}".rstrip()


def votes(constants: str, *, violated: str | None = None) -> Search:
    return Search(model="ownership", constants=constants, violated=violated)


def pair(constants: str, *, violated: str | None = None) -> Search:
    return Search(model="pair", constants=constants, violated=violated)


TWO_HOLD: Final = "address["
EPOCH_FELL: Final = "last_epoch"
NOBODY_HOLDS: Final = "phase["
TOO_LONG: Final = "both<="

RULES: Final = (
    votes("EPOCHS=3 LEASE=2"),
    votes("EPOCHS=2 LEASE=2 TAIL=1"),
    votes("EPOCHS=2 LEASE=2 DRIFT=1"),
    votes("EPOCHS=2 LEASE=1 FLIGHTS=2"),
    votes("EPOCHS=2 LEASE=1 RESTARTS=1"),
    votes("EPOCHS=3 LEASE=1 RESTARTS=1 PROMPT"),
    votes("EPOCHS=2 LEASE=1 LOSSES=1"),
    votes("EPOCHS=2 LEASE=1 RESTARTS=1 LOSSES=1 PROMPT"),
    votes("DIRECTORS=3 EPOCHS=2 LEASE=2"),
    votes("VOTERS=4 DIRECTORS=2 EPOCHS=2 LEASE=1"),
    votes("VOTERS=4 DIRECTORS=3 EPOCHS=2 LEASE=1 PROMPT"),
    votes("LIVENESS EPOCHS=2 LEASE=2 TAIL=1"),
    votes("LIVENESS EPOCHS=2 LEASE=1 RESTARTS=1 PROMPT"),
    votes("LIVENESS EPOCHS=2 LEASE=1 LOSSES=1 PROMPT"),
    votes("LIVENESS VOTERS=4 EPOCHS=2 LEASE=1"),
    pair("STOPS=1"),
    pair("STOPS=1 BUS_SILENT BOUND=2"),
    pair("STOPS=2 BOUND=4"),
    pair("STOPS=2 BUS_SILENT BOUND=4"),
    pair("STOPS=1 STRICT=1"),
    pair("STOPS=1 STRICT=1 BUS_SILENT"),
    pair("STOPS=2 STRICT=1 BOUND=4"),
    pair("STOPS=2 STRICT=1 BUS_SILENT BOUND=4"),
    pair("CUTS=3"),
    pair("CUTS=3 STRICT=1"),
)

MUTANTS: Final = (
    votes("MUTANT_NO_PROMISE EPOCHS=2 LEASE=3", violated=TWO_HOLD),
    votes("MUTANT_LEASE_FROM_RECEIPT EPOCHS=2 LEASE=1", violated=EPOCH_FELL),
    votes("MUTANT_EPOCH_NOT_KEPT EPOCHS=2 LEASE=1", violated=EPOCH_FELL),
    votes("MUTANT_NO_DRIFT_MARGIN EPOCHS=2 LEASE=1 DRIFT=1", violated=TWO_HOLD),
    votes("MUTANT_LAPSE_FREES_TAIL EPOCHS=2 LEASE=1 TAIL=1", violated=TWO_HOLD),
    votes("MUTANT_READS_THE_CLOCK_FIRST EPOCHS=2 LEASE=2", violated=TWO_HOLD),
    votes("MUTANT_STALE_NONE EPOCHS=2 LEASE=1 RESTARTS=1", violated=TWO_HOLD),
    votes("MUTANT_FREE_ON_NEW_INCARNATION EPOCHS=2 LEASE=1 RESTARTS=1", violated=TWO_HOLD),
    votes("MUTANT_FORGETFUL_VOTER EPOCHS=2 LEASE=1 RESTARTS=1", violated=EPOCH_FELL),
    votes("MUTANT_ASK_OVER_AN_UNKNOWN_LEASE EPOCHS=3 LEASE=1 RESTARTS=1 PROMPT", violated=TWO_HOLD),
    votes("MUTANT_VOTES_WITHOUT_DISK EPOCHS=2 LEASE=1 LOSSES=1", violated=TWO_HOLD),
    votes(
        "MUTANT_FORGETS_THAT_IT_FORGOT EPOCHS=2 LEASE=1 RESTARTS=1 LOSSES=1 PROMPT",
        violated=TWO_HOLD,
    ),
    votes("MUTANT_KEEPS_ASKING_TOO_LOW LIVENESS EPOCHS=2 LEASE=1", violated=NOBODY_HOLDS),
    pair("MUTANT_STRICT_WITHOUT_TAIL STOPS=1 STRICT=1 BUS_SILENT", violated=TOO_LONG),
    pair("MUTANT_RENEWS_BLINDLY STOPS=1 BUS_SILENT BOUND=2", violated=TOO_LONG),
    pair("MUTANT_CLAIMS_UNHEARD STOPS=1", violated=TOO_LONG),
    pair("MUTANT_NOBODY_YIELDS CUTS=3", violated=TOO_LONG),
)

TIGHT: Final = (
    pair("STOPS=1 BUS_SILENT BOUND=1", violated=TOO_LONG),
    pair("STOPS=2 BUS_SILENT BOUND=3", violated=TOO_LONG),
    pair("STOPS=2 STRICT=1", violated=TOO_LONG),
)
"""The written bounds are not wider than they must be: one tick less does not hold."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What spin said; ``violated``: the assertion that failed, None if all held."""

    states: int
    depth: int
    memory_mb: float
    time_s: float
    violated: str | None
    output: str


def search(wanted: Search, directory: Path) -> Result:
    """Search one model to its end, or to the first thing that goes wrong."""
    spin = shutil.which("spin") or str(UNPACKED)
    defines = [f"-D{constant}" for constant in wanted.constants.split()]
    _run([spin, *defines, "-a", str(HERE / f"{wanted.model}.pml")], directory)
    options = ["-DSAFETY", "-DNOREDUCE", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MAX_MB}"]
    _run(["gcc", "-O2", "-w", *options, "-o", "pan", "pan.c"], directory)
    output = _run(["./pan", f"-m{DEPTH_MAX}", "-w22"], directory, may_fail=True)
    found = {name: re.search(words, output) for name, words in WORDS.items()}
    assert all(found.values()), output
    number = {name: float(match.group(1)) for name, match in found.items() if match is not None}
    failed = re.search(r"assertion violated (.*) \(at depth", output)
    complete = "max search depth too small" not in output and "Search not completed" not in output
    assert complete or failed, output
    assert bool(number["errors"]) == bool(failed), output
    return Result(
        states=int(number["states"]),
        depth=int(number["depth"]),
        memory_mb=number["memory_mb"],
        time_s=number["time_s"],
        violated=failed.group(1) if failed else None,
        output=output,
    )


def _run(command: list[str], directory: Path, *, may_fail: bool = False) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SEARCH_MAX_S,
    )
    assert may_fail or done.returncode == 0, f"{command}:\n{done.stdout}"
    return done.stdout


Searches = dict[Search, Future[Result]]


@pytest.fixture(scope="module")
def searches(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Searches]:
    """Begin all searches that this run asks for: two at once, while the tests wait in turn."""
    chosen = [
        wanted
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == Path(__file__)
        for wanted in item.callspec.params.values()
        if isinstance(wanted, Search)
    ]
    with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as workers:
        yield {
            wanted: workers.submit(search, wanted, tmp_path_factory.mktemp("model"))
            for wanted in chosen
        }


Ask = Callable[[Search], Result]


@pytest.fixture
def ask(searches: Searches, capsys: pytest.CaptureFixture[str]) -> Ask:
    def wait(wanted: Search) -> Result:
        result = searches[wanted].result()
        with capsys.disabled():
            sys.stdout.write(
                f"\n  {wanted}: {result.states} states, depth {result.depth},"
                f" {result.memory_mb:.0f} MB, {result.time_s:.1f} s, violated: {result.violated} "
            )
        return result

    return wait


@pytest.mark.timeout(SEARCH_MAX_S)
@pytest.mark.parametrize("wanted", RULES, ids=str)
def test_the_rule_holds_in_every_state(wanted: Search, ask: Ask) -> None:
    result = ask(wanted)
    assert result.violated is None, result.output


@pytest.mark.timeout(SEARCH_MAX_S)
@pytest.mark.parametrize("wanted", MUTANTS, ids=str)
def test_the_model_sees_what_a_part_of_the_rule_is_for(wanted: Search, ask: Ask) -> None:
    result = ask(wanted)
    assert wanted.violated is not None
    assert wanted.violated in str(result.violated), result.output


@pytest.mark.timeout(SEARCH_MAX_S)
@pytest.mark.parametrize("wanted", TIGHT, ids=str)
def test_the_written_bound_is_tight(wanted: Search, ask: Ask) -> None:
    result = ask(wanted)
    assert wanted.violated is not None
    assert wanted.violated in str(result.violated), result.output
