"""A process that died comes back at once, one that keeps dying ever more slowly."""

from __future__ import annotations

from heartbus.restart import RestartPolicy, RestartSettings


def delays(runs_s: list[float]) -> list[float]:
    policy, now_s, result = RestartPolicy(), 100.0, []
    for run_s in runs_s:
        policy.started(now_s=now_s)
        now_s += run_s
        result.append(policy.ended(now_s=now_s))
    return result


def test_the_first_restart_is_immediate() -> None:
    assert delays([0.0]) == [0.0]


def test_short_runs_in_a_row_wait_twice_as_long_each_time_up_to_the_bound() -> None:
    assert delays([0.1] * 9) == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_good_run_makes_the_next_restart_immediate_again() -> None:
    assert delays([0.1, 0.1, 10.0, 0.1]) == [0.0, 0.1, 0.0, 0.1]


def test_the_bound_holds_for_ever() -> None:
    policy = RestartPolicy(RestartSettings(delay_max_s=2.0))
    for n in range(2000):
        policy.started(now_s=float(n))
        assert policy.ended(now_s=float(n)) <= 2.0
