"""The TOML form: each key sets what it says; each error names file, line and what is allowed."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import subprocess
import sys
from pathlib import Path

import pytest

from heartbus.config import ConfigError, Level, load, toml_lines
from heartbus.config.toml_lines import LineIndex, line_index
from heartbus.config.validate import recheck
from heartbus.model import (
    TIMER_PROFILES,
    AddressResource,
    AnnounceSettings,
    AuthMethod,
    BroadcastLink,
    BusSettings,
    Check,
    CheckService,
    CheckType,
    Cluster,
    Endpoint,
    Failback,
    ForwardingMethod,
    HttpMethod,
    Membership,
    MulticastLink,
    PingNode,
    RealServer,
    SavedRulesResource,
    Scheduler,
    ScriptResource,
    SerialLink,
    SorryServer,
    Takeover,
    Timers,
    TransportProtocol,
    UnicastLink,
    VipSettings,
)
from tests.common.config_samples import CLASSIC, Files, directory, loaded, said

BASE = """\
[[directors]]
name = "a"
[[directors]]
name = "b"
address = "10.0.0.2"
[membership]
links = [{ kind = "bcast", interface = "eth1" }]
[membership.authentication]
signing_key = 1
keys = [{ id = 1, secret = "x" }]
"""
FIRST = BASE.count("\n") + 1
"""The line of what a test adds."""


def read(tmp_path: Path, text: str) -> Cluster:
    return loaded(directory(tmp_path, {"heartbus.toml": text})).cluster


def remarks(tmp_path: Path, text: str) -> list[str]:
    place = directory(tmp_path, {"heartbus.toml": text})
    try:
        return said(load(str(place / "heartbus.toml")).diagnostics, place)
    except ConfigError as error:
        return said(error.diagnostics, place)


def test_what_is_not_written_has_the_default(tmp_path: Path) -> None:
    cluster = read(tmp_path, BASE)
    membership = cluster.membership
    assert membership == Membership(
        timers=TIMER_PROFILES["lan"],
        links=(BroadcastLink(interface="eth1", port=694),),
        authentication=membership.authentication,
        failback=Failback.OFF,
    )
    assert membership.authentication.keys[0].method is AuthMethod.SHA256
    assert cluster.vip == VipSettings()
    assert cluster.bus == BusSettings()
    assert [(d.name, d.route_host) for d in cluster.directors] == [("a", "a"), ("b", "10.0.0.2")]


def test_a_quiet_file_is_met_with_silence(tmp_path: Path) -> None:
    assert remarks(tmp_path, BASE) == []


WITNESS = """\
[[witnesses]]
name = "w"
address = "10.0.0.3"
"""


def test_a_witness_makes_a_majority_and_a_shorter_lease(tmp_path: Path) -> None:
    cluster = read(tmp_path, BASE + WITNESS)
    assert [(w.name, w.route_host) for w in cluster.witnesses] == [("w", "10.0.0.3")]
    assert cluster.has_majority
    assert [d.name for d in cluster.peers_of("a")] == ["b", "w"]
    assert cluster.membership.lease_s == 2.0
    slow = BASE.replace("[membership]", '[membership]\ntimers = "classic"')
    assert read(tmp_path, slow + WITNESS).membership.lease_s == 10.0, "five keepalives"
    assert remarks(tmp_path, BASE + WITNESS) == []


def test_takeover_is_fast_or_strict(tmp_path: Path) -> None:
    assert read(tmp_path, BASE).membership.takeover is Takeover.FAST
    strict = BASE.replace("[membership]", '[membership]\ntakeover = "strict"')
    assert read(tmp_path, strict).membership.takeover is Takeover.STRICT


MEMBERSHIP = """\
[membership]
timers = "classic"
keepalive = "75ms"
warntime = 0.15
deadtime = "2s"
failback = "on"
hopfudge = 0
lease = 1
restart_grace = 0
ping_nodes = ["10.0.0.9", "2001:DB8::9"]
deadping = "500ms"
[[membership.ping_groups]]
name = "routers"
members = ["r1.example.org", "10.0.0.8"]
[[membership.ping_groups]]
name = "six"
members = ["r1.example.org"]
ipv6 = true
[[membership.links]]
kind = "ucast"
interface = "eth0"
peer = "10.0.0.2"
port = 1694
[[membership.links]]
kind = "ucast6"
interface = "eth0"
peer = "b"
[[membership.links]]
kind = "mcast"
interface = "eth0"
group = "FF02::4:1"
port = 1695
ttl = 0
loop = true
[[membership.links]]
kind = "mcast"
interface = "eth1"
group = "239.0.0.1"
[[membership.links]]
kind = "serial"
device = "/dev/ttyS0"
baud = 9600
[membership.authentication]
signing_key = 2
[[membership.authentication.keys]]
id = 2
method = "sha256"
secret_file = "key"
"""


def test_membership(tmp_path: Path) -> None:
    text = '[[directors]]\nname = "a"\n' + MEMBERSHIP
    place = directory(tmp_path, {"heartbus.toml": text, "key": "s3cret\n"})
    membership = loaded(place).cluster.membership
    assert membership.timers == Timers(
        keepalive_s=0.075, warntime_s=0.15, deadtime_s=2.0, initdead_s=120.0
    )
    assert membership.failback is Failback.ON
    assert membership.hopfudge == 0
    assert (membership.lease_s, membership.restart_grace_s) == (1.0, 0.0)
    assert membership.ping_nodes == (
        PingNode(name="10.0.0.9", members=("10.0.0.9",)),
        PingNode(name="2001:db8::9", members=("2001:db8::9",)),
        PingNode(name="routers", members=("r1.example.org", "10.0.0.8")),
        PingNode(name="six", members=("r1.example.org",), ipv6=True),
    )
    assert membership.deadping_s == 0.5
    assert membership.links == (
        UnicastLink(interface="eth0", peer="10.0.0.2", port=1694),
        UnicastLink(interface="eth0", peer="b", ipv6=True),
        MulticastLink(interface="eth0", group="ff02::4:1", port=1695, ttl=0, loop=True),
        MulticastLink(interface="eth1", group="239.0.0.1", port=694, ttl=1, loop=False),
        SerialLink(device="/dev/ttyS0", baud=9600),
    )
    (key,) = membership.authentication.keys
    assert (key.id, key.secret) == (2, b"s3cret")


SERVICE = """\
[cluster]
resource_path = ["/opt/resource.d"]
[vip]
lifetime = 5
refresh = "500ms"
[vip.announce]
refresh = 0
[bus]
client_port = 14222
[[groups]]
name = "web"
preferred = "b"
resources = [
  { address = "10.0.0.1/24", broadcast = "10.0.0.255", interface = "eth0" },
  "IPaddr::10.0.0.3/24",
  { script = "Filesystem", arguments = ["/dev/sda1", "/mnt"] },
  "ipvsadm",
]
[[virtual_services]]
address = "10.0.0.1:443"
scheduler = "sh"
persistent = 60
netmask = "255.255.255.0"
fallback = { address = "10.0.0.9:80", method = "masq" }
group = "web"
[virtual_services.check]
service = "http"
port = 8080
request = "/up"
receive = "o[kK]"
virtualhost = "www"
http_method = "HEAD"
connect_timeout = "500ms"
interval = 2
rise = 2
fall = 3
[[virtual_services.real_servers]]
address = "10.0.0.11:80"
method = "masq"
weight = 0
receive = "mine"
[[virtual_services]]
address = "10.0.0.3:53"
protocol = "udp"
check = { type = "on" }
"""


def test_groups_and_services(tmp_path: Path) -> None:
    cluster = read(tmp_path, BASE + SERVICE)
    assert cluster.resource_path == ("/opt/resource.d",)
    assert cluster.vip == VipSettings(
        lifetime_s=5, refresh_s=0.5, announce=AnnounceSettings(refresh_s=0.0)
    )
    assert cluster.bus.client_port == 14222
    (group,) = cluster.groups
    assert (group.name, group.preferred) == ("web", "b")
    assert group.resources == (
        AddressResource(
            address="10.0.0.1", prefix_len=24, broadcast="10.0.0.255", interface="eth0"
        ),
        AddressResource(address="10.0.0.3", prefix_len=24),
        ScriptResource(script="Filesystem", arguments=("/dev/sda1", "/mnt")),
        SavedRulesResource(),
    )
    web, dns = cluster.virtual_services
    assert web.scheduler is Scheduler.SH
    assert (web.persistence_timeout_s, web.persistence_netmask) == (60, 24)
    assert web.sorry_server == SorryServer(
        endpoint=Endpoint(address="10.0.0.9", port=80), forwarding=ForwardingMethod.MASQ
    )
    assert web.check == Check(
        type=CheckType.NEGOTIATE,
        service=CheckService.HTTP,
        port=8080,
        request="/up",
        receive="o[kK]",
        virtualhost="www",
        http_method=HttpMethod.HEAD,
        connect_timeout_s=0.5,
        interval_s=2.0,
        rise=2,
        fall=3,
    )
    assert web.real_servers == (
        RealServer(
            endpoint=Endpoint(address="10.0.0.11", port=80),
            forwarding=ForwardingMethod.MASQ,
            weight=0,
            receive="mine",
        ),
    )
    assert (dns.protocol, dns.check.type) == (TransportProtocol.UDP, CheckType.ON)


@pytest.mark.parametrize(
    ("port", "type_", "service"),
    [
        (80, CheckType.NEGOTIATE, CheckService.HTTP),
        (25, CheckType.NEGOTIATE, CheckService.SMTP),
        (22, CheckType.CONNECT, CheckService.NONE),
    ],
)
def test_the_port_says_what_is_checked(
    tmp_path: Path, port: int, type_: CheckType, service: CheckService
) -> None:
    text = f'{BASE}[[virtual_services]]\naddress = "10.0.0.1:{port}"\n'
    (only,) = read(tmp_path, text).virtual_services
    assert (only.check.type, only.check.service) == (type_, service)


def test_a_group_may_name_files_of_the_old_form(tmp_path: Path) -> None:
    group = '[[groups]]\npreferred = "a"\nresources = ["192.168.7.110/24", "ldirectord::www"]\n'
    service = '[[virtual_services]]\naddress = "192.168.7.110:81"\n'
    files: Files = {"heartbus.toml": BASE + service + group, "www.cf": CLASSIC / "www.cf"}
    cluster = loaded(directory(tmp_path, files)).cluster
    assert [service.endpoint.port for service in cluster.virtual_services] == [81, 80]
    assert cluster.groups[0].name == "192.168.7.110/24"
    assert cluster.virtual_services[1].group == "192.168.7.110/24"


VIRTUAL = '[[virtual_services]]\naddress = "10.0.0.1:80"\n'
GROUP = '[[groups]]\nname = "g"\npreferred = "a"\n'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (
            "[vip]\nlifetme = 3\n",
            1,
            "vip.lifetme: unknown key; allowed is lifetime, refresh, script_timeout, announce,"
            " resources, conflicts; did you mean lifetime?",
        ),
        (
            "[vip]\nlifetime = 0.5\n",
            1,
            "vip.lifetime: 0.5 is not allowed; allowed is a whole number from 1 to 3600",
        ),
        (
            "[vip]\nrefresh = 2\n",
            1,
            "vip.refresh: 2 s is too long for a lifetime of 3 s; allowed is 1.5 s or less",
        ),
        (
            '[vip]\nrefresh = "2 minutes"\n',
            1,
            "vip.refresh: '2 minutes' is not allowed; allowed is a number of seconds or text such"
            ' as "75ms" or "2s"',
        ),
        (
            "[vip]\nrefresh = nan\n",
            1,
            "vip.refresh: nan is not allowed; allowed is seconds above 0, as a number or as text"
            ' such as "75ms" or "2s"',
        ),
        (
            "[grups]\n",
            0,
            "grups: unknown key; allowed is membership, vip, bus, ipvs, checks, directors,",
        ),
        (
            '[[directors]]\nname = "a"\n',
            1,
            "directors[2].name: 'a' is named twice; each director has one entry",
        ),
        (
            '[[directors]]\nname = "-x"\n',
            1,
            "directors[2].name: '-x' is not allowed; allowed is a host name: letters, digits, - and"
            " dots",
        ),
        ("[[directors]]\n", 0, "directors[2].name: missing; this key is needed"),
        (
            '[[groups]]\nname = "g"\npreferred = "c"\nresources = ["telnet"]\n',
            2,
            "groups[0].preferred: 'c' is no director; allowed is a, b",
        ),
        (GROUP, 0, "groups[0].resources: no resources; a group needs at least one"),
        (
            GROUP + 'resources = [\n  "telnet",\n  { address = "10.0.0.1" },\n]\n',
            5,
            "groups[0].resources[1].address: '10.0.0.1' is not allowed; allowed is an address with"
            " its prefix length, such as 192.168.7.110/24",
        ),
        (
            GROUP + 'resources = ["telnet", 5]\n',
            3,
            "groups[0].resources[1]: 5 is not allowed; allowed is text such as"
            ' "IPaddr::192.168.7.110/24"',
        ),
        (
            GROUP + 'resources = ["telnet"]\n' + GROUP + 'resources = ["telnet"]\n',
            5,
            f"groups[1].name: the group 'g' of line {FIRST + 1} again; the name of a group",
        ),
        (
            VIRTUAL + 'group = "g"\n',
            2,
            "virtual_services[0].group: 'g' is no group; allowed is none, there is no group",
        ),
        (
            VIRTUAL + VIRTUAL,
            3,
            "virtual_services[1].address: tcp:10.0.0.1:80 is served already by",
        ),
        (
            '[[virtual_services]]\naddress = "10.0.0.1"\n',
            1,
            "virtual_services[0].address: '10.0.0.1' is not allowed; allowed is an address with a"
            " port, such as 192.168.7.110:80",
        ),
        (
            '[[virtual_services]]\naddress = "[ff02::1]:80"\n',
            1,
            "virtual_services[0].address: ff02::1 cannot be served; allowed is a unicast address"
            " without a scope",
        ),
        (
            VIRTUAL + 'scheduler = "rrr"\n',
            2,
            "virtual_services[0].scheduler: 'rrr' is not allowed; allowed is rr, wrr, lc, wlc,"
            " lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh, twos; did you mean rr or wrr?",
        ),
        (
            VIRTUAL + "quiescent = 1\n",
            2,
            "virtual_services[0].quiescent: 1 is not allowed; allowed is true or false",
        ),
        (
            VIRTUAL + 'netmask = "255.255.255.0"\n',
            2,
            "virtual_services[0].netmask: without persistent; allowed is both or neither",
        ),
        (
            VIRTUAL + 'check = { type = "negotiate", service = "none" }\n',
            2,
            "virtual_services[0].check.type: negotiate needs a service to speak;",
        ),
        (
            VIRTUAL + 'protocol = "udp"\ncheck = { type = "connect" }\n',
            3,
            "virtual_services[0].check.type: a udp service has nothing to connect to; allowed is",
        ),
        (
            VIRTUAL + 'check = { receive = "a(" }\n',
            2,
            "virtual_services[0].check.receive: 'a(' is no regular expression",
        ),
        (
            VIRTUAL + 'check = { receive = "(?u)a." }\n',
            2,
            "virtual_services[0].check.receive: '(?u)a.' is no regular expression",
        ),
        (
            VIRTUAL + '[virtual_services.check]\nrequest = "http://www.example.com/x"\n',
            3,
            "virtual_services[0].check.request: 'http://www.example.com/x' is a whole URL, which"
            " this version does not ask for; allowed is a path such as /.testpage:",
        ),
        (
            VIRTUAL + 'real_servers = [\n{ address = "10.0.0.2:80", request = "http://x" },\n]\n',
            3,
            "virtual_services[0].real_servers[0].request: 'http://x' is a whole URL, which",
        ),
        (
            VIRTUAL + '[[virtual_services.real_servers]]\naddress = "10.0.0.2:80"\nweight = -1\n',
            4,
            "virtual_services[0].real_servers[0].weight: -1 is not allowed; allowed is a whole"
            " number from 0 to 65535",
        ),
        (
            VIRTUAL + 'real_servers = [{ address = "10.0.0.2:80" }, { address = "10.0.0.2:80" }]\n',
            2,
            "virtual_services[0].real_servers[1].address: 10.0.0.2:80 is given twice; each server"
            " is given once",
        ),
        (
            GROUP + 'resources = [\n{ script = "s", arguments = ["a",\n"b\\u0000c"] },\n]\n',
            5,
            "groups[0].resources[0].arguments[1]: 'b\\x00c': control characters; none are allowed",
        ),
        (
            VIRTUAL + '[virtual_services.check]\nrequest = "/\\u0001"\n',
            3,
            "virtual_services[0].check.request: '/\\x01': control characters; none are allowed",
        ),
        (
            VIRTUAL + '[virtual_services.check]\nreceive = """a\nb"""\n',
            3,
            "virtual_services[0].check.receive: 'a\\nb': control characters; none are allowed",
        ),
        (
            VIRTUAL + '[virtual_services.check]\nvirtualhost = "a\\r\\nEvil: 1"\n',
            3,
            "virtual_services[0].check.virtualhost: 'a\\r\\nEvil: 1': control characters; none",
        ),
        (
            VIRTUAL + '[virtual_services.check]\nvirtualhost = "a b"\n',
            3,
            "virtual_services[0].check.virtualhost: 'a b' is not allowed; allowed is a host name",
        ),
        ("vip = 3\n", None, "membership.authentication.vip: unknown key"),
        ("[vip]\nlifetime = \n", 1, "no TOML: Invalid value; allowed is TOML 1.0"),
        ("[vip\n", 0, "no TOML: Expected ']' at the end of a table declaration; allowed is"),
        ("x = '''\n", 1, "no TOML: "),
    ],
)
def test_each_error_names_its_line(tmp_path: Path, text: str, line: int | None, words: str) -> None:
    found = remarks(tmp_path, BASE + text)
    number = FIRST + (line or 0)
    assert [r for r in found if r.startswith(f"error heartbus.toml:{number}: {words}")], found


def changed(old: str, new: str) -> str:
    assert old in BASE
    return BASE.replace(old, new)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            changed('links = [{ kind = "bcast", interface = "eth1" }]', ""),
            "error heartbus.toml:6: membership.links: no link to send heartbeats over; at least one"
            " bcast, mcast, ucast or serial is needed",
        ),
        (
            changed('kind = "bcast"', 'kind = "broadcast"'),
            "error heartbus.toml:7: membership.links[0].kind: 'broadcast' is not allowed; allowed"
            " is bcast or ucast or ucast6 or mcast or mcast6 or serial; did you mean bcast?",
        ),
        (
            changed('kind = "bcast"', 'kind = "mcast", group = "10.0.0.1"'),
            "error heartbus.toml:7: membership.links[0].group: '10.0.0.1' is not allowed; allowed"
            " is an IPv4 multicast group such as 239.0.0.1",
        ),
        (
            changed('kind = "bcast"', 'kind = "mcast6", group = "239.0.0.1"'),
            "error heartbus.toml:7: membership.links[0].group: '239.0.0.1' is not allowed; allowed"
            " is an IPv6 multicast group such as ff02::4:1",
        ),
        (
            changed('kind = "bcast"', 'kind = "mcast"'),
            "error heartbus.toml:7: membership.links[0].group: missing; this key is needed",
        ),
        (
            changed('kind = "bcast"', 'kind = "mcast", group = "239.0.0.1", ttl = 256'),
            "error heartbus.toml:7: membership.links[0].ttl: 256 is not allowed; allowed is a whole"
            " number from 0 to 255",
        ),
        (
            changed('kind = "bcast"', 'kind = "mcast", group = "239.0.0.1", loop = 1'),
            "error heartbus.toml:7: membership.links[0].loop: 1 is not allowed; allowed is true or"
            " false",
        ),
        (
            changed('kind = "bcast"', 'kind = "bcast", ttl = 1'),
            "error heartbus.toml:7: membership.links[0].ttl: unknown key; allowed is kind,"
            " interface, port",
        ),
        (
            changed(
                'kind = "bcast", interface = "eth1"',
                'kind = "serial", device = "/dev/ttyS0", baud = 9600',
            ),
            "warning heartbus.toml:7: membership.links[0]: heartbeats fill 142% of a line of 9600"
            " baud, and those that do not fit are dropped; allowed should be 50% or less: baud"
            " 38400 or more, or a keepalive of 0.21 s or more",
        ),
        (
            changed("[membership]", "[membership]\nlease = 6"),
            "error heartbus.toml:7: membership.lease: 6 s is above restart_grace + deadtime"
            " - 2 x keepalive; allowed is 5.15 s or less, or an address could be held twice",
        ),
        (
            changed("[membership]", "[membership]\nlease = 0.2") + WITNESS,
            "error heartbus.toml:7: membership.lease: 0.2 s is below 4 x keepalive; allowed is"
            " 0.3 s or more, or one lost heartbeat ends a lease",
        ),
        (
            changed("[membership]", '[membership]\ntakeover = "slow"'),
            "error heartbus.toml:7: membership.takeover: 'slow' is not allowed; allowed is fast,"
            " strict",
        ),
        (
            BASE + WITNESS.replace('"w"', '"b"'),
            "error heartbus.toml:12: witnesses[0].name: 'b' is named twice; each director has one"
            " entry",
        ),
        (
            changed('[[directors]]\nname = "b"\naddress = "10.0.0.2"\n', "") + WITNESS,
            "warning heartbus.toml:9: witnesses[0].name: one director and a witness make no"
            " majority: the witness changes nothing",
        ),
        (
            BASE + WITNESS + WITNESS.replace('"w"', '"x"'),
            "note heartbus.toml:1: directors: 4 voters survive the loss of no more of them than 3"
            " would",
        ),
        (
            BASE + "".join(WITNESS.replace('"w"', f'"w{n}"') for n in range(15)),
            "error heartbus.toml:1: directors: 17 directors and witnesses; allowed are 16 or fewer",
        ),
        (
            changed("[membership]", '[membership]\nkeepalive = "150ms"'),
            "error heartbus.toml:6: membership.deadtime: 0.3 s is not above 2 x keepalive (0.15 s);"
            " allowed is more than 0.3 s",
        ),
        (
            changed("signing_key = 1", "signing_key = 2"),
            "error heartbus.toml:9: membership.authentication.signing_key: there is no key 2;"
            " allowed is 1",
        ),
        (
            changed('secret = "x"', 'secret = ""'),
            "error heartbus.toml:10: membership.authentication.keys[0]: sha256 needs a secret;"
            " allowed is one word without blanks",
        ),
        (
            changed('secret = "x"', 'secret_file = "absent"'),
            "error heartbus.toml:10: membership.authentication.keys[0].secret_file: 'absent' cannot"
            " be read",
        ),
        (
            changed('secret = "x"', 'secret = "x", secret_file = "y"'),
            "error heartbus.toml:10: membership.authentication.keys[0].secret_file: given beside"
            " secret; allowed is one",
        ),
    ],
)
def test_membership_errors_name_their_line(tmp_path: Path, text: str, words: str) -> None:
    assert words in remarks(tmp_path, text)


def test_times_that_are_replaced_after_the_load_are_tested_again(tmp_path: Path) -> None:
    text = changed("[membership]", '[membership]\ntimers = "classic"\nlease = 20')
    cluster = read(tmp_path, text)
    assert recheck(cluster) == ()
    membership = dataclasses.replace(cluster.membership, timers=TIMER_PROFILES["lan"])
    replaced = dataclasses.replace(cluster, membership=membership)
    (lease,) = recheck(replaced)
    assert (lease.level, lease.file, lease.line) == (Level.ERROR, cluster.source, None)
    assert str(lease) == (
        f"{cluster.source}: membership.lease: 20 s is above restart_grace + deadtime"
        " - 2 x keepalive; allowed is 5.15 s or less, or an address could be held twice"
    )
    slow = dataclasses.replace(membership, timers=Timers(keepalive_s=1, deadtime_s=2), lease_s=5)
    deadtime, _ = recheck(dataclasses.replace(cluster, membership=slow))
    assert "membership.deadtime: 2 s is not above 2 x keepalive" in str(deadtime)


def test_a_secret_may_have_any_characters(tmp_path: Path) -> None:
    membership = read(tmp_path, changed('secret = "x"', 'secret = "\\u0000\\n"')).membership
    assert [key.secret for key in membership.authentication.keys] == [b"\0\n"]


def test_a_secret_is_never_said(tmp_path: Path) -> None:
    for value in ('"hunter2"', '["hunter2"]', '{ a = "hunter2" }'):
        text = changed('secret = "x"', f"secret = {value}, method = 'md5', id_ = 3")
        assert "hunter2" not in str(remarks(tmp_path, text))


def test_a_readable_file_with_a_secret_is_refused(tmp_path: Path) -> None:
    place = directory(tmp_path, {"heartbus.toml": BASE})
    (place / "heartbus.toml").chmod(0o644)
    with pytest.raises(ConfigError) as refused:
        loaded(place)
    (words,) = said(refused.value.diagnostics, place)
    assert words.startswith(
        "error heartbus.toml:10: membership.authentication.keys[0].secret: mode 644: group or"
        " others may read the secret"
    )


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    for text in ("x = " + "[" * 5000, "x = " + "{a=" * 5000):
        (words,) = remarks(tmp_path, text)
        assert words == (
            "error heartbus.toml: nested too deeply; no key of heartbus is nested like that"
        )


@pytest.mark.parametrize("part", ["a", '"a"', "'a'"])
def test_dotted_keys_without_end_are_refused(tmp_path: Path, part: str) -> None:
    (words,) = remarks(tmp_path, part + f" . {part}" * 2000 + " = 1")
    assert words == "error heartbus.toml:1: a key of more than 32 parts; no key is that long"


def test_lines_without_end_are_refused(tmp_path: Path) -> None:
    (words,) = remarks(tmp_path, "a" + ".a" * 1_000_000 + " = 1")
    assert words == "error heartbus.toml:1: longer than 65536 characters; at most that is read"


# Read in a process of its own, whose greatest size is then that of this one file.
MEASURED = """\
import resource, sys, time
from heartbus.config import ConfigError, load
def peak_kb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before_kb, began_s = peak_kb(), time.process_time()
try:
    load(sys.argv[1])
