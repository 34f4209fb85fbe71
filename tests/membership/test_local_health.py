"""What a director concludes about itself, and what that does to its detector."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.events import DirectorStatus
from heartbus.model import Timers
from heartbus_membership.cpu_wait import CpuWait
from heartbus_membership.detector import FailureDetector
from heartbus_membership.local_health import BAR_S_MAX, EXTRA_S_MAX, SCORE_MAX, LocalHealth

LAN = Timers(keepalive_s=0.075, warntime_s=0.15, deadtime_s=0.3, initdead_s=10.0)


def test_a_healthy_director_stretches_nothing() -> None:
    health = LocalHealth(LAN)
    for turn in range(1000):
        assert not health.turned(0.03, turn * 0.075)
        health.pressure(0.2, turn * 0.075)
    assert (health.score, health.stretch, health.barred(75.0)) == (0, 1.0, None)


@pytest.mark.parametrize(("late_s", "stalled", "score"), [(0.04, False, 1), (0.08, True, 2)])
def test_a_late_turn_is_evidence(late_s: float, stalled: bool, score: int) -> None:
    health = LocalHealth(LAN)
    assert health.turned(late_s, 1.0) is stalled
    assert (health.score, health.stretch) == (score, 1.0 + score)


def test_waiting_for_a_cpu_is_evidence() -> None:
    health = LocalHealth(LAN)
    health.pressure(0.26, 1.0)
    assert health.score == 1


def test_health_comes_back_one_by_one() -> None:
    health = LocalHealth(LAN)
    health.turned(1.0, 0.0)
    seen = []
    for now_s in (0.29, 0.31, 0.59, 0.61):
        health.turned(0.0, now_s)
        seen.append(health.score)
    assert seen == [2, 1, 1, 0]
    assert health.stretch == 1.0


def test_a_lag_at_the_start_is_forgotten_before_a_crash_soon_after_would_be_found_late() -> None:
    health = LocalHealth(LAN)
    for turn in range(100):
        health.turned(1.0, turn / 100)
    assert health.score == SCORE_MAX
    health.turned(0.0, 1.0 + SCORE_MAX * LAN.deadtime_s)
    assert health.stretch == 1.0


def test_nothing_heals_while_we_wait_for_a_cpu() -> None:
    health = LocalHealth(LAN)
    health.pressure(0.3, 1.0)
    health.turned(0.0, 1.9)
    assert health.score == 1
    health.pressure(0.3, 2.0)
    assert health.score == 2
    health.pressure(0.0, 3.0)
    health.turned(0.0, 3.31)
    assert health.score == 1


@pytest.mark.parametrize("deadtime_s", [0.03, 0.3, 3.0, 30.0])
def test_the_stretch_is_bounded_in_time(deadtime_s: float) -> None:
    timers = Timers(keepalive_s=deadtime_s / 4, deadtime_s=deadtime_s, initdead_s=60.0)
    health = LocalHealth(timers)
    for turn in range(20):
        health.turned(100.0, float(turn) / 100)
    assert health.score == SCORE_MAX
    assert deadtime_s * health.stretch <= deadtime_s + EXTRA_S_MAX + 1e-9
    assert health.stretch <= 1 + SCORE_MAX


def test_lagging_bars_takeover_for_a_while() -> None:
    health = LocalHealth(LAN)
    health.turned(0.16, 10.0)
    assert health.barred(10.1) == "we were 0.16 s late 0.1 s ago"
    assert health.barred(10.7) is None


def test_lagging_for_ever_does_not_bar_for_ever() -> None:
    health = LocalHealth(LAN)
    barred = []
    for turn in range(100):
        health.turned(0.2, turn * 0.1)
        barred.append(health.barred(turn * 0.1))
    assert barred[0] is not None
    assert barred[-1] is None
    assert sum(reason is not None for reason in barred) * 0.1 <= BAR_S_MAX + 0.2


@pytest.mark.parametrize(("late_s", "dead_after_s"), [(0.0, 0.3), (0.04, 0.6)])
def test_a_slow_director_gives_its_peers_longer(late_s: float, dead_after_s: float) -> None:
    core = FailureDetector(peers=["b"], timers=LAN, restart_grace_s=2, lease_s=2, started_s=0.0)
    core.heartbeat_received("b", link="l", incarnation=1, leaving=False, now_s=1.0)
    core.turned(late_s=late_s, now_s=1.0)
    core.deadline_passed(now_s=1.0 + dead_after_s - 0.001)
    assert core.status("b") is DirectorStatus.LATE
    core.deadline_passed(now_s=1.0 + dead_after_s + 0.001)
    assert core.status("b") is DirectorStatus.DEAD


def proc(place: Path, files: dict[str, str]) -> CpuWait:
    for name, text in files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text)
    return CpuWait(place)


def test_our_own_waiting_is_measured(tmp_path: Path) -> None:
    wait = proc(tmp_path, {"self/schedstat": "5 1000000000 7\n"})
    assert wait.share(10.0) is None
    (tmp_path / "self/schedstat").write_text("9 1500000000 8\n")
    assert wait.share(12.0) == pytest.approx(0.25)


def test_a_kernel_without_schedstat_has_pressure_or_load(tmp_path: Path) -> None:
    assert CpuWait(tmp_path).share(1.0) is None
    assert proc(tmp_path, {"loadavg": "0.00 0 0 1/2 3\n"}).share(1.0) == 0.0
    psi = "some avg10=40.00 avg60=1.00 avg300=0.00 total=5\n"
    assert proc(tmp_path, {"pressure/cpu": psi}).share(1.0) == pytest.approx(0.4)
