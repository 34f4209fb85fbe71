"""Heartbeat's rules for programs beside it: again, never again after 100, not too often."""

from __future__ import annotations

import pytest

from heartbus.events import ClientStatus
from heartbus.model import SupervisedClient
from heartbus_membership.clients_policy import EXITS_MAX, RETRY_S, ClientsPolicy, StartClient

CLIENTS = [
    SupervisedClient(user="root", command="/bin/one -v"),
    SupervisedClient(user="hacluster", command="/usr/lib/heartbeat/ipfail"),
    SupervisedClient(user="nobody", command="/bin/two"),
]


def running() -> ClientsPolicy:
    policy = ClientsPolicy(CLIENTS)
    for step in policy.start(now_s=0.0):
        policy.started(step.index, now_s=0.0)
    return policy


def again(index: int, at_s: float) -> list[StartClient]:
    return [StartClient(index=index, at_s=at_s)]


def test_all_but_the_built_in_ones_are_started_in_order() -> None:
    policy = ClientsPolicy(CLIENTS)
    steps = policy.start(now_s=7.0)
    assert [policy.client(step.index).command for step in steps] == ["/bin/one -v", "/bin/two"]
    assert {step.at_s for step in steps} == {7.0}
    assert [view.status for view in policy.views()] == [ClientStatus.WAITING] * 2


@pytest.mark.parametrize(
    ("code", "words"), [(0, "with status 0"), (1, "with status 1"), (-9, "by SIGKILL")]
)
def test_every_end_but_status_100_is_followed_by_a_start(code: int, words: str) -> None:
    policy = running()
    assert policy.ended(0, code, now_s=30.0) == again(0, 30.0)
    view = policy.views()[0]
    assert (view.status, view.exits, view.reason) == (ClientStatus.WAITING, 1, words)


def test_a_short_run_is_followed_by_a_pause() -> None:
    assert running().ended(0, 1, now_s=29.9) == again(0, 30.9)


def test_status_100_is_final() -> None:
    policy = running()
    assert policy.ended(0, 100, now_s=1.0) == []
    assert policy.status(0) is ClientStatus.DONE
    assert policy.stop() == [1]
    assert policy.status(0) is ClientStatus.DONE


def test_given_up_after_more_than_ten_short_runs_in_a_row() -> None:
    policy, now_s = running(), 0.0
    for _ in range(EXITS_MAX):
        policy.started(0, now_s=now_s)
        now_s += 29.0
        assert policy.ended(0, 1, now_s=now_s) != []
    policy.started(0, now_s=now_s)
    assert policy.ended(0, 1, now_s=now_s + 29.0) == []
    view = policy.views()[0]
    assert (view.status, view.exits) == (ClientStatus.GIVEN_UP, 11)
    assert "ended 11 times in a row within 30 s of its start" in view.reason


def test_one_long_run_forgives_the_short_ones() -> None:
    policy = running()
    for _ in range(EXITS_MAX):
        policy.started(0, now_s=0.0)
        policy.ended(0, 1, now_s=1.0)
    policy.started(0, now_s=0.0)
    policy.ended(0, 1, now_s=30.0)
    for _ in range(EXITS_MAX):
        policy.started(0, now_s=0.0)
        assert policy.ended(0, 1, now_s=1.0) != []
    policy.started(0, now_s=0.0)
    assert policy.ended(0, 1, now_s=1.0) == []


def test_one_that_cannot_be_started_is_tried_again_later_and_does_not_count_as_an_end() -> None:
    policy = ClientsPolicy(CLIENTS)
    for number in range(20):
        assert policy.refused(0, "no user", now_s=number) == again(0, number + RETRY_S)
    view = policy.views()[0]
    assert (view.status, view.exits, view.reason) == (ClientStatus.REFUSED, 0, "no user")


def test_stopped_in_reverse_order_and_nothing_is_started_any_more() -> None:
    policy = running()
    assert policy.stop() == [1, 0]
    assert policy.ended(1, -15, now_s=1.0) == []
    assert policy.ended(0, 0, now_s=1.0) == []
    assert [view.status for view in policy.views()] == [ClientStatus.STOPPED] * 2
    assert policy.refused(0, "late", now_s=2.0) == []


def test_who_waits_for_a_start_is_stopped_without_one() -> None:
    policy = running()
    policy.ended(0, 1, now_s=1.0)
    assert policy.stop() == [1]
    assert policy.status(0) is ClientStatus.STOPPED
