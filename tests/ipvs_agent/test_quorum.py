"""keepalived's rule of quorum and hysteresis, and what is told of it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.model import ServicePolicy, VirtualService
from heartbus_ipvs_agent.quorum import QuorumBook, QuorumChange, Weights
from tests.ipvs_agent.builders import virtual_service


def service(quorum: int, hysteresis: int = 0) -> VirtualService:
    policy = ServicePolicy(quorum=quorum, hysteresis=hysteresis, quorum_up=("/bin/true",))
    return replace(virtual_service(1, 1, 1), policy=policy)


def told(book: QuorumBook, wanted: VirtualService, *weights: int) -> str:
    """Return + for gained, - for lost, . for nothing, for each weight in turn."""
    signs = []
    for up in weights:
        change = book.weighed(wanted.name, Weights(up=up, undecided=0))
        signs.append("." if change is None else "+" if change.gained else "-")
    return "".join(signs)


@pytest.mark.parametrize(
    ("quorum", "hysteresis", "weights", "said"),
    [
        (1, 0, (0, 1, 5, 1, 0, 0, 2), "-+..-.+"),
        (3, 0, (0, 2, 3, 2, 3), "-.+-+"),
        # Gained at 3 + 1, kept down to 3 - 1.
        (3, 1, (3, 4, 3, 2, 1, 2, 3, 4), "-+..-..+"),
        (3, 2, (5, 4, 3, 2, 1, 0), "+....-"),
        # 0 is lost whatever the hysteresis.
        (1, 0, (1, 0), "+-"),
        (10, 0, (9, 10, 9), "-+-"),
    ],
)
def test_a_service_is_gained_and_lost_as_keepalived_has_it(
    quorum: int, hysteresis: int, weights: tuple[int, ...], said: str
) -> None:
    wanted = service(quorum, hysteresis)
    assert told(QuorumBook([wanted]), wanted, *weights) == said


@given(
    quorum=st.integers(1, 6),
    spare=st.integers(0, 5),
    weights=st.lists(st.integers(0, 12), max_size=30),
)
def test_what_is_told_alternates_and_agrees_with_the_weight(
    quorum: int, spare: int, weights: list[int]
) -> None:
    wanted = service(quorum, min(spare, quorum - 1))
    policy = wanted.policy
    book = QuorumBook([wanted])
    said: list[bool] = []
    for up in weights:
        change = book.weighed(wanted.name, Weights(up=up, undecided=0))
        if change is not None:
            said.append(change.gained)
        if up >= policy.quorum + policy.hysteresis:
            assert said[-1]
            assert wanted.name not in book.short
        if up < max(policy.quorum - policy.hysteresis, 1):
            assert not said[-1]
            assert wanted.name in book.short
    assert all(one != next_ for one, next_ in itertools.pairwise(said))


def test_after_a_cold_start_nothing_is_told_before_the_checks_are_through() -> None:
    wanted = service(2)
    book = QuorumBook([wanted])
    assert book.weighed(wanted.name, Weights(up=0, undecided=3)) is None
    assert wanted.name in book.short  # nobody answers yet: the sorry server does
    assert book.weighed(wanted.name, Weights(up=1, undecided=1)) is None
    assert book.weighed(wanted.name, Weights(up=1, undecided=0)) == QuorumChange(
        virtual_service=wanted.name, gained=False, weight=1, first=True
    )


def test_a_restart_tells_nothing_that_was_told() -> None:
    wanted = service(2)
    for stood, said in ((True, "."), (False, "+")):
        book = QuorumBook([wanted])
        book.found(wanted.name, stood=stood)
        assert told(book, wanted, 2) == said


def test_a_reload_keeps_how_services_stand_and_uses_their_new_quorum() -> None:
    wanted = service(2)
    book = QuorumBook([wanted])
    assert told(book, wanted, 2) == "+"
    book.use([service(3)])
    assert told(book, wanted, 2, 3) == "-+"
    book.use([])
    assert (book.watched, book.short) == ({}, set())


def test_a_service_without_policy_is_not_watched() -> None:
    assert QuorumBook([virtual_service(1)]).watched == {}
