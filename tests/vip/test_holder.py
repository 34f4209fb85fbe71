from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbus.events import HoldStatus, Lease, VipAcquired, VipFailed, VipReleased
from heartbus.model import (
    AddressResource,
)
from heartbus_vip.holder import Holder
from heartbus_vip.news import LeaseNews
from heartbus_vip.resource import ScriptEnd, ScriptResult, Verb
from tests.vip.directors import (
    BROKEN,
    GROUP,
    OK,
    PLAIN,
    RUNNING,
    SETTINGS,
    STARTED,
    STOPPED,
    VIP1,
    VIP2,
    Director,
    held,
)

# --- the order -----------------------------------------------------------------------------------


def test_resources_start_left_to_right() -> None:
    director = Director(GROUP)
    assert director.grant() == STARTED
    assert director.status is HoldStatus.HELD


def test_resources_stop_right_to_left() -> None:
    director = held(GROUP)
    assert director.lease() == STOPPED
    assert director.status is HoldStatus.RELEASED


def test_a_script_that_runs_already_is_not_started() -> None:
    director = Director(GROUP)
    director.answers = {("left", "status"): RUNNING, ("right", "status"): RUNNING}
    did = director.grant()
    assert ("left", "start") not in did
    assert ("right", "start") not in did
    assert director.status is HoldStatus.HELD


@pytest.mark.parametrize("verb", [Verb.STATUS, Verb.START])
def test_a_missing_script_does_not_stop_the_group(verb: Verb) -> None:
    director = Director(GROUP)
    director.answers = {("left", str(verb)): ScriptResult(end=ScriptEnd.MISSING)}
    director.grant()
    assert director.status is HoldStatus.HELD


# --- leases --------------------------------------------------------------------------------------


def test_the_grant_is_the_cause_of_what_is_told() -> None:
    director = Director(PLAIN)
    director.grant(cause="grant-7", epoch=7)
    acquired = director.told[0]
    assert acquired.cause == "grant-7"
    assert acquired.event == VipAcquired(
        group="plain", director="a", epoch=7, addresses=(VIP1.address,), took_s=0.0
    )


def test_took_is_the_time_from_the_lease_to_the_last_resource() -> None:
    director = Director(GROUP)
    director.answers = {("left", "start"): None}
    director.grant()
    director.now_s += 2.5
    director.finish(OK)
    event = director.told[-1].event
    assert isinstance(event, VipAcquired)
    assert event.took_s == 2.5


def test_an_expired_lease_ends_the_addresses_first_and_the_scripts_then() -> None:
    director = held(GROUP)
    assert director.advance(5.0) == [
        ("remove", VIP2.address),
        ("remove", VIP1.address),
        ("right", "stop"),
        ("left", "stop"),
        "vip.released",
    ]
    event = director.told[-1].event
    assert isinstance(event, VipReleased)
    assert event.reason == "the lease has expired"


def test_silence_while_the_lease_stands_changes_nothing() -> None:
    director = held(GROUP)
    assert director.advance(4.9) == []
    assert director.wanted == [VIP1.address, VIP2.address]


def test_a_renewed_lease_is_held_on_without_a_word() -> None:
    director = held(GROUP)
    for _ in range(20):
        director.now_s += 1.0
        assert director.grant() == []
    assert director.status is HoldStatus.HELD


def test_a_higher_epoch_announces_again_and_is_not_a_new_acquisition() -> None:
    director = held(GROUP)
    assert director.grant(epoch=2) == [("announce", VIP1.address), ("announce", VIP2.address)]
    assert director.holder.state().groups[0].epoch == 2


def test_a_revocation_hint_releases_before_the_news_come() -> None:
    director = held(PLAIN)
    director.now_s += 0.1
    actions = director.holder.group_revoked("plain", epoch=1, said_s=100.05, now_s=director.now_s)
    assert director.carry_out(actions) == [("remove", VIP1.address), "vip.released"]


def test_a_put_that_stalled_is_decided_anew() -> None:
    director = Director(PLAIN)
    director.stalls_s = [1.0]
    assert director.grant() == [
        ("put", VIP1.address),
        ("put", VIP1.address),
        ("announce", VIP1.address),
        "vip.acquired",
    ]


def test_a_put_that_stalled_beyond_the_lease_is_not_done() -> None:
    director = Director(PLAIN)
    director.stalls_s = [5.0]
    director.grant()
    assert director.kernel == set()
    assert director.status is HoldStatus.RELEASED


def test_a_lease_for_an_unknown_group_is_nothing_to_us() -> None:
    director = Director(PLAIN)
    other = Lease(group="other", epoch=1, deadline_monotonic_s=105.0)
    assert director.lease(other) == []


