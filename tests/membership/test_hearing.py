"""Which datagrams are believed: whole table of reasons, copies and replays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbus.model import Authentication, AuthKey, AuthMethod
from heartbus_membership.claims import Claim, Phase
from heartbus_membership.hearing import Dropped, Heard, Hearing
from heartbus_membership.replay import WINDOW_BEATS, Novelty, ReplayGuard
from heartbus_membership.signing import Keyring
from heartbus_membership.wire import Heartbeat, encode, name_id

RING = Keyring(
    Authentication(signing_key=1, keys=(AuthKey(id=1, method=AuthMethod.SHA256, secret=b"secret"),))
)
HELD = Claim(epoch=3, phase=Phase.HELD, candidate=True)
BEAT = Heartbeat(
    node="b",
    incarnation=10,
    sequence=5,
    settled=True,
    ready=True,
    leaving=False,
    deadtime_ms=300,
    config_digest=bytes(8),
    claims=((name_id("vip"), HELD), (name_id("unknown to us"), HELD)),
)


def hearing() -> Hearing:
    return Hearing(
        node="a",
        incarnation=77,
        peers=["b", "c"],
        keyring=RING,
        groups_by_id={name_id("vip"): "vip"},
    )


def test_news_carries_the_claims_of_known_groups() -> None:
    heard = hearing().judge(encode(BEAT, RING), link="l1")
    assert isinstance(heard, Heard)
    assert heard.report is not None
    assert heard.report.claims == {"vip": HELD}


def test_a_copy_on_another_link_is_no_news() -> None:
    ears = hearing()
    ears.judge(encode(BEAT, RING), link="l1")
    heard = ears.judge(encode(BEAT, RING), link="l2")
    assert heard == Heard(
        peer="b", link="l2", incarnation=10, sequence=5, leaving=False, report=None
    )


@pytest.mark.parametrize(
    ("beat", "link", "reason"),
    [
        (BEAT, "l1", "replayed"),
        (replace(BEAT, sequence=4), "l1", "replayed"),
        (replace(BEAT, incarnation=9, sequence=99), "l2", "replayed"),
        (replace(BEAT, node="z"), "l1", "unknown-node"),
        (replace(BEAT, node="a"), "l1", "own-name"),
        (replace(BEAT, sequence=6), None, "no-link"),
    ],
)
def test_what_is_not_believed_is_counted(beat: Heartbeat, link: str | None, reason: str) -> None:
    ears = hearing()
    ears.judge(encode(BEAT, RING), link="l1")
    dropped = ears.judge(encode(beat, RING), link=link)
    assert isinstance(dropped, Dropped)
    assert dropped.reason == reason
    assert ears.dropped == {reason: 1}


def test_our_own_broadcast_is_neither_heard_nor_counted() -> None:
    ears = hearing()
    assert ears.judge(encode(replace(BEAT, node="a", incarnation=77), RING), link="l1") is None
    assert ears.dropped == {}


def test_a_new_incarnation_starts_its_sequence_anew() -> None:
    guard = ReplayGuard()
    assert guard.judge("b", link="l", incarnation=1, sequence=900) is Novelty.NEWS
    assert guard.judge("b", link="l", incarnation=2, sequence=0) is Novelty.NEWS
    assert guard.judge("b", link="l", incarnation=1, sequence=901) is Novelty.REPLAYED


def test_a_slow_link_counts_as_heard_within_the_window_and_each_beat_once() -> None:
    guard = ReplayGuard()
    guard.judge("b", link="fast", incarnation=1, sequence=100)
    slow = {
        sequence: guard.judge("b", link="slow", incarnation=1, sequence=sequence)
        for sequence in (100 - WINDOW_BEATS, 100 - WINDOW_BEATS + 1, 100)
    }
    assert list(slow.values()) == [Novelty.REPLAYED, Novelty.COPY, Novelty.COPY]
    assert guard.judge("b", link="slow", incarnation=1, sequence=100) is Novelty.REPLAYED
