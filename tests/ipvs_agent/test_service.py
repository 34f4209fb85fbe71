from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from heartbus.events import (
    CheckerState,
    Health,
    IpvsChanged,
    IpvsFailed,
    IpvsRepaired,
    IpvsState,
    RealServerDown,
    RealServerUp,
    Verdict,
)
from heartbus.log import logger
from heartbus.model import Scheduler, VirtualService
from heartbus.testing import ManualClock, MemoryBus, MemoryHub
from heartbus_ipvs_agent.applying import EVENT_ACTIONS_MAX
from heartbus_ipvs_agent.desired import service_key
from heartbus_ipvs_agent.entries import (
    Action,
    AddService,
    DestinationKey,
    EditDestination,
    RemoveDestination,
    Table,
    carried_out,
)
from heartbus_ipvs_agent.managed import FILE_NAME, ManagedServices
from heartbus_ipvs_agent.override_file import OverrideFile
from heartbus_ipvs_agent.service import (
    LARGE_LOOK_PERIOD_S,
    LOOK_PERIOD_S,
    IpvsAgent,
)
from heartbus_ipvs_agent.table import KernelTable, Outcome
from tests.ipvs_agent.builders import (
    cluster,
    destination,
    entry,
    gate,
    key,
    virtual_service,
)
from tests.ipvs_agent.fake_table import FakeTable
from tests.ipvs_agent.fake_whole import FakeWhole

US = "linuxha1"
UP, DOWN, UNKNOWN = Health.UP, Health.DOWN, Health.UNKNOWN
A, B = destination(11), destination(12)
S = DestinationKey("127.0.0.1", 80)
SERVICE = virtual_service(1, 1)


@dataclass(slots=True, kw_only=True)
class Setting:
    """An agent, the checker beside it, and what both touch."""

    hub: MemoryHub
    clock: ManualClock
    table: FakeTable
    checker: MemoryBus
    bus: MemoryBus
    agent: IpvsAgent
    whole: FakeWhole
    health: dict[tuple[str, str], Health]

    def turn(self) -> None:
        """Let the agent take in what has arrived."""
        messages = []
        while (message := self.agent.inbox.get_nowait()) is not None:
            messages.append(message)
        self.agent.messages_received(messages)

    def says(self, *healths: Health, service: VirtualService = SERVICE) -> None:
        """The checker publishes a snapshot, and the agent takes it in."""
        for real, health in zip(service.real_servers, healths, strict=True):
            self.health[service.name, real.name] = health
        self.checker.publish_state()
        self.turn()

    def destinations(self, port: int = 80) -> dict[DestinationKey, int]:
        there = self.table.table.services[key(port)].destinations
        return {d: settings.weight for d, settings in there.items()}

    def tamper(self, *actions: Action) -> None:
        """Somebody else changes the table."""
        self.table.table = carried_out(self.table.table, actions)

    def published(self) -> list[object]:
        return list(self.bus.published)


def start(
    tmp_path: Path,
    *services: VirtualService,
    table: FakeTable | None = None,
    kernel: KernelTable | None = None,
) -> Setting:
    clock = ManualClock()
    hub = MemoryHub()
    bus = hub.bus(node=US, service="ipvs-agent", clock=clock)
    checker = hub.bus(node=US, service="checker", clock=clock)
    fake, whole = table or FakeTable(), FakeWhole()
    agent = IpvsAgent(
        node=US,
        cluster=cluster(*(services or (SERVICE,))),
        bus=bus,
        table=kernel or fake,
        managed=ManagedServices(tmp_path),
        overrides=OverrideFile(tmp_path),
        whole=whole,
        clock=clock,
        log=logger(),
    )
    setting = Setting(
        hub=hub,
        clock=clock,
        table=fake,
        checker=checker,
        bus=bus,
        agent=agent,
        whole=whole,
        health={},
    )
    checker.serve_state(lambda: snapshot(setting.health))
    agent.start()
    return setting