except ConfigError as error:
    print(error)
print(peak_kb() - before_kb, time.process_time() - began_s)
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n" * (4 << 20) + "[vip]\nx = 1\n", FIRST + (4 << 20) + 1),
        ('[vip]\nx = """' + 'a "b\n' * (1 << 18) + "ab\n" * (1 << 20) + '"""\n', FIRST + 1),
    ],
    ids=["blank lines", "lines of one text"],
)
def test_megabytes_are_read_in_little_memory_and_time(tmp_path: Path, text: str, line: int) -> None:
    place = directory(tmp_path, {"heartbus.toml": BASE + text}) / "heartbus.toml"
    command = [sys.executable, "-c", MEASURED, str(place)]
    said, figures = subprocess.check_output(command, text=True, timeout=60).splitlines()
    assert said.startswith(f"{place}:{line}: vip.x: unknown key")
    extra_kb, cpu_s = map(float, figures.split())
    assert extra_kb < 64 * 1024
    assert cpu_s < 2.0


def test_lines_of_keys_are_found_in_every_notation() -> None:
    text = (
        "a = 1\n"
        "b.c = '''x\n]y'''\n"
        '"d e" = ["[", # ]\n'
        "  { f = '}' }, [\n 1 ],\n"
        "]\n"
        "[g.h]\n"
        "i = 1979-05-27T07:32:00Z\n"
        "[[j]]\n"
        'k = """a"b""c\\"""\n"""\n'
        "[j.l]\n"
        "m = 0x1\n"
        "[[j]]\n"
        "n = {}\r\n"
        "'o'.p = [\n]\n"
        "[[j.q]]\n"
        "[[j.q]]\n"
        "[j.q.r.s]\n"
    )
    assert line_index(text) == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 2,
        ("d e",): 4,
        ("d e", 0): 4,
        ("d e", 1): 5,
        ("d e", 1, "f"): 5,
        ("d e", 2): 5,
        ("d e", 2, 0): 6,
        ("g",): 8,
        ("g", "h"): 8,
        ("g", "h", "i"): 9,
        ("j",): 10,
        ("j", 0): 10,
        ("j", 0, "k"): 11,
        ("j", 0, "l"): 13,
        ("j", 0, "l", "m"): 14,
        ("j", 1): 15,
        ("j", 1, "n"): 16,
        ("j", 1, "o"): 17,
        ("j", 1, "o", "p"): 17,
        ("j", 1, "q"): 19,
        ("j", 1, "q", 0): 19,
        ("j", 1, "q", 1): 20,
        ("j", 1, "q", 1, "r"): 21,
        ("j", 1, "q", 1, "r", "s"): 21,
    }


