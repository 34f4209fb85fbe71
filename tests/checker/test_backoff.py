"""How rarely a target is asked that has failed for long."""

from __future__ import annotations

from heartbus_checker.backoff import Backoff


def test_intervals_double_with_time_and_end_at_their_maximum() -> None:
    backoff = Backoff(after_s=300.0, intervals_max=10)
    asked = {
        now_s: backoff.probe_finished(0, passed=False, now_s=now_s)
        for now_s in (0.0, 299.0, 300.0, 599.0, 600.0, 900.0, 1200.0, 1e9)
    }
    assert list(asked.values()) == [1, 1, 2, 2, 4, 8, 10, 10]


def test_one_pass_and_the_end_of_a_maintenance_end_it() -> None:
    backoff = Backoff(after_s=300.0, intervals_max=10)
    for again in (lambda: backoff.probe_finished(0, passed=True, now_s=901.0), None):
        backoff.probe_finished(0, passed=False, now_s=0.0)
        assert backoff.probe_finished(0, passed=False, now_s=900.0) == 8
        if again is not None:
            assert again() == 1
        else:
            backoff.forget(0)
        assert backoff.probe_finished(0, passed=False, now_s=902.0) == 1
        backoff.forget(0)


def test_without_a_maximum_nothing_is_ever_rarer() -> None:
    backoff = Backoff(after_s=1.0, intervals_max=1)
    assert [backoff.probe_finished(0, passed=False, now_s=n * 10.0) for n in range(5)] == [1] * 5


def test_targets_do_not_share_their_failures() -> None:
    backoff = Backoff(after_s=10.0, intervals_max=4)
    backoff.probe_finished(0, passed=False, now_s=0.0)
    assert backoff.probe_finished(1, passed=False, now_s=20.0) == 1
    assert backoff.probe_finished(0, passed=False, now_s=20.0) == 4