def snapshot(health: dict[tuple[str, str], Health]) -> CheckerState:
    return CheckerState(
        verdicts=tuple(
            Verdict(virtual_service=vs, real_server=rs, health=h, reason="", since_s=0.0)
            for (vs, rs), h in health.items()
        )
    )


def test_a_cold_start_gives_traffic_to_the_sorry_server_only(tmp_path: Path) -> None:
    setting = start(tmp_path)
    assert setting.destinations() == {A: 0, B: 0, S: 1}
    (changed,) = setting.published()
    assert isinstance(changed, IpvsChanged)
    assert changed.actions[:2] == (
        "-A -t 192.168.7.110:80 -s wrr",
        "-a -t 192.168.7.110:80 -r 127.0.0.1:80 -g -w 1",
    )


def test_verdicts_are_carried_out_without_reading_the_kernel(tmp_path: Path) -> None:
    setting = start(tmp_path)
    dumps = setting.table.dumps
    setting.says(UP, UP)
    assert setting.destinations() == {A: 1, B: 1}
    setting.says(UP, DOWN)
    assert setting.destinations() == {A: 1, B: 0}
    setting.says(DOWN, DOWN)
    assert setting.destinations() == {A: 0, B: 0, S: 1}
    assert setting.table.dumps == dumps


def test_an_event_is_carried_out_at_once_and_named_as_the_cause(tmp_path: Path) -> None:
    setting = start(tmp_path)
    setting.says(UP, UP)
    event = setting.checker.publish(
        RealServerDown(virtual_service=SERVICE.name, real_server="192.168.7.11:80", reason="x")
    )
    setting.turn()
    assert setting.destinations() == {A: 0, B: 1}
    changed = setting.hub.messages[-2]
    assert isinstance(changed.body, IpvsChanged)
    assert changed.body.actions == ("-e -t 192.168.7.110:80 -r 192.168.7.11:80 -g -w 0",)
    assert changed.envelope.cause == event


def reloaded(setting: Setting, *services: VirtualService) -> None:
    setting.agent.take_up(cluster(*services))


def test_the_same_services_read_anew_change_nothing(tmp_path: Path) -> None:
    setting = start(tmp_path)
    setting.says(UP, DOWN)
    dumps, attempts = setting.table.dumps, len(setting.table.attempted)
    reloaded(setting, dataclasses.replace(SERVICE))
    assert (setting.table.dumps, len(setting.table.attempted)) == (dumps, attempts)


def test_a_reload_gives_no_traffic_to_servers_that_are_down_or_new(tmp_path: Path) -> None:
    """L-3: ldirectord puts quiesced servers back to full weight for a moment."""
    two, three = SERVICE, virtual_service(1, 1, 1)
    setting = start(tmp_path, two)
    setting.says(UP, DOWN)
    before = len(setting.table.attempted)
    reloaded(setting, three)
    assert setting.destinations() == {A: 1, B: 0, destination(13): 0}
    touched = [str(action) for action in setting.table.attempted[before:]]
    assert touched == ["-a -t 192.168.7.110:80 -r 192.168.7.13:80 -g -w 0"]
    setting.says(UP, DOWN, UP, service=three)
    assert setting.destinations()[destination(13)] == 1
    reloaded(setting, two)
    assert setting.destinations() == {A: 1, B: 0}


def test_a_dry_run_says_what_a_reload_then_does(tmp_path: Path) -> None:
    setting = start(tmp_path, SERVICE)
    setting.says(UP, UP)
    other = virtual_service(1, port=81)
    three = virtual_service(5, 5, 7)
    before = setting.table.table
    setting.bus.published.clear()
    for services in ((SERVICE,), (three,), (SERVICE, other), (other,), ()):
        read = cluster(*services)
        said = setting.agent.dry_run(read)
        assert setting.table.table == before
        assert setting.agent.dry_run(read) == said
        setting.agent.take_up(read)
        told = [e for e in setting.bus.published if isinstance(e, IpvsChanged)]
        done = [action for event in told for action in event.actions]
        assert list(said) == done
        setting.bus.published.clear()
        before = setting.table.table