PASSWORD = """\
[[virtual_services]]
address = "10.0.0.1:143"
real_servers = [{ address = "10.0.0.2:143" }]
check = { service = "imap", login = "u", %s }
"""


def test_the_password_of_a_check_may_stand_in_a_file(tmp_path: Path) -> None:
    text = BASE + PASSWORD % 'password_file = "imap.key"'
    place = directory(tmp_path, {"heartbus.toml": text, "imap.key": "hush\n"})
    assert loaded(place).cluster.virtual_services[0].check.password == "hush"
    (place / "imap.key").chmod(0o644)
    with pytest.raises(ConfigError, match=r"imap\.key: mode 644: group or others may read"):
        loaded(place)


def test_a_password_in_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    text = BASE.replace('secret = "x"', 'secret_file = "key"') + PASSWORD % 'password = "hush"'
    place = directory(tmp_path, {"heartbus.toml": text, "key": "x"})
    (place / "heartbus.toml").chmod(0o644)
    with pytest.raises(ConfigError, match=r"check\.password: mode 644: group or others") as refused:
        loaded(place)
    assert "hush" not in str(refused.value)


def test_a_password_is_given_once(tmp_path: Path) -> None:
    text = BASE + PASSWORD % 'password = "a", password_file = "b"'
    with pytest.raises(ConfigError, match="password_file: given beside password; allowed is one"):
        loaded(directory(tmp_path, {"heartbus.toml": text, "b": "x"}))


