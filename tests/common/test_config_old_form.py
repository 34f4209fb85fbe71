"""Each directive of the old files means what it should; a wrong value is named with its line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from heartbus.config import ha_cf, ldirectord_directives, load
from heartbus.config.report import Place, Setting
from heartbus.model import (
    AddressResource,
    BroadcastLink,
    Check,
    CheckService,
    CheckType,
    Endpoint,
    Failback,
    ForwardingMethod,
    HttpMethod,
    Membership,
    MulticastLink,
    RealServer,
    Resource,
    ScriptResource,
    SerialLink,
    SorryServer,
    SupervisedClient,
    Timers,
    TransportProtocol,
    UnicastLink,
    VirtualService,
)
from tests.common.config_samples import QUIET, QUIET_HA_CF, directory, loaded, remarks

GROUP = "192.168.7.110/24"


def membership(tmp_path: Path, lines: str) -> Membership:
    place = directory(tmp_path, {**QUIET, "ha.cf": QUIET_HA_CF + lines})
    return loaded(place).cluster.membership


# ha.cf -------------------------------------------------------------------------------------------


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


# haresources -------------------------------------------------------------------------------------


def address(text: str, length: int = 24, **parts: str) -> AddressResource:
    return AddressResource(
        address=text,
        prefix_len=length,
        broadcast=parts.get("broadcast"),
        interface=parts.get("interface"),
    )


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ("IPaddr::10.0.0.1/24/10.0.0.255", address("10.0.0.1", broadcast="10.0.0.255")),
        ("IPaddr::10.0.0.1/24/eth0", address("10.0.0.1", interface="eth0")),
        (
            "IPaddr2::10.0.0.1/24/eth0/10.0.0.255",
            address("10.0.0.1", interface="eth0", broadcast="10.0.0.255"),
        ),
        (
            "10.0.0.1/24/eth0/10.0.0.255",
            address("10.0.0.1", interface="eth0", broadcast="10.0.0.255"),
        ),
        ("10.0.0.1/255.255.0.0", address("10.0.0.1", 16)),
        ("10.0.0.1", address("10.0.0.1", 32)),
        ("telnet", ScriptResource(script="telnet")),
        (
            "Filesystem::/dev/sda1::/mnt::ext3",
            ScriptResource(script="Filesystem", arguments=("/dev/sda1", "/mnt", "ext3")),
        ),
    ],
)
def test_resource_forms(tmp_path: Path, text: str, resource: Resource) -> None:
    place = directory(tmp_path, {**QUIET, "haresources": f"linuxha1 {text}\n"})
    (group,) = loaded(place).cluster.groups
    assert group.name == text
    assert group.resources == (resource,)


def test_lines_are_joined_and_comments_dropped(tmp_path: Path) -> None:
    text = "# groups\n\nLINUXHA1\t10.0.0.1/24 \\\r\n  telnet \\\n\tssh # both\nlinuxha2 10.0.0.2/24"
    first, second = loaded(directory(tmp_path, {**QUIET, "haresources": text})).cluster.groups
    assert (first.preferred, second.preferred) == ("linuxha1", "linuxha2")
    assert [resource.name for resource in first.resources] == ["10.0.0.1/24", "telnet", "ssh"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "linuxha3 telnet",
            "error haresources:1: linuxha3: 'linuxha3' is no node of ha.cf; allowed is linuxha1,"
            " linuxha2; did you mean linuxha2 or linuxha1?",
        ),
        (
            "linuxha1",
            "error haresources:1: linuxha1: no resources; a line is a node and its resources, in"
            " order",
        ),
        (
            "\nlinuxha1 10.0.0.1",
            "warning haresources:2: 10.0.0.1: no prefix length after 10.0.0.1: Heartbeat takes it"
            " from the route, here it is /32, which adds no route; write 10.0.0.1/24 to say it",
        ),
        (
            "linuxha1 IPaddr::10.0.0.300/24",
            "error haresources:1: IPaddr::10.0.0.300/24: '10.0.0.300' is not allowed; allowed is an"
            " IPv4 address such as 192.168.7.110",
        ),
        (
            "linuxha1 10.0.0.1/33",
            "error haresources:1: 10.0.0.1/33: '33' is not allowed; allowed is a whole number from"
            " 1 to 32",
        ),
        (
            "linuxha1 10.0.0.1/24/10.0.1.255",
            "warning haresources:1: 10.0.0.1/24/10.0.1.255: the broadcast address 10.0.1.255 is not"
            " in 10.0.0.0/24; 10.0.0.255 would be usual",
        ),
        (
            "linuxha1 10.0.0.1/24\nlinuxha2 10.0.0.1/24",
            "error haresources:2: linuxha2: the group '10.0.0.1/24' of line 1 again; the name of a"
            " group (in haresources: its first resource) must be unique",
        ),
        (
            "linuxha1 10.0.0.1/24\nlinuxha2 IPaddr::10.0.0.1/24",
            "error haresources:2: IPaddr::10.0.0.1/24: 10.0.0.1 is already held by the group"
            " '10.0.0.1/24'; an address belongs to one group",
        ),
        (
            "linuxha1 ../evil",
            "error haresources:1: ../evil: '../evil' is not allowed; allowed is the name of a"
            " resource script, without /",
        ),
        (
            "linuxha1 10.0.0.1/24/eth0:a-long-label",
            "error haresources:1: 10.0.0.1/24/eth0:a-long-label: 'eth0:a-long-label' is not"
            " allowed; allowed is a label such as eth0:1, at most 15 characters",
        ),
    ],
)
def test_what_is_said_about_haresources(tmp_path: Path, text: str, words: str) -> None:
    assert words in remarks(tmp_path, {**QUIET, "haresources": text})


def test_a_short_name_of_several_nodes_is_refused(tmp_path: Path) -> None:
    text = "bcast eth1\nauto_failback off\nnode lb.a.org lb.b.org\nrealtime off\n"
    files = {**QUIET, "ha.cf": text, "haresources": "lb 10.0.0.1/24"}
    assert remarks(tmp_path, files) == [
        "error haresources:1: lb: fits several nodes of ha.cf: lb.a.org, lb.b.org; write one of"
        " them"
    ]


def test_a_missing_ldirectord_file_is_refused(tmp_path: Path) -> None:
    words = remarks(tmp_path, {**QUIET, "haresources": "linuxha1 10.0.0.1/24 ldirectord::www"})
    assert words == [
        "error haresources:1: ldirectord::www: no such ldirectord file; looked for www, conf/www,"
        " www.cf, conf/www.cf"
    ]


# authkeys ----------------------------------------------------------------------------------------


def test_several_keys_are_accepted_and_one_signs(tmp_path: Path) -> None:
    text = '# keys\nauth    3\n  3 sha256 "quoted"\n2 sha1 old\n0 crc\n'
    place = directory(tmp_path, {**QUIET, "authkeys": text})
    authentication = loaded(place).cluster.membership.authentication
    assert authentication.signing_key == 3
    assert [(k.id, k.method.value, k.secret) for k in authentication.keys] == [
        (3, "sha256", b'"quoted"'),
        (2, "sha1", b"old"),
        (0, "crc", b""),
    ]


def test_a_secret_may_be_any_bytes(tmp_path: Path) -> None:
    place = directory(tmp_path, {**QUIET, "authkeys": b"auth 1\n1 sha256 \xff\xfe\xc3\xa9\n"})
    (key,) = loaded(place).cluster.membership.authentication.keys
    assert key.secret == b"\xff\xfe\xc3\xa9"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "1 sha256 x\nauth 1\n",
            "warning authkeys:2: auth: below the line of key 1; Heartbeat wants it above (key not"
            " found)",
        ),
        (
            "1 sha256 x\n",
            "error authkeys:1: auth: no line says which key signs; allowed is auth and the number"
            " of a key line",
        ),
        ("auth 2\n1 sha256 x\n", "error authkeys:1: auth: there is no key 2; allowed is 1"),
        (
            "auth 16\n",
            "error authkeys:1: auth: '16' is not allowed; allowed is a whole number from 0 to 15",
        ),
        ("auth\n", "error authkeys:1: auth: a key number is missing; allowed is 0 to 15"),
        (
            "auth 1\n1 crc x\n",
            "error authkeys:2: 1: crc takes no secret; allowed is crc alone, or another method",
        ),
        (
            "auth 1\n1 sha256\n",
            "error authkeys:2: 1: sha256 needs a secret; allowed is one word without blanks",
        ),
        (
            "auth 1\n1\n",
            "error authkeys:2: 1: a method is missing; allowed is crc, md5, sha1, sha256",
        ),
        (
            "auth 1\n1 sha256 a\n1 sha256 b\n",
            "error authkeys:3: 1: key 1 is given twice; each id has one key",
        ),
        (
            "auth 1\n1 sha256 a b\n",
            "warning authkeys:2: 1: words after the secret are left out: a secret has no blanks",
        ),
        ("autn 1\n1 sha256 a\n", "warning authkeys:1: auth: 'autn' is taken as auth"),
    ],
)
def test_what_is_said_about_authkeys(tmp_path: Path, text: str, words: str) -> None:
    assert words in remarks(tmp_path, {**QUIET, "authkeys": text})


def test_a_secret_is_never_said(tmp_path: Path) -> None:
    text = "auth 1\nhunter2\n1 sha256 hunter2 hunter2\n99 md5 hunter2\n1 crc hunter2\n"
    assert "hunter2" not in str(remarks(tmp_path, {**QUIET, "authkeys": text}))


# ldirectord --------------------------------------------------------------------------------------


def with_file(text: str) -> dict[str, Any]:
    return {**QUIET, "haresources": f"linuxha1 {GROUP} ldirectord::l.cf\n", "l.cf": text}


def service(tmp_path: Path, text: str) -> VirtualService:
    place = directory(tmp_path, with_file(text))
    (only,) = loaded(place).cluster.virtual_services
    return only


def section(*lines: str, port: str = "80", before: str = "") -> str:
    body = "".join(f"\t{line}\n" for line in lines)
    return f"{before}virtual=192.168.7.110:{port}\n{body}"


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        (section("checktype=connect"), "type", CheckType.CONNECT),
        (section("checktype=on"), "type", CheckType.ON),
        (section("checktype=off"), "type", CheckType.OFF),
        (section(), "type", CheckType.NEGOTIATE),
        (section(), "service", CheckService.HTTP),
        (section(port="25"), "service", CheckService.SMTP),
        (section(port="smtp"), "service", CheckService.SMTP),
        (section("service=smtp"), "service", CheckService.SMTP),
        (section("service=http", port="8080"), "service", CheckService.HTTP),
        (section(port="8080"), "type", CheckType.ON),
        (section("service=none"), "type", CheckType.ON),
        (section("service=ftp"), "service", CheckService.FTP),
        (section(port="143"), "service", CheckService.IMAP),
        (section("checktype=ping"), "type", CheckType.PING),
        (section("checktype=ping", "checkcount=3"), "attempts", 3),
        (section("checktype=3"), "type", CheckType.COMBINED),
        (section("checktype=3"), "connects", 3),
        (section("checktype=0"), "type", CheckType.NEGOTIATE),
        (section("protocol=udp", "checktype=connect"), "type", CheckType.PING),
        (section("checkport=8080"), "port", 8080),
        (section('request="x.html"'), "request", "/x.html"),
        (section('request="/x?u=http://y"'), "request", "/x?u=http://y"),
        (section('request="http://x/"', "checktype=connect"), "request", "http://x/"),
        (section('receive="a b"'), "receive", "a b"),
        (section('receive=""'), "receive", None),
        (section('receive="a#b"'), "receive", "a#b"),
        (section("virtualhost=www.x.org"), "virtualhost", "www.x.org"),
        (section('virtualhost="www.x.org"'), "virtualhost", "www.x.org"),
        (section("httpmethod=head"), "http_method", HttpMethod.HEAD),
        (section("failurecount=3"), "fall", 3),
        (section(before="failurecount=4\n"), "fall", 4),
        (section("failurecount=3", before="failurecount=4\n"), "fall", 3),
        (section(), "interval_s", 10.0),
        (section(before="checkinterval=2\n"), "interval_s", 2.0),
        (section("checkinterval=3", before="checkinterval=2\n"), "interval_s", 2.0),
        (section("checkinterval=3", before="fork=yes\ncheckinterval=2\n"), "interval_s", 3.0),
    ],
)
def test_checks(tmp_path: Path, text: str, field: str, value: object) -> None:
    assert getattr(service(tmp_path, text).check, field) == value


@pytest.mark.parametrize(
    ("own", "of_all", "connect_s", "negotiate_s"),
    [
        ("", "", 5, 30),
        ("", "c", 3, 3),
        ("", "n", 4, 4),
        ("", "cn", 3, 4),
        ("c", "", 1, 1),
        ("n", "", 2, 2),
        ("cn", "cn", 1, 2),
        ("n", "c", 2, 2),
        ("c", "n", 1, 1),
    ],
)
def test_timeouts_stand_in_for_one_another(
    tmp_path: Path, own: str, of_all: str, connect_s: float, negotiate_s: float
) -> None:
    names = {"c": "checktimeout", "n": "negotiatetimeout"}
    before = "".join(f"{names[k]}={3 if k == 'c' else 4}\n" for k in of_all)
    lines = [f"{names[k]}={1 if k == 'c' else 2}" for k in own]
    check: Check = service(tmp_path, section(*lines, before=before)).check
    assert (check.connect_timeout_s, check.negotiate_timeout_s) == (connect_s, negotiate_s)


@pytest.mark.parametrize(
    ("line", "server"),
    [
        (
            "real=10.0.0.1:80 masq",
            RealServer(
                endpoint=Endpoint(address="10.0.0.1", port=80), forwarding=ForwardingMethod.MASQ
            ),
        ),
        (
            "real = 10.0.0.1:http ipip 0",
            RealServer(
                endpoint=Endpoint(address="10.0.0.1", port=80),
                forwarding=ForwardingMethod.IPIP,
                weight=0,
            ),
        ),
        (
            "real=10.0.0.1 gate 5",
            RealServer(
                endpoint=Endpoint(address="10.0.0.1", port=80),
                forwarding=ForwardingMethod.GATE,
                weight=5,
            ),
        ),
        (
            'real=10.0.0.1:80 gate 5 "a", "b" # x',
            RealServer(
                endpoint=Endpoint(address="10.0.0.1", port=80),
                forwarding=ForwardingMethod.GATE,
                weight=5,
                request="/a",
                receive="b",
            ),
        ),
        (
            'real=10.0.0.1:80 gate "/a" "b" l:1 u:2',
            RealServer(
                endpoint=Endpoint(address="10.0.0.1", port=80),
                forwarding=ForwardingMethod.GATE,
                request="/a",
                receive="b",
                lower_threshold=1,
                upper_threshold=2,
            ),
        ),
    ],
)
def test_real_servers(tmp_path: Path, line: str, server: RealServer) -> None:
    assert service(tmp_path, section(line)).real_servers == (server,)


def test_a_range_of_real_servers(tmp_path: Path) -> None:
    servers = service(tmp_path, section("real=10.0.0.254->10.0.1.1:80 gate")).real_servers
    assert [s.endpoint.address for s in servers] == [
        "10.0.0.254",
        "10.0.0.255",
        "10.0.1.0",
        "10.0.1.1",
    ]


@pytest.mark.parametrize(
    ("text", "fallback"),
    [
        (
            section("fallback=127.0.0.1"),
            SorryServer(endpoint=Endpoint(address="127.0.0.1", port=80)),
        ),
        (
            section(before="fallback=127.0.0.1:81 masq\n"),
            SorryServer(
                endpoint=Endpoint(address="127.0.0.1", port=81), forwarding=ForwardingMethod.MASQ
            ),
        ),
        (
            section("fallback=127.0.0.2", before="fallback=127.0.0.1\n"),
            SorryServer(endpoint=Endpoint(address="127.0.0.2", port=80)),
        ),
    ],
)
def test_fallbacks(tmp_path: Path, text: str, fallback: SorryServer) -> None:
    assert service(tmp_path, text).sorry_server == fallback


def test_persistence_and_protocol(tmp_path: Path) -> None:
    lines = ("persistent=600", "netmask=255.255.255.0", "protocol=udp", "quiescent=yes")
    result = service(tmp_path, section(*lines, port="53"))
    assert (result.persistence_timeout_s, result.persistence_netmask) == (600, 24)
    assert result.protocol is TransportProtocol.UDP
    assert result.quiescent


def test_services_do_not_stay_in_the_table_unless_told(tmp_path: Path) -> None:
    assert not service(tmp_path, section()).quiescent


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "checktimeout=500ms\n",
            "warning l.cf:1: checktimeout: '500ms' is taken as 0.5 s, as it is written; ldirectord"
            " takes the digits alone: 500 s",
        ),
        (
            "checkinterval=0\n",
            "error l.cf:1: checkinterval: '0' is not allowed; allowed is whole seconds without a"
            " unit, such as 3",
        ),
        ("quiescent=on\n", "error l.cf:1: quiescent: 'on' is not allowed; allowed is yes or no"),
        (
            "quiescent=yes # was no\n",
            "warning l.cf:1: quiescent: text after the value is left out; ldirectord reads it as"
            " value",
        ),
        (
            "autoreload=yes // 说明\n",
            "warning l.cf:1: autoreload: text after the value is left out; ldirectord reads it as"
            " value",
        ),
        (
            "quiescent=yes\r\n",
            "warning l.cf:1: lines end in CR LF; ldirectord refuses yes and no there",
        ),
        (
            "emailalert=root\n",
            "warning l.cf:1: emailalert: known to ldirectord, not used by this version: no mails"
            " yet",
        ),
        (
            "supervised\n",
            "warning l.cf:1: supervised: known to ldirectord, not used by this version: services"
            " always stay in the foreground",
        ),
        (
            "shceduler=rr\n",
            "error l.cf:1: shceduler: no directive of ldirectord; did you mean scheduler?",
        ),
        ("nonsense\n", "error l.cf:1: nonsense: no directive of ldirectord; allowed is name=value"),
        (
            "scheduler=rr\n",
            "error l.cf:1: scheduler: belongs to a virtual service; allowed is below virtual=",
        ),
        (
            "timeout=3\n",
            "error l.cf:1: timeout: ldirectord refuses it today; allowed are checktimeout and"
            " negotiatetimeout",
        ),
        (
            "virtual=192.168.7.110\n",
            "error l.cf:1: virtual: '192.168.7.110' is not allowed; allowed is an address with a"
            " port, such as 192.168.7.110:80 (ldirectord would serve firewall mark 192)",
        ),
        (
            "virtual=1\n\tprotocol=tcp\n",
            "error l.cf:2: protocol: tcp for virtual=1; allowed is fwm, or no such line",
        ),
        (
            section("protocol=fwm"),
            "error l.cf:2: protocol: fwm for virtual=192.168.7.110:80; allowed is tcp or udp",
        ),
        (
            "virtual=4294967296\n",
            "error l.cf:1: virtual: '4294967296' is not allowed; allowed is a whole number from 1"
            " to 4294967295",
        ),
        (
            "virtual6=10.0.0.1:80\n",
            "error l.cf:1: virtual6: '10.0.0.1:80' is not allowed; allowed is an IPv6 address in"
            " brackets with a port, such as [2001:db8::1]:80, or a mark",
        ),
        (
            "virtual6=[2001:db8::1]:80\n\treal=[2001:db8::2]:80 gate\n",
            "warning l.cf:2: real: ldirectord wants real6 here; taken all the same",
        ),
        (
            section("ops=yes"),
            "warning l.cf:2: ops: without effect for tcp, as in ldirectord: udp only",
        ),
        (
            section("real=10.0.0.2::8080 masq"),
            "warning l.cf:2: real: two colons: taken as 10.0.0.2:8080, as it is meant; ldirectord"
            " takes 8080 for the host, a server of another address",
        ),
        (
            section("service=pop"),
            "note l.cf:2: service: without login the greeting of the server is awaited; ldirectord"
            " passes with nothing listening",
        ),
        (
            section(port="21"),
            "note l.cf:1: virtual: without receive the server must accept the login; ldirectord"
            " passes with nothing listening",
        ),
        (
            section("service=dns", 'request="www.x.org"', "real=10.0.0.1:53 gate"),
            "note l.cf:2: service: without receive any address in the answer passes; with"
            " ldirectord none does",
        ),
        (
            section("service=mysql", 'login="x"'),
            "note l.cf:2: service: no request: 'SELECT 1' is asked; ldirectord counts every real"
            " server as down",
        ),
        (
            section("service=pgsql", 'request="SELECT 1"'),
            "error l.cf:2: service: missing; pgsql asks who logs in",
        ),
        (
            section("service=radius", 'login="x"'),
            "error l.cf:2: service: missing; radius needs login and secret",
        ),
        (
            section("service=https", "virtualhost=x.org"),
            "note l.cf:2: service: the certificate is not verified, as in ldirectord and"
            " virtualhost is sent as SNI; the TOML form has tls.verify",
        ),
        (
            section("service=ldap", "checktimeout=2", "negotiatetimeout=3"),
            "note l.cf:2: service: bounded by negotiatetimeout; ldirectord takes checktimeout here",
        ),
        (
            section("checktype=connect", "protocol=udp"),
            "note l.cf:2: checktype: a udp service has nothing to connect to: ping, as in"
            " ldirectord",
        ),
        (
            section("checktype=external"),
            "note l.cf:2: checktype: no checkcommand: /bin/true is run, as in ldirectord; it always"
            " passes",
        ),
        (
            section("checktype=external", "checkcommand=/bin/sh -c true"),
            "note l.cf:3: checkcommand: the program is /bin/sh, the words after it are its first"
            " arguments; ldirectord takes the whole value as the name of the program",
        ),
        (
            section("checktype=external", 'checkcommand="true"'),
            "error l.cf:3: checkcommand: 'true' is not allowed; allowed is an absolute path",
        ),
        (
            section("checktype=external", "checkcommand=/no/such"),
            "warning l.cf:3: checkcommand: no program '/no/such' here; on a director without it no"
            " verdict changes",
        ),
        (
            section(r'receive="a(?{die})"'),
            "error l.cf:2: receive: 'a(?{die})' cannot be translated: (?{ } runs Perl code",
        ),
        (
            section('login="x"'),
            "warning l.cf:2: login: without effect: a negotiate http check does not use it",
        ),
        (
            section("checktype=conect"),
            "error l.cf:2: checktype: 'conect' is not allowed; allowed is one of connect,"
            " negotiate, ping, off, on, external, external-perl or a number; did you mean connect?",
        ),
        (
            section("request=/x"),
            "error l.cf:2: request: '/x' is not allowed; allowed is text in double quotes:"
            ' "text"',
        ),
        (
            section('receive="a("'),
            "error l.cf:2: receive: 'a(' is no regular expression (missing ) at position 2);"
            " allowed are Perl's",
        ),
        (
            section('receive="(?u)Test.Page"'),
            "error l.cf:2: receive: '(?u)Test.Page' is no regular expression (cannot use UNICODE"
            " flag with a bytes pattern); allowed are Perl's",
        ),
        (
            section('receive="(?P<gr\u00fcn>x)"'),
            "error l.cf:2: receive: '(?P<gr\u00fcn>x)' is no regular expression (bad character in"
            " group name at position 9); allowed are Perl's",
        ),
        (
            section('request="http://www.example.com/x"'),
            "error l.cf:2: request: 'http://www.example.com/x' is a whole URL, which this version"
            " does not ask for; allowed is a path such as /.testpage: the real server and its port"
            " (or checkport) are asked, virtualhost gives the host name",
        ),
        (
            section('request="/"', 'real=10.0.0.1:80 gate "http://10.0.0.1:81/x" "y"'),
            "error l.cf:3: real: 'http://10.0.0.1:81/x' is a whole URL, which this version"
            " does not ask for; allowed is a path such as /.testpage: the real server and its port"
            " (or checkport) are asked, virtualhost gives the host name",
        ),
        (
            section("real=10.0.0.1:80"),
            "error l.cf:2: real: '10.0.0.1:80' is not allowed; allowed is a server and gate,"
            " masq or ipip, such as 192.168.7.11:80 gate",
        ),
        (
            section("real=10.0.0.1 gate"),
            "warning l.cf:2: real: no port; taken as 80, as virtual= has it",
        ),
        (
            section("real=10.0.0.1:81 gate"),
            "warning l.cf:2: real: 10.0.0.1:81: with gate a packet keeps its port, so clients reach"
            " port 80; only masq can change it",
        ),
        (
            section("real=www1.x.org:80 gate"),
            "error l.cf:2: real: 'www1.x.org': no such name in /etc/hosts, and no name server is"
            " asked, so that all directors read the same; allowed is a name there, or an address",
        ),
        (
            section("real=10.0.0.2->10.0.0.1:80 gate"),
            "error l.cf:2: real: '10.0.0.2->10.0.0.1:80' is not allowed; allowed is a range upwards"
            " of at most 1024 servers",
        ),
        (
            section("netmask=255.255.255.0"),
            "warning l.cf:2: netmask: without persistent it has no effect, as in ldirectord",
        ),
        (
            section("checkinterval=3"),
            "warning l.cf:2: checkinterval: left out here, as in ldirectord without fork=yes; the"
            " global one counts",
        ),
        (
            section() + section(),
            "error l.cf:2: virtual: tcp:192.168.7.110:80 is served already by l.cf:1; a virtual"
            " service is defined once",
        ),
        (
            "virtual=192.168.7.111:80\n",
            "warning l.cf:1: virtual: no address of the group '192.168.7.110/24' is 192.168.7.111;"
            " clients reach this service only where something else holds it",
        ),
        (
            "virtual=192.168.7.110:80\nscheduler=rr\n",
            "warning l.cf:2: scheduler: the line is not indented; ldirectord refuses that, here it"
            " belongs to the virtual= of line 1",
        ),
        (
            "virtual=192.168.7.110:80\n\n\tscheduler=rr\n",
            "warning l.cf:3: scheduler: ldirectord ends the section at the blank line above; here"
            " the line belongs to the virtual= of line 1",
        ),
        (
            "  quiescent=yes\n",
            "warning l.cf:1: quiescent: indented; ldirectord refuses that, taken as a global"
            " setting",
        ),
    ],
)
def test_what_is_said_about_an_ldirectord_file(tmp_path: Path, text: str, words: str) -> None:
    place = tmp_path / "ha.d"
    said = [line.replace(f"{place}/", "") for line in remarks(tmp_path, with_file(text))]
    assert words in said


@pytest.mark.parametrize("blanks", ["\v", "\u3000", "  \x85", "\f\t"])
def test_a_line_of_any_blanks_is_a_blank_line(tmp_path: Path, blanks: str) -> None:
    plain = remarks(tmp_path, with_file(section("scheduler=rr") + "\n\n" + "quiescent=yes\n"))
    text = section("scheduler=rr") + f"\n{blanks}\n" + "quiescent=yes\n"
    assert remarks(tmp_path, with_file(text)) == plain


def test_firewall_marks_of_both_families(tmp_path: Path) -> None:
    text = (
        "fallback=127.0.0.1:80\nfallback6=[::1]:80\n"
        "virtual=7\n\tprotocol=fwm\n\treal=10.0.0.1 gate\n\tchecktype=on\n"
        "virtual6=7\n\treal6=[2001:db8::1] masq\n\tchecktype=on\n"
    )
    four, six = loaded(directory(tmp_path, with_file(text))).cluster.virtual_services
    assert (four.fwmark, four.endpoint.address, four.protocol) == (7, "0.0.0.0", "fwm")
    assert (six.fwmark, six.endpoint.address, six.protocol) == (7, "::", "fwm")
    assert four.real_servers[0].endpoint == Endpoint(address="10.0.0.1", port=0)
    assert four.sorry_server is not None
    assert four.sorry_server.endpoint == Endpoint(address="127.0.0.1", port=80)
    assert six.sorry_server is not None
    assert six.sorry_server.endpoint == Endpoint(address="::1", port=80)


def test_ipv6_services(tmp_path: Path) -> None:
    text = (
        "virtual6=[2001:db8::1]:53\n\tnetmask=64\n\tpersistent=60\n\treal6=[2001:db8::2]:53 gate\n"
        "\tfallback6=[::1]\n\tops=yes\n\tchecktype=on\n\tscheduler=sh\n"
        "\tschedflags=sh-port,sh-fallback\n"
    )
    only = service(tmp_path, text)
    assert only.endpoint == Endpoint(address="2001:db8::1", port=53)
    assert only.protocol is TransportProtocol.UDP
    assert only.persistence_netmask == 64
    assert only.one_packet
    assert only.scheduler_flags == ("sh-port", "sh-fallback")
    assert only.sorry_server is not None
    assert only.sorry_server.endpoint == Endpoint(address="::1", port=53)


def test_host_names_are_those_of_the_hosts_file(tmp_path: Path) -> None:
    """L-14: ldirectord asks the resolver once; here the file says it on every director."""
    hosts = (
        "10.0.0.7 Web1.x web1 # first\n10.0.0.9 web3\n10.0.0.8 web1\n2001:db8::7 web1\nnonsense x\n"
    )
    text = (
        "fallback=web3:80\nvirtual=web1:80\n\treal=web1->web3:80 gate\n"
        "virtual6=web1:80\n\treal6=web1:80 gate\n"
    )
    place = directory(tmp_path, with_file(text))
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "root" / "etc" / "hosts").write_text(hosts)
    result = load(str(place), root=str(tmp_path / "root"))
    four, six = result.cluster.virtual_services
    assert str(four.endpoint) == "10.0.0.7:80"
    assert [str(s.endpoint) for s in four.real_servers] == [
        "10.0.0.7:80",
        "10.0.0.8:80",
        "10.0.0.9:80",
    ]
    assert four.sorry_server is not None
    assert str(four.sorry_server.endpoint) == "10.0.0.9:80"
    assert str(six.endpoint) == "[2001:db8::7]:80"
    assert f"note {place}/l.cf:2: virtual: web1 is 10.0.0.7, by /etc/hosts of this director" in [
        f"{d.level} {d}" for d in result.diagnostics
    ]


def test_execute_loads_the_other_file_too(tmp_path: Path) -> None:
    files = with_file("execute=more\n" + section()) | {
        "more.cf": "execute=l.cf\nvirtual=192.168.7.110:81\n\treal=10.0.0.1:81 gate\n"
    }
    result = loaded(directory(tmp_path, files))
    assert [s.endpoint.port for s in result.cluster.virtual_services] == [80, 81]


REDIRECTS = (
    "no receive, and redirects are not followed here as ldirectord does: an answer 3xx counts as"
    " failed"
)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["real=10.0.0.1:80 gate"], [f"note l.cf:1: virtual: {REDIRECTS}"]),
        (["real=10.0.0.1:80 gate", 'request="/"'], [f"note l.cf:3: request: {REDIRECTS}"]),
        (["service=http", "real=10.0.0.1:80 gate"], [f"note l.cf:2: service: {REDIRECTS}"]),
        (["real=10.0.0.1:80 gate", 'receive=""'], [f"note l.cf:1: virtual: {REDIRECTS}"]),
        (["real=10.0.0.1:80 gate", 'receive="x"'], []),
        (['real=10.0.0.1:80 gate "/" "x"'], []),
        (["real=10.0.0.1:80 gate", "checktype=connect"], []),
        (["real=10.0.0.1:80 gate", "service=smtp"], []),
        ([], []),
    ],
)
def test_a_check_that_ldirectord_redirected_is_noted(
    tmp_path: Path, lines: list[str], words: list[str]
) -> None:
    place = tmp_path / "ha.d"
    text = section(*lines, "quiescent=no")
    said = [line.replace(f"{place}/", "") for line in remarks(tmp_path, with_file(text))]
    assert said == words


def test_the_default_of_quiescent_that_has_changed_is_said_once(tmp_path: Path) -> None:
    """L-15: manual and code of ldirectord disagree."""
    words = "not given: no, as in ldirectord since 2009; before that, and in its manual, it is yes"
    said = remarks(
        tmp_path, with_file(section("service=none") + "virtual=10.0.0.9:81\n\tcheckport=1\n")
    )
    assert len([line for line in said if words in line]) == 1
    for text in (section("quiescent=no"), section(before="quiescent=yes\n")):
        assert not any(words in line for line in remarks(tmp_path, with_file(text)))


def test_a_directive_below_an_indented_section_is_global(tmp_path: Path) -> None:
    text = section("scheduler=rr") + "quiescent=yes\n" + section(port="25")
    result = loaded(directory(tmp_path, with_file(text)))
    assert [s.quiescent for s in result.cluster.virtual_services] == [True, True]
    assert result.diagnostics == ()


def test_a_directive_below_a_section_that_lost_its_indentation_belongs_to_it(
    tmp_path: Path,
) -> None:
    text = "virtual=192.168.7.110:80\nscheduler=rr\nquiescent=yes\n\nvirtual=192.168.7.110:25\n"
    result = loaded(directory(tmp_path, with_file(text)))
    assert [s.quiescent for s in result.cluster.virtual_services] == [True, False]


# The tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ha_cf.DIRECTIVES.values(), ids=lambda row: row.name)
def test_each_row_of_ha_cf_sets_a_field(row: ha_cf.Directive) -> None:
    content = ha_cf.HaCf(file="")
    is_list = isinstance(getattr(content, row.sets), list)
    assert is_list is (row.shape is not ha_cf.Shape.LAST)
    assert row.name not in ha_cf.UNUSED


@pytest.mark.parametrize("row", ldirectord_directives.DIRECTIVES.values(), ids=lambda row: row.name)
def test_each_row_of_ldirectord_sets_a_field(row: ldirectord_directives.Directive) -> None:
    settings = ldirectord_directives.Settings()
    if row.sets != "reals":
        setattr(settings, row.sets, Setting(value=1, place=Place(file="")))
    assert row.sets in {field.name for field in dataclasses.fields(settings)}
    assert row.name not in ldirectord_directives.UNUSED
