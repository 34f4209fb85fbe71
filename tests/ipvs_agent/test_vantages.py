"""Whose word counts: a majority of the checkers, or others where ours does not look."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from heartbus.events import CheckerState, Health, RealServerDown, RealServerUp, Verdict
from heartbus.model import DecidedBy
from heartbus_ipvs_agent.vantages import PEER_FRESH_S
from heartbus_ipvs_agent.verdicts import VerdictBook
from tests.ipvs_agent.builders import virtual_service

SERVICE = virtual_service(1, 1, 1)
VS = SERVICE.name
NAMES = [real.name for real in SERVICE.real_servers]
NODES = ("linuxha1", "linuxha2", "linuxha3")
US, PEER, THIRD = NODES
UP, DOWN, UNKNOWN = Health.UP, Health.DOWN, Health.UNKNOWN
LETTERS = {"u": UP, "d": DOWN, "?": UNKNOWN, "e": UP}


def book(decided_by: DecidedBy = DecidedBy.MAJORITY) -> VerdictBook:
    return VerdictBook([SERVICE], node=US, now_s=0.0, decided_by=decided_by)


def says(healths: str, *, suspect: str | None = None) -> CheckerState:
    """Of each server: up, down, unknown; ``e``: up, as others say who check it."""
    return CheckerState(
        verdicts=tuple(
            Verdict(
                virtual_service=VS,
                real_server=name,
                health=LETTERS[letter],
                reason="",
                since_s=0.0,
                cause=f"{letter}{name}",
                elsewhere=letter == "e",
            )
            for name, letter in zip(NAMES, healths, strict=True)
        ),
        suspect=suspect,
    )


def decided(verdicts: VerdictBook) -> str:
    healths = [verdicts.decided.get((VS, name), UNKNOWN) for name in NAMES]
    return "".join({UP: "u", DOWN: "d", UNKNOWN: "?"}[health] for health in healths)


def heard(verdicts: VerdictBook, node: str, healths: str, now_s: float = 1.0) -> str:
    verdicts.snapshot_received(says(healths), node=node, now_s=now_s)
    return decided(verdicts)


def test_one_of_two_takes_nothing_out_both_do_and_one_lets_it_in_again() -> None:
    verdicts = book()
    heard(verdicts, US, "uuu")
    heard(verdicts, PEER, "uuu")
    assert heard(verdicts, US, "duu") == "uuu"
    assert heard(verdicts, PEER, "duu") == "duu"
    assert heard(verdicts, PEER, "uuu") == "uuu"


def test_two_of_three_take_it_out_for_the_third_too() -> None:
    verdicts = book()
    for node in NODES:
        heard(verdicts, node, "uuu")
    assert heard(verdicts, PEER, "ddu") == "uuu"
    assert heard(verdicts, THIRD, "dud") == "duu"


def test_who_is_alone_decides_alone() -> None:
    verdicts = book()
    heard(verdicts, US, "uuu", 1.0)
    heard(verdicts, PEER, "uuu", 1.0)
    assert heard(verdicts, US, "duu", 1.0 + PEER_FRESH_S) == "uuu"
    assert heard(verdicts, US, "duu", 1.1 + PEER_FRESH_S) == "duu"


def test_who_does_not_know_does_not_speak() -> None:
    verdicts = book()
    heard(verdicts, US, "uuu")
    heard(verdicts, PEER, "???")
    assert heard(verdicts, US, "duu") == "duu"
    verdicts.snapshot_received(says("uuu", suspect="alone"), node=PEER, now_s=1.0)
    assert heard(verdicts, US, "ddu") == "ddu"


def test_a_checker_that_starts_anew_changes_nothing_and_an_event_counts_at_once() -> None:
    verdicts = book()
    heard(verdicts, US, "duu")
    heard(verdicts, PEER, "duu")
    assert heard(verdicts, US, "???") == "duu"
    up = RealServerUp(virtual_service=VS, real_server=NAMES[0], reason="", weight=3)
    (change,) = verdicts.event_received(up, node=PEER, event_id="e1", now_s=1.0)
    assert (change.health, change.cause) == (UP, "e1")
    assert verdicts.weights == {(VS, NAMES[0]): 3}
    down = RealServerDown(virtual_service=VS, real_server=NAMES[0], reason="")
    (change,) = verdicts.event_received(down, node=PEER, event_id="e2", now_s=1.0)
    assert change.health is DOWN


def test_an_outage_of_the_bus_leaves_nobody_alone_with_his_word() -> None:
    verdicts = book()
    heard(verdicts, US, "uuu", 1.0)
    heard(verdicts, PEER, "uuu", 1.0)
    verdicts.bus_found(now_s=3600.0)
    assert heard(verdicts, US, "ddd", 3600.1) == "uuu"
    assert heard(verdicts, PEER, "ddd", 3600.2) == "ddd"


@settings(max_examples=200)
@given(
    views=st.lists(st.text("ud?", min_size=3, max_size=3), min_size=3, max_size=3),
    order=st.permutations(range(3)),
)
def test_all_directors_come_to_the_same(views: list[str], order: list[int]) -> None:
    tables = []
    for node in NODES:
        verdicts = VerdictBook([SERVICE], node=node, now_s=0.0, decided_by=DecidedBy.MAJORITY)
        for number in (*order, NODES.index(node)):  # each hears its own once more, last
            heard(verdicts, NODES[number], views[number])
        tables.append(decided(verdicts))
    for position, letters in enumerate(zip(*views, strict=True)):
        known = [letter for letter in letters if letter != "?"]
        if known:
            wanted = "d" if known.count("d") * 2 > len(known) else "u"
            assert {table[position] for table in tables} == {wanted}


def test_of_what_ours_leaves_to_others_the_first_that_checks_it_is_believed() -> None:
    verdicts = book(DecidedBy.OWN)
    heard(verdicts, US, "uee")
    heard(verdicts, THIRD, "edd")
    assert decided(verdicts) == "udd"
    assert heard(verdicts, PEER, "due") == "uud"
    assert heard(verdicts, THIRD, "euu") == "uuu"
    assert heard(verdicts, US, "dee") == "duu"


def test_an_event_of_who_checks_it_counts_at_once() -> None:
    verdicts = book(DecidedBy.OWN)
    heard(verdicts, US, "uee")
    heard(verdicts, PEER, "uue")  # it tells of the last one, so it has taken that one by now
    for name, changed in zip(NAMES, (0, 1, 1), strict=True):
        down = RealServerDown(virtual_service=VS, real_server=name, reason="")
        told = verdicts.event_received(down, node=PEER, event_id="e", now_s=1.0)
        assert len(told) == changed, name
    assert decided(verdicts) == "udd"


def test_what_changes_hands_changes_nothing() -> None:
    verdicts = book(DecidedBy.OWN)
    heard(verdicts, US, "uee", 1.0)
    heard(verdicts, PEER, "eud", 1.0)
    assert heard(verdicts, US, "uee", 1.1 + PEER_FRESH_S) == "uud"  # the peer has died
    assert heard(verdicts, US, "u??", 4.5) == "uud"  # ours takes over, and has not looked yet
    assert heard(verdicts, US, "uud", 5.0) == "uud"


def test_a_suspect_is_not_believed_of_what_it_alone_checks() -> None:
    verdicts = book(DecidedBy.OWN)
    heard(verdicts, US, "uee")
    heard(verdicts, PEER, "euu")
    verdicts.snapshot_received(says("edd", suspect="alone"), node=PEER, now_s=1.5)
    assert decided(verdicts) == "uuu"


def test_a_changed_setting_counts_from_the_next_snapshot_on() -> None:
    verdicts = book(DecidedBy.OWN)
    heard(verdicts, PEER, "uuu")
    assert heard(verdicts, US, "duu") == "duu"
    verdicts.decide_by(DecidedBy.MAJORITY)
    assert heard(verdicts, US, "duu") == "uuu"


def test_weights_are_those_of_our_own_checker_where_it_agrees() -> None:
    verdicts = book()
    peer = says("uuu")
    peer = replace(peer, verdicts=tuple(replace(v, weight=7) for v in peer.verdicts))
    verdicts.snapshot_received(peer, node=PEER, now_s=1.0)
    assert set(verdicts.weights.values()) == {7}
    heard(verdicts, US, "duu")
    assert verdicts.weights == {(VS, NAMES[0]): 7}


def page(number: int, letter: str, *, suspect: str | None = None) -> CheckerState:
    """One server of three, each on a page of its own."""
    whole = says("uuu" if letter in "ue" else "ddd", suspect=suspect)
    found = replace(whole.verdicts[number], elsewhere=letter == "e")
    return replace(whole, verdicts=(found,), page=number, pages=3, edition="x")


def test_words_that_come_page_by_page_count_as_those_that_come_at_once() -> None:
    verdicts = book(DecidedBy.OWN)

    def told(node: str, number: int, letter: str, **more: str) -> str:
        verdicts.snapshot_received(page(number, letter, **more), node=node, now_s=1.0)
        return decided(verdicts)

    assert told(US, 0, "u") == "u??"
    assert told(US, 2, "u") == "u?u"
    assert told(US, 1, "e") == "u?u", "others check it"
    assert told(PEER, 0, "d") == "u?u", "ours counts"
    assert told(PEER, 1, "d") == "udu"
    assert told(PEER, 1, "u") == "uuu"
    assert told(US, 1, "d") == "udu", "we look again"
    assert told(US, 1, "d", suspect="cut off") == "uuu"
    assert told(PEER, 2, "d") == "uud", "each page of the peer counts as it comes"
