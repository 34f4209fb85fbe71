"""Thousands of seeded scenarios; what a seed once found is kept in test_regressions.py."""

from __future__ import annotations

import sys

import pytest

from heartbus_simulator.cluster import GRANTS, REVOKES
from heartbus_simulator.faults import STEPS, Kind, parse_faults
from tests.simulation import campaign
from tests.simulation.draw import OF_OPERATORS
from tests.simulation.scenario import Scenario, from_seed, parse, play

SEEDS = 3000
PROCESSES = 2
FAULTS_MIN = 5


MUST_HAPPEN = (
    *(f"grant: {name}" for name in GRANTS.values() if name != "start tried again"),
    *(f"revoke: {name}" for name in REVOKES.values()),
    *("node.late", "node.dead", "node.left", "link.up", "link.down", "two holders"),
    *("datagrams lost", "datagrams delayed", "datagrams repeated", "dropped replayed"),
    *("own stall", "bus lost", "bus found", "bus answer", "bus silence"),
    *("start refused", "stop hung", "vip adopts an address"),
    *("start with a wrong clock", "start without epochs", "start refused by the disk"),
    *("epoch unwritten", "leases unwritten"),
    *(f"{kind} {step}" for kind in (Kind.CRASH_AT, Kind.DIE_AT) for step in STEPS),
)
"""Where each fault bites, each transition, and each step at which a process may end.

A start is tried again after half a minute at the earliest, longer than nearly all scenarios are:
test_rows.py waits for it.
"""


@pytest.mark.cores
@pytest.mark.timeout(600)
def test_every_invariant_holds_in_thousands_of_scenarios(
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary = campaign.run(first=0, seeds=SEEDS, processes=PROCESSES)
    with capsys.disabled():
        sys.stdout.write("\n".join(("", *summary.lines(), "")))
    assert not summary.failing, "\n".join(summary.failures())
    assert summary.scenarios == SEEDS
    missing = [what for what in MUST_HAPPEN if summary.counts[what] == 0]
    assert not missing, "what never happens is not tested"
    drawn = {kind for kind in Kind if summary.counts[f"fault {kind}"] > 0}
    assert drawn == set(Kind) - OF_OPERATORS, "each kind of fault is played"


def test_a_seed_gives_the_same_run_again() -> None:
    for seed in range(20):
        scenario = from_seed(seed)
        assert len(scenario.faults) >= FAULTS_MIN
        first, again = play(scenario), play(parse(str(scenario)))
        assert (first.steps, first.counts, first.story) == (again.steps, again.counts, again.story)


def test_the_text_form_is_the_scenario() -> None:
    for seed in range(200):
        scenario = from_seed(seed)
        assert parse(str(scenario)) == scenario
    assert parse_faults("  \n") == ()
    assert isinstance(parse("1 | pair-fast usual groups=1 links=1"), Scenario)