def test_a_lease_that_expires_while_a_script_starts_lets_no_address_in() -> None:
    director = Director(GROUP)
    director.answers = {("left", "start"): None}
    director.grant(for_s=1.0)
    director.now_s += 1.0  # the answer comes before anybody looked at the time
    assert ("put", VIP1.address) not in director.finish(OK)
    assert director.kernel == set()


# --- stopping while a script hangs ---------------------------------------------------------------


def test_a_revoked_group_is_refreshed_no_more_while_its_scripts_stop() -> None:
    director = held(GROUP)
    director.answers = {("right", "stop"): None}
    director.lease()
    assert director.status is HoldStatus.STOPPING
    assert director.wanted == []
    assert director.kernel == {VIP1, VIP2}


def test_addresses_go_when_the_deadline_passes_while_a_script_hangs() -> None:
    director = held(GROUP)
    director.answers = {("right", "stop"): None}
    director.lease()
    assert director.holder.next_deadline_s == 105.0
    assert director.advance(5.0) == [("remove", VIP2.address), ("remove", VIP1.address)]
    assert not director.holder.state().groups[0].addresses
    director.finish(OK)
    assert director.status is HoldStatus.RELEASED


def test_a_stop_cancels_a_running_start_and_stops_the_whole_group() -> None:
    director = Director(GROUP)
    director.answers = {("left", "start"): None}
    director.grant()
    assert director.lease() == ["abort", ("right", "stop"), ("left", "stop"), "vip.released"]


def test_the_late_answer_of_an_aborted_call_is_ignored() -> None:
    director = Director(GROUP)
    director.answers = {("left", "start"): None, ("right", "stop"): None}
    director.grant()
    late = director.hanging
    director.lease()
    assert late is not None
    actions = director.holder.script_finished(
        late.group, late.step, result=OK, now_s=director.now_s
    )
    assert actions == []
    assert director.status is HoldStatus.STOPPING


def test_a_group_granted_again_while_it_stops_starts_when_it_has_stopped() -> None:
    director = held(GROUP)
    director.answers = {("right", "stop"): None}
    director.lease()
    assert director.grant(epoch=2) == []
    assert director.finish(OK) == [*STOPPED[1:], *STARTED]
    assert director.holder.state().groups[0].epoch == 2


# --- failures ------------------------------------------------------------------------------------


def test_a_failed_start_stops_the_whole_group() -> None:
    director = Director(GROUP)
    director.answers = {("right", "start"): BROKEN}
    did = director.grant()
    assert did == [*STARTED[:-1], "vip.failed", *STOPPED[:-1]]
    assert director.status is HoldStatus.FAILED
    assert director.told[0].event == VipFailed(
        group="www",
        director="a",
        epoch=1,
        resource="right",
        reason="start: exit code 1; it said: no disk",
    )


def test_a_refused_address_stops_the_whole_group() -> None:
    director = Director(GROUP)
    director.refused = {VIP1: "no route"}
    director.grant()
    assert director.status is HoldStatus.FAILED
    assert director.holder.state().groups[0].reason == "192.168.7.110/24: no route"


def test_an_address_that_cannot_be_put_back_for_its_lifetime_fails_the_group() -> None:
    director = held(GROUP)
    director.grant()
    assert director.refresh({VIP1: "no route"}) == []
    director.now_s += SETTINGS.lifetime_s - 0.1
    director.grant()
    assert director.refresh({VIP1: "no route"}) == []
    director.now_s += 0.1
    assert director.refresh({VIP1: "no route"}) == ["vip.failed", *STOPPED[:-1]]
    assert director.told[-1].event == VipFailed(
        group="www", director="a", epoch=1, resource=VIP1.name, reason="no route"
    )
    assert director.holder.state().groups[0].status is HoldStatus.FAILED


def test_an_address_that_was_put_back_in_between_fails_nothing() -> None:
    director = held(GROUP)
    for problems in ({VIP1: "no route"}, {}, {VIP1: "no route"}, {VIP2: "no route"}):
        director.grant()
        assert director.refresh(problems) == []
        director.now_s += SETTINGS.lifetime_s - 0.1


def test_a_failed_group_stays_so_while_the_same_lease_is_renewed() -> None:
    director = Director(GROUP)
    director.refused = {VIP1: "no route"}
    director.grant()
    assert director.grant() == []
    assert director.status is HoldStatus.FAILED


def test_a_failed_group_is_tried_again_with_a_new_epoch() -> None:
    director = Director(PLAIN)
    director.refused = {VIP1: "no route"}
    director.grant()
    director.refused = {}
    director.grant(epoch=2)
    assert director.status is HoldStatus.HELD


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_failed_group_is_released_with_its_lease(end: str) -> None:
    director = Director(PLAIN)
    director.refused = {VIP1: "no route"}
    director.grant()
    _ = director.lease() if end == "revoked" else director.advance(5.0)
    assert director.status is HoldStatus.RELEASED


