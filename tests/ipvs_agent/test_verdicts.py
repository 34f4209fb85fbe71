from __future__ import annotations

from dataclasses import replace

from heartbus.events import (
    CheckerState,
    Health,
    RealServerDown,
    RealServerUp,
    RealServerWeight,
    Verdict,
)
from heartbus.model import RealServerName, VirtualServiceName
from heartbus_ipvs_agent.vantages import OWN_SILENT_S
from heartbus_ipvs_agent.verdicts import VerdictBook
from tests.ipvs_agent.builders import virtual_service

SERVICE = virtual_service(1, 1)
VS = SERVICE.name
R1, R2 = (real.name for real in SERVICE.real_servers)
UP, DOWN, UNKNOWN = Health.UP, Health.DOWN, Health.UNKNOWN
US = "linuxha1"
LONG_S = OWN_SILENT_S + 1.0


def book() -> VerdictBook:
    return VerdictBook([SERVICE], node=US, now_s=0.0)


def snapshot(*healths: Health, cause: str | None = None) -> CheckerState:
    return CheckerState(
        verdicts=tuple(
            Verdict(
                virtual_service=VS,
                real_server=real,
                health=health,
                reason="",
                since_s=0.0,
                cause=cause,
            )
            for real, health in zip((R1, R2), healths, strict=True)
        )
    )


def decided(
    verdicts: VerdictBook,
) -> dict[tuple[VirtualServiceName, RealServerName], Health]:
    return verdicts.decided


def test_what_changes_is_told_with_its_cause_and_only_once() -> None:
    verdicts = book()
    first = verdicts.snapshot_received(snapshot(UP, DOWN, cause="e1"), node=US, now_s=1.0)
    assert [(c.real_server, c.health, c.cause) for c in first] == [
        (R1, UP, "e1"),
        (R2, DOWN, "e1"),
    ]
    assert verdicts.snapshot_received(snapshot(UP, DOWN), node=US, now_s=2.0) == []


def test_unknown_changes_nothing() -> None:
    verdicts = book()
    verdicts.snapshot_received(snapshot(UP, DOWN), node=US, now_s=1.0)
    assert verdicts.snapshot_received(snapshot(UNKNOWN, UNKNOWN), node=US, now_s=2.0) == []
    assert decided(verdicts) == {(VS, R1): UP, (VS, R2): DOWN}


def test_an_event_counts_at_once_and_the_next_snapshot_is_the_truth() -> None:
    verdicts = book()
    event = RealServerDown(virtual_service=VS, real_server=R1, reason="refused")
    (change,) = verdicts.event_received(event, node=US, event_id="e7", now_s=1.0)
    assert (change.health, change.cause) == (DOWN, "e7")
    verdicts.snapshot_received(snapshot(UP, UP), node=US, now_s=2.0)
    assert decided(verdicts) == {(VS, R1): UP, (VS, R2): UP}


def test_real_servers_that_are_not_configured_are_ignored() -> None:
    verdicts = book()
    event = RealServerUp(virtual_service=VS, real_server="10.0.0.1:80", reason="")
    assert verdicts.event_received(event, node=US, event_id="e", now_s=1.0) == []
    assert decided(verdicts) == {}


def test_events_of_a_peer_do_not_count() -> None:
    verdicts = book()
    event = RealServerUp(virtual_service=VS, real_server=R1, reason="")
    assert verdicts.event_received(event, node="linuxha2", event_id="e", now_s=LONG_S) == []


def test_a_peer_counts_only_while_our_own_checker_is_silent() -> None:
    verdicts = book()
    verdicts.snapshot_received(snapshot(UP, UP), node=US, now_s=1.0)
    assert verdicts.snapshot_received(snapshot(DOWN, UP), node="linuxha2", now_s=2.0) == []
    peer = verdicts.snapshot_received(snapshot(DOWN, UP), node="linuxha2", now_s=1.0 + LONG_S)
    assert [(c.real_server, c.health) for c in peer] == [(R1, DOWN)]
    own = verdicts.snapshot_received(snapshot(UP, UP), node=US, now_s=2.0 + LONG_S)
    assert [(c.real_server, c.health) for c in own] == [(R1, UP)]
    assert verdicts.snapshot_received(snapshot(DOWN, UP), node="linuxha2", now_s=3.0 + LONG_S) == []


def test_two_peers_who_disagree_do_not_make_an_entry_flap() -> None:
    verdicts = book()
    now_s = LONG_S
    changes = []
    for _second in range(5):
        now_s += 1.0
        changes += verdicts.snapshot_received(snapshot(UP, UP), node="linuxha3", now_s=now_s)
        changes += verdicts.snapshot_received(snapshot(DOWN, UP), node="linuxha2", now_s=now_s)
    assert decided(verdicts)[VS, R1] is DOWN
    assert len([c for c in changes if c.real_server == R1]) <= 2


def test_an_outage_of_the_bus_is_not_silence_of_our_checker() -> None:
    verdicts = book()
    verdicts.snapshot_received(snapshot(UP, UP), node=US, now_s=1.0)
    verdicts.bus_found(now_s=3600.0)
    assert verdicts.snapshot_received(snapshot(DOWN, DOWN), node="linuxha2", now_s=3600.1) == []
    assert verdicts.snapshot_received(snapshot(DOWN, UP), node="linuxha2", now_s=3600 + LONG_S)


def test_a_weight_counts_with_the_verdict_and_by_itself() -> None:
    verdicts = book()
    up = RealServerUp(virtual_service=VS, real_server=R1, reason="", weight=2)
    assert len(verdicts.event_received(up, node=US, event_id="e", now_s=1.0)) == 1
    assert verdicts.weights == {(VS, R1): 2}
    more = RealServerWeight(virtual_service=VS, real_server=R1, weight=5, reason="")
    assert len(verdicts.event_received(more, node=US, event_id="f", now_s=1.0)) == 1
    assert verdicts.weights == {(VS, R1): 5}
    assert verdicts.event_received(more, node=US, event_id="g", now_s=1.0) == []
    full = RealServerWeight(virtual_service=VS, real_server=R1, weight=None, reason="")
    assert len(verdicts.event_received(full, node=US, event_id="h", now_s=1.0)) == 1
    assert verdicts.weights == {}
    assert decided(verdicts) == {(VS, R1): UP}


def test_a_suspect_checker_is_not_believed_and_its_peer_is() -> None:
    verdicts = book()
    verdicts.snapshot_received(snapshot(UP, UP), node=US, now_s=1.0)
    doubted = replace(snapshot(DOWN, DOWN), suspect="alone")
    assert verdicts.snapshot_received(doubted, node=US, now_s=2.0) == []
    down = RealServerDown(virtual_service=VS, real_server=R1, reason="")
    assert verdicts.event_received(down, node=US, event_id="e", now_s=2.0) == []
    assert verdicts.snapshot_received(doubted, node="linuxha2", now_s=2.1) == []
    peer = verdicts.snapshot_received(snapshot(UP, DOWN), node="linuxha2", now_s=2.2)
    assert [(c.real_server, c.health) for c in peer] == [(R2, DOWN)]
    own = verdicts.snapshot_received(snapshot(UP, UP), node=US, now_s=3.0)
    assert [(c.real_server, c.health) for c in own] == [(R2, UP)]
