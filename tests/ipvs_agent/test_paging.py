"""A table of any size is told in messages that the bus carries, all of it, again and again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from heartbus import codec
from heartbus.events import IpvsState, Message
from heartbus.model import Endpoint, ForwardingMethod, RealServer, TransportProtocol, VirtualService
from heartbus.observer import ClusterView
from heartbus.page_turns import CHANGED_PAGES_MAX, ROUND_S
from heartbus.table_pages import TablePages
from heartbus_ipvs_agent import nlmsg
from heartbus_ipvs_agent.desired import real_server_key, service_key
from heartbus_ipvs_agent.entries import Connections, Table
from heartbus_ipvs_agent.paging import PAGE_ENTRIES_MAX, Pages
from heartbus_ipvs_agent.snapshot import Remarks, table_services
from tests.common.samples import sample_envelope
from tests.ipvs_agent.builders import entry, gate, virtual_service
from tests.ipvs_agent.fake_table import FakeTable
from tests.ipvs_agent.test_service import start

NATS_DEFAULT_BYTES_MAX = 1024 * 1024
"""max_payload of a nats-server that nobody configured."""
TRAFFIC = b"".join(
    nlmsg.attribute(kind, (2**48 + kind).to_bytes(8, "little")) for kind in range(1, 11)
)


def large(services: int, servers: int) -> list[VirtualService]:
    return [
        VirtualService(
            protocol=TransportProtocol.TCP,
            endpoint=Endpoint(address=f"fd00:1234:5678:9abc::{n:x}", port=10000),
            real_servers=tuple(
                RealServer(
                    endpoint=Endpoint(address=f"fd00:1234:5678:9abc:{n:x}::{m:x}", port=10000),
                    forwarding=ForwardingMethod.GATE,
                )
                for m in range(1, servers + 1)
            ),
        )
        for n in range(1, services + 1)
    ]


def filled(services: list[VirtualService]) -> Table:
    busy = Connections(active=2**31, inactive=2**31, persistent=2**31, traffic=TRAFFIC)
    entries = {
        service_key(s): entry({real_server_key(s, real): gate(1) for real in s.real_servers})
        for s in services
    }
    return Table(
        services=entries,
        connections={(k, d): busy for k, e in entries.items() for d in e.destinations},
        traffic=dict.fromkeys(entries, TRAFFIC),
    )


def test_2000_services_with_40000_real_servers_fit_into_messages(tmp_path: Path) -> None:
    services = large(2000, 20)
    setting = start(tmp_path, *services, table=FakeTable(filled(services)))
    setting.table.counters = dict(filled(services).connections)
    setting.agent.look()
    view = ClusterView()
    for second in range(int(ROUND_S) + 1):
        states = setting.agent.states()
        assert len(states) <= CHANGED_PAGES_MAX + 5, "a share of it each second"
        for state in states:
            message = Message(envelope=sample_envelope(state.kind), body=state)
            payload = codec.encode(message)
            assert len(payload) <= NATS_DEFAULT_BYTES_MAX
            view.see(codec.decode(payload), now_s=second)
        setting.clock.advance(1.0)
    whole = view.state(sample_envelope("").node, IpvsState)
    assert not view.waits_for_pages
    assert whole is not None
    assert [s.virtual_service for s in whole.services] == [s.name for s in services]
    assert sum(len(s.real_servers) for s in whole.services) == 40_000


def test_one_service_with_many_real_servers_stands_on_several_pages() -> None:
    (service,) = services = large(1, 2 * PAGE_ENTRIES_MAX + 1)
    pages, table = Pages(services), filled(services)
    assert pages.count == 3
    together = TablePages()
    for page in (2, 0, 1):
        assert not together.is_complete
        together.see(
            IpvsState(
                services=table_services(pages.slices(page), table, Remarks()),
                digest="",
                page=page,
                pages=pages.count,
                edition=pages.edition,
            )
        )
    assert together.is_complete
    state = together.state
    assert state is not None
    (found,) = state.services
    assert [r.real_server for r in found.real_servers] == [r.name for r in service.real_servers]


def test_what_changed_is_told_at_once_and_the_rest_in_turn() -> None:
    services = large(100, 100)  # ten pages and one more for the sorry servers' places
    pages = Pages(services)
    first = pages.due(now_s=0.0)
    assert sorted(first) == list(range(pages.count)), "the first telling has all of it"
    assert pages.due(now_s=0.0) == (0,)
    pages.changed([services[-1].name])
    assert pages.count - 1 in pages.due(now_s=0.0)
    heard: set[int] = set()
    for second in range(1, int(ROUND_S) + 2):
        heard |= set(pages.due(now_s=float(second)))
    assert heard == set(range(pages.count))


def test_a_small_table_is_told_whole_each_time() -> None:
    pages = Pages([virtual_service(1, 1)])
    assert [pages.due(now_s=0.0), pages.due(now_s=0.1)] == [(0,), (0,)]


@given(sizes=st.lists(st.integers(0, 2500), max_size=6))
@settings(max_examples=15, deadline=None)
def test_every_real_server_stands_on_one_page_and_no_page_is_too_large(sizes: list[int]) -> None:
    services = [
        replace(large(1, size)[0], endpoint=Endpoint(address="10.0.0.1", port=n + 1))
        for n, size in enumerate(sizes)
    ]
    pages = Pages(services)
    told: dict[str, int] = {}
    for page in range(pages.count):
        on_page = 0
        for part in pages.slices(page):
            rest = len(part.service.real_servers) - part.start
            size = rest if part.count is None else part.count
            assert part.start == told.get(part.service.name, 0)
            told[part.service.name] = part.start + size
            on_page += size
        assert on_page <= PAGE_ENTRIES_MAX
    assert told == {s.name: len(s.real_servers) for s in services}


def test_pages_of_another_configuration_are_not_mixed_in() -> None:
    together = TablePages()
    for edition, page in (("a", 0), ("b", 1)):
        together.see(IpvsState(services=(), digest="", page=page, pages=2, edition=edition))
    assert not together.is_complete
    together.see(IpvsState(services=(), digest="", page=0, pages=2, edition="b"))
    assert together.is_complete
    together.see(IpvsState(services=(), digest="", page=10**9, pages=10**9, edition="c"))
    assert not together.is_complete
