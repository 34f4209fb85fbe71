"""A peer that does not know the connections yet is told from one that does, for a bounded time."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from heartbus.model import AddressResource, ResourceGroup
from heartbus_ipvs_agent.warm import Serving
from heartbus_ipvs_agent.warmth import HEARD_S, Warmth
from tests.ipvs_agent.builders import virtual_service

PEER = "linuxha2"
WEB, MAIL = "tcp:10.0.0.1:80", "tcp:10.0.0.2:25"


def warmth(percent: int = 90, wait_s: float = 60.0) -> Warmth:
    return Warmth([PEER], percent=percent, wait_s=wait_s, now_s=0.0)


def test_a_peer_is_cold_until_it_knows_enough() -> None:
    here = warmth()
    here.peer_told(PEER, {WEB: 100}, now_s=1.0)
    here.looked({WEB: 1000}, now_s=1.0)
    assert here.cold == {PEER: "it knows 10 % of 1000 connections"}
    assert here.known == {PEER: 10.0}
    here.peer_told(PEER, {WEB: 900}, now_s=2.0)
    assert here.looked({WEB: 1000}, now_s=2.0)
    assert here.cold == {}


def test_what_it_has_of_other_services_does_not_count() -> None:
    here = warmth()
    here.peer_told(PEER, {WEB: 10, MAIL: 5000}, now_s=0.0)
    here.looked({WEB: 100}, now_s=0.0)
    assert here.known == {PEER: 10.0}
    here.peer_told(PEER, {WEB: 5000}, now_s=0.0)
    here.looked({WEB: 100, MAIL: 100}, now_s=0.0)
    assert here.known == {PEER: 50.0}


def test_a_peer_that_stays_cold_is_waited_for_so_long_and_no_longer() -> None:
    here = warmth(wait_s=60.0)
    for second in range(0, 70, 5):
        here.peer_told(PEER, {}, now_s=float(second))
        here.looked({WEB: 10}, now_s=float(second))
        assert (PEER in here.cold) == (second < 60)
    here.peer_told(PEER, {WEB: 10}, now_s=70.0)
    here.looked({WEB: 10}, now_s=70.0)
    here.peer_told(PEER, {}, now_s=71.0)  # rebooted
    here.looked({WEB: 10}, now_s=71.0)
    assert PEER in here.cold


def test_a_peer_that_is_not_heard_is_cold_where_there_is_something_to_lose() -> None:
    here = warmth()
    here.looked({WEB: 0}, now_s=0.0)
    assert here.cold == {}
    here.looked({WEB: 1}, now_s=1.0)
    assert here.cold == {PEER: "its ipvs-agent is not heard"}
    here.peer_told(PEER, {WEB: 1}, now_s=2.0)
    here.looked({WEB: 1}, now_s=2.0)
    assert here.cold == {}
    here.looked({WEB: 1}, now_s=2.0 + HEARD_S + 1)
    assert here.cold == {PEER: "its ipvs-agent is not heard"}


def test_off_is_off() -> None:
    here = warmth(percent=0)
    here.looked({WEB: 1}, now_s=0.0)
    here.peer_told(PEER, {}, now_s=1.0)
    here.looked({WEB: 1}, now_s=1.0)
    assert here.cold == {}
    assert here.known == {PEER: 0.0}


@given(
    st.dictionaries(st.sampled_from([WEB, MAIL, "x"]), st.integers(-(2**70), 2**70)),
    st.dictionaries(st.sampled_from([WEB, MAIL]), st.integers(0, 10**6)),
)
def test_whatever_a_peer_tells_the_share_is_one(
    told: dict[str, int], served: dict[str, int]
) -> None:
    here = warmth()
    here.peer_told("nobody", told, now_s=0.0)
    here.peer_told(PEER, told, now_s=0.0)
    here.looked(served, now_s=0.0)
    assert 0.0 <= here.known[PEER] <= 100.0


def group(name: str, *addresses: str) -> ResourceGroup:
    resources = tuple(AddressResource(address=address, prefix_len=24) for address in addresses)
    return ResourceGroup(name=name, preferred="linuxha1", resources=resources)


def test_a_service_is_served_by_who_holds_its_group_or_its_address() -> None:
    serving = Serving([group("a", "192.168.7.110"), group("b", "192.168.7.111")])
    web = virtual_service(1)
    assert serving.groups(web) == {"a"}
    assert serving.groups(replace(web, group="b")) == {"b"}
    elsewhere = replace(web, endpoint=replace(web.endpoint, address="192.168.7.99"))
    assert serving.groups(elsewhere) == {"a", "b"}
    assert Serving([]).groups(web) == set()
