"""From any table, and from any point of a plan at which the agent died, the kernel's converges."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from heartbus.events import Health
from heartbus.model import ForwardingMethod, RealServer, Scheduler, VirtualService
from heartbus_ipvs_agent.desired import wanted_table
from heartbus_ipvs_agent.entries import (
    Action,
    AddDestination,
    AddService,
    DestinationKey,
    ServiceEntry,
    ServiceKey,
    Table,
)
from heartbus_ipvs_agent.plan import plan
from heartbus_ipvs_agent.table import KernelTable, Outcome
from tests.ipvs_agent.builders import (
    VIP,
    cluster,
    destination,
    entry,
    gate,
    key,
    reals,
    tables,
    virtual_service,
)
from tests.ipvs_agent.test_service import Setting, start

OURS = [key(port) for port in (80, 81)]
FOREIGN = key(99)
UP, DOWN = Health.UP, Health.DOWN
QUICK = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
    phases=[Phase.generate],
    derandomize=True,
)


def restore(table: Table) -> None:
    """Make the kernel's table this one, with ipvsadm."""
    lines: list[Action] = []
    for service, whole in table.services.items():
        lines.append(AddService(service=service, settings=whole.settings))
        lines += (
            AddDestination(service=service, destination=to, settings=how)
            for to, how in whole.destinations.items()
        )
    subprocess.run(["ipvsadm", "--clear"], check=True)
    if lines:
        text = "".join(f"{line}\n" for line in lines)
        subprocess.run(["ipvsadm", "--restore"], input=text, text=True, check=True)


def killed_after(actions: Sequence[Action]) -> None:
    """Carry out actions in a process that dies of SIGKILL right after the last one."""
    child = os.fork()
    if child == 0:
        KernelTable().apply(actions)
        os.kill(os.getpid(), signal.SIGKILL)
    _pid, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def answering(table: Table) -> set[ServiceKey]:
    return {service for service, found in table.services.items() if found.answers}


@pytest.mark.ipvs
def test_killed_at_any_action_the_table_is_sane_and_the_next_start_converges(
    kernel_table: KernelTable,
) -> None:
    @given(started=tables(80, 81, 99), wanted=tables(80, 81), data=st.data())
    @settings(QUICK, max_examples=8)
    def converges(started: Table, wanted: Table, data: st.DataObject) -> None:
        restore(started)
        asked, started = started, kernel_table.dump()  # ipvsadm --restore takes no thresholds
        assert started.services.keys() == asked.services.keys()
        assert started.destination_count == asked.destination_count
        actions = plan(wanted=wanted, observed=started, obsolete=OURS)
        done = data.draw(st.integers(0, len(actions)), label="actions before the kill")
        killed_after(actions[:done])
        found = kernel_table.dump()
        assert answering(started) & answering(wanted) <= answering(found)
        for service in set(started.services) & set(wanted.services):
            stay = set(started.services[service].destinations)
            stay &= set(wanted.services[service].destinations)
            assert stay <= set(found.services[service].destinations)
        rest = plan(wanted=wanted, observed=found, obsolete=OURS)
        assert [o.failure for o in kernel_table.apply(rest)] == [None] * len(rest)
        reached = dict(kernel_table.dump().services)
        assert reached.pop(FOREIGN, None) == started.services.get(FOREIGN)
        assert reached == dict(wanted.services)

    converges()


# --- the agent, killed at every action -----------------------------------------------------------


