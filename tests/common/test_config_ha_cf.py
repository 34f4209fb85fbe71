"""Each directive of ha.cf means what it should; a wrong value is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.config import ha_cf
from heartbus.model import (
    BroadcastLink,
    Failback,
    Membership,
    MulticastLink,
    SerialLink,
    SupervisedClient,
    Timers,
    UnicastLink,
)
from tests.common.config_samples import QUIET, QUIET_HA_CF, directory, loaded, remarks


def membership(tmp_path: Path, lines: str) -> Membership:
    place = directory(tmp_path, {**QUIET, "ha.cf": QUIET_HA_CF + lines})
    return loaded(place).cluster.membership


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("keepalive 0.5", "keepalive_s", 0.5),
        ("keepalive 500ms", "keepalive_s", 0.5),
        ("keepalive .5", "keepalive_s", 0.5),
        ("keepalive 250000us", "keepalive_s", 0.25),
        ("  keepalive   3  # comment", "keepalive_s", 3.0),
        ("keepalive 2 3", "keepalive_s", 3.0),
        ("deadtime 20", "deadtime_s", 20.0),
        ("deadtime 20", "warntime_s", 10.0),
        ("deadtime 20", "initdead_s", 20.0),
        ("deadtime 5", "initdead_s", 12.0),
        ("deadtime 8", "initdead_s", 16.0),
        ("warntime 7", "warntime_s", 7.0),
        ("initdead 60", "initdead_s", 60.0),
    ],
)
def test_times_of_ha_cf(tmp_path: Path, line: str, field: str, value: float) -> None:
    assert getattr(membership(tmp_path, line).timers, field) == pytest.approx(value)


def test_times_that_are_not_given_are_heartbeats_own(tmp_path: Path) -> None:
    assert membership(tmp_path, "").timers == Timers(
        keepalive_s=1.0, warntime_s=15.0, deadtime_s=30.0, initdead_s=30.0
    )


@pytest.mark.parametrize(
    ("line", "links"),
    [
        ("bcast eth2,eth3", ("eth1", "eth2", "eth3")),
        ("udp eth2", ("eth1", "eth2")),
    ],
)
def test_broadcast_links(tmp_path: Path, line: str, links: tuple[str, ...]) -> None:
    wanted = tuple(BroadcastLink(interface=name) for name in links)
    assert membership(tmp_path, line).links == wanted


def test_links_take_port_and_speed_of_the_whole_file(tmp_path: Path) -> None:
    lines = (
        "udpport 1694\nucast eth0 10.0.0.2\nucast6 eth0 fe80::2\nucast6 eth0 b.example\nbaud 9600\n"
        "mcast eth0 239.0.0.1 1700 0 1\nmcast6 eth0 FF02::4:1 1701 255 0\nserial /dev/ttyS1\n"
    )
    assert membership(tmp_path, lines).links == (
        BroadcastLink(interface="eth1", port=1694),
        UnicastLink(interface="eth0", peer="10.0.0.2", port=1694),
        UnicastLink(interface="eth0", peer="fe80::2", port=1694),
        UnicastLink(interface="eth0", peer="b.example", port=1694, ipv6=True),
        MulticastLink(interface="eth0", group="239.0.0.1", port=1700, ttl=0, loop=True),
        MulticastLink(interface="eth0", group="ff02::4:1", port=1701, ttl=255, loop=False),
        SerialLink(device="/dev/ttyS1", baud=9600),
    )


def test_names_of_links_say_what_they_are(tmp_path: Path) -> None:
    lines = "ucast6 eth0 b\nucast eth0 b\nucast6 eth0 fe80::2\nmcast6 eth0 ff02::4:1 9 1 0\n"
    assert [link.name for link in membership(tmp_path, lines).links] == [
        "bcast:eth1", "ucast6:eth0:b", "ucast:eth0:b", "ucast:eth0:fe80::2", "mcast:eth0:ff02::4:1",
    ]  # fmt: skip


@pytest.mark.parametrize(("line", "hopfudge"), [("", 1), ("hopfudge 0", 0), ("hopfudge 7", 7)])
def test_hopfudge(tmp_path: Path, line: str, hopfudge: int) -> None:
    assert membership(tmp_path, line).hopfudge == hopfudge


@pytest.mark.parametrize(
    ("lines", "failback"),
    [
        ("", Failback.ON),
        ("auto_failback on", Failback.ON),
        ("auto_failback legacy", Failback.ON),
        ("auto_failback off", Failback.OFF),
        ("nice_failback on", Failback.OFF),
        ("nice_failback off", Failback.ON),
        ("nice_failback on\nauto_failback on", Failback.ON),
    ],
)
def test_failback_policy(tmp_path: Path, lines: str, failback: Failback) -> None:
    text = "bcast eth1\nnode linuxha1 linuxha2\n" + lines
    cluster = loaded(directory(tmp_path, {**QUIET, "ha.cf": text})).cluster
    assert cluster.membership.failback is failback


def test_nodes_on_one_line_or_several_are_equal(tmp_path: Path) -> None:
    text = "bcast eth1\nnode a,b\nnode C\n"
    files = {**QUIET, "ha.cf": text, "haresources": "c telnet"}
    cluster = loaded(directory(tmp_path, files)).cluster
    assert [director.name for director in cluster.directors] == ["a", "b", "c"]


def test_programs_beside_heartbeat_are_carried(tmp_path: Path) -> None:
    clients = membership(tmp_path, "respawn root /usr/bin/agent -v --mode x").clients
    assert clients == (SupervisedClient(user="root", command="/usr/bin/agent -v --mode x"),)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "keepalive 10s",
            "error ha.cf:4: keepalive: '10s' is not allowed; allowed is a time in seconds (2 or"
            " 0.5) or in milliseconds (500ms)",
        ),
        (
            "keepalive 0",
            "error ha.cf:4: keepalive: '0' is not allowed; allowed is a time above 0 and up to"
            " 31536000 s",
        ),
        ("keepalive", "error ha.cf:4: keepalive: a value is missing"),
        (
            "deadtime 2",
            "error ha.cf:4: deadtime: 2 s is not above 2 x keepalive (1 s); allowed is more than"
            " 2 s",
        ),
        (
            "keepalive 15",
            "error ha.cf:4: keepalive: 30 s is not above 2 x keepalive (15 s); allowed is more than"
            " 30 s",
        ),
        (
            "initdead 29",
            "error ha.cf:4: initdead: 29 s is below deadtime; allowed is 30 s or more (twice that"
            " is recommended)",
        ),
        (
            "warntime 1",
            "warning ha.cf:4: warntime: 1 s is not above keepalive (1 s): every heartbeat will be"
            " late",
        ),
        (
            "warntime 31",
            "warning ha.cf:4: warntime: 31 s is above deadtime (30 s): nobody is ever late before"
            " being dead",
        ),
        (
            "auto_failback maybe",
            "error ha.cf:4: auto_failback: 'maybe' is not allowed; allowed is on, off or legacy",
        ),
        (
            "udpport 70000",
            "error ha.cf:4: udpport: '70000' is not allowed; allowed is a whole number from 1 to"
            " 65535",
        ),
        (
            "baud 300",
            "error ha.cf:4: baud: '300' is not allowed; allowed is one of 9600, 19200, 38400,"
            " 57600, 115200, 230400, 460800",
        ),
        (
            "bcast averyverylonginterface",
            "error ha.cf:4: bcast: 'averyverylonginterface' is not allowed; allowed is the name of"
            " a network interface, at most 15 characters",
        ),
        ("bcast eth1", "error ha.cf:4: bcast: bcast:eth1 is given twice; each link is given once"),
        (
            "ucast eth0",
            "error ha.cf:4: ucast: 'eth0' is not allowed; allowed is an interface and a peer, such"
            " as eth0 192.168.7.2",
        ),
        (
            "node linuxha1",
            "error ha.cf:4: node: 'linuxha1' is named twice; each director has one entry",
        ),
        (
            "respawn root agent",
            "error ha.cf:4: respawn: 'agent' is not allowed; allowed is a path that starts with /",
        ),
        ("Keepalive 2", "error ha.cf:4: Keepalive: no directive of ha.cf; did you mean keepalive?"),
        (
            "ucast6 eth0 10.0.0.2",
            "error ha.cf:4: ucast6: '10.0.0.2' is not allowed; allowed is a host name or an IPv6"
            " address such as fe80::2",
        ),
        (
            "ucast eth0 fe80::2%eth0",
            "error ha.cf:4: ucast: 'fe80::2%eth0' is not allowed; allowed is an address without"
            " %scope: the interface of the link is the scope",
        ),
        (
            "ucast eth0 239.0.0.1",
            "error ha.cf:4: ucast: '239.0.0.1' is not allowed; allowed is the address of one peer"
            " (mcast and mcast6 take a group)",
        ),
        (
            "mcast eth0 239.0.0.1 694 1",
            "error ha.cf:4: mcast: 'eth0 239.0.0.1 694 1' is not allowed; allowed is an interface,"
            " a group, a port, a ttl and loop, such as eth0 239.0.0.1 694 1 0",
        ),
        (
            "mcast eth0 10.0.0.1 694 1 0",
            "error ha.cf:4: mcast: '10.0.0.1' is not allowed; allowed is an IPv4 multicast group"
            " such as 239.0.0.1",
        ),
        (
            "mcast eth0 ff02::4:1 694 1 0",
            "error ha.cf:4: mcast: 'ff02::4:1' is not allowed; allowed is an IPv4 multicast group"
            " such as 239.0.0.1",
        ),
        (
            "mcast eth0 239.0.0.1 0 1 0",
            "error ha.cf:4: mcast: '0' is not allowed; allowed is a whole number from 1 to 65535",
        ),
        (
            "mcast eth0 239.0.0.1 694 256 0",
            "error ha.cf:4: mcast: '256' is not allowed; allowed is a whole number from 0 to 255",
        ),
        (
            "mcast eth0 239.0.0.1 694 1 2",
            "error ha.cf:4: mcast: '2' is not allowed; allowed is a whole number from 0 to 1",
        ),
        (
            "mcast6 eth0 fe80::2 694 1 0",
            "error ha.cf:4: mcast6: 'fe80::2' is not allowed; allowed is an IPv6 multicast group"
            " such as ff02::4:1",
        ),
        (
            "mcast6 eth0 ff02::1%eth0 694 1 0",
            "error ha.cf:4: mcast6: 'ff02::1%eth0' is not allowed; allowed is an IPv6 multicast"
            " group such as ff02::4:1",
        ),
        (
            "mcast eth0 239.0.0.1 694 1 0\nmcast eth0 239.0.0.1 695 9 1",
            "error ha.cf:5: mcast: mcast:eth0:239.0.0.1 is given twice; each link is given once",
        ),
        (
            "keepalive 100ms\nbaud 9600\nserial /dev/ttyS0",
            "warning ha.cf:6: serial: heartbeats fill 132% of a line of 9600 baud, and those that"
            " do not fit are dropped; allowed should be 50% or less: baud 38400 or more, or a"
            " keepalive of 0.26 s or more",
        ),
        (
            "udp eth5",
            "warning ha.cf:4: udp: an old name of bcast; taken as bcast",
        ),
        (
            "auto_failback legacy",
            "note ha.cf:4: auto_failback: legacy is taken as on: the preferred director takes its"
            " groups back",
        ),
        (
            "auto_failback on",
            "warning ha.cf:4: auto_failback: also given on line 2; this one counts",
        ),
        (
            "pi\x01ng a",
            "error ha.cf:4: control characters in the line; allowed is plain UTF-8 text",
        ),
    ],
)
def test_what_is_said_about_a_line_of_ha_cf(tmp_path: Path, line: str, words: str) -> None:
    assert words in remarks(tmp_path, {**QUIET, "ha.cf": f"{QUIET_HA_CF}{line}\n"})


def test_a_refused_time_is_the_only_error(tmp_path: Path) -> None:
    words = remarks(tmp_path, {**QUIET, "ha.cf": f"{QUIET_HA_CF}keepalive 40\nkeepalive 1x\n"})
    assert [w for w in words if w.startswith("error")] == [
        "error ha.cf:5: keepalive: '1x' is not allowed; allowed is a time in seconds (2 or 0.5) or"
        " in milliseconds (500ms)"
    ]


def test_a_cluster_without_a_link_is_refused(tmp_path: Path) -> None:
    text = "auto_failback off\nnode linuxha1 linuxha2\n"
    assert (
        "error ha.cf: bcast: no link to send heartbeats over; at least one bcast, mcast, ucast or"
        " serial is needed"
    ) in remarks(tmp_path, {**QUIET, "ha.cf": text})


def test_a_serial_line_alone_is_enough(tmp_path: Path) -> None:
    text = "keepalive 2\nbaud 9600\nserial /dev/ttyS0\nnode linuxha1 linuxha2\n"
    quiet = "realtime off\nauto_failback off\n"
    assert remarks(tmp_path, {**QUIET, "ha.cf": quiet + text}) == []


def test_bytes_that_are_no_text_are_refused_but_not_in_comments(tmp_path: Path) -> None:
    text = QUIET_HA_CF.encode() + b"# \xd6\xd0\xce\xc4\nnode \xff\nrealtime off"
    words = remarks(tmp_path, {**QUIET, "ha.cf": text})
    assert words == ["error ha.cf:5: not UTF-8 text; allowed is plain UTF-8 text"]


@pytest.mark.parametrize("row", ha_cf.DIRECTIVES.values(), ids=lambda row: row.name)
def test_each_row_of_ha_cf_sets_a_field(row: ha_cf.Directive) -> None:
    content = ha_cf.HaCf(file="")
    is_list = isinstance(getattr(content, row.sets), list)
    assert is_list is (row.shape is not ha_cf.Shape.LAST)
    assert row.name not in ha_cf.UNUSED
