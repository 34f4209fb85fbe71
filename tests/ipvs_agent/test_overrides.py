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
    every.commanded(Drain(server=HOST), now_s=0)
    assert actions(every) == {ON_WEB: OverrideAction.DRAIN, ON_MAIL: OverrideAction.DRAIN}
    one = book()
    one.commanded(Drain(server=HOST, service=MAIL.name), now_s=0)
    assert actions(one) == {ON_MAIL: OverrideAction.DRAIN}


def test_the_last_command_that_matches_counts() -> None:
    asked = book()
    asked.commanded(Drain(server=HOST), now_s=0)
    asked.commanded(SetWeight(server=HOST, service=WEB.name, weight=7), now_s=0)
    assert actions(asked) == {ON_WEB: OverrideAction.WEIGHT, ON_MAIL: OverrideAction.DRAIN}
    asked.commanded(Enable(server=HOST), now_s=0)
    assert actions(asked) == {}


def test_directors_agree_in_whatever_order_they_hear() -> None:
    one, two = book("a"), book("b")
    heard = [
        one.commanded(Drain(server=HOST), now_s=0),
        one.commanded(Enable(server=HOST), now_s=0),
        two.commanded(Disable(server=HOST), now_s=0),  # b has heard nothing of a yet
        two.commanded(SetWeight(server=WEB1, weight=3), now_s=0),
    ]
    results = []
    for order in itertools.permutations(heard):
        third = book("c")
        for override in order:
            third.merged((override,), now_s=0)
        results.append(third.overrides)
    assert all(result == results[0] for result in results)


def test_a_director_that_was_away_learns_that_a_server_was_enabled() -> None:
    away, here = book("a"), book("b")
    here.merged((away.commanded(Drain(server=HOST), now_s=0),), now_s=0)
    here.commanded(Enable(server=HOST), now_s=0)
    assert away.merged(here.overrides, now_s=0) == {WEB.name, MAIL.name}
    assert actions(away) == {}
    assert here.merged(away.overrides, now_s=0) == set()


def test_what_is_left_depends_on_the_protocol() -> None:
    dns = dataclasses.replace(WEB, protocol=TransportProtocol.UDP)
    counters = Connections(active=1, inactive=20, persistent=300)
    assert book().left(ON_WEB, counters).total == 301
    server = (dns.name, dns.real_servers[0].name)
    assert OverrideBook((dns,), node="a").left(server, counters).total == 321


def test_a_deadline_comes_by_our_own_clock() -> None:
    asked = book()
    asked.commanded(Drain(server=HOST, deadline_s=10), now_s=1000)
    assert not asked.is_cut(ON_WEB, now_s=1009)
    assert asked.is_cut(ON_WEB, now_s=1010)
    asked.commanded(Drain(server=HOST), now_s=1010)
    assert not asked.is_cut(ON_WEB, now_s=9999)


def test_what_is_left_of_a_deadline_is_told_and_counted_on_by_each_clock() -> None:
    here, away = book("a"), book("b")
    here.commanded(Drain(server=HOST, deadline_s=10), now_s=1000)
    (told,) = here.told(now_s=1004)
    assert (told.deadline_s, told.left_s) == (10, 6)
    away.merged((told,), now_s=77)  # another clock
    assert not away.is_cut(ON_WEB, now_s=82.9)
    assert away.is_cut(ON_WEB, now_s=83)
    away.merged(here.told(now_s=1005), now_s=80)  # told again and again: nothing new
    assert away.is_cut(ON_WEB, now_s=83)


@pytest.mark.parametrize("left_s", [-1.0, 1e300])
def test_a_peer_cannot_stretch_a_deadline(left_s: float) -> None:
    away = book("b")
    wish = Override(
        server=HOST,
        action=OverrideAction.DRAIN,
        revision=1,
        node="a",
        deadline_s=10,
        left_s=left_s,
    )
    away.merged((wish,), now_s=0)
    assert away.is_cut(ON_WEB, now_s=10)


def test_the_end_of_a_drain_is_remembered_until_it_is_another_drain() -> None:
    asked = book()
    asked.commanded(Drain(server=WEB1, service=WEB.name), now_s=0)
    assert asked.draining() == [ON_WEB]
    asked.ended(ON_WEB)
    assert asked.draining() == []
    again = book()
    again.restored(asked.overrides, asked.drained, now_s=0)
    assert again.draining() == []
    again.merged(
        (
            Override(
                server=WEB1, service=WEB.name, action=OverrideAction.DRAIN, revision=1, node="b"
            ),
        ),
        now_s=0,
    )
    assert again.draining() == []  # the same command, as a peer obeyed it
    again.commanded(Enable(server=WEB1, service=WEB.name), now_s=0)
    again.commanded(Drain(server=WEB1, service=WEB.name), now_s=0)
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
        book().commanded(command, now_s=0)
    assert words in str(caught.value)


def test_what_a_peer_says_is_bounded() -> None:
    asked = book()
    asked.merged(
        (
            Override(server=f"s{n}", action=OverrideAction.DRAIN, revision=n + 1, node="b")
            for n in range(2000)
        ),
        now_s=0,
    )
    assert len(asked.overrides) == 1000
    asked.merged(
        (Override(server=HOST, action=OverrideAction.DRAIN, revision=2**60, node="b"),), now_s=0
    )
    with pytest.raises(OverrideError, match="1000 overrides"):
        asked.commanded(Drain(server=HOST), now_s=0)
