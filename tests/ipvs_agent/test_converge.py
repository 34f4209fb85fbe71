"""From any table, and from any point of a plan at which the agent died, the kernel's converges."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from heartbus_ipvs_agent.entries import Action, AddDestination, AddService, ServiceKey, Table
from heartbus_ipvs_agent.plan import plan
from heartbus_ipvs_agent.table import KernelTable
from tests.ipvs_agent.builders import key, tables

OURS = [key(port) for port in (80, 81)]
FOREIGN = key(99)


def restore(table: Table) -> None:
    """Make the kernel's table this one, with ipvsadm."""
    lines: list[Action] = []
    for service, entry in table.services.items():
        lines.append(AddService(service=service, settings=entry.settings))
        lines += (
            AddDestination(service=service, destination=to, settings=how)
            for to, how in entry.destinations.items()
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
    return {service for service, entry in table.services.items() if entry.answers}


@pytest.mark.ipvs
def test_killed_at_any_action_the_table_is_sane_and_the_next_start_converges(
    kernel_table: KernelTable,
) -> None:
    @given(started=tables(80, 81, 99), wanted=tables(80, 81), data=st.data())
    @settings(
        max_examples=12,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
        phases=[Phase.generate],
        derandomize=True,
    )
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
