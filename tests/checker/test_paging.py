"""Verdicts of any number are told in messages that the bus carries, all of them, and again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbus import codec
from heartbus.events import CheckerState, Health, Message, Verdict
from heartbus.model import (
    Endpoint,
    ForwardingMethod,
    RealServer,
    TransportProtocol,
    VirtualService,
)
from heartbus.observer import ClusterView
from heartbus.page_turns import CHANGED_PAGES_MAX, ROUND_S
from heartbus_checker.paging import PAGE_VERDICTS_MAX, SnapshotPages
from heartbus_checker.peers import Peers
from heartbus_checker.targets import plan_checks
from heartbus_checker.verdicts import Verdicts
from tests.checker.builders import connect_check
from tests.common.samples import sample_envelope

NATS_DEFAULT_BYTES_MAX = 1024 * 1024
"""max_payload of a nats-server that nobody configured; that of ``heartbus up`` is 8 MiB."""
LONGEST = "it says '" + "é" * 300 + "' (10 in a row)"
NODE = sample_envelope("").node
UP, DOWN = Health.UP, Health.DOWN


def large(services: int, servers: int) -> list[VirtualService]:
    return [
        VirtualService(
            protocol=TransportProtocol.TCP,
            endpoint=Endpoint(address=f"fd00:1234:5678:9abc:def0:1234:5678:{n:x}", port=10000),
            check=connect_check(),
            real_servers=tuple(
                RealServer(
                    endpoint=Endpoint(address=f"fd00:1234:5678:9abc:def0:1234:{n:x}:{m:x}", port=1),
                    forwarding=ForwardingMethod.MASQ,
                )
                for m in range(1, servers + 1)
            ),
        )
        for n in range(1, services + 1)
    ]


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    plan = plan_checks(tuple(large(2000, 20)))
    found = Verdicts(plan, time_s=0.0)
    for target in plan.targets:
        for change in found.probe_finished(target, passed=False, reason=LONGEST, time_s=1.0):
            found.announced(change, "0123456789abcdef0123456789abcdef")
    return found


def pages_of(verdicts: Verdicts) -> SnapshotPages:
    return SnapshotPages(key for key, _health in verdicts.healths())


def test_verdicts_of_40000_real_servers_fit_into_messages_and_arrive(verdicts: Verdicts) -> None:
    whole = verdicts.snapshot
    assert len(whole.verdicts) == 40_000
    assert len(codec.encode(wrapped(whole))) > codec.PAYLOAD_BYTES_MAX, "too long for one message"
    pages, view, peers = pages_of(verdicts), ClusterView(), Peers()
    pages.due(whole, now_s=0.0)  # the first telling, which we miss
    for second in range(1, int(ROUND_S) + 1):
        assert not view.waits_for_pages or second > 1
        states = pages.due(whole, now_s=float(second))
        assert len(states) <= CHANGED_PAGES_MAX + 1, "a share of it each second"
        for state in states:
            payload = codec.encode(wrapped(state))
            assert len(payload) <= NATS_DEFAULT_BYTES_MAX
            message = codec.decode(payload)
            view.see(message, now_s=float(second))
            assert isinstance(message.body, CheckerState)
            peers.heard(NODE, message.body, now_s=float(second))
    assert not view.waits_for_pages
    seen = view.state(NODE, CheckerState)
    assert seen is not None
    assert seen.verdicts == whole.verdicts
    heard = peers.lately(now_s=ROUND_S)[NODE]
    assert len(heard) == 40_000
    assert {verdict.health for verdict in heard.values()} == {DOWN}


def test_what_changed_is_told_at_once(verdicts: Verdicts) -> None:
    whole, pages = verdicts.snapshot, pages_of(verdicts)
    assert len(pages.due(whole, now_s=0.0)) == 40_000 // PAGE_VERDICTS_MAX
    last = replace(whole.verdicts[-1], health=UP)
    changed = replace(whole, verdicts=(*whole.verdicts[:-1], last))
    told = pages.due(changed, now_s=0.0)
    assert last in [verdict for state in told for verdict in state.verdicts]
    assert len(told) == 1
    again = pages.due(changed, now_s=0.0)
    assert last not in [verdict for state in again for verdict in state.verdicts], "told already"


def test_few_verdicts_are_one_message_as_ever() -> None:
    state = CheckerState(verdicts=(verdict("a"),))
    assert SnapshotPages([("s", "a")]).due(state, now_s=0.0) == (state,)
    assert SnapshotPages([]).due(CheckerState(verdicts=()), now_s=0.0) == (
        CheckerState(verdicts=()),
    )


def verdict(name: str, health: Health = UP) -> Verdict:
    return Verdict(virtual_service="s", real_server=name, health=health, reason="", since_s=0.0)


def page(name: str, number: int, edition: str, health: Health = UP) -> CheckerState:
    return CheckerState(verdicts=(verdict(name, health),), page=number, pages=2, edition=edition)


def test_a_peer_is_known_page_by_page_and_anew_with_another_configuration() -> None:
    peers = Peers()

    def heard(state: CheckerState) -> dict[str, Health]:
        peers.heard("lb2", state, now_s=0.0)
        return {server: v.health for (_, server), v in peers.lately(now_s=0.0)["lb2"].items()}

    assert heard(page("a", 0, "x")) == {"a": UP}
    assert heard(page("b", 1, "x")) == {"a": UP, "b": UP}
    assert heard(page("a", 0, "x", DOWN)) == {"a": DOWN, "b": UP}
    assert heard(page("c", 1, "y")) == {"c": UP}, "of what runs no more nothing counts"


def wrapped(state: CheckerState) -> Message:
    return Message(envelope=sample_envelope(state.kind), body=state)
