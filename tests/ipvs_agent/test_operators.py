"""What an operator wants of a real server is so on every director, and stays so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from heartbus.events import (
    CommandOutcome,
    Disable,
    Drain,
    Enable,
    Health,
    IpvsOverrides,
    Maintain,
    OverrideCommand,
    RealServerDrained,
    RealServerDraining,
    SetWeight,
)
from heartbus_ipvs_agent import override_file
from heartbus_ipvs_agent.entries import Connections
from heartbus_ipvs_agent.override_file import FILE_NAME
from tests.ipvs_agent.builders import destination, key, virtual_service
from tests.ipvs_agent.fake_table import FakeTable
from tests.ipvs_agent.test_service import Setting, start

UP, DOWN = Health.UP, Health.DOWN
A, B = destination(11), destination(12)
HOST = "192.168.7.11"
PLAIN = virtual_service(5, 5, quiescent=False)


def ask(setting: Setting, command: OverrideCommand) -> CommandOutcome:
    return asyncio.run(setting.bus.command(command, timeout_s=1.0))


def of(setting: Setting, kind: type) -> list[object]:
    return [event for event in setting.published() if isinstance(event, kind)]


def running(tmp_path: Path, table: FakeTable | None = None) -> Setting:
    setting = start(tmp_path, PLAIN, table=table)
    setting.says(UP, UP, service=PLAIN)
    return setting


def test_a_draining_server_keeps_its_entry_until_its_last_connection_is_gone(
    tmp_path: Path,
) -> None:
    setting = running(tmp_path)
    setting.table.counters[key(), A] = Connections(active=2, inactive=9, persistent=1)
    assert ask(setting, Drain(server=HOST)).done
    assert setting.destinations() == {A: 0, B: 5}
    assert len(of(setting, RealServerDraining)) == 1
    for left in (Connections(2, 9, 1), Connections(0, 9, 1), Connections(1, 9, 0)):
        setting.table.counters[key(), A] = left
        setting.agent.look()
        assert of(setting, RealServerDrained) == []
    setting.table.counters[key(), A] = Connections(active=0, inactive=9)
    for _ in range(3):
        setting.agent.look()
    assert len(of(setting, RealServerDrained)) == 1
    assert setting.destinations() == {A: 0, B: 5}
    (service,) = setting.agent.state().services
    assert [(s.override, s.drained) for s in service.real_servers] == [("drain", True), ("", False)]


def test_at_its_deadline_a_server_leaves_with_what_is_left(tmp_path: Path) -> None:
    setting = running(tmp_path)
    setting.table.counters[key(), A] = Connections(active=2, inactive=0)
    ask(setting, Drain(server=HOST, deadline_s=10))
    setting.clock.advance(9)
    setting.agent.look()
    assert setting.destinations() == {A: 0, B: 5}
    setting.clock.advance(1)
    setting.agent.look()
    assert setting.destinations() == {B: 5}
    (drained,) = of(setting, RealServerDrained)
    assert isinstance(drained, RealServerDrained)
    assert drained.cut == 2
    ask(setting, Enable(server=HOST))
    assert setting.destinations() == {B: 5, A: 5}


def test_a_draining_server_that_fails_is_treated_as_any_that_fails(tmp_path: Path) -> None:
    setting = running(tmp_path)
    ask(setting, Drain(server=HOST))
    setting.says(DOWN, UP, service=PLAIN)
    assert setting.destinations() == {B: 5}
    setting.says(UP, UP, service=PLAIN)
    assert setting.destinations() == {B: 5, A: 0}


def test_disabled_weighted_and_enabled(tmp_path: Path) -> None:
    setting = running(tmp_path)
    ask(setting, Disable(server=HOST))
    assert setting.destinations() == {B: 5}
    ask(setting, SetWeight(server=HOST, weight=50))
    assert setting.destinations() == {B: 5, A: 50}
    setting.says(DOWN, UP, service=PLAIN)
    assert setting.destinations() == {B: 5}
    setting.says(UP, UP, service=PLAIN)
    assert setting.destinations() == {B: 5, A: 50}
    ask(setting, Enable(server=HOST))
    assert setting.destinations() == {B: 5, A: 5}


def test_in_maintenance_a_server_is_as_if_it_had_failed_until_it_is_enabled(tmp_path: Path) -> None:
    setting = running(tmp_path)
    assert ask(setting, Maintain(server=HOST)).message == (
        f"linuxha1: {HOST} is in maintenance (1 entry)"
    )
    assert setting.destinations() == {B: 5}
    setting.says(DOWN, UP, service=PLAIN)
    setting.says(UP, UP, service=PLAIN)
    assert setting.destinations() == {B: 5}
    again = start(tmp_path, PLAIN, table=setting.table)
    again.says(UP, UP, service=PLAIN)
    again.agent.look()
    assert again.destinations() == {B: 5}
    ask(again, Enable(server=HOST))
    assert again.destinations() == {B: 5, A: 5}


def test_in_maintenance_a_server_of_a_quiescent_service_keeps_its_entry(tmp_path: Path) -> None:
    setting = start(tmp_path, virtual_service(5, 5, quiescent=True))
    setting.says(UP, UP, service=virtual_service(5, 5, quiescent=True))
    ask(setting, Maintain(server=HOST))
    assert setting.destinations() == {A: 0, B: 5}
    (service,) = setting.agent.state().services
    assert [s.override for s in service.real_servers] == ["maintenance", ""]


def test_when_all_drain_the_sorry_server_answers(tmp_path: Path) -> None:
    setting = running(tmp_path)
    ask(setting, Drain(server=HOST))
    ask(setting, Drain(server="192.168.7.12"))
    weights = {d.address: w for d, w in setting.destinations().items()}
    assert weights == {HOST: 0, "192.168.7.12": 0, "127.0.0.1": 1}


def test_it_outlives_a_restart(tmp_path: Path) -> None:
    setting = running(tmp_path)
    ask(setting, Drain(server=HOST))
    setting.agent.look()
    assert len(of(setting, RealServerDrained)) == 1
    again = start(tmp_path, PLAIN, table=setting.table)
    again.says(UP, UP, service=PLAIN)
    again.agent.look()
    assert again.destinations() == {A: 0, B: 5}
    assert of(again, RealServerDrained) == []


def test_a_deadline_that_came_while_nobody_ran_is_kept(tmp_path: Path) -> None:
    setting = running(tmp_path)
    setting.table.counters[key(), A] = Connections(active=2, inactive=0)
    ask(setting, Drain(server=HOST, deadline_s=10))
    again = start(tmp_path, PLAIN, table=setting.table)
    again.clock.advance(11)
    again.says(UP, UP, service=PLAIN)
    again.agent.look()
    assert again.destinations() == {B: 5}
    assert len(of(again, RealServerDrained)) == 1


def test_a_deadline_goes_on_where_it_was_after_another_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = running(tmp_path)
    setting.table.counters[key(), A] = Connections(active=2, inactive=0)
    ask(setting, Drain(server=HOST, deadline_s=10))
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("another\n")
    monkeypatch.setattr(override_file, "BOOT_ID", boot_id)
    again = start(tmp_path, PLAIN, table=setting.table)
    again.clock.now_s = 3.0  # begins anew with each boot
    again.agent.look()
    assert again.destinations()[A] == 0
    again.clock.now_s = 1011.0
    again.agent.look()
    assert again.destinations() == {B: 5}


def test_a_peer_that_was_away_learns_it_and_outlives_a_restart_too(tmp_path: Path) -> None:
    setting = running(tmp_path)
    ask(setting, Drain(server=HOST))
    (tmp_path / "peer").mkdir()
    peer = start(tmp_path / "peer", PLAIN)
    peer.says(UP, UP, service=PLAIN)
    assert peer.destinations() == {A: 5, B: 5}
    (told,) = of(setting, IpvsOverrides)
    assert isinstance(told, IpvsOverrides)
    other = peer.hub.bus(node="linuxha2", service="ipvs-agent", clock=peer.clock)
    other.publish(told)
    peer.turn()
    assert peer.destinations() == {A: 0, B: 5}
    again = start(tmp_path / "peer", PLAIN, table=peer.table)
    again.says(UP, UP, service=PLAIN)
    assert again.destinations() == {A: 0, B: 5}


def test_only_a_peers_agent_is_believed(tmp_path: Path) -> None:
    setting = running(tmp_path)
    (tmp_path / "donor").mkdir()
    donor = running(tmp_path / "donor")
    ask(donor, Drain(server=HOST))
    (told,) = of(donor, IpvsOverrides)
    assert isinstance(told, IpvsOverrides)
    setting.hub.bus(node="linuxha2", service="checker", clock=setting.clock).publish(told)
    setting.turn()
    assert setting.destinations() == {A: 5, B: 5}


def test_an_unreadable_file_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"schema": 1, "overrides": 7}')
    setting = running(tmp_path)
    assert setting.destinations() == {A: 5, B: 5}
    assert ask(setting, Drain(server=HOST)).done


def test_an_unknown_server_is_refused(tmp_path: Path) -> None:
    outcome = ask(running(tmp_path), Drain(server="10.9.9.9"))
    assert not outcome.done
    assert outcome.message.startswith("refused: 10.9.9.9 is no real server; allowed is 192")