def test_a_reload_removes_services_that_are_configured_no_more(tmp_path: Path) -> None:
    other = virtual_service(1, port=81)
    setting = start(tmp_path, SERVICE, other)
    setting.says(UP, UP)
    reloaded(setting, SERVICE)
    assert list(setting.table.table.services) == [key(80)]
    assert setting.destinations() == {A: 1, B: 1}
    reloaded(setting, SERVICE, other)
    assert set(setting.table.table.services) == {key(80), key(81)}


def test_a_weight_that_is_read_anew_is_set_for_servers_that_are_up(tmp_path: Path) -> None:
    setting = start(tmp_path)
    setting.says(UP, DOWN)
    reloaded(setting, virtual_service(5, 5))
    assert setting.destinations() == {A: 5, B: 0}


def test_many_verdicts_at_once_are_one_change(tmp_path: Path) -> None:
    setting = start(tmp_path)
    for real in SERVICE.real_servers:
        setting.checker.publish(
            RealServerUp(virtual_service=SERVICE.name, real_server=real.name, reason="")
        )
    setting.turn()
    assert len(setting.published()) == 2
    assert setting.destinations() == {A: 1, B: 1}


def test_repeated_and_unknown_verdicts_change_nothing(tmp_path: Path) -> None:
    setting = start(tmp_path)
    setting.says(UP, DOWN)
    before, attempts = setting.published(), len(setting.table.attempted)
    setting.says(UP, DOWN)
    setting.says(UNKNOWN, UNKNOWN)
    setting.agent.look()
    assert setting.published() == before
    assert len(setting.table.attempted) == attempts


def test_a_restart_adopts_what_is_there(tmp_path: Path) -> None:
    first = start(tmp_path)
    first.says(UP, DOWN)
    second = start(tmp_path, table=FakeTable(first.table.table))
    assert second.table.attempted == []
    assert second.published() == []
    second.says(UP, DOWN)
    assert second.table.attempted == []


def test_what_somebody_else_changed_is_repaired_and_told(tmp_path: Path) -> None:
    setting = start(tmp_path)
    setting.says(UP, UP)
    setting.tamper(
        EditDestination(service=key(), destination=A, settings=gate(9)),
        RemoveDestination(service=key(), destination=B),
    )
    setting.agent.look()
    assert setting.destinations() == {A: 1, B: 1}
    repaired = setting.published()[-1]
    assert isinstance(repaired, IpvsRepaired)
    assert repaired.actions == (
        "-a -t 192.168.7.110:80 -r 192.168.7.12:80 -g -w 1",
        "-e -t 192.168.7.110:80 -r 192.168.7.11:80 -g -w 1",
    )
    assert setting.agent.state().repairs == 1
    setting.agent.look()
    assert setting.published()[-1] is repaired


def test_a_verdict_on_a_table_that_somebody_changed_is_carried_out_all_the_same(
    tmp_path: Path,
) -> None:
    setting = start(tmp_path)
    setting.says(UP, UP)
    setting.tamper(RemoveDestination(service=key(), destination=A))
    setting.says(DOWN, UP)
    assert setting.destinations() == {A: 0, B: 1}
    assert not any(isinstance(e, IpvsFailed) for e in setting.published())


def test_foreign_services_stay_and_are_not_told(tmp_path: Path) -> None:
    foreign = entry({destination(99): gate(1)})
    setting = start(tmp_path, table=FakeTable(Table(services={key(1): foreign})))
    setting.says(UP, UP)
    setting.agent.look()
    assert setting.table.table.services[key(1)] == foreign
    assert [s.virtual_service for s in setting.agent.state().services] == [SERVICE.name]


