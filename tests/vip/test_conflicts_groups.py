"""The watch over addresses follows the groups: new ones are asked for, old ones forgotten."""

from __future__ import annotations

from dataclasses import replace

from heartbus.events import HeldGroup, HoldStatus
from heartbus.model import AddressResource
from heartbus_vip.conflicts import Ask, Asked
from heartbus_vip.neighbours import Said
from tests.vip.test_conflicts import FOREIGN, GROUP, VIP, Lan

MORE = AddressResource(address="192.168.7.111", prefix_len=24)
BOTH = replace(GROUP, resources=(VIP, MORE))


def test_a_new_address_is_asked_for_and_an_answer_to_it_is_a_conflict() -> None:
    lan = Lan(interval_s=0.0)
    said = Said(address=MORE.address, mac=FOREIGN)
    assert lan.core.heard(said, interface="eth0", now_s=lan.now_s) == []
    assert lan.core.use_groups([BOTH], now_s=lan.now_s) == []
    asked = lan.core.ask_first("www", 7, [MORE], now_s=lan.now_s)
    assert asked == [Ask(address=MORE)]
    outcomes = lan.let_pass(3.0)
    assert outcomes[-1] == Asked(group="www", step=7, address=MORE, problem=None)
    held = HeldGroup(
        name="www", status=HoldStatus.HELD, epoch=5, addresses=(VIP.address, MORE.address)
    )
    lan.core.held([held], now_s=lan.now_s)
    lan.take(lan.core.heard(said, interface="eth0", now_s=lan.now_s))
    lan.let_pass(1.5)
    lan.take(lan.core.heard(said, interface="eth0", now_s=lan.now_s))
    assert [event.address for event in lan.told] == [MORE.address]


def test_a_conflict_of_an_address_that_goes_ends_and_those_of_others_stand() -> None:
    lan = Lan()
    lan.hear(FOREIGN)
    lan.let_pass(1.5)
    lan.hear(FOREIGN)
    assert len(lan.core.views()) == 1
    assert lan.core.use_groups([BOTH], now_s=lan.now_s) == []
    assert len(lan.core.views()) == 1
    (ended,) = lan.core.use_groups([replace(BOTH, resources=(MORE,))], now_s=lan.now_s)
    assert ended.ended  # type: ignore[union-attr]
    assert ended.reason == "it is configured no more"  # type: ignore[union-attr]
    assert lan.core.views() == ()


def test_a_question_about_an_address_that_goes_is_answered() -> None:
    lan = Lan()
    lan.core.use_groups([BOTH], now_s=lan.now_s)
    lan.core.ask_first("www", 7, [MORE], now_s=lan.now_s)
    lan.core.use_groups([GROUP], now_s=lan.now_s)
    answers = [o for o in lan.let_pass(3.0) if isinstance(o, Asked)]
    assert [(a.step, a.problem) for a in answers] == [(7, None)]
