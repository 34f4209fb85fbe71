"""What `heartbus simulate` says of a running pair, and what then really happens to it.

Real processes in network namespaces. The times of the play are those of a quiet machine: of the
real ones only what cannot come sooner is compared as a bound, and the rest with room.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.network import Lab, wait_until
from tests.lab.pairs import NAMES, HeartbusPair
from tests.system.fault import SLACK_S, Fault

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

HEARTBUS = Path(sys.prefix) / "bin" / "heartbus"


@pytest.fixture(scope="module")
def pair() -> Iterator[HeartbusPair]:
    with Lab() as lab, HeartbusPair(lab, "s", echo_period_s=0.01) as running:
        yield running


def ask(pair: HeartbusPair, on: str, *sentence: str) -> dict[str, Any]:
    words: list[str | Path] = [
        HEARTBUS,
        "simulate",
        *sentence,
        "--config",
        pair.configs[on],
        "--json",
        "--plays",
        "3",
    ]
    answer: dict[str, Any] = json.loads(pair.hosts[on].run(words).stdout)
    return answer


def test_another_deadtime_over_what_was_heard(pair: HeartbusPair) -> None:
    """A director that stops tells what it has heard; the other one keeps it."""
    active = pair.settle()
    standby = pair.other(active)
    pair.terminate(standby)
    assert pair.processes[standby].wait(timeout_s=30.0) == 0

    def told() -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = ask(pair, active, "set deadtime 5s over last hour")["parts"]
        return parts

    wait_until(lambda: bool(told()), timeout_s=20.0, what="the recorder has it")
    (way,) = told()
    assert way["title"] == f"{active} as {standby} would have seen it"
    assert way["heartbeats"] > 10
    assert 0.0 <= way["longest_s"] < 5.0
    assert way["deaths"] == 0
    pair.start(standby)
    pair.settle()


def test_it_begins_with_the_state_of_now_and_the_prediction_comes_true(pair: HeartbusPair) -> None:
    """The group is moved first, so that the play must not begin with the preferred director."""
    first = pair.settle()
    pair.hosts[first].run([HEARTBUS, "standby", "--node", first])
    fault = Fault(pair)
    active, standby = fault.active, fault.standby
    assert active == pair.other(first)

    for asked in NAMES:
        answer = ask(pair, asked, "kill", active)
        (group,) = answer["parts"][0]["groups"]
        assert group["holder_before"] == active
        assert group["holders_after"] == [[standby]]
        assert answer["remarks"] == []
    gap = group["without_holder_s"]
    stay = ask(pair, standby, "kill", "membership", "on", active)["parts"][0]["groups"][0]
    assert (stay["holders_after"], stay["moves"]["most"]) == ([[active]], 0)

    cut_s = time.monotonic()
    pair.links[active].cut()
    pair.signal_all(active, signal.SIGKILL)
    pair.client.wait_for_answer(after_s=cut_s + 0.05, timeout_s=5.0)
    silence = pair.client.silence(from_s=cut_s - 0.1, until_s=time.monotonic())
    took_s = silence.longest_s - silence.own_late_s
    assert gap["least"] - 0.05 < took_s < gap["most"] + SLACK_S
    assert pair.client.last_answer_s() is not None