def test_a_failed_stop_is_told_and_the_rest_is_stopped() -> None:
    director = held(GROUP)
    director.answers = {("right", "stop"): BROKEN}
    assert director.lease() == [STOPPED[0], ("right", "status"), "vip.failed", *STOPPED[1:]]


# --- adopting ------------------------------------------------------------------------------------


def test_an_address_that_is_there_is_wanted_as_soon_as_its_lease_is_known() -> None:
    director = Director(GROUP, present=[VIP1, VIP2])
    director.answers = {("left", "status"): None}
    director.grant()
    assert director.wanted == [VIP1.address, VIP2.address]
    director.finish(RUNNING)
    assert ("remove", VIP1.address) not in director.log


def test_an_address_that_is_there_stays_alone_until_membership_spoke() -> None:
    director = Director(PLAIN, present=[VIP1])
    assert director.advance(60.0) == []
    assert director.wanted == []


def test_an_address_without_a_lease_goes_once_membership_spoke() -> None:
    director = Director(PLAIN, present=[VIP1])
    assert director.lease() == [("remove", VIP1.address), "vip.released"]
    director.now_s += 1.0
    assert director.lease() == []


def test_what_an_earlier_life_started_is_stopped_if_there_is_no_lease() -> None:
    director = Director(GROUP)
    director.holder = Holder(node="a", groups=[GROUP], settings=SETTINGS, left_over=["www"])
    assert director.lease() == [("right", "stop"), ("left", "stop"), "vip.released"]


def test_started_groups_are_those_of_which_something_may_run() -> None:
    director = Director(GROUP)
    assert director.holder.started_groups == frozenset()
    director.answers = {("left", "start"): None, ("left", "stop"): None}
    director.grant()
    assert director.holder.started_groups == {"www"}
    director.lease()
    assert director.holder.started_groups == {"www"}
    director.finish(OK)
    assert director.holder.started_groups == frozenset()


# --- stopping the process ------------------------------------------------------------------------


def test_a_clean_stop_releases_in_order_though_the_lease_stands() -> None:
    director = held(GROUP)
    assert director.stop() == STOPPED
    assert director.holder.stopped
    assert director.holder.state().stopping


def test_nothing_is_taken_while_the_process_stops() -> None:
    director = held(PLAIN)
    director.stop()
    director.now_s += 1.0
    assert director.grant(epoch=9) == []
    assert director.wanted == []


def test_a_clean_stop_waits_ten_seconds_for_scripts_and_no_longer() -> None:
    director = held(GROUP)
    director.answers = {("right", "stop"): None}
    director.stop()
    director.now_s += 9.0
    director.grant()
    assert not director.holder.stopped
    did = director.advance(1.0)
    assert did[0] == "abort"
    assert did.count("vip.failed") == 2
    assert director.kernel == set()
    assert director.holder.stopped


def test_a_stop_with_nothing_held_is_over_at_once() -> None:
    director = Director(GROUP)
    assert director.stop() == []
    assert director.holder.stopped


# --- lifetimes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_s", "lifetime_s"), [(5.0, 3), (2.5, 3), (2.0, 2), (1.2, 2), (0.01, 1)]
)
def test_a_lifetime_ends_within_a_second_of_the_lease(left_s: float, lifetime_s: int) -> None:
    director = held(PLAIN)
    director.now_s = 105.0 - left_s
    assert director.holder.wanted(now_s=director.now_s) == [(VIP1, lifetime_s)]


# --- whatever happens ----------------------------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("grant"), st.integers(1, 4), st.sampled_from([0.0, 0.5, 5.0])),
        st.tuples(st.just("old news"), st.integers(1, 4), st.sampled_from([0.5, 5.0])),
        st.tuples(st.just("revoke"), st.just(0), st.just(0.0)),
        st.tuples(st.just("hint"), st.integers(1, 4), st.just(0.0)),
        st.tuples(st.just("advance"), st.just(0), st.sampled_from([0.1, 0.5, 3.0, 20.0])),
        st.tuples(st.just("unseen time"), st.just(0), st.sampled_from([0.1, 6.0])),
        st.tuples(st.just("finish"), st.sampled_from([0, 1]), st.just(0.0)),
        st.tuples(st.just("stop"), st.just(0), st.just(0.0)),
    ),
    max_size=30,
)
behaviours = st.dictionaries(
    st.tuples(st.sampled_from(["left", "right"]), st.sampled_from(list(map(str, Verb)))),
    st.sampled_from([None, OK, RUNNING, BROKEN]),
)


