"""Which part of a configuration each setting counts for, and what two directors differ in."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from heartbus.config.digest import PART_BYTES, PARTS, differing_parts, part_digests
from heartbus.model import (
    AuthKey,
    AuthMethod,
    BusSettings,
    Cluster,
    Director,
    Failback,
    PingNode,
    ResourceGroup,
    SerialLink,
    Timers,
    VipSettings,
)
from tests.membership.fakes import KEYS, cluster_of

OURS = cluster_of("a", "b")
MORE_KEYS = dataclasses.replace(
    KEYS, keys=(*KEYS.keys, AuthKey(id=2, method=AuthMethod.SHA1, secret=b"x"))
)


def changed(where: str, name: str, value: Any) -> Cluster:
    if where == "cluster":
        return dataclasses.replace(OURS, **{name: value})
    membership = dataclasses.replace(OURS.membership, **{name: value})
    return dataclasses.replace(OURS, membership=membership)


@pytest.mark.parametrize(
    ("where", "name", "value", "part"),
    [
        ("cluster", "directors", (*OURS.directors, Director(name="c")), "directors"),
        ("cluster", "witnesses", (Director(name="w"),), "directors"),
        ("membership", "timers", Timers(), "timers"),
        ("membership", "links", (SerialLink(device="/dev/ttyS0"),), "links"),
        ("membership", "authentication", MORE_KEYS, "keys"),
        ("membership", "failback", Failback.ON, "takeover rules"),
        ("membership", "lease_s", 9.0, "takeover rules"),
        ("membership", "ping_nodes", (PingNode(name="r", members=("r",)),), "ping nodes"),
        ("membership", "deadping_s", 9.0, "ping nodes"),
        ("membership", "realtime", True, "watchdog, fences and programs"),
        ("membership", "hopfudge", 3, "links"),
        ("membership", "watchdog", "/dev/watchdog", "watchdog, fences and programs"),
        ("cluster", "vip", VipSettings(lifetime_s=9), "vip settings"),
        (
            "cluster",
            "groups",
            (ResourceGroup(name="g", preferred="a", resources=()),),
            "resource groups",
        ),
        ("cluster", "bus", BusSettings(client_port=4333), "other settings"),
    ],
)
def test_a_change_is_one_of_its_part_alone(where: str, name: str, value: Any, part: str) -> None:
    theirs = part_digests(changed(where, name, value))
    assert differing_parts(part_digests(OURS), theirs) == (part,)


def test_a_secret_and_where_the_files_are_do_not_count() -> None:
    other = dataclasses.replace(KEYS, keys=(dataclasses.replace(KEYS.keys[0], secret=b"other"),))
    theirs = dataclasses.replace(
        OURS,
        source="elsewhere",
        membership=dataclasses.replace(OURS.membership, authentication=other),
    )
    assert part_digests(theirs) == part_digests(OURS)
    assert len(part_digests(OURS)) == PART_BYTES * len(PARTS)


def test_directors_of_other_versions_are_compared_as_far_as_both_go() -> None:
    ours, theirs = part_digests(OURS), part_digests(changed("membership", "timers", Timers()))
    assert differing_parts(ours, theirs[: 2 * PART_BYTES]) == ("timers",)
    assert differing_parts(ours, theirs[:PART_BYTES]) == ()
    assert differing_parts(ours + b"later", theirs + b"added") == ("timers",)
    assert differing_parts(ours, b"") == ()
