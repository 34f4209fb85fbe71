"""The TOML form: each error names file, line and what is allowed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from heartbus.config import Level
from heartbus.config.validate import recheck
from heartbus.model import (
    TIMER_PROFILES,
    Timers,
)
from tests.common.config_samples.native import BASE, FIRST, WITNESS, changed, read, remarks

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
