"""Services that are lost and gained: the table, the events, and the programs that are run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from heartbus.events import (
    Drain,
    Health,
    IpvsFailed,
    VirtualServiceGained,
    VirtualServiceLost,
)
from heartbus.model import ServicePolicy, StartPolicy, VirtualService
from heartbus_ipvs_agent.entries import DestinationKey
from heartbus_ipvs_agent.standing import CHILDREN_MAX
from tests.ipvs_agent.builders import destination, key, virtual_service
from tests.ipvs_agent.fake_table import FakeTable
from tests.ipvs_agent.test_operators import ask, of
from tests.ipvs_agent.test_service import Setting, reloaded, start

UP, DOWN, UNKNOWN = Health.UP, Health.DOWN, Health.UNKNOWN
A, B, C = destination(11), destination(12), destination(13)
S = DestinationKey("127.0.0.1", 80)


def service(*, quiescent: bool = False, **policy: object) -> VirtualService:
    wanted = virtual_service(1, 1, 1, quiescent=quiescent)
    return replace(wanted, policy=ServicePolicy(**policy))  # type: ignore[arg-type]


def test_below_the_quorum_the_sorry_server_answers_and_those_that_are_up_keep_their_entries(
    tmp_path: Path,
) -> None:
    wanted = service(quorum=2)
    setting = start(tmp_path, wanted)
    setting.says(UP, UP, DOWN, service=wanted)
    assert setting.destinations() == {A: 1, B: 1}
    setting.says(UP, DOWN, DOWN, service=wanted)
    assert setting.destinations() == {A: 0, S: 1}
    (service_state,) = setting.agent.state().services
    assert service_state.lost
    setting.says(UP, UP, DOWN, service=wanted)
    assert setting.destinations() == {A: 1, B: 1}
    told = [type(e) for e in setting.published() if "virtualservice" in e.kind]  # type: ignore[attr-defined]
    assert told == [VirtualServiceGained, VirtualServiceLost, VirtualServiceGained]


def test_every_step_of_a_loss_answers_clients(tmp_path: Path) -> None:
    wanted = service(quorum=3)
    setting = start(tmp_path, wanted)
    setting.says(UP, UP, UP, service=wanted)
    before = len(setting.table.attempted)
    setting.says(UP, UP, DOWN, service=wanted)
    actions = [str(action) for action in setting.table.attempted[before:]]
    assert actions == [
        "-a -t 192.168.7.110:80 -r 127.0.0.1:80 -g -w 1",
        "-e -t 192.168.7.110:80 -r 192.168.7.11:80 -g -w 0",
        "-e -t 192.168.7.110:80 -r 192.168.7.12:80 -g -w 0",
        "-d -t 192.168.7.110:80 -r 192.168.7.13:80",
    ]


def test_without_a_sorry_server_the_rest_goes_on_and_it_is_told(tmp_path: Path) -> None:
    wanted = replace(service(quorum=2), sorry_server=None)
    setting = start(tmp_path, wanted)
    setting.says(UP, UP, DOWN, service=wanted)
    setting.says(UP, DOWN, DOWN, service=wanted)
    assert setting.destinations() == {A: 1}
    (lost,) = of(setting, VirtualServiceLost)
    assert lost == VirtualServiceLost(virtual_service=wanted.name, weight=1, quorum=2, hysteresis=0)


def test_a_drained_server_counts_as_gone(tmp_path: Path) -> None:
    wanted = service(quorum=2)
    setting = start(tmp_path, wanted)
    setting.says(UP, UP, DOWN, service=wanted)
    assert ask(setting, Drain(server="192.168.7.11")).done
    assert setting.destinations() == {A: 0, B: 0, S: 1}


def test_a_restart_below_the_quorum_moves_and_tells_nothing(tmp_path: Path) -> None:
    wanted = service(quorum=2, quiescent=True)
    setting = start(tmp_path, wanted)
    setting.says(UP, UP, UP, service=wanted)
    setting.says(UP, DOWN, DOWN, service=wanted)
    table = FakeTable(setting.table.table)
    again = start(tmp_path, wanted, table=table)
    again.says(UP, DOWN, DOWN, service=wanted)
    assert table.attempted == []
    assert of(again, VirtualServiceLost) == []
    again.says(UP, UP, DOWN, service=wanted)
    assert len(of(again, VirtualServiceGained)) == 1


def test_hysteresis_keeps_a_service_that_swings(tmp_path: Path) -> None:
    wanted = service(quorum=2, hysteresis=1)
    setting = start(tmp_path, wanted)
    setting.says(UP, UP, UP, service=wanted)
    setting.says(UP, DOWN, DOWN, service=wanted)
    assert setting.destinations() == {A: 1}
    setting.says(DOWN, DOWN, DOWN, service=wanted)
    setting.says(UP, UP, DOWN, service=wanted)
    assert setting.destinations() == {A: 0, B: 0, S: 1}
    setting.says(UP, UP, UP, service=wanted)
    assert setting.destinations() == {A: 1, B: 1, C: 1}


def test_start_up_gives_traffic_before_the_first_check_and_never_on_a_reload(
    tmp_path: Path,
) -> None:
    wanted = service(start=StartPolicy.UP)
    setting = start(tmp_path, wanted)
    assert setting.destinations() == {A: 1, B: 1, C: 1}
    setting.says(UP, UP, DOWN, service=wanted)
    assert setting.destinations() == {A: 1, B: 1}
    again = start(tmp_path, wanted, table=setting.table)
    assert again.destinations() == {A: 1, B: 1}
    again.says(UP, UP, UNKNOWN, service=wanted)
    reloaded(again, replace(wanted, real_servers=virtual_service(1, 1, 1, 1).real_servers))
    assert again.destinations() == {A: 1, B: 1}


def test_start_down_gives_none_whatever_the_table_has(tmp_path: Path) -> None:
    setting = start(tmp_path, service())
    setting.says(UP, UP, DOWN, service=service())
    wanted = service(start=StartPolicy.DOWN)
    again = start(tmp_path, wanted, table=setting.table)
    assert again.destinations() == {S: 1}
    again.says(UP, UP, DOWN, service=wanted)
    assert again.destinations() == {A: 1, B: 1}


def test_a_stop_takes_out_what_is_to_leave_and_nothing_else(tmp_path: Path) -> None:
    leaving = service(cleanstop=True)
    staying = virtual_service(1, port=81)
    setting = start(tmp_path, leaving, staying)
    setting.agent.stop()
    assert set(setting.table.table.services) == {key(81)}


# --- programs ------------------------------------------------------------------------------------


def teller(path: Path) -> tuple[str, ...]:
    """Return a command that writes its arguments, slowly enough to be overtaken."""
    return ("/bin/sh", "-c", f'sleep 0.02; echo "$HEARTBUS_STATE $*" >> {path}', "tell")


@contextlib.asynccontextmanager
async def running(setting: Setting) -> AsyncIterator[None]:
    serving = asyncio.create_task(setting.agent.standings.serve())
    try:
        yield
        await setting.agent.standings.finish()
    finally:
        serving.cancel()


async def test_commands_are_run_strictly_in_order(tmp_path: Path) -> None:
    told = tmp_path / "told"
    wanted = service(
        quorum=2,
        fallback_command=teller(told),
        quorum_up=(*teller(told), "up"),
        quorum_down=(*teller(told), "down"),
    )
    setting = start(tmp_path, wanted)
    async with running(setting):
        setting.says(UP, UP, DOWN, service=wanted)
        setting.says(UP, DOWN, DOWN, service=wanted)
        setting.says(UP, UP, DOWN, service=wanted)
    assert told.read_text().splitlines() == [
        "gained up",
        "lost start 192.168.7.110:80 tcp",
        "lost down",
        "gained stop 192.168.7.110:80 tcp",
        "gained up",
    ]


async def test_a_stop_runs_what_belongs_to_it(tmp_path: Path) -> None:
    told = tmp_path / "told"
    wanted = service(
        cleanstop=True, fallback_command=teller(told), quorum_down=(*teller(told), "down")
    )
    setting = start(tmp_path, wanted)
    async with running(setting):
        setting.says(UP, UP, UP, service=wanted)
        setting.agent.stop()
    assert told.read_text() == "lost down\n"


async def test_the_fallback_that_is_there_at_a_stop_is_told_to_stop(tmp_path: Path) -> None:
    told = tmp_path / "told"
    wanted = service(cleanstop=True, fallback_command=teller(told))
    setting = start(tmp_path, wanted)
    async with running(setting):
        setting.says(DOWN, DOWN, DOWN, service=wanted)
        setting.agent.stop()
    assert [line.split()[1] for line in told.read_text().splitlines()] == ["start", "stop"]


async def test_a_command_that_fails_is_an_event_and_stops_nothing(tmp_path: Path) -> None:
    wanted = service(
        quorum_up=("/bin/sh", "-c", "echo no room; exit 3"), quorum_down=("/nowhere/x",)
    )
    setting = start(tmp_path, wanted)
    async with running(setting):
        setting.says(UP, UP, UP, service=wanted)
        setting.says(DOWN, DOWN, DOWN, service=wanted)
    assert of(setting, IpvsFailed) == [
        IpvsFailed(action=f"quorum_up of {wanted.name}", reason="exit code 3: no room"),
        IpvsFailed(
            action=f"quorum_down of {wanted.name}", reason="/nowhere/x: No such file or directory"
        ),
    ]


async def test_many_services_that_are_lost_together_start_few_programs_at_once(
    tmp_path: Path,
) -> None:
    counter = tmp_path / "running"
    counter.mkdir()
    script = (
        f"touch {counter}/$$; ls {counter} | wc -l >> {tmp_path}/seen; sleep 0.05; rm {counter}/$$"
    )
    services = [
        replace(
            virtual_service(1, port=port),
            policy=ServicePolicy(quorum_up=("/bin/sh", "-c", script)),
        )
        for port in range(100, 100 + 3 * CHILDREN_MAX)
    ]
    setting = start(tmp_path, *services)
    async with running(setting):
        for wanted in services:
            setting.says(UP, service=wanted)
    seen = [int(line) for line in (tmp_path / "seen").read_text().split()]
    assert len(seen) == len(services)
    assert max(seen) <= CHILDREN_MAX
