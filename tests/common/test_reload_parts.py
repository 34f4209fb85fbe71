"""What a reload applies at once, and what it says of the rest: which change, why, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from heartbus.config.digest import PARTS
from heartbus.model import Cluster, Director, Failback, ScriptResource
from heartbus.reload import HOW, WHY, told_of_restart, waits_for_restart, with_live_parts
from tests.common.config_samples.native import BASE, read

GROUPS = (
    '[[groups]]\nname = "g"\npreferred = "a"\nresources = ["192.0.2.1/24", "script::x"]\n'
    '[[groups]]\nname = "h"\npreferred = "b"\nresources = ["192.0.2.2/24"]\n'
)


@pytest.fixture
def running(tmp_path: Path) -> Cluster:
    return read(tmp_path, BASE + GROUPS)


def grouped(tmp_path: Path, old: str, new: str) -> Cluster:
    assert old in GROUPS
    return read(tmp_path, BASE + (GROUPS.replace(old, new) if old else GROUPS + new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('["192.0.2.2/24"]', '["192.0.2.2/24", "192.0.2.3/24"]'),
        ('["192.0.2.1/24", "script::x"]', '["192.0.2.4/24", "script::x"]'),
        ('preferred = "b"', 'preferred = "a"'),
        (GROUPS[GROUPS.rindex("[[groups]]") :], ""),
        ("", '[[groups]]\nname = "n"\npreferred = "b"\nresources = ["192.0.2.9/24"]\n'),
    ],
    ids=["address comes", "address goes", "preferred", "goes", "comes"],
)
def test_groups_and_addresses_come_and_go_at_once(
    tmp_path: Path, running: Cluster, old: str, new: str
) -> None:
    wanted = grouped(tmp_path, old, new)
    assert wanted.groups != running.groups
    assert with_live_parts(running, wanted).groups == wanted.groups
    assert waits_for_restart(running, wanted) == ()
    assert told_of_restart(running, wanted) == ()


def test_failback_changes_at_once(running: Cluster) -> None:
    wanted = replace(running, membership=replace(running.membership, failback=Failback.ON))
    assert with_live_parts(running, wanted) == wanted
    assert waits_for_restart(running, wanted) == ()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            'name = "h"',
            'name = "i"',
            "192.0.2.2 moves from the group h to i; without a restart: take it out, reload every"
            " director, then put it in",
        ),
        (
            '"script::x"',
            '"script::y"',
            "the scripts of g change; without a restart: give a new one a group of its own",
        ),
    ],
)
def test_what_of_groups_waits_is_said_with_a_way_around_it(
    tmp_path: Path, running: Cluster, old: str, new: str, reason: str
) -> None:
    wanted = grouped(tmp_path, old, new)
    said = told_of_restart(running, wanted)
    assert with_live_parts(running, wanted) == running
    assert said == ("waits for a restart: resource groups", f"resource groups: {reason}", HOW)


def test_scripts_in_another_order_wait_and_other_resources_do_not(running: Cluster) -> None:
    group = running.groups[0]
    address, script = group.resources
    other = ScriptResource(script="other")
    both = replace(running, groups=(replace(group, resources=(address, script, other)),))
    turned = replace(running, groups=(replace(group, resources=(address, other, script)),))
    assert waits_for_restart(both, turned) == ("resource groups",)
    moved = replace(running, groups=(replace(group, resources=(script, address)),))
    plain = replace(running, groups=(group,))
    assert waits_for_restart(plain, moved) == ()


def test_groups_wait_for_directors_that_change_with_them(running: Cluster) -> None:
    wanted = replace(
        running, directors=(*running.directors, Director(name="c")), groups=running.groups[:1]
    )
    said = told_of_restart(running, wanted)
    assert said[0] == "waits for a restart: directors, resource groups"
    assert "resource groups: the directors change too" in said
    assert with_live_parts(running, wanted).groups == running.groups


LIVE = {"keys", "resource groups", "virtual services"}
CHANGES: dict[str, Callable[[Cluster], Cluster]] = {
    "timers": lambda c: replace(
        c, membership=replace(c.membership, timers=replace(c.membership.timers, deadtime_s=9.0))
    ),
    "takeover rules": lambda c: replace(c, membership=replace(c.membership, lease_s=1.5)),
    "vip settings": lambda c: replace(c, vip=replace(c.vip, lifetime_s=9)),
    "links": lambda c: replace(c, membership=replace(c.membership, hopfudge=9)),
}


@pytest.mark.parametrize("part", CHANGES)
def test_what_else_waits_is_said_with_why_and_how(running: Cluster, part: str) -> None:
    wanted = CHANGES[part](running)
    assert with_live_parts(running, wanted) == running
    assert told_of_restart(running, wanted) == (
        f"waits for a restart: {part}",
        f"{part}: {WHY[part]}",
        HOW,
    )


def test_each_part_that_may_wait_has_a_reason() -> None:
    assert set(WHY) | LIVE == set(PARTS)