def test_foreign_services_leave_where_that_is_configured(tmp_path: Path) -> None:
    setting = start(tmp_path, table=FakeTable(Table(services={key(1): entry({})})))
    removing = dataclasses.replace(
        cluster(SERVICE), ipvs=dataclasses.replace(cluster().ipvs, remove_foreign=True)
    )
    assert setting.agent.dry_run(removing) == ("-D -t 192.168.7.110:1",)
    setting.agent.take_up(removing)
    setting.agent.look()
    assert set(setting.table.table.services) == {key()}
    setting.tamper(AddService(service=key(2), settings=entry({}).settings))
    setting.agent.look()
    repaired = setting.published()[-1]
    assert repaired == IpvsRepaired(actions=("-D -t 192.168.7.110:2",), took_s=0.0)


def test_a_service_that_left_the_configuration_is_removed_because_it_was_ours(
    tmp_path: Path,
) -> None:
    old = virtual_service(1, port=81)
    first = start(tmp_path, SERVICE, old)
    foreign = Table(services={**first.table.table.services, key(1): entry({})})
    second = start(tmp_path, SERVICE, table=FakeTable(foreign))
    assert set(second.table.table.services) == {key(), key(1)}
    second.agent.look()
    third = start(tmp_path, SERVICE, table=FakeTable(foreign))
    assert key(81) in third.table.table.services, "crossed out: not ours any more"


def test_a_service_is_written_down_before_it_is_added(tmp_path: Path) -> None:
    class KilledAtFirstAction(FakeTable):
        def apply(self, actions: Sequence[Action]) -> tuple[Outcome, ...]:
            raise KeyboardInterrupt(str(actions[0]))

    with pytest.raises(KeyboardInterrupt, match="-A -t"):
        start(tmp_path, table=KilledAtFirstAction())
    assert ManagedServices(tmp_path).read() == {service_key(SERVICE)}


def test_an_unusable_managed_file_removes_nothing_and_is_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    start(tmp_path, table=FakeTable(Table(services={key(81): entry({})})))
    assert json.loads((tmp_path / FILE_NAME).read_text())["schema"] == 1


def test_a_refusal_is_told_once_and_tried_again(tmp_path: Path) -> None:
    table = FakeTable()
    table.schedulers = frozenset(("wrr",))
    bad = VirtualService(
        protocol=SERVICE.protocol,
        endpoint=virtual_service(port=81).endpoint,
        scheduler=Scheduler.MH,
        real_servers=SERVICE.real_servers,
    )
    setting = start(tmp_path, SERVICE, bad, table=table)
    assert setting.destinations() == {A: 0, B: 0, S: 1}, "the rest is carried out"
    for _second in range(12):
        setting.clock.advance(1.0)
        setting.agent.look()
    failed = [e for e in setting.published() if isinstance(e, IpvsFailed)]
    assert failed == [
        IpvsFailed(
            action="-A -t 192.168.7.110:81 -s mh",
            reason="the kernel has no scheduler 'mh': load its module ip_vs_mh",
        )
    ]
    assert setting.agent.state().failures == (f"{failed[0].action}: {failed[0].reason}",)
    assert 3 <= sum(str(a).startswith("-A -t 192.168.7.110:81") for a in table.attempted) <= 4

    table.schedulers = frozenset(("wrr", "mh"))
    setting.clock.advance(6.0)
    setting.agent.look()
    assert key(81) in table.table.services
    assert setting.agent.state().failures == ()
    assert isinstance(setting.published()[-1], IpvsChanged), "nobody else did anything"


def test_a_table_that_cannot_be_read_is_told_once_and_found_again(tmp_path: Path) -> None:
    setting = start(tmp_path)
    setting.table.broken = "no answer"
    for _second in range(3):
        setting.agent.look()
    setting.says(UP, UP)
    failed = [e for e in setting.published() if isinstance(e, IpvsFailed)]
    assert [f.reason for f in failed] == ["no answer"]
    assert setting.agent.state().failures == ("no answer",)
    setting.table.broken = None
    setting.agent.look()
    assert setting.destinations() == {A: 1, B: 1}
    assert setting.agent.state().failures == ()


