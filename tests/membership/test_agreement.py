"""When another configuration of a peer is told, in which words, and when no more."""

from __future__ import annotations

import dataclasses

import pytest

from heartbus.config.digest import config_digest, part_digests
from heartbus.events import ConfigDifference, ConfigSkew
from heartbus.model import Cluster, Director, Failback, ResourceGroup
from heartbus_membership.agreement import Agreement, settle_s
from tests.membership.fakes import cluster_of

OURS = cluster_of("a", "b")
THEIRS = dataclasses.replace(
    OURS, membership=dataclasses.replace(OURS.membership, failback=Failback.ON)
)
OTHERS = dataclasses.replace(
    THEIRS,
    directors=(*OURS.directors, Director(name="z")),
    groups=(ResourceGroup(name="more", preferred="b", resources=()),),
)
RULES = ("takeover rules",)


def skew(theirs: Cluster = THEIRS, *differs: str, agreed: bool = False) -> ConfigSkew:
    return ConfigSkew(
        director="b",
        ours=config_digest(OURS),
        theirs=config_digest(theirs),
        agreed=agreed,
        differs=differs,
    )


def hear(core: Agreement, theirs: Cluster, now_s: float, *, words: bool = True) -> list[ConfigSkew]:
    digest = bytes.fromhex(config_digest(theirs))
    event = core.heard("b", digest, part_digests(theirs) if words else b"", now_s=now_s)
    return [] if event is None else [event]


def told(*heard: tuple[float, Cluster]) -> list[ConfigSkew]:
    core = Agreement(OURS)
    return [event for now_s, theirs in heard for event in hear(core, theirs, now_s)]


def test_equal_configurations_are_not_told_and_cost_no_byte_on_the_wire() -> None:
    core = Agreement(OURS)
    assert [hear(core, OURS, at_s) for at_s in (0, 100)] == [[], []]
    assert core.differences == ()
    assert core.parts == b""


def test_a_difference_is_told_once_when_it_has_settled_with_what_differs() -> None:
    assert told((0, THEIRS), (4.9, THEIRS)) == []
    events = told((0, THEIRS), (5.0, THEIRS), (6.0, THEIRS), (60.0, THEIRS))
    assert events == [skew(THEIRS, *RULES)]


def test_our_parts_are_said_from_the_first_difference_until_all_agree() -> None:
    core = Agreement(OURS)
    hear(core, THEIRS, 0)
    assert core.parts == part_digests(OURS)
    hear(core, OURS, 0.1)
    assert core.parts == b""


def test_a_rolling_reload_does_not_cry() -> None:
    assert told((0, THEIRS), (4, OURS), (20, THEIRS), (24, OTHERS), (28, OURS)) == []


def test_agreement_is_told_at_once_and_only_after_an_alarm() -> None:
    events = told((0, THEIRS), (5, THEIRS), (5.1, OURS), (5.2, OURS))
    assert events == [skew(THEIRS, *RULES), skew(OURS, agreed=True)]


def test_the_alarm_says_what_differs_now_and_is_gone_when_they_agree() -> None:
    core = Agreement(OURS)
    hear(core, THEIRS, 0)
    assert not core.differences, "it has not settled"
    hear(core, THEIRS, 5, words=False)
    theirs = config_digest(THEIRS)
    (difference,) = core.differences
    assert difference == ConfigDifference(director="b", theirs=theirs, differs=RULES)
    hear(core, OTHERS, 6)
    (difference,) = core.differences
    assert difference.theirs == config_digest(OTHERS)
    assert difference.differs == ("directors", "takeover rules", "resource groups")
    hear(core, OURS, 7)
    assert not core.differences


def test_a_peer_that_names_no_parts_differs_without_words() -> None:
    core = Agreement(OURS)
    events = [event for at_s in (0, 5) for event in hear(core, THEIRS, at_s, words=False)]
    assert events == [skew()]


def test_a_silent_peer_starts_anew() -> None:
    core = Agreement(OURS)
    hear(core, THEIRS, 0)
    hear(core, THEIRS, 5)
    assert [d.director for d in core.differences] == ["b"]
    core.silent("b")
    assert not core.differences
    assert hear(core, THEIRS, 9) == []


@pytest.mark.parametrize(("keepalive_s", "expected_s"), [(0.075, 5.0), (2.0, 10.0)])
def test_slow_clusters_settle_slowly(keepalive_s: float, expected_s: float) -> None:
    assert settle_s(keepalive_s) == expected_s
