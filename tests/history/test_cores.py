"""What is kept, what is missing, whom to ask: the cores of the history."""

from __future__ import annotations

import itertools
import random

import pytest

from heartbus.events import AskEvents, IpvsDigests, NodeDead, VipState
from heartbus.history.agreement import (
    AGAIN_MAX_S,
    AGAIN_S,
    DIFFERS_S,
    Agreement,
    Digests,
    differing,
)
from heartbus.history.chains import AGAIN_S as LOOK_AGAIN_S
from heartbus.history.chains import GRACE_S, LOOKS_MAX, SENDERS_MAX, TRIES_MAX, Chains
from heartbus.history.records import CLOCK_OFF_MAX_S, is_wanted, newest, record
from heartbus.recording import BUCKET_S, RECENT_EVENTS_MAX
from tests.history.builders import NOW_S, Process

DEAD = NodeDead(director="two", silent_s=0.3, reason="silence")


def test_every_message_names_the_event_before_it_whatever_was_between() -> None:
    process = Process()
    first = process.say(DEAD)
    state = process.say(VipState(groups=()))
    digests = process.say(IpvsDigests(digests={}))
    second = process.say(DEAD)
    assert first.envelope.previous is None
    assert {m.envelope.previous for m in (state, digests, second)} == {first.envelope.id}


def test_a_process_remembers_its_last_events_and_no_more() -> None:
    process = Process()
    said = [process.say(DEAD) for _ in range(RECENT_EVENTS_MAX + 5)]
    assert process._speaker.recent == tuple(said[5:])


@pytest.mark.parametrize("body", [IpvsDigests(digests={}), VipState(groups=())])
def test_what_is_told_again_and_again_is_no_history(body: IpvsDigests | VipState) -> None:
    assert record(Process().say(body), now_s=NOW_S) is None


@pytest.mark.parametrize("off_s", [-CLOCK_OFF_MAX_S - 1, CLOCK_OFF_MAX_S + 1, -NOW_S])
def test_an_event_of_a_wrong_clock_is_kept_under_our_time_and_not_compared(off_s: float) -> None:
    kept = record(Process().say(DEAD, at_s=NOW_S + off_s), now_s=NOW_S)
    assert kept is not None
    assert (kept.at_s, kept.bucket) == (NOW_S, None)


def test_an_old_event_from_a_peer_is_old_and_one_from_the_future_is_refused() -> None:
    old = record(Process().say(DEAD, at_s=NOW_S - 1e6), now_s=NOW_S, heard=False)
    assert old is not None
    assert (old.at_s, old.bucket) == (NOW_S - 1e6, int((NOW_S - 1e6) // BUCKET_S))
    assert record(Process().say(DEAD, at_s=NOW_S + 1e6), now_s=NOW_S, heard=False) is None


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (AskEvents(), True),
        (AskEvents(since_s=NOW_S), True),
        (AskEvents(since_s=NOW_S + 1), False),
        (AskEvents(until_s=NOW_S - 1), False),
        (AskEvents(kinds=("node.*",)), True),
        (AskEvents(kinds=("vip.acquired", "node.dead")), True),
        (AskEvents(kinds=("node.d*", "nod.*", "node")), False),
        (AskEvents(node="one"), True),
        (AskEvents(node="two"), False),
        (AskEvents(about="two"), True),
        (AskEvents(about="three"), False),
        (AskEvents(ids=("x",)), False),
    ],
)
def test_what_is_asked_for(query: AskEvents, wanted: bool) -> None:
    kept = record(Process().say(DEAD), now_s=NOW_S)
    assert kept is not None
    assert is_wanted(kept, query) is wanted


def test_the_newest_count_each_once_in_the_order_of_time() -> None:
    process = Process()
    kept = [record(process.say(DEAD, at_s=NOW_S + n), now_s=NOW_S) for n in range(5)]
    rows = [k for k in kept if k is not None]
    shuffled = rows * 2
    random.Random(1).shuffle(shuffled)
    assert newest(shuffled, 3) == (rows[2:], True)
    assert newest(shuffled, 5) == (rows, False)


# --- what a process said and nobody has ----------------------------------------------------------


def test_an_event_that_is_named_and_not_there_is_looked_for_after_a_moment() -> None:
    chains, process = Chains(), Process()
    missed = process.say(DEAD)
    chains.heard(process.say(VipState(groups=())).envelope, now_s=10.0)
    assert chains.due(now_s=10.0) == []
    sender = ("one", "membership")
    assert chains.due(now_s=10.0 + GRACE_S) == [(sender, missed.envelope.id)]
    chains.found(sender, missed.envelope.id)
    chains.heard(process.say(VipState(groups=())).envelope, now_s=20.0)
    assert chains.due(now_s=1e9) == []


