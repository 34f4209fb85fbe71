from __future__ import annotations

import dataclasses
import itertools

import pytest

from heartbus.events import Disable, Drain, Enable, Override, OverrideAction, SetWeight
from heartbus.model import TransportProtocol
from heartbus_ipvs_agent.entries import Connections
from heartbus_ipvs_agent.overrides import OverrideBook, OverrideError
from tests.ipvs_agent.builders import virtual_service

WEB, MAIL = virtual_service(1, 1), virtual_service(1, 1, port=25)
HOST, WEB1 = "192.168.7.11", "192.168.7.11:80"
ON_WEB = (WEB.name, WEB.real_servers[0].name)
ON_MAIL = (MAIL.name, MAIL.real_servers[0].name)


def book(node: str = "a") -> OverrideBook:
    return OverrideBook((WEB, MAIL), node=node)


def actions(of: OverrideBook) -> dict[object, OverrideAction]:
    return {server: override.action for server, override in of.effective.items()}


def test_an_address_is_meant_in_every_service_and_a_service_can_be_named() -> None:
    every = book()
    every.commanded(Drain(server=HOST), wall_s=0)
    assert actions(every) == {ON_WEB: OverrideAction.DRAIN, ON_MAIL: OverrideAction.DRAIN}
    one = book()
    one.commanded(Drain(server=HOST, service=MAIL.name), wall_s=0)
    assert actions(one) == {ON_MAIL: OverrideAction.DRAIN}


def test_the_last_command_that_matches_counts() -> None:
    asked = book()
    asked.commanded(Drain(server=HOST), wall_s=0)
    asked.commanded(SetWeight(server=HOST, service=WEB.name, weight=7), wall_s=0)
    assert actions(asked) == {ON_WEB: OverrideAction.WEIGHT, ON_MAIL: OverrideAction.DRAIN}
    asked.commanded(Enable(server=HOST), wall_s=0)
    assert actions(asked) == {}


def test_directors_agree_in_whatever_order_they_hear() -> None:
    one, two = book("a"), book("b")
    heard = [
        one.commanded(Drain(server=HOST), wall_s=0),
        one.commanded(Enable(server=HOST), wall_s=0),
        two.commanded(Disable(server=HOST), wall_s=0),  # b has heard nothing of a yet
        two.commanded(SetWeight(server=WEB1, weight=3), wall_s=0),
    ]
    results = []
    for order in itertools.permutations(heard):
        third = book("c")
        for override in order:
            third.merged((override,))
        results.append(third.overrides)
    assert all(result == results[0] for result in results)


def test_a_director_that_was_away_learns_that_a_server_was_enabled() -> None:
    away, here = book("a"), book("b")
    here.merged((away.commanded(Drain(server=HOST), wall_s=0),))
    here.commanded(Enable(server=HOST), wall_s=0)
    assert away.merged(here.overrides) == {WEB.name, MAIL.name}
    assert actions(away) == {}
    assert here.merged(away.overrides) == set()


def test_what_is_left_depends_on_the_protocol() -> None:
    dns = dataclasses.replace(WEB, protocol=TransportProtocol.UDP)
    counters = Connections(active=1, inactive=20, persistent=300)
    assert book().left(ON_WEB, counters).total == 301
    server = (dns.name, dns.real_servers[0].name)
    assert OverrideBook((dns,), node="a").left(server, counters).total == 321


def test_a_deadline_comes_by_the_wall_clock() -> None:
    asked = book()
    asked.commanded(Drain(server=HOST, deadline_s=10), wall_s=1000)
    assert not asked.is_cut(ON_WEB, wall_s=1009)
    assert asked.is_cut(ON_WEB, wall_s=1010)
    asked.commanded(Drain(server=HOST), wall_s=1010)
    assert not asked.is_cut(ON_WEB, wall_s=9999)


def test_the_end_of_a_drain_is_remembered_until_it_is_another_drain() -> None:
    asked = book()
    asked.commanded(Drain(server=WEB1, service=WEB.name), wall_s=0)
    assert asked.draining() == [ON_WEB]
    asked.ended(ON_WEB)
    assert asked.draining() == []
    again = book()
    again.restored(asked.overrides, asked.drained)
    assert again.draining() == []
    again.merged(
        (
            Override(
                server=WEB1, service=WEB.name, action=OverrideAction.DRAIN, revision=1, node="b"
            ),
        )
    )
    assert again.draining() == []  # the same command, as a peer obeyed it
    again.commanded(Enable(server=WEB1, service=WEB.name), wall_s=0)
    again.commanded(Drain(server=WEB1, service=WEB.name), wall_s=0)
    assert again.draining() == [ON_WEB]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (Drain(server="192.168.7.99"), "192.168.7.99 is no real server; allowed is 192.168.7.11"),
        (Drain(server=HOST, service="tcp:1.2.3.4:80"), "no virtual service; allowed is tcp:192"),
        (Drain(server=WEB1, service="nonsense"), "nonsense is no virtual service"),
    ],
)
def test_a_name_that_nobody_has_is_refused_with_those_that_are(command: Drain, words: str) -> None:
    with pytest.raises(OverrideError) as caught:
        book().commanded(command, wall_s=0)
    assert words in str(caught.value)


def test_what_a_peer_says_is_bounded() -> None:
    asked = book()
    asked.merged(
        Override(server=f"s{n}", action=OverrideAction.DRAIN, revision=n + 1, node="b")
        for n in range(2000)
    )
    assert len(asked.overrides) == 1000
    asked.merged((Override(server=HOST, action=OverrideAction.DRAIN, revision=2**60, node="b"),))
    with pytest.raises(OverrideError, match="1000 overrides"):
        asked.commanded(Drain(server=HOST), wall_s=0)