def test_the_line_of_a_table_is_that_of_its_own_header_though_it_comes_later() -> None:
    text = "[a.b]\nx = 1\n[a]\ny = 1\n[[c]]\nz = 1\n"
    assert line_index(text)["a",] == 3
    assert LineIndex(text).get(("a",)) == 3
    index = LineIndex(text)
    assert [index.get(path) for path in (("c", 0, "z"), ("a",), ("a", "b", "x"))] == [6, 3, 2]


def test_of_a_file_without_a_remark_only_the_beginning_is_searched_for_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To know the line of each value takes as long as to read them all."""
    service = '[[virtual_services]]\naddress = "192.0.2.{}:80"\ncheck = {{ type = "off" }}\n'
    group = 'groups = [{ name = "v", preferred = "a", resources = ["192.0.2.1/24"] }]\n'
    services = "".join(service.format(number) for number in range(1, 100))
    place = directory(tmp_path, {"heartbus.toml": group + BASE + services})
    taken: list[int] = []
    take = toml_lines._Scanner.statement

    def counted(scanner: toml_lines._Scanner) -> None:
        taken.append(1)
        take(scanner)

    monkeypatch.setattr(toml_lines._Scanner, "statement", counted)
    found = loaded(place)
    assert found.diagnostics == ()
    assert len(taken) < 20, "as far as the director and the secret"
    found.places.at("virtual_services", 98, "address").line  # noqa: B018 — looked up now
    assert len(taken) > 200


@pytest.mark.parametrize("text", [BASE, "nonsense"])
def test_garbage_is_collected_again_after_a_load(tmp_path: Path, text: str) -> None:
    place = directory(tmp_path, {"heartbus.toml": text})
    with contextlib.suppress(ConfigError):
        loaded(place)
    assert gc.isenabled()
