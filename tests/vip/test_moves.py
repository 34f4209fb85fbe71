"""How long nobody had a group, or both had it, when it was handed over: on the giver's clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from heartbus.events import VipMoved
from heartbus.model import AddressResource, ResourceGroup
from heartbus_vip.moves import Moves

VIP = AddressResource(address="192.168.7.110", prefix_len=24)
SECOND = AddressResource(address="192.168.7.111", prefix_len=24)
GROUP = ResourceGroup(name="www", preferred="a", resources=(VIP, SECOND))
T = 100.0

Happens = Callable[[Moves], VipMoved | None]


def ordered(at_s: float) -> tuple[float, Happens]:
    return at_s, lambda moves: moves.handed_over("www", 7, now_s=at_s)


def removed(at_s: float, address: str = VIP.address) -> tuple[float, Happens]:
    return at_s, lambda moves: moves.removed(address, now_s=at_s)


def seen(at_s: float, address: str = VIP.address) -> tuple[float, Happens]:
    return at_s, lambda moves: moves.seen(address, "b", now_s=at_s)


def told(*happens: tuple[float, Happens]) -> list[VipMoved]:
    moves = Moves("a", [GROUP])
    moves.taken(VIP.address)
    return [event for _, each in happens if (event := each(moves)) is not None]


def test_an_overlap_is_from_the_first_frame_of_the_taker_to_our_removal() -> None:
    (event,) = told(seen(T), ordered(T + 0.004), seen(T + 0.2), removed(T + 0.205))
    assert (event.group, event.director, event.to, event.epoch) == ("www", "a", "b", 7)
    assert event.overlap_s == pytest.approx(0.205)
    assert event.gap_s == 0.0


def test_a_gap_is_from_our_removal_to_the_first_frame_of_the_taker() -> None:
    (event,) = told(ordered(T), removed(T + 0.002), seen(T + 0.012), seen(T + 0.2))
    assert event.gap_s == pytest.approx(0.010)
    assert event.overlap_s == 0.0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_three_may_be_noticed_in_any_order(order: tuple[int, ...]) -> None:
    happens = [ordered(T), removed(T + 0.1), seen(T + 0.3)]
    (event,) = told(*(happens[number] for number in order))
    assert event.gap_s == pytest.approx(0.2)


def test_what_is_no_handover_is_not_told() -> None:
    assert told(removed(T), seen(T + 0.1)) == []  # a failover, or the loser of a split
    assert told(ordered(T), removed(T + 20.0), seen(T + 20.1)) == []
    assert told(ordered(T), removed(T), seen(T + 11.0)) == []


def test_frames_of_an_earlier_occasion_do_not_count() -> None:
    (event,) = told(seen(T), ordered(T + 0.9), seen(T + 0.9), removed(T + 0.95))
    assert event.overlap_s == pytest.approx(0.05)


def test_the_first_address_stands_for_its_group_and_others_do_not() -> None:
    late = removed(T + 0.5, SECOND.address), seen(T + 0.6, SECOND.address)
    assert told(ordered(T), *late) == []
    assert Moves("a", [GROUP]).handed_over("nobody", 1, now_s=T) is None


def test_each_handover_is_told_once_and_a_return_begins_anew() -> None:
    moves = Moves("a", [GROUP])
    for number in range(3):
        at_s = T + number
        moves.taken(VIP.address)
        moves.handed_over("www", number, now_s=at_s)
        moves.removed(VIP.address, now_s=at_s + 0.01)
        event = moves.seen(VIP.address, "b", now_s=at_s + 0.02)
        assert event is not None
        assert event.epoch == number
        assert event.gap_s == pytest.approx(0.01)
        assert moves.seen(VIP.address, "b", now_s=at_s + 0.1) is None
