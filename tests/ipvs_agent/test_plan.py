from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from heartbus.events import Health
from heartbus.model import VirtualService
from heartbus_ipvs_agent.desired import service_key, wanted_table
from heartbus_ipvs_agent.entries import (
    SERVICE_PERSISTENT,
    Action,
    DestinationKey,
    DestinationSettings,
    Draft,
    EditDestination,
    EditService,
    Family,
    Forwarding,
    RemoveDestination,
    RemoveService,
    ServiceKey,
    ServiceSettings,
    Table,
    carried_out,
)
from heartbus_ipvs_agent.plan import plan, same
from tests.ipvs_agent.builders import (
    destination,
    entry,
    gate,
    key,
    masq,
    tables,
    verdicts,
    virtual_service,
)

FOREIGN_PORTS = (1, 2)
OUR_PORTS = (80, 81)
OBSOLETE_PORTS = (90,)

wanted_tables = tables(*OUR_PORTS)
observed_tables = tables(*FOREIGN_PORTS, *OUR_PORTS, *OBSOLETE_PORTS)
OBSOLETE = [key(port) for port in OBSOLETE_PORTS]


def words(actions: tuple[Action, ...]) -> list[str]:
    return [str(a) for a in actions]


def as_wanted(wanted: Table, observed: Table) -> bool:
    ours = {k: e for k, e in observed.services.items() if k in wanted.services}
    return ours == wanted.services and not any(k in observed.services for k in OBSOLETE)


@given(wanted=wanted_tables, observed=observed_tables)
@settings(max_examples=300)
def test_the_kernel_can_carry_out_each_action_and_the_end_is_as_wanted(
    wanted: Table, observed: Table
) -> None:
    draft = Draft(observed)
    refused = [draft.apply(a) for a in plan(wanted=wanted, observed=observed, obsolete=OBSOLETE)]
    assert not any(refused)
    after = draft.table()
    assert as_wanted(wanted, after)
    assert plan(wanted=wanted, observed=after, obsolete=OBSOLETE) == ()


@given(wanted=wanted_tables, observed=observed_tables)
@settings(max_examples=300)
def test_a_service_that_answers_before_and_after_answers_after_every_action(
    wanted: Table, observed: Table
) -> None:
    actions = plan(wanted=wanted, observed=observed, obsolete=OBSOLETE)
    for stop in range(len(actions) + 1):
        halfway = carried_out(observed, actions[:stop])
        for service, before in observed.services.items():
            after = wanted.services.get(service)
            if before.answers and after is not None and after.answers:
                assert halfway.services[service].answers, words(actions[:stop])


@given(wanted=wanted_tables, observed=observed_tables)
@settings(max_examples=300)
def test_foreign_services_are_not_touched(wanted: Table, observed: Table) -> None:
    foreign = {key(port) for port in FOREIGN_PORTS}
    actions = plan(wanted=wanted, observed=observed, obsolete=OBSOLETE)
    assert not foreign.intersection(a.service for a in actions)


@given(wanted=wanted_tables, observed=observed_tables)
@settings(max_examples=100)
def test_a_plan_interrupted_anywhere_is_finished_by_the_next(
    wanted: Table, observed: Table
) -> None:
    actions = plan(wanted=wanted, observed=observed, obsolete=OBSOLETE)
    for stop in range(len(actions) + 1):
        halfway = carried_out(observed, actions[:stop])
        rest = plan(wanted=wanted, observed=halfway, obsolete=OBSOLETE)
        assert as_wanted(wanted, carried_out(halfway, rest))
        assert len(rest) == len(actions) - stop


@given(wanted=wanted_tables, observed=observed_tables)
def test_nothing_is_done_twice(wanted: Table, observed: Table) -> None:
    actions = plan(wanted=wanted, observed=observed, obsolete=OBSOLETE)
    named = [(a.service, getattr(a, "destination", None)) for a in actions]
    assert len(set(named)) == len(named)


healths = st.sampled_from([Health.UP, Health.DOWN])
rounds = st.lists(st.tuples(healths, healths), min_size=1, max_size=4)


@given(rounds=rounds, quiescent=st.booleans(), data=st.data())
@settings(max_examples=100)
def test_killed_at_any_action_the_next_start_takes_no_traffic_from_a_real_server(
    rounds: list[tuple[Health, Health]], quiescent: bool, data: st.DataObject
) -> None:
    """A start knows no verdict yet: what the killed agent left behind must stand."""
    service = virtual_service(2, 3, quiescent=quiescent)
    table = Table()
    for verdict in rounds[:-1]:
        table = _reconciled(service, verdict, table)
    actions = _actions(service, rounds[-1], table)
    killed = carried_out(table, actions[: data.draw(st.integers(0, len(actions)))])

    adopted_wish = wanted_table([service], verdicts={}, observed=killed)
    restart = plan(wanted=adopted_wish, observed=killed)
    adopted = carried_out(killed, restart)

    before = killed.services.get(service_key(service))
    if before is not None:
        after = adopted.services[service_key(service)]
        for real in service.real_servers:
            there = destination(int(real.endpoint.address.rpartition(".")[2]))
            assert after.destinations.get(there) == before.destinations.get(there) or (
                there not in before.destinations and after.destinations[there].weight == 0
            )
    assert adopted.services[service_key(service)].answers
    assert _reconciled(service, rounds[-1], adopted) == _reconciled(service, rounds[-1], table)


