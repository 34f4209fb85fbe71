"""Which weight a real server has: what it asks for, and slow starts."""

from __future__ import annotations

from dataclasses import replace

from heartbus.model import RealServerName, VirtualServiceName
from heartbus_checker.targets import plan_checks
from heartbus_checker.weights import STEPS, Weights

from .builders import http_check, real_server, virtual_service

KEY = (VirtualServiceName("tcp:192.0.2.110:80"), RealServerName("192.0.2.11:80"))


def weights(*, weight: int = 100, slow_start_s: float = 0.0) -> Weights:
    check = replace(http_check(), slow_start_s=slow_start_s)
    server = replace(real_server(), weight=weight)
    plan = plan_checks((virtual_service(server, check=check),))
    made = Weights(plan)
    made.target = plan.targets[0]  # type: ignore[attr-defined]  # for the tests only
    return made


def asked(made: Weights, weight: int | None, *, now_s: float = 0.0) -> list[int | None]:
    target = made.target  # type: ignore[attr-defined]  # see above
    return [change.weight for change in made.passed(target, weight, now_s=now_s)]


def test_what_the_server_asks_for_is_told_once() -> None:
    made = weights()
    assert made.came_up(KEY, recovered=False, now_s=0.0) is None
    assert asked(made, 7) == [7]
    assert asked(made, 7) == []
    assert asked(made, 0) == [0]
    assert asked(made, None) == [None]
    assert asked(made, None) == []


def test_a_recovered_server_grows_to_its_weight_in_its_time() -> None:
    made = weights(slow_start_s=90.0)
    assert made.came_up(KEY, recovered=True, now_s=1000.0) == 10
    seen: list[tuple[float, int | None]] = []
    while (due_s := made.next_deadline_s) is not None:
        seen += [(due_s - 1000.0, c.weight) for c in made.deadline_passed(now_s=due_s)]
    assert seen == [(10.0 * step, 10 * (step + 1)) for step in range(1, STEPS - 1)] + [(90.0, None)]
    assert made.weight(KEY) is None


def test_a_late_timer_skips_steps() -> None:
    made = weights(slow_start_s=90.0)
    made.came_up(KEY, recovered=True, now_s=0.0)
    assert [c.weight for c in made.deadline_passed(now_s=45.0)] == [50]
    assert [c.weight for c in made.deadline_passed(now_s=500.0)] == [None]
    assert made.next_deadline_s is None


def test_the_first_time_up_is_no_recovery() -> None:
    made = weights(slow_start_s=90.0)
    assert made.came_up(KEY, recovered=False, now_s=0.0) is None
    assert made.next_deadline_s is None


def test_a_small_weight_has_fewer_steps_and_never_none() -> None:
    made = weights(weight=2, slow_start_s=9.0)
    assert made.came_up(KEY, recovered=True, now_s=0.0) == 1
    seen = []
    while (due_s := made.next_deadline_s) is not None:
        seen += [c.weight for c in made.deadline_passed(now_s=due_s)]
    assert seen == [None]


def test_what_is_asked_for_grows_too_and_nothing_grows_while_down() -> None:
    made = weights(slow_start_s=90.0)
    made.came_up(KEY, recovered=True, now_s=0.0)
    assert asked(made, 50, now_s=0.0) == [5]
    made.went_down(KEY)
    assert made.next_deadline_s is None
    assert made.weight(KEY) is None
