"""standby and takeover back and forth with real processes: no request stays without an answer.

Two directors in network namespaces; a client asks the VIP 200 times a second, by ICMP: what it sees
are the gaps. What connections see is in test_handover_traffic. Report of the gaps:
``build/reports/handover-echoes.json``. ``HEARTBUS_HANDOVERS`` sets how often the group moves (20).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartbus.events import GroupGranted, VipConflict, VipMoved
from tests.lab.classic import HEARTBUS
from tests.lab.network import Lab
from tests.lab.pairs import NAMES, HeartbusPair

pytestmark = [pytest.mark.netns, pytest.mark.timeout(600)]

PERIOD_S = 0.005
MOVES = int(os.environ.get("HEARTBUS_HANDOVERS", "20"))
REPORT = Path(__file__).parents[2] / "build" / "reports" / "handover-echoes.json"


@pytest.fixture(scope="module")
def pair() -> Iterator[HeartbusPair]:
    with Lab() as lab, HeartbusPair(lab, "m", echo_period_s=PERIOD_S) as started:
        yield started


def move(pair: HeartbusPair, number: int) -> dict[str, Any]:
    """Move the group once, by each command in turn; return what was seen of it from outside."""
    active = pair.settle()
    command, told = ("standby", active) if number % 2 == 0 else ("takeover", pair.other(active))
    begun_s = time.monotonic()
    done = pair.hosts[told].run([HEARTBUS, command, "--node", told, "--json"])
    pair.witness.wait_for([pair.hosts[pair.other(active)].name], timeout_s=5.0)
    pair.client.wait_for_answer(after_s=time.monotonic(), timeout_s=5.0)
    ended_s = time.monotonic()
    silence = pair.client.silence(from_s=begun_s, until_s=ended_s)
    outcome = json.loads(done.stdout)
    return {
        "command": command,
        "took_s": outcome["took_s"],
        "measured": outcome["details"],
        "gap_ms": silence.longest_s * 1000,
        "client_late_ms": silence.own_late_s * 1000,
        "unanswered": silence.unanswered,
        "on_two_ms": 1000 * pair.witness.on_two_s(since_s=begun_s, until_s=ended_s),
    }


def test_standby_and_takeover_back_and_forth_lose_no_request(pair: HeartbusPair) -> None:
    moves = [move(pair, number) for number in range(MOVES)]
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(moves, indent=1))
    assert [m for m in moves if m["unanswered"]] == []
    granted = [
        message.body.reason
        for observer in pair.observers.values()
        for message in observer.events
        if isinstance(message.body, GroupGranted)
    ]
    assert sum("hands it over" in reason for reason in granted) >= MOVES, granted
    assert not any("kept" in reason for reason in granted)
    assert max(m["on_two_ms"] for m in moves) < 1000.0
    assert all("both had it for" in "".join(m["measured"]) for m in moves), moves


def test_a_handover_is_measured_by_the_giver_and_is_no_conflict(pair: HeartbusPair) -> None:
    """After the moves of the test above; the witness looks every few milliseconds."""
    heard = [m.body for m in pair.observers[NAMES[0]].events]
    moved = [body for body in heard if isinstance(body, VipMoved)]
    assert len(moved) >= MOVES
    assert all(body.to == pair.other(body.director) for body in moved)
    assert all(body.gap_s == 0.0 < body.overlap_s < 1.0 for body in moved), moved
    assert [body for body in heard if isinstance(body, VipConflict)] == []
