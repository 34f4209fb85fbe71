"""What every IpvsTable promises, tried on the fake and on the kernel; ipvsadm is the witness."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from heartbus_ipvs_agent import netlink
from heartbus_ipvs_agent.entries import (
    SERVICE_ONE_PACKET,
    SERVICE_PERSISTENT,
    Action,
    AddDestination,
    AddService,
    DestinationKey,
    DestinationSettings,
    EditDestination,
    EditService,
    Family,
    Forwarding,
    RemoveDestination,
    RemoveService,
    ServiceEntry,
    ServiceKey,
    ServiceSettings,
    Table,
)
from heartbus_ipvs_agent.plan import plan
from heartbus_ipvs_agent.table import IpvsTable, KernelTable
from tests.ipvs_agent.builders import destination, entry, gate, key, masq, tables
from tests.ipvs_agent.fake_table import FakeTable

RR = ServiceSettings(scheduler="rr")
V6 = ServiceKey(Family.IPV6, 6, "fd00::1", 80)


@pytest.fixture(
    params=[pytest.param("fake"), pytest.param("kernel", marks=pytest.mark.ipvs)],
)
def table(request: pytest.FixtureRequest) -> IpvsTable:
    if request.param == "fake":
        return FakeTable()
    kernel_table: KernelTable = request.getfixturevalue("kernel_table")
    return kernel_table


def failures(table: IpvsTable, *actions: Action) -> list[str | None]:
    return [outcome.failure for outcome in table.apply(actions)]


def ipvsadm(*arguments: str) -> str:
    return subprocess.run(
        ["ipvsadm", *arguments], check=True, capture_output=True, text=True
    ).stdout


def test_what_is_applied_is_what_a_dump_says(table: IpvsTable) -> None:
    wanted = Table(
        services={
            key(): entry({destination(11): gate(1), destination(12, 8080): masq(65535)}),
            key(81): ServiceEntry(
                settings=ServiceSettings(
                    scheduler="sh", flags=SERVICE_PERSISTENT, timeout_s=600, netmask=0xFFFFFF00
                ),
                destinations={
                    destination(13): DestinationSettings(
                        forwarding=Forwarding.IPIP, weight=0, upper_threshold=9, lower_threshold=3
                    ),
                    DestinationKey("127.0.0.1", 81): gate(1),
                },
            ),
            V6: ServiceEntry(
                settings=replace(RR, netmask=128),
                destinations={DestinationKey("fd00::11", 80): gate(2)},
            ),
            key(53)._replace(protocol=17): ServiceEntry(
                settings=replace(RR, flags=SERVICE_ONE_PACKET)
            ),
        }
    )
    actions = plan(wanted=wanted, observed=table.dump())
    assert failures(table, *actions) == [None] * len(actions)
    observed = table.dump()
    assert observed == wanted
    assert len(observed.connections) == observed.destination_count == 5


def test_edits_change_in_place_and_removals_remove(table: IpvsTable) -> None:
    assert (
        failures(
            table,
            AddService(service=key(), settings=RR),
            AddDestination(service=key(), destination=destination(11), settings=gate(1)),
            AddDestination(service=key(), destination=destination(12), settings=gate(1)),
            EditService(service=key(), settings=replace(RR, scheduler="wlc")),
            EditDestination(service=key(), destination=destination(11), settings=masq(7)),
            RemoveDestination(service=key(), destination=destination(12)),
        )
        == [None] * 6
    )
    assert table.dump() == Table(
        services={key(): entry({destination(11): masq(7)}, scheduler="wlc")}
    )
    assert failures(table, RemoveService(service=key())) == [None]
    assert table.dump() == Table()


def test_a_refused_action_is_told_as_its_own_and_the_others_are_carried_out(
    table: IpvsTable,
) -> None:
    add = AddDestination(service=key(), destination=destination(11), settings=gate(1))
    assert failures(
        table,
        add,
        AddService(service=key(81), settings=replace(RR, scheduler="nonesuch")),
        AddService(service=key(), settings=RR),
        add,
        add,
        EditDestination(service=key(), destination=destination(12), settings=gate(1)),
        RemoveDestination(service=key(), destination=destination(12)),
        AddService(service=key(), settings=RR),
        EditService(service=key(81), settings=RR),
        EditService(service=key(), settings=replace(RR, scheduler="nonesuch")),
        RemoveService(service=key(81)),
        AddDestination(service=key(), destination=destination(13), settings=gate(3)),
    ) == [
        "the kernel has no such virtual service",
        "the kernel has no scheduler 'nonesuch': load its module ip_vs_nonesuch",
        None,
        None,
        "the kernel has this entry already",
        "the kernel has no such destination",
        "the kernel has no such destination",
        "the kernel has this entry already",
        "the kernel has no such virtual service",
        "the kernel has no scheduler 'nonesuch': load its module ip_vs_nonesuch",
        "the kernel has no such virtual service",
        None,
    ]
    assert table.dump() == Table(
        services={
            key(): entry({destination(11): gate(1), destination(13): gate(3)}, scheduler="rr")
        }
    )


def test_nothing_to_do_is_done(table: IpvsTable) -> None:
    assert table.apply([]) == ()
    assert table.dump() == Table()


# --- the kernel alone ----------------------------------------------------------------------------


@pytest.mark.ipvs
def test_ipvsadm_sees_what_we_wrote(kernel_table: KernelTable) -> None:
    written = (
        AddService(
            service=key(),
            settings=ServiceSettings(
                scheduler="wlc", flags=SERVICE_PERSISTENT, timeout_s=600, netmask=0xFFFFFF00
            ),
        ),
        AddDestination(service=key(), destination=destination(11), settings=gate(5)),
        AddDestination(service=key(), destination=destination(12, 8080), settings=masq(0)),
        AddService(service=V6, settings=replace(RR, netmask=128)),
        AddDestination(
            service=V6,
            destination=DestinationKey("fd00::11", 80),
            settings=DestinationSettings(forwarding=Forwarding.IPIP, weight=3),
        ),
    )
    assert failures(kernel_table, *written) == [None] * 5
    # Of a tunnel ipvsadm says the type; the order of services is the kernel's.
    seen = {line.strip().replace(" --tun-type ipip", "") for line in ipvsadm("-Sn").splitlines()}
    assert seen == {str(action) for action in written}


@pytest.mark.ipvs
def test_we_read_what_ipvsadm_wrote(kernel_table: KernelTable) -> None:
    ipvsadm("-A", "-t", "192.168.7.110:80", "-s", "wlc", "-p", "300")
    words = "-a -t 192.168.7.110:80 -r 192.168.7.11:80 -i -w 9 -x 20 -y 10"
    ipvsadm(*words.split())
    assert kernel_table.dump() == Table(
        services={
            key(): ServiceEntry(
                settings=ServiceSettings(scheduler="wlc", flags=SERVICE_PERSISTENT, timeout_s=300),
                destinations={
                    destination(11): DestinationSettings(
                        forwarding=Forwarding.IPIP,
                        weight=9,
                        upper_threshold=20,
                        lower_threshold=10,
                    )
                },
            )
        }
    )


@pytest.mark.ipvs
def test_a_destination_on_this_host_reads_back_as_it_was_written(kernel_table: KernelTable) -> None:
    local = DestinationKey("127.0.0.1", 80)
    for settings_ in (gate(1), masq(1)):
        wanted = Table(services={key(): entry({local: settings_})})
        kernel_table.apply(plan(wanted=wanted, observed=kernel_table.dump()))
        assert plan(wanted=wanted, observed=kernel_table.dump()) == ()


@pytest.mark.ipvs
def test_many_changes_go_in_several_buffers_and_each_is_answered(kernel_table: KernelTable) -> None:
    add = [
        AddDestination(
            service=key(),
            destination=DestinationKey(f"10.0.{n // 250}.{n % 250 + 1}", 80),
            settings=gate(1),
        )
        for n in range(2000)
    ]
    assert failures(kernel_table, AddService(service=key(), settings=RR), *add, add[1234]) == [
        *[None] * 2001,
        "the kernel has this entry already",
    ]
    observed = kernel_table.dump()
    assert observed.destination_count == 2000
    assert set(observed.services[key()].destinations) == {a.destination for a in add}


@pytest.mark.ipvs
def test_the_receive_buffer_bounds_a_batch(
    kernel_table: KernelTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the smallest buffer that Linux allows, a batch is as large as its answers fit in."""
    monkeypatch.setattr(netlink, "RECEIVE_BUFFER_BYTES", 1)
    kernel_table.close()
    add = [
        AddDestination(service=key(), destination=destination(n), settings=gate(1))
        for n in range(1, 101)
    ]
    assert failures(kernel_table, AddService(service=key(), settings=RR), *add) == [None] * 101


@pytest.mark.ipvs
def test_any_table_becomes_any_other(kernel_table: KernelTable) -> None:
    @given(wanted=tables(80, 81, 82))
    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    def becomes(wanted: Table) -> None:
        obsolete = [key(port) for port in (80, 81, 82)]
        actions = plan(wanted=wanted, observed=kernel_table.dump(), obsolete=obsolete)
        assert failures(kernel_table, *actions) == [None] * len(actions)
        assert kernel_table.dump() == wanted

    becomes()