class DiesAfter(KernelTable):
    """The kernel's table for an agent that dies of SIGKILL after so many changes of it."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self._left = changes

    def apply(self, actions: Sequence[Action]) -> tuple[Outcome, ...]:
        for action in actions:
            if self._left == 0:
                _die()
            super().apply([action])
            self._left -= 1
        return tuple(Outcome(action=action) for action in actions)


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("alive")


WEB = virtual_service(1, 2, 3, quiescent=False)
MAIL = virtual_service(1, 1, port=81)
NEW = virtual_service(1, port=82, sorry=None)
STARTED = Table(
    services={
        key(80): entry(
            {destination(11): gate(1), destination(12): gate(9), destination(99): gate(1)},
            scheduler="rr",
        ),
        key(81): entry({destination(11, 81): gate(1), destination(98, 81): gate(1)}),
        FOREIGN: entry({destination(97, 99): gate(5)}),
    }
)
MAIL_SERVERS = replace(
    MAIL,
    real_servers=tuple(
        replace(real, endpoint=replace(real.endpoint, port=81)) for real in MAIL.real_servers
    ),
)


def lives(tmp_path: Path, table: KernelTable) -> Setting:
    """An agent starts, and hears that one server of each service is down."""
    setting = start(tmp_path, WEB, MAIL_SERVERS, NEW, kernel=table)
    setting.says(UP, UP, DOWN, service=WEB)
    setting.says(UP, DOWN, service=MAIL_SERVERS)
    setting.says(UP, service=NEW)
    return setting


@pytest.mark.ipvs
def test_killed_at_every_action_the_next_start_converges_and_what_should_stay_stays(
    kernel_table: KernelTable, tmp_path: Path
) -> None:
    verdicts = {
        (service.name, real.name): health
        for service, healths in ((WEB, (UP, UP, DOWN)), (MAIL_SERVERS, (UP, DOWN)), (NEW, (UP,)))
        for real, health in zip(service.real_servers, healths, strict=True)
    }
    stays = {key(80): {destination(11), destination(12)}, key(81): {destination(11, 81)}}
    changes, done = 0, False
    while not done:
        restore(STARTED)
        place = tmp_path / str(changes)
        place.mkdir()
        child = os.fork()
        if child == 0:
            lives(place, DiesAfter(changes))
            os._exit(0)  # no change was left to die at
        _pid, status = os.waitpid(child, 0)
        done = os.WIFEXITED(status)
        assert done or os.WTERMSIG(status) == signal.SIGKILL
        found = kernel_table.dump()
        for service, servers in stays.items():
            there = found.services[service].destinations
            assert all(there[server].answers for server in servers), changes
        lives(place, kernel_table)
        reached = dict(kernel_table.dump().services)
        assert reached.pop(FOREIGN) == STARTED.services[FOREIGN]
        wanted = wanted_table([WEB, MAIL_SERVERS, NEW], verdicts=verdicts, observed=Table())
        assert reached == dict(wanted.services), changes
        shutil.rmtree(place)
        changes += 1
    assert changes > 8, "a plan that is worth to be interrupted"


# --- sequences of changes, with ipvsadm as witness and as disturber ------------------------------

_METHOD = {
    ForwardingMethod.GATE: "Route",
    ForwardingMethod.MASQ: "Masq",
    ForwardingMethod.IPIP: "Tunnel",
}
Listed = dict[tuple[str, str], dict[str, tuple[str, int]]]


def listed() -> Listed:
    """Return what ``ipvsadm -Ln`` shows: method and weight of each entry, by service."""
    done = subprocess.run(["ipvsadm", "-Ln"], check=True, capture_output=True, text=True)
    found: Listed = {}
    service = ("", "")
    for line in done.stdout.splitlines()[3:]:
        words = line.split()
        if words[0] == "->":
            found[service][words[1]] = (words[2], int(words[3]))
        else:
            service = (words[1], words[2])
            found[service] = {}
    return found


def expected(services: Sequence[VirtualService], down: set[tuple[int, str]]) -> Listed:
    """Return what it should show: by rules that are so simple that they stand here again."""
    found: Listed = {}
    for service in services:
        port = service.endpoint.port
        entries = {}
        for real in service.real_servers:
            address = real.endpoint.address
            if (port, address) not in down:
                entries[f"{address}:{port}"] = (_METHOD[real.forwarding], real.weight)
            elif service.quiescent:
                entries[f"{address}:{port}"] = (_METHOD[real.forwarding], 0)
        if not any(weight for _method, weight in entries.values()):
            entries[f"127.0.0.1:{port}"] = ("Route", 1)
        found[f"{VIP}:{port}", str(service.scheduler)] = entries
    return found


def _at(port: int, servers: tuple[RealServer, ...]) -> tuple[RealServer, ...]:
    return tuple(replace(real, endpoint=replace(real.endpoint, port=port)) for real in servers)


def _service(port: int) -> st.SearchStrategy[VirtualService]:
    def build(
        scheduler: Scheduler, quiescent: bool, weights: list[int], method: ForwardingMethod
    ) -> VirtualService:
        service = virtual_service(port=port, quiescent=quiescent)
        servers = _at(port, reals(*weights, forwarding=method))
        return replace(service, scheduler=scheduler, real_servers=servers)

    return st.builds(
        build,
        st.sampled_from([Scheduler.RR, Scheduler.WLC]),
        st.booleans(),
        st.lists(st.integers(0, 3), max_size=4),
        st.sampled_from(ForwardingMethod),
    )


def _configurations(ports_min: int) -> st.SearchStrategy[tuple[VirtualService, ...]]:
    ports = st.lists(st.sampled_from([80, 81]), unique=True, min_size=ports_min, max_size=2)
    return ports.flatmap(lambda found: st.tuples(*map(_service, found)))


_downs = st.sets(
    st.tuples(st.sampled_from([80, 81]), st.integers(11, 14).map(lambda n: f"192.168.7.{n}"))
)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("configuration"), _configurations(0)),
        st.tuples(st.just("verdicts"), _downs),
        st.tuples(st.just("ipvsadm"), tables(80, 81)),
    ),
    min_size=7,
    max_size=7,
)


@pytest.mark.ipvs
def test_after_each_of_many_changes_ipvsadm_shows_what_is_wanted(
    kernel_table: KernelTable,
) -> None:
    @given(started=tables(80, 81, 99), configured=_configurations(1), steps=_steps)
    @settings(QUICK, max_examples=4)
    def converges(
        started: Table,
        configured: tuple[VirtualService, ...],
        steps: Sequence[tuple[str, object]],
    ) -> None:
        restore(started)
        before = listed()
        ever = {service.endpoint.port for service in configured}
        down: set[tuple[int, str]] = set()
        with tempfile.TemporaryDirectory() as directory:
            setting = start(Path(directory), *configured, kernel=kernel_table)
            setting.agent.take_up(
                cluster(*configured)
            )  # start() has one service of its own at least
            for what, step in [("verdicts", set()), *steps]:
                if what == "configuration":
                    assert isinstance(step, tuple)
                    configured = step
                    ever |= {service.endpoint.port for service in configured}
                    setting.agent.take_up(cluster(*configured))
                elif what == "verdicts":
                    assert isinstance(step, set)
                    down = step
                else:
                    assert isinstance(step, Table)
                    ours = {key(service.endpoint.port) for service in configured}
                    found = kernel_table.dump().services
                    disturb({s: there for s, there in found.items() if s in ours}, step)
                for service in configured:
                    healths = [
                        DOWN if (service.endpoint.port, r.endpoint.address) in down else UP
                        for r in service.real_servers
                    ]
                    setting.says(*healths, service=service)
                setting.agent.look()
                foreign = {
                    name: entries
                    for name, entries in before.items()
                    if int(name[0].rpartition(":")[2]) not in ever
                }
                shown = listed()
                assert shown == expected(configured, down) | foreign
                dumped = {
                    service: {str(d): s.weight for d, s in found.destinations.items()}
                    for service, found in kernel_table.dump().services.items()
                }
                assert {str(s).split()[1]: entries for s, entries in dumped.items()} == {
                    name: {d: weight for d, (_method, weight) in entries.items()}
                    for (name, _scheduler), entries in shown.items()
                }

    converges()


def disturb(found: Mapping[ServiceKey, ServiceEntry], by: Table) -> None:
    """Change entries of these services with ipvsadm, as somebody else might."""
    lines: list[Action | str] = []
    for service, wanted in by.services.items():
        if service not in found:
            continue
        there = found[service].destinations
        for to, how in wanted.destinations.items():
            to = DestinationKey(to.address, service.port)
            if to in there:
                lines.append(f"-d {service} -r {to}")
            else:
                lines.append(AddDestination(service=service, destination=to, settings=how))
    text = "".join(f"{line}\n" for line in lines)
    if lines:
        subprocess.run(["ipvsadm", "--restore"], input=text, text=True, check=True)