class Truth:
    """What the newest news allow, kept apart from the holder's own book."""

    written_s = 0.0
    deadline_s = 0.0


def take(director: Director, truth: Truth, step: tuple[str, int, float]) -> None:
    what, number, seconds = step
    match what:
        case "grant":
            director.grant(epoch=number, for_s=seconds)
            truth.written_s, truth.deadline_s = director.now_s, director.now_s + seconds
        case "old news":
            written_s = director.now_s - 1.0
            until_s = written_s + seconds
            leases = (Lease(group="www", epoch=number, deadline_monotonic_s=until_s),)
            news = LeaseNews(written_s=written_s, leases=leases)
            director.carry_out(director.holder.news_received(news, now_s=director.now_s))
            if written_s >= truth.written_s:
                truth.written_s, truth.deadline_s = written_s, until_s
        case "revoke":
            director.lease()
            truth.written_s, truth.deadline_s = director.now_s, 0.0
        case "hint":
            now_s = director.now_s
            actions = director.holder.group_revoked("www", epoch=number, said_s=now_s, now_s=now_s)
            director.carry_out(actions)
        case "advance":
            director.advance(seconds)
        case "unseen time":
            director.now_s += seconds
        case "finish":
            if director.hanging is not None:
                director.finish(OK if number else BROKEN)
        case "stop":
            director.stop()


@settings(max_examples=300)
@given(steps=steps, behaviour=behaviours, refused=st.sets(st.sampled_from([VIP1, VIP2])))
def test_no_address_is_ever_wanted_or_put_without_a_standing_lease(
    steps: list[tuple[str, int, float]],
    behaviour: dict[tuple[str, str], ScriptResult | None],
    refused: set[AddressResource],
) -> None:
    director = Director(GROUP)
    director.answers = behaviour
    director.refused = dict.fromkeys(refused, "refused")
    truth = Truth()
    for step in steps:
        before = len(director.log)
        take(director, truth, step)
        did = director.log[before:]
        stands = director.now_s < truth.deadline_s
        stopping = director.holder.state().stopping
        if not stands:
            assert director.wanted == []
            assert not [d for d in did if isinstance(d, tuple) and d[0] == "put"]
        if stopping:
            assert director.wanted == []
        assert set(director.wanted) <= {a.address for a in director.kernel}
        if director.status is not HoldStatus.STOPPING:
            assert {a.address for a in director.kernel} <= set(
                director.holder.state().groups[0].addresses
            )
        if director.status in (HoldStatus.RELEASED, HoldStatus.FAILED):
            assert director.kernel == set()
            assert director.hanging is None
        if director.status is HoldStatus.HELD and stands:
            assert director.wanted == [VIP1.address, VIP2.address]


@settings(max_examples=200)
@given(steps=steps, behaviour=behaviours)
def test_a_deadline_that_was_acted_upon_is_not_due_again(
    steps: list[tuple[str, int, float]], behaviour: dict[tuple[str, str], ScriptResult | None]
) -> None:
    director = Director(GROUP)
    director.answers = behaviour
    truth = Truth()
    for step in steps:
        take(director, truth, step)
        director.advance(0.0)
        deadline_s = director.holder.next_deadline_s
        assert deadline_s is None or deadline_s > director.now_s


@settings(max_examples=200)
@given(steps=steps, behaviour=behaviours)
def test_a_clean_stop_always_ends_within_its_bound(
    steps: list[tuple[str, int, float]], behaviour: dict[tuple[str, str], ScriptResult | None]
) -> None:
    director = Director(GROUP)
    director.answers = behaviour
    for step in steps:
        take(director, Truth(), step)
    director.stop()
    director.advance(10.0)
    assert director.holder.stopped
    assert director.kernel == set()


def test_whoever_slept_refreshes_and_takes_nothing_before_membership_wrote_anew() -> None:
    director = Director(PLAIN)
    director.grant()
    assert [a for a, _ in director.holder.wanted(now_s=director.now_s)] == list(PLAIN.addresses)
    director.now_s += 3.0
    director.holder.woke(now_s=director.now_s)
    director.now_s += 0.001
    assert director.advance(0.0) == []
    assert director.holder.wanted(now_s=director.now_s) == []
    director.grant()  # what membership, awake, says now
    assert [a for a, _ in director.holder.wanted(now_s=director.now_s)] == list(PLAIN.addresses)


def test_whoever_slept_does_not_start_on_a_lease_from_before() -> None:
    director = Director(PLAIN)
    director.holder.woke(now_s=director.now_s + 1.0)
    assert director.grant() == []
    director.now_s += 2.0
    assert director.grant() != []