def test_while_the_bus_is_gone_the_table_is_still_repaired(tmp_path: Path) -> None:
    setting = start(tmp_path)
    setting.says(UP, UP)
    setting.bus.disconnect()
    setting.tamper(RemoveDestination(service=key(), destination=A))
    setting.clock.advance(3600.0)
    setting.agent.look()
    assert setting.destinations() == {A: 1, B: 1}


def test_only_a_checker_is_believed(tmp_path: Path) -> None:
    setting = start(tmp_path)
    other = setting.hub.bus(node=US, service="console", clock=setting.clock)
    other.publish(
        RealServerUp(virtual_service=SERVICE.name, real_server="192.168.7.11:80", reason="")
    )
    setting.turn()
    assert setting.destinations()[A] == 0


def test_what_one_event_lists_is_bounded(tmp_path: Path) -> None:
    setting = start(tmp_path, virtual_service(*[1] * 240))
    (changed,) = setting.published()
    assert isinstance(changed, IpvsChanged)
    assert len(changed.actions) == EVENT_ACTIONS_MAX + 1
    assert changed.actions[-1] == "... 242 in all"


def test_a_large_table_is_read_less_often(tmp_path: Path) -> None:
    assert start(tmp_path).agent.look_period_s == LOOK_PERIOD_S
    services = [virtual_service(*[1] * 200, port=port) for port in (80, 81, 82)]
    assert start(tmp_path, *services).agent.look_period_s == LARGE_LOOK_PERIOD_S


def test_the_snapshot_says_what_the_kernel_holds(tmp_path: Path) -> None:
    setting = start(tmp_path)
    setting.says(UP, DOWN)
    state = setting.hub.messages[-1].body
    assert isinstance(state, IpvsState)
    assert [(r.real_server, r.weight) for r in state.services[0].real_servers] == [
        ("192.168.7.11:80", 1),
        ("192.168.7.12:80", 0),
    ]


# --- the kernel's table --------------------------------------------------------------------------


@pytest.mark.ipvs
def test_the_classic_service_lives_through_its_day_in_the_kernel(
    kernel_table: KernelTable, tmp_path: Path
) -> None:
    """As ipvsadm sees it: start, all up, one down, all down, tampered with, restart, back."""
    setting = start(tmp_path, kernel=kernel_table)
    assert rules() == ["127.0.0.1:80 -g -w 1", "192.168.7.11:80 -g -w 0", "192.168.7.12:80 -g -w 0"]
    setting.says(UP, UP)
    assert rules() == ["192.168.7.11:80 -g -w 1", "192.168.7.12:80 -g -w 1"]
    setting.says(UP, DOWN)
    assert rules() == ["192.168.7.11:80 -g -w 1", "192.168.7.12:80 -g -w 0"]
    setting.says(DOWN, DOWN)
    sorry = rules()
    assert sorry == ["127.0.0.1:80 -g -w 1", "192.168.7.11:80 -g -w 0", "192.168.7.12:80 -g -w 0"]

    words = "-e -t 192.168.7.110:80 -r 192.168.7.11:80 -g -w 7"
    subprocess.run(["ipvsadm", *words.split()], check=True)
    setting.agent.look()
    assert rules() == sorry
    assert isinstance(setting.bus.published[-1], IpvsRepaired)

    again = start(tmp_path, kernel=kernel_table)
    assert again.bus.published == []
    assert rules() == sorry
    again.says(DOWN, UP)
    assert rules() == ["192.168.7.11:80 -g -w 0", "192.168.7.12:80 -g -w 1"]


def rules() -> list[str]:
    lines = subprocess.run(
        ["ipvsadm", "-Sn"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert lines.pop(0).strip() == "-A -t 192.168.7.110:80 -s wrr"
    return sorted(line.strip().removeprefix("-a -t 192.168.7.110:80 -r ") for line in lines)
