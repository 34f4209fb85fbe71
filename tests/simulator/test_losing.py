"""What becomes of a lost real server: when its verdict falls, and what the tables are then."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.events import (
    CheckerState,
    Health,
    IpvsState,
    TableRealServer,
    TableService,
    Verdict,
)
from heartbus_simulator.losing import Loss, Lost, Seen, lose
from tests.simulator.clusters import ONE, PAIR, TWO, cluster

SERVICE = "tcp:192.0.2.100:80"
RS1, RS2 = "192.0.2.11:80", "192.0.2.12:80"
INTERVAL_S, TIMEOUT_S, FALL = 2.0, 1.0, 2
BOTH = {ONE: Seen(), TWO: Seen()}


def lost(
    directory: Path,
    *servers: str,
    loss: Loss = Loss.REFUSES,
    text: str = PAIR,
    seed: int = 0,
    for_s: float = float("inf"),
    seen: dict[str, Seen] | None = None,
) -> Lost:
    found = cluster(directory, text)
    return lose(found, seen or BOTH, servers, loss=loss, seed=seed, for_s=for_s)


def when(played: Lost, director: str, words: str) -> float:
    """Return when a director first said something with these words."""
    return next(h.at_s for h in played.happenings if h.director == director and words in h.text)


@pytest.mark.parametrize("seed", range(5))
def test_the_verdict_falls_with_the_last_of_the_failures_in_a_row(
    tmp_path: Path, seed: int
) -> None:
    refused = lost(tmp_path, RS1, seed=seed)
    silent = lost(tmp_path, RS1, loss=Loss.SILENT, seed=seed)
    slot_s = INTERVAL_S * 0.05
    for name in (ONE, TWO):
        down_s = when(refused, name, f"{RS1} of {SERVICE} is down: connection refused")
        assert (FALL - 1) * INTERVAL_S - slot_s < down_s < FALL * INTERVAL_S + slot_s
        later_s = when(silent, name, "is down: no answer within 1 s (2 in a row)") - down_s
        assert later_s == pytest.approx(TIMEOUT_S, abs=slot_s)
        # By the event, not by the snapshot that comes within a second.
        assert 0.0 <= when(refused, name, f"-r {RS1}") - down_s < 0.01
    assert refused.left == {SERVICE: (RS2,)}


def test_with_all_lost_the_sorry_server_comes_first(tmp_path: Path) -> None:
    played = lost(tmp_path, "192.0.2.11", RS2)
    assert played.left == {SERVICE: ("the sorry server",)}
    actions = [h.text for h in played.happenings if h.director == ONE and h.text.startswith("-")]
    sorry = next(n for n, a in enumerate(actions) if "127.0.0.1:80" in a and a.startswith("-a"))
    assert sorry < len(actions) - 1  # then the last one leaves


def test_it_comes_back_after_the_time_that_was_said(tmp_path: Path) -> None:
    played = lost(tmp_path, RS1, for_s=20.0)
    up_s = when(played, ONE, f"{RS1} of {SERVICE} is up")
    assert 20.0 < up_s < 20.0 + 2 * INTERVAL_S
    assert set(played.left[SERVICE]) == {RS1, RS2}


def test_a_blip_shorter_than_the_failures_in_a_row_is_nothing(tmp_path: Path) -> None:
    assert lost(tmp_path, RS1, for_s=INTERVAL_S).happenings == ()


def test_what_is_not_checked_is_not_noticed(tmp_path: Path) -> None:
    text = PAIR.replace('type = "connect"', 'type = "on"')
    played = lost(tmp_path, RS1, text=text)
    assert played.happenings == ()
    assert played.unchecked == (RS1,)
    assert set(played.left[SERVICE]) == {RS1, RS2}


def test_it_begins_with_what_is_down_and_drained_now(tmp_path: Path) -> None:
    def verdict(server: str, health: Health) -> Verdict:
        return Verdict(
            virtual_service=SERVICE, real_server=server, health=health, reason="", since_s=0.0
        )

    def entry(server: str, weight: int, override: str = "") -> TableRealServer:
        return TableRealServer(
            real_server=server,
            forwarding="gate",
            weight=weight,
            active_connections=0,
            inactive_connections=0,
            override=override,
        )

    def seen(health: Health, entries: tuple[TableRealServer, ...]) -> dict[str, Seen]:
        service = TableService(virtual_service=SERVICE, scheduler="wrr", real_servers=entries)
        one = Seen(
            checker=CheckerState(verdicts=(verdict(RS1, Health.UP), verdict(RS2, health))),
            table=IpvsState(services=(service,), digest=""),
        )
        return {ONE: one}

    down = lost(tmp_path, RS1, seen=seen(Health.DOWN, (entry(RS1, 1),)))
    # The other real server is up again in the play: nothing keeps it down.
    assert down.left[SERVICE] == (RS2,)
    drained = lost(
        tmp_path, RS1, seen=seen(Health.UP, (entry(RS1, 1), entry(RS2, 0, override="drain")))
    )
    assert drained.left[SERVICE] == ("the sorry server",)
