from __future__ import annotations

from dataclasses import replace

from heartbus.events import TableService
from heartbus_ipvs_agent.desired import service_key
from heartbus_ipvs_agent.entries import Connections, DestinationKey, Table
from heartbus_ipvs_agent.paging import Slice
from heartbus_ipvs_agent.snapshot import Digests, Remarks, table_services, whole_digest
from tests.ipvs_agent.builders import destination, entry, gate, key, masq, virtual_service

SERVICE = virtual_service(5)
SORRY = DestinationKey("127.0.0.1", 80)
TABLE = Table(services={key(): entry({destination(11): gate(5), SORRY: gate(1)})})


def digest(table: Table) -> str:
    return whole_digest(Digests().of([SERVICE], table))


def told(table: Table) -> tuple[TableService, ...]:
    return table_services([Slice(service=SERVICE)], table, Remarks())


def test_entries_are_told_in_the_words_of_the_configuration() -> None:
    counted = replace(
        TABLE, connections={(key(), destination(11)): Connections(active=3, inactive=4)}
    )
    (service,) = told(counted)
    assert (service.virtual_service, service.scheduler) == ("tcp:192.168.7.110:80", "wrr")
    real, sorry = service.real_servers
    assert (real.real_server, real.forwarding, real.weight, real.sorry) == (
        "192.168.7.11:80",
        "gate",
        5,
        False,
    )
    assert (real.active_connections, real.inactive_connections) == (3, 4)
    assert (sorry.real_server, sorry.sorry) == ("127.0.0.1:80", True)
    assert (service.traffic, real.traffic) == (None, None)


def test_foreign_services_are_not_told() -> None:
    foreign = Table(services={**TABLE.services, key(1): entry({})})
    assert told(foreign) == told(TABLE)
    assert digest(foreign) == digest(TABLE)


def test_a_digest_is_made_anew_for_what_changed_alone() -> None:
    book = Digests()
    before = book.of([SERVICE], TABLE)
    same = Table(services={key(): entry({SORRY: gate(1), destination(11): gate(5)})})
    assert book.of([SERVICE], same) == before
    other = Table(services={key(): entry({destination(11): gate(4), SORRY: gate(1)})})
    assert book.of([SERVICE], other) != before
    assert book.of([SERVICE], TABLE) == before


def test_the_digest_is_that_of_the_configuration_and_not_of_order_or_counters() -> None:
    reordered = Table(
        services={key(): entry({SORRY: gate(1), destination(11): gate(5)})},
        connections={(key(), destination(11)): Connections(active=3, inactive=4)},
    )
    assert digest(TABLE) == digest(reordered)
    assert service_key(SERVICE) in TABLE.services
    others = [
        Table(),
        Table(services={key(): entry({destination(11): gate(5)})}),
        Table(services={key(): entry({destination(11): gate(4), SORRY: gate(1)})}),
        Table(services={key(): entry({destination(11): masq(5), SORRY: gate(1)})}),
        Table(services={key(): entry({destination(11): gate(5), SORRY: gate(1)}, scheduler="rr")}),
    ]
    assert len({digest(table) for table in (TABLE, *others)}) == len(others) + 1