def test_an_event_between_two_that_were_heard_is_missed_too() -> None:
    chains, process = Chains(), Process()
    process.say(DEAD)
    missed = process.say(DEAD)
    heard = process.say(DEAD)
    chains.heard(heard.envelope, now_s=10.0)
    chains.heard(process.say(VipState(groups=())).envelope, now_s=10.1)
    named = {event_id for _sender, event_id in chains.due(now_s=11.0)}
    assert named == {missed.envelope.id, heard.envelope.id}


def test_a_process_that_has_not_got_it_either_is_not_asked_for_ever() -> None:
    chains, process = Chains(), Process()
    missed = process.say(DEAD)
    chains.heard(process.say(VipState(groups=())).envelope, now_s=0.0)
    now_s = GRACE_S
    for _ in range(TRIES_MAX):
        assert chains.due(now_s=now_s)
        chains.asked(("one", "membership"), missed.envelope.id, now_s=now_s)
        assert not chains.due(now_s=now_s)
        now_s += LOOK_AGAIN_S
    assert chains.due(now_s=1e9) == []


def test_who_invents_senders_or_events_does_not_fill_the_memory() -> None:
    chains = Chains()
    for number in range(SENDERS_MAX + 10):
        process = Process(service=f"s{number}")
        process.say(DEAD)
        chains.heard(process.say(DEAD).envelope, now_s=0.0)
    assert len(chains.due(now_s=1.0)) == SENDERS_MAX
    process = Process(service="s1")
    for _ in range(2 * LOOKS_MAX):
        chains.heard(process.say(DEAD).envelope, now_s=0.0)
    assert len(chains.due(now_s=1.0)) == LOOKS_MAX


# --- what peers have -----------------------------------------------------------------------------


def test_a_digest_does_not_depend_on_the_order_and_sees_every_difference() -> None:
    ids = [(n % 3, f"{n:032x}") for n in range(1, 50)]
    one, two = Digests(), Digests()
    for bucket, event_id in ids:
        one.change(bucket, event_id)
    for bucket, event_id in reversed(ids):
        two.change(bucket, event_id)
    assert one.total == two.total
    two.change(1, ids[1][1])
    two.change(2, ids[1][1])
    assert one.total != two.total, "an event in another hour"
    assert sorted(differing(one.by_bucket(), two.by_bucket(), since_s=-BUCKET_S)) == [1, 2]
    assert differing(one.by_bucket(), two.by_bucket(), since_s=1.5 * BUCKET_S) == [2]


def test_a_peer_is_asked_only_if_it_differs_for_longer_than_an_event_takes() -> None:
    agreement = Agreement()
    agreement.told("two", "a", now_s=0.0)
    assert agreement.due("a", now_s=0.0) is None
    assert agreement.due("b", now_s=1.0) is None
    agreement.told("two", "b", now_s=2.0)
    assert agreement.due("b", now_s=2.0) is None
    agreement.told("two", "a", now_s=3.0)
    for now_s in (3.0, 3.0 + DIFFERS_S - 0.1):
        agreement.told("two", "a", now_s=now_s)
        assert agreement.due("b", now_s=now_s) is None
    agreement.told("two", "a", now_s=3.0 + DIFFERS_S)
    assert agreement.due("b", now_s=3.0 + DIFFERS_S) == "two"


def test_a_peer_that_had_nothing_for_us_is_asked_later_and_later_until_something_changes() -> None:
    agreement = Agreement()
    now_s, asked = 0.0, []
    while now_s < 3000:
        agreement.told("two", "a", now_s=now_s)
        if agreement.due("b", now_s=now_s) is not None:
            asked.append(now_s)
            agreement.compared("two", "b", gained=0, now_s=now_s)
        now_s += 1.0
    pauses = [round(b - a) for a, b in itertools.pairwise(asked)]
    assert pauses == [20, 40, 80, 160, 320, 600, 600, 600][: len(pauses)]
    assert max(pauses) == AGAIN_MAX_S
    agreement.told("two", "c", now_s=now_s + AGAIN_S)
    assert agreement.due("b", now_s=now_s + AGAIN_S) == "two"


def test_a_peer_that_is_gone_is_not_asked() -> None:
    agreement = Agreement()
    agreement.told("two", "a", now_s=0.0)
    agreement.due("b", now_s=0.0)
    assert agreement.due("b", now_s=DIFFERS_S + 1.0) is None
