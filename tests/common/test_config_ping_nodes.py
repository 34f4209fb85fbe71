"""Ping nodes in the old form and in TOML: what is read, what is refused and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.config import ConfigError, load
from heartbus.config.show import render
from heartbus.model import Authentication, Membership, PingNode, Timers
from tests.common.config_samples import (
    QUIET,
    QUIET_HA_CF,
    directory,
    loaded,
    remarks,
    said,
)

TOML = """\
[[directors]]
name = "a"
[[directors]]
name = "b"
address = "10.0.0.2"
[[membership.links]]
kind = "bcast"
interface = "eth1"
[membership.authentication]
signing_key = 1
[[membership.authentication.keys]]
id = 1
secret = "secret"
"""
LINES = TOML.count("\n")


def plain(name: str, *, ipv6: bool = False) -> PingNode:
    return PingNode(name=name, members=(name,), ipv6=ipv6)


def old(tmp_path: Path, *lines: str) -> Membership:
    text = QUIET_HA_CF + "".join(f"{line}\n" for line in (*lines, "realtime off"))
    files = {**QUIET, "ha.cf": text}
    return loaded(directory(tmp_path, files)).cluster.membership


def old_remarks(tmp_path: Path, *lines: str) -> list[str]:
    text = QUIET_HA_CF + "".join(f"{line}\n" for line in (*lines, "realtime off"))
    files = {**QUIET, "ha.cf": text}
    return remarks(tmp_path, files)


def toml_remarks(tmp_path: Path, text: str) -> list[str]:
    place = directory(tmp_path, {"heartbus.toml": TOML + text})
    try:
        return said(load(str(place / "heartbus.toml")).diagnostics, place)
    except ConfigError as error:
        return said(error.diagnostics, place)


@pytest.mark.parametrize(
    ("line", "nodes"),
    [
        ("ping 10.0.0.1", (plain("10.0.0.1"),)),
        ("ping r1.example.org 10.0.0.1", (plain("r1.example.org"), plain("10.0.0.1"))),
        ("ping 10.0.0.1,10.0.0.2", (plain("10.0.0.1"), plain("10.0.0.2"))),
        ("ping 2001:DB8::1", (plain("2001:db8::1"),)),
        ("ping6 2001:db8::1 r1", (plain("2001:db8::1", ipv6=True), plain("r1", ipv6=True))),
        (
            "ping_group routers 10.0.0.1 r2",
            (PingNode(name="routers", members=("10.0.0.1", "r2")),),
        ),
        ("ping_group all,10.0.0.1", (PingNode(name="all", members=("10.0.0.1",)),)),
    ],
)
def test_ha_cf_names_ping_nodes(tmp_path: Path, line: str, nodes: tuple[PingNode, ...]) -> None:
    assert old(tmp_path, line).ping_nodes == nodes
    assert old_remarks(tmp_path, line) == []


def test_the_order_of_the_file_is_kept(tmp_path: Path) -> None:
    membership = old(tmp_path, "ping_group g 10.0.0.1", "ping6 r6", "ping r4", "deadping 5")
    assert [node.name for node in membership.ping_nodes] == ["g", "r6", "r4"]
    assert membership.deadping_s == 5.0


@pytest.mark.parametrize(
    ("line", "said_of_it"),
    [
        (
            "deadping 2",
            "error ha.cf:4: deadping: 2 s is not above 2 x keepalive (1 s); allowed is more than"
            " 2 s",
        ),
        (
            "deadping soon",
            "error ha.cf:4: deadping: 'soon' is not allowed; allowed is a time in seconds (2 or"
            " 0.5) or in milliseconds (500ms)",
        ),
        (
            "ping_group routers",
            "error ha.cf:4: ping_group: 'routers' is not allowed; allowed is a name and at least"
            " one host, such as routers 192.168.7.1 192.168.7.2",
        ),
        (
            "ping_group routers bad_host",
            "error ha.cf:4: ping_group: 'bad_host' is not allowed; allowed is a host name or an IP"
            " address",
        ),
        (
            "ping6 10.0.0.1",
            "error ha.cf:4: ping6: '10.0.0.1' is not allowed; allowed is a host name or an IPv6"
            " address",
        ),
        (
            "ping 10.0.0.1 10.0.0.1",
            "error ha.cf:4: ping: '10.0.0.1' is named twice; each ping node has one entry",
        ),
        (
            "ping linuxha2",
            "warning ha.cf:4: ping: 'linuxha2' is a director: it always reaches itself, so its"
            " answers say nothing about the network; a router is usual",
        ),
        (
            "hbaping fc0",
            "warning ha.cf:4: hbaping: known to Heartbeat, not used by this version: ping nodes"
            " are asked over IP only",
        ),
    ],
)
def test_what_is_wrong_in_ha_cf(tmp_path: Path, line: str, said_of_it: str) -> None:
    assert old_remarks(tmp_path, line) == [said_of_it]


def test_a_refused_time_is_not_compared(tmp_path: Path) -> None:
    assert len(old_remarks(tmp_path, "keepalive x", "deadping 1")) == 1


def test_too_many_hosts_are_refused_once_where_they_become_too_many(tmp_path: Path) -> None:
    lines = [f"ping_group g{i} " + " ".join(f"10.0.{i}.{j}" for j in range(60)) for i in range(4)]
    assert old_remarks(tmp_path, *lines) == [
        "error ha.cf:6: ping_group: more than 128 hosts to ask; allowed are 128, the members of"
        " groups counted"
    ]


@pytest.mark.parametrize(
    ("text", "said_of_it"),
    [
        (
            '[membership]\ndeadping = "150ms"\n',
            f"error heartbus.toml:{LINES + 2}: membership.deadping: 0.15 s is not above 2 x"
            " keepalive (0.075 s); allowed is more than 0.15 s",
        ),
        (
            "[membership]\ndeadping = 0.3\n",
            f"warning heartbus.toml:{LINES + 2}: membership.deadping: 0.3 s is not above 2 x"
            " 0.2 s, how often a ping node is asked: one lost answer will be a death",
        ),
        (
            '[membership]\nping_nodes = ["r1", "10.0.0.2"]\n',
            f"warning heartbus.toml:{LINES + 2}: membership.ping_nodes[1]: '10.0.0.2' is a"
            " director: it always reaches itself, so its answers say nothing about the network;"
            " a router is usual",
        ),
        (
            '[membership]\nping_nodes = ["r1"]\n[[membership.ping_groups]]\nname = "r1"\n'
            'members = ["r2"]\n',
            f"error heartbus.toml:{LINES + 4}: membership.ping_groups[0].name: 'r1' is named"
            " twice; each ping node has one entry",
        ),
        (
            '[[membership.ping_groups]]\nname = "g"\nmembers = []\n',
            f"error heartbus.toml:{LINES + 3}: membership.ping_groups[0].members: 'g' has no"
            " members; at least one host is needed",
        ),
        (
            '[[membership.ping_groups]]\nname = "g"\n',
            f"error heartbus.toml:{LINES + 1}: membership.ping_groups[0].members: missing; this"
            " key is needed",
        ),
        (
            '[[membership.ping_groups]]\nname = "g h"\nmembers = ["r1"]\n',
            f"error heartbus.toml:{LINES + 2}: membership.ping_groups[0].name: 'g h' is not"
            " allowed; allowed is a name without blanks, at most 253 characters",
        ),
        (
            '[[membership.ping_groups]]\nname = "g"\nmembers = ["10.0.0.1"]\nipv6 = true\n',
            f"error heartbus.toml:{LINES + 3}: membership.ping_groups[0].members[0]: '10.0.0.1'"
            " is not allowed; allowed is a host name or an IPv6 address",
        ),
    ],
)
def test_what_is_wrong_in_toml(tmp_path: Path, text: str, said_of_it: str) -> None:
    assert toml_remarks(tmp_path, text) == [said_of_it]


@pytest.mark.parametrize(
    ("keepalive_s", "deadtime_s", "deadping_s", "interval_s", "silence_s"),
    [
        (2.0, 30.0, None, 2.0, 30.0),
        (0.075, 0.3, None, 0.2, 0.2 * 3),
        (0.075, 0.3, 0.5, 0.2, 0.5),
        (1.0, 2.5, None, 1.0, 3.0),
    ],
)
def test_times_that_are_not_given(
    keepalive_s: float,
    deadtime_s: float,
    deadping_s: float | None,
    interval_s: float,
    silence_s: float,
) -> None:
    membership = Membership(
        authentication=Authentication(signing_key=1, keys=()),
        timers=Timers(keepalive_s=keepalive_s, deadtime_s=deadtime_s),
        deadping_s=deadping_s,
    )
    assert membership.ping_interval_s == interval_s
    assert membership.ping_silence_s == silence_s


def test_they_are_shown(tmp_path: Path) -> None:
    lines = ("ping r1", "ping6 r6", "ping_group g 10.0.0.1 r2", "deadping 5")
    text = QUIET_HA_CF + "".join(f"{line}\n" for line in (*lines, "realtime off"))
    files = {**QUIET, "ha.cf": text}
    cluster = loaded(directory(tmp_path, files)).cluster
    text = render(cluster, as_json=False)
    assert (
        "  deadping        5 s, asked every 1 s\n"
        "  ping nodes      r1\n"
        "                  r6 over IPv6\n"
        "                  g: any of 10.0.0.1, r2\n"
    ) in text
