"""The holder asks the network before it takes a group that nobody had, and yields when told so."""

from __future__ import annotations

from heartbus.events import HoldStatus, Lease
from tests.vip.directors import PLAIN, VIP1, Director, held


def asked_first(*, epoch: int = 1) -> Lease:
    return Lease(group="plain", epoch=epoch, deadline_monotonic_s=200.0, cause="e", ask_first=True)


def test_a_group_that_nobody_had_is_asked_for_before_it_is_put() -> None:
    director = Director(PLAIN)
    assert director.lease(asked_first()) == [("ask", VIP1.address)]
    assert director.wanted == []
    assert director.asked(problem=None) == [
        *(("put", VIP1.address), ("announce", VIP1.address)),
        "vip.acquired",
    ]


def test_a_used_address_fails_the_group_where_we_yield() -> None:
    director = Director(PLAIN)
    director.lease(asked_first())
    assert director.asked(problem="x has it") == ["vip.failed"]
    assert director.status is HoldStatus.FAILED
    assert director.kernel == set()
    assert director.lease(asked_first(epoch=2)) == [("ask", VIP1.address)]


def test_an_answer_that_comes_after_the_lease_is_gone_changes_nothing() -> None:
    director = Director(PLAIN)
    director.lease(asked_first())
    assert director.lease() == ["vip.released"]
    assert director.asked(problem=None) == []
    assert director.kernel == set()


def test_an_address_that_is_there_already_is_adopted_without_asking() -> None:
    director = Director(PLAIN, present=[VIP1])
    assert ("ask", VIP1.address) not in director.lease(asked_first())
    assert director.status is HoldStatus.HELD


def test_who_yields_lets_go_of_a_held_group_and_keeps_out_until_a_new_epoch() -> None:
    director = held(PLAIN)
    log = director.carry_out(
        director.holder.yielded("plain", address=VIP1, problem="x has it", now_s=director.now_s)
    )
    assert log == ["vip.failed", ("remove", VIP1.address)]
    assert director.holder.state().groups[0].reason == f"{VIP1.name}: x has it"
    assert director.advance(1.0) == []
    assert director.status is HoldStatus.FAILED
