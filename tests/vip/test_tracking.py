"""What trackers mean for a group; then real looks at interfaces, files, processes and scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heartbus.events import TrackStatus
from heartbus.model import Tracker, TrackKind
from heartbus_vip.looks import file, interface, look, process
from heartbus_vip.tracking import Look, Standing, Tracking
from tests.lab.network import Lab, wait_until

UP, DOWN = Look(up=True), Look(up=False, reason="broken")


def tracker(
    weight: int = 0,
    *,
    name: str = "t",
    kind: TrackKind = TrackKind.SCRIPT,
    rise: int = 1,
    fall: int = 1,
    groups: tuple[str, ...] = (),
    target: str = "/bin/true",
    timeout_s: float = 5.0,
) -> Tracker:
    return Tracker(
        name=name,
        kind=kind,
        target=target,
        weight=weight,
        rise=rise,
        fall=fall,
        groups=groups,
        timeout_s=timeout_s,
    )


def test_without_trackers_nothing_bars_a_group() -> None:
    assert Tracking(()).standing("www") == Standing()


@pytest.mark.parametrize(
    ("weight", "unknown", "up", "down"),
    [
        (0, Standing(able=None), Standing(), Standing(able=False, barred="t is down: broken")),
        (10, Standing(), Standing(score=10), Standing()),
        (-10, Standing(), Standing(), Standing(score=-10)),
    ],
)
def test_weights_are_those_of_keepalived(
    weight: int, unknown: Standing, up: Standing, down: Standing
) -> None:
    tracking = Tracking([tracker(weight)])
    found = [tracking.standing("www")]
    for seen in (UP, DOWN):
        tracking.looked("t", seen)
        found.append(tracking.standing("www"))
    assert found == [unknown, up, down]


@pytest.mark.parametrize(
    ("weight", "seen", "standing"),
    [
        (0, Look(up=True, number=0), Standing()),
        (0, Look(up=True, number=5), Standing(able=False, barred="t is down: it holds 5")),
        (2, Look(up=True, number=5), Standing(score=10)),
        (-2, Look(up=True, number=5), Standing(score=-10)),
        (2, DOWN, Standing()),
        (254, Look(up=True, number=10**9), Standing(score=30000)),
    ],
)
def test_the_number_in_a_file_is_multiplied_by_the_weight(
    weight: int, seen: Look, standing: Standing
) -> None:
    tracking = Tracking([tracker(weight, kind=TrackKind.FILE)])
    tracking.looked("t", seen)
    assert tracking.standing("www") == standing


def test_so_many_looks_in_a_row_make_a_change() -> None:
    tracking = Tracking([tracker(rise=3, fall=2)])
    found = []
    for seen in (DOWN, UP, UP, DOWN, UP, UP, UP, DOWN, UP, DOWN, DOWN):
        tracking.looked("t", seen)
        found.append(tracking.standing("www").able)
    assert found == [False] * 6 + [True] * 4 + [False]


def test_a_tracker_counts_for_its_groups_only_and_scores_add_up() -> None:
    tracking = Tracking(
        [
            tracker(10, name="one"),
            tracker(5, name="two", groups=("www",)),
            tracker(0, name="bar", groups=("mail",)),
        ]
    )
    for name in ("one", "two"):
        tracking.looked(name, UP)
    tracking.looked("bar", DOWN)
    assert tracking.standing("www") == Standing(score=15)
    assert tracking.standing("mail").able is False


def test_only_what_is_to_be_told_is_a_change() -> None:
    tracking = Tracking([tracker(10)])
    assert [tracking.looked("t", seen) for seen in (UP, UP, DOWN, DOWN)] == [
        True,
        False,
        True,
        False,
    ]
    (view,) = tracking.views()
    assert (view.status, view.effect, view.reason) == (TrackStatus.DOWN, 0, "broken")


# --- real looks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, Look(up=True)),
        ("-7\n", Look(up=True, number=-7)),
        ("", Look(up=False, reason="no whole number: b''")),
        ("much", Look(up=False, reason="no whole number: b'much'")),
    ],
)
def test_a_file_holds_a_number(tmp_path: Path, content: str | None, found: Look) -> None:
    path = tmp_path / "weight"
    if content is not None:
        path.write_text(content)
    assert file(str(path)) == found


def test_a_pipe_in_the_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weight")
    assert not file(str(tmp_path / "weight")).up


def test_processes_are_counted_by_name() -> None:
    name = f"hb-{os.getpid()}"
    code = f"import ctypes; ctypes.CDLL(None).prctl(15, b'{name}'); print(flush=True); input()"
    assert process(name, 1) == Look(up=False, reason="0 of 1 processes run")
    started = [
        subprocess.Popen([sys.executable, "-S", "-c", code], stdin=-1, stdout=-1) for _ in range(2)
    ]
    for child in started:
        assert child.stdout is not None
        child.stdout.readline()
    assert process(name, 2).up
    assert process(name, 3) == Look(up=False, reason="2 of 3 processes run")
    for child in started:
        child.communicate(b"\n")
    assert not process(name, 1).up


async def test_a_script_is_up_if_it_ends_with_0_and_is_bounded(tmp_path: Path) -> None:
    found = []
    for body in ("exit 0", "echo no way out; exit 1", "sleep 1000"):
        path = tmp_path / "check"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        found.append(await look(tracker(target=str(path), timeout_s=0.3)))
    assert [f.up for f in found] == [True, False, False]
    assert found[1].reason == "exit code 1; it said: no way out"
    assert found[2].reason.startswith("timed out")


@pytest.mark.netns
def test_an_interface_is_up_while_it_is_there_set_up_and_has_a_carrier(lab: Lab) -> None:
    host, lan = lab.host("a"), lab.switch("lan")
    lab.attach(host, lan, "eth0", "192.0.2.1/24")
    wait_until(lambda: host.call(lambda: interface("eth0")).up, timeout_s=10.0, what="eth0 is up")
    host.ip("link set eth0 down")
    assert host.call(lambda: interface("eth0")) == Look(up=False, reason="it is set down")
    host.ip("link add lonely type veth peer name other")
    host.ip("link set lonely up")
    assert host.call(lambda: interface("lonely")) == Look(up=False, reason="it has no carrier")
    assert host.call(lambda: interface("eth9")) == Look(up=False, reason="No such device")