def _actions(
    service: VirtualService, verdict: tuple[Health, Health], table: Table
) -> tuple[Action, ...]:
    wanted = wanted_table([service], verdicts=verdicts(service, *verdict), observed=table)
    return plan(wanted=wanted, observed=table)


def _reconciled(service: VirtualService, verdict: tuple[Health, Health], table: Table) -> Table:
    return carried_out(table, _actions(service, verdict, table))


# --- order, in ipvsadm's words -------------------------------------------------------------------

SORRY = destination(99)


def test_the_sorry_server_comes_before_the_last_real_server_leaves() -> None:
    observed = Table(services={key(): entry({destination(11): gate(1)})})
    wanted = Table(services={key(): entry({SORRY: gate(1)})})
    assert words(plan(wanted=wanted, observed=observed)) == [
        "-a -t 192.168.7.110:80 -r 192.168.7.99:80 -g -w 1",
        "-d -t 192.168.7.110:80 -r 192.168.7.11:80",
    ]


def test_the_sorry_server_comes_before_the_last_real_server_is_made_quiescent() -> None:
    observed = Table(services={key(): entry({destination(11): gate(1)})})
    wanted = Table(services={key(): entry({destination(11): gate(0), SORRY: gate(1)})})
    assert words(plan(wanted=wanted, observed=observed)) == [
        "-a -t 192.168.7.110:80 -r 192.168.7.99:80 -g -w 1",
        "-e -t 192.168.7.110:80 -r 192.168.7.11:80 -g -w 0",
    ]


def test_the_real_server_is_back_before_the_sorry_server_goes() -> None:
    observed = Table(services={key(): entry({destination(11): gate(0), SORRY: gate(1)})})
    wanted = Table(services={key(): entry({destination(11): gate(1)})})
    assert words(plan(wanted=wanted, observed=observed)) == [
        "-e -t 192.168.7.110:80 -r 192.168.7.11:80 -g -w 1",
        "-d -t 192.168.7.110:80 -r 192.168.7.99:80",
    ]


def test_a_new_service_gets_first_the_destinations_that_answer() -> None:
    wanted = Table(services={key(): entry({destination(11): gate(0), destination(12): gate(2)})})
    assert words(plan(wanted=wanted, observed=Table())) == [
        "-A -t 192.168.7.110:80 -s wrr",
        "-a -t 192.168.7.110:80 -r 192.168.7.12:80 -g -w 2",
        "-a -t 192.168.7.110:80 -r 192.168.7.11:80 -g -w 0",
    ]


def test_scheduler_and_forwarding_change_in_place() -> None:
    observed = Table(services={key(): entry({destination(11): gate(1)}, scheduler="rr")})
    wanted = Table(services={key(): entry({destination(11): masq(1)}, scheduler="wlc")})
    assert words(plan(wanted=wanted, observed=observed)) == [
        "-E -t 192.168.7.110:80 -s wlc",
        "-e -t 192.168.7.110:80 -r 192.168.7.11:80 -m -w 1",
    ]


def test_a_service_of_an_earlier_configuration_goes_last_and_whole() -> None:
    observed = Table(services={key(90): entry({destination(11): gate(1)})})
    wanted = Table(services={key(): entry({})})
    actions = plan(wanted=wanted, observed=observed, obsolete=[key(90), key(91)])
    assert words(actions) == ["-A -t 192.168.7.110:80 -s wrr", "-D -t 192.168.7.110:90"]


def test_a_service_that_came_back_into_the_configuration_stays() -> None:
    both = Table(services={key(): entry({destination(11): gate(1)})})
    assert plan(wanted=both, observed=both, obsolete=[key()]) == ()


def test_an_old_kernels_local_counts_as_the_method_that_was_wanted() -> None:
    local = DestinationSettings(forwarding=Forwarding.LOCAL, weight=1)
    assert same(gate(1), local)
    assert same(masq(1), local)
    assert not same(gate(2), local)
    assert not same(gate(1), masq(1))
    wanted = Table(services={key(): entry({destination(11): gate(1)})})
    observed = Table(services={key(): entry({destination(11): local})})
    assert plan(wanted=wanted, observed=observed) == ()


def test_actions_are_said_in_the_words_of_ipvsadm() -> None:
    v6 = ServiceKey(Family.IPV6, 17, "fd00::1", 53)
    mark = ServiceKey(Family.IPV6, 0, "", 0, 7)
    persistent = ServiceSettings(
        scheduler="sh", flags=SERVICE_PERSISTENT, timeout_s=60, netmask=0xFFFFFF00
    )
    limited = DestinationSettings(
        forwarding=Forwarding.IPIP, weight=3, upper_threshold=20, lower_threshold=10
    )
    assert [
        str(EditService(service=key(), settings=persistent)),
        str(EditService(service=v6, settings=replace(persistent, netmask=64))),
        str(RemoveService(service=mark)),
        str(EditDestination(service=key(), destination=destination(11), settings=limited)),
        str(RemoveDestination(service=v6, destination=DestinationKey("fd00::11", 53))),
    ] == [
        "-E -t 192.168.7.110:80 -s sh -p 60 -M 255.255.255.0",
        "-E -u [fd00::1]:53 -s sh -p 60 -M 64",
        "-D -f 7 -6",
        "-e -t 192.168.7.110:80 -r 192.168.7.11:80 -i -w 3 -x 20 -y 10",
        "-d -u [fd00::1]:53 -r [fd00::11]:53",
    ]
