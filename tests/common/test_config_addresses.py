"""Virtual IPs of both families, their announcements, and what this machine lacks for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from heartbus.cli.config import config
from heartbus.config import ConfigError, Loaded, load
from heartbus.config.convert import to_toml
from heartbus.config.show import render
from heartbus.model import AddressResource, AnnounceForm, AnnounceSettings, Cluster
from tests.common.config_samples import QUIET, directory, loaded, remarks, said
from tests.common.config_samples.native import BASE, FIRST
from tests.common.test_config_keepalived import read as read_keepalived

GROUP = '[[groups]]\nname = "g"\npreferred = "a"\n'


def cluster_of(tmp_path: Path, text: str) -> Cluster:
    return loaded(directory(tmp_path, {"heartbus.toml": BASE + text})).cluster


def complaints(tmp_path: Path, text: str) -> list[str]:
    return [
        line.replace(f"heartbus.toml:{FIRST - 1 + number}:", f"line {number}:")
        for number in range(1, 20)
        for line in remarks(tmp_path, {"heartbus.toml": BASE + text})
        if f"heartbus.toml:{FIRST - 1 + number}:" in line
    ]


def test_an_address_as_a_table_with_everything_that_it_may_have(tmp_path: Path) -> None:
    text = GROUP + (
        "resources = [\n"
        '{ address = "10.0.0.1", mask = "255.255.255.0", interface = "eth0", label = "eth0:w" },\n'
        '{ address = "2001:db8::1", mask = "64", source = true },\n'
        '{ address = "2001:DB8::2/64", interface = "eth0" },\n'
        '"IPv6addr::2001:db8::3/64",\n'
        "]\n"
    )
    (group,) = cluster_of(tmp_path, text).groups
    assert group.addresses == (
        AddressResource(address="10.0.0.1", prefix_len=24, interface="eth0", label="eth0:w"),
        AddressResource(address="2001:db8::1", prefix_len=64, source=True),
        AddressResource(address="2001:db8::2", prefix_len=64, interface="eth0"),
        AddressResource(address="2001:db8::3", prefix_len=64),
    )


def of(table: str) -> str:
    return f"{GROUP}resources = [{{ {table} }}]\n"


WHERE = "error line 4: groups[0].resources[0]"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('address = "10.0.0"', ".address: '10.0.0' is not allowed; allowed is an IP address such"),
        ('address = "10.0.0.1/33"', ".address: '33' is not allowed; allowed is a whole number fr"),
        ('address = "2001:db8::1/129"', ".address: '129' is not allowed; allowed is a whole numb"),
        ('address = "10.0.0.1"', ".address: '10.0.0.1' is not allowed; allowed is an address with"),
        (
            'address = "10.0.0.1/24", mask = "24"',
            ".mask: given beside the /24 of the address; allowed is one of them",
        ),
        ('address = "10.0.0.1", mask = "255.0.255.0"', ".mask: '255.0.255.0' is not allowed;"),
        ('address = "2001:db8::1", mask = "255.0.0.0"', ".mask: '255.0.0.0' is not allowed;"),
        ('address = "ff02::1/64"', ": ff02::1 is a multicast group; allowed is the address of a"),
        ('address = "224.0.0.1/24"', ": 224.0.0.1 is a multicast group"),
        ('address = "::1/128"', ": ::1 is the loopback"),
        ('address = "::ffff:10.0.0.1/96"', " is an address of IPv4 in IPv6 form"),
        ('address = "0.0.0.0/24"', ": 0.0.0.0 is no address of one host"),
        (
            'address = "fe80::1/64"',
            ": fe80::1 is there on every network; allowed is with its inter",
        ),
        (
            'address = "2001:db8::1/64", broadcast = "10.0.0.255"',
            ": '10.0.0.255': IPv6 has no broadcast address; allowed is none",
        ),
        (
            'address = "2001:db8::1/64", label = "eth0:1"',
            ": 'eth0:1': an address of IPv6 has no label; allowed is none",
        ),
        (
            'address = "10.0.0.1/24", source = true',
            ": source is of IPv6 only; allowed for IPv4 is the resource IPsrcaddr::10.0.0.1 in the",
        ),
        ('address = "10.0.0.1/24", label = "a b"', ".label: 'a b' is not allowed; allowed is a la"),
    ],
)
def test_what_cannot_be_held_is_refused_with_its_line(
    tmp_path: Path, table: str, words: str
) -> None:
    found = complaints(tmp_path, of(table))
    assert len(found) == 1, found
    assert found[0].startswith(WHERE)
    assert words in found[0]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('address = "10.0.0.255/24"', "10.0.0.255 is not the address of a host in 10.0.0.0/24"),
        ('address = "10.0.0.0/24"', "10.0.0.0 is not the address of a host in 10.0.0.0/24"),
        (
            'address = "10.0.0.1/24", interface = "eth0", label = "www"',
            "the label 'www' does not begin with eth0:",
        ),
    ],
)
def test_what_is_odd_is_loaded_and_said(tmp_path: Path, table: str, words: str) -> None:
    (found,) = complaints(tmp_path, of(table))
    assert found.startswith("warning line 4")
    assert words in found


def test_an_address_of_ipv6_belongs_to_one_group(tmp_path: Path) -> None:
    text = "linuxha1 2001:db8::1/64\nlinuxha2 IPv6addr::2001:DB8::1/64/eth0\n"
    assert (
        "error haresources:2: IPv6addr::2001:DB8::1/64/eth0: 2001:db8::1 is already held by the"
        " group '2001:db8::1/64'; an address belongs to one group"
    ) in remarks(tmp_path, {**QUIET, "haresources": text})


# --- announcements -------------------------------------------------------------------------------

ANNOUNCE = """\
[vip.announce]
burst = 7
spacing = "50ms"
spacing_ipv6 = 0
pacing = "2ms"
pacing_ipv6 = 0
again = 0
refresh = 30
refresh_burst = 2
form = "reply"
"""


def test_announcements_are_set_for_all_and_for_one_group(tmp_path: Path) -> None:
    text = f'{ANNOUNCE}{GROUP}resources = ["10.0.0.1/24"]\n[groups.announce]\nagain = 9\n'
    cluster = cluster_of(tmp_path, text)
    assert cluster.vip.announce == AnnounceSettings(
        burst=7,
        spacing_s=0.05,
        spacing_ipv6_s=0.0,
        pacing_s=0.002,
        pacing_ipv6_s=0.0,
        again_s=0.0,
        refresh_s=30.0,
        refresh_burst=2,
        form=AnnounceForm.REPLY,
    )
    assert cluster.groups[0].announce == AnnounceSettings(again_s=9.0)
    shown = render(cluster, as_json=False)
    assert (
        "7 times, 0.05 s apart (IPv6 0 s), on one interface 0.002 s between any two (IPv6 0 s),"
        " then 2 every 30 s, ARP as reply only"
    ) in shown
    assert "5 times, 0.2 s apart, once more after 9 s, then 1 every 60 s" in shown
    again = directory(tmp_path, {"heartbus.toml": to_toml(cluster)})
    back = loaded(again).cluster
    assert (back.vip, back.groups) == (cluster.vip, cluster.groups)


def test_groups_that_move_together_are_announced_in_one_way(tmp_path: Path) -> None:
    tied = '[[groups]]\nname = "{0}"\npreferred = "a"\nsync = "s"\nresources = ["10.0.0.{0}/24"]\n'
    text = tied.format(1) + tied.format(2) + "[groups.announce]\nburst = 2\n"
    found = complaints(tmp_path, text)
    assert any("announce is another than that of the other groups of 's'" in f for f in found)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("burst = 0", "burst: 0 is not allowed; allowed is a whole number from 1 to 1000"),
        ("refresh_burst = 1001", "allowed is a whole number from 1 to 1000"),
        ('spacing = "2 m"', "allowed is a number of seconds"),
        ("spacing = 61", "61 s is too long between two frames of a burst; allowed is 60 s or less"),
        ("spacing_ipv6 = 61", "61 s is too long between two frames of a burst"),
        ("pacing = 61", "61 s is too long between two frames of a burst"),
        ("pacing_ipv6 = 61", "61 s is too long between two frames of a burst"),
        ("again = -1", "again: -1 is not allowed; allowed is seconds 0 or more"),
        ('form = "arp"', "'arp' is not allowed; allowed is both, request, reply"),
        ("count = 5", "unknown key; allowed is burst"),
    ],
)
@pytest.mark.parametrize("table", ["vip", "groups"])
def test_announcements_that_make_no_sense_are_refused(
    tmp_path: Path, table: str, line: str, words: str
) -> None:
    before = "" if table == "vip" else f'{GROUP}resources = ["10.0.0.1/24"]\n'
    (found,) = complaints(tmp_path, f"{before}[{table}.announce]\n{line}\n")
    assert found.startswith(f"error line {before.count(chr(10)) + 2}: ")
    assert words in found


KEEPALIVED = """\
global_defs {
    vrrp_garp_master_delay 0
    vrrp_garp_master_repeat 3
    vrrp_garp_interval 0.001
    vrrp_garp_lower_prio_repeat 2
}
garp_group {
    gna_interval 0.5
    interfaces {
        eth1
    }
}
vrrp_instance one {
    interface eth0
    virtual_ipaddress {
        10.0.0.1/24 label eth0:1 brd -
        2001:db8::1/64 dev eth2 nodad preferred_lft 0
    }
}
vrrp_instance two {
    interface eth1
    garp_master_refresh 10
    garp_master_refresh_repeat 0
    virtual_ipaddress { 10.0.0.2/24 brd + }
}
"""


def test_keepaliveds_addresses_and_announcements_are_read(tmp_path: Path) -> None:
    cluster, told = read_keepalived(tmp_path, KEEPALIVED)
    assert cluster is not None, told
    for_all = AnnounceSettings(burst=3, pacing_s=0.001, again_s=0.0)
    assert cluster.vip.announce == for_all
    one, two = cluster.groups
    assert one.addresses == (
        AddressResource(
            address="10.0.0.1",
            prefix_len=24,
            broadcast="10.0.0.0",
            interface="eth0",
            label="eth0:1",
        ),
        AddressResource(address="2001:db8::1", prefix_len=64, interface="eth2"),
    )
    assert one.announce is None
    assert two.addresses == (AddressResource(address="10.0.0.2", prefix_len=24, interface="eth1"),)
    assert two.announce == AnnounceSettings(
        burst=3, pacing_s=0.001, pacing_ipv6_s=0.5, again_s=0.0, refresh_s=10.0, refresh_burst=1
    )
    place = "keepalived.conf"
    assert (
        f"note {place}:5: vrrp_garp_lower_prio_repeat: not needed: whenever somebody else held an"
        " address too, the burst is sent again"
    ) in told
    assert (
        f"warning {place}:17: 2001:db8::1/64: 'preferred_lft 0' of an address is left out" in told
    )
    assert not any("global_defs" in line for line in told)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("repeat 3", "repeat many", "4294967295"),
        ("delay 0", "delay soon", "'soon' is not allowed; allowed is seconds from 0 to"),
        ("interval 0.001", "interval 61", "'61' is not allowed; allowed is seconds from 0 to 60"),
        ("label eth0:1 brd -", "label", "'label' is not allowed; allowed is a name and its value"),
        ("brd -", "brd x", "'x' is not allowed; allowed is an IPv4 address"),
        ("2001:db8::1/64", "2001:db8::1/129", "'129' is no prefix length; allowed is 1 to 128"),
    ],
)
def test_what_keepalived_would_not_take_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    cluster, told = read_keepalived(tmp_path, KEEPALIVED.replace(old, new, 1))
    assert cluster is None
    assert words in "".join(line for line in told if line.startswith("error"))


# --- this machine --------------------------------------------------------------------------------

INTERFACES = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo:       0       0    0    0
  eth0:  123456     789    0    0
  eth1:       0       0    0    0
"""


def on_machine(tmp_path: Path, *, disabled: str = "", ipv6: bool = True) -> Path:
    root = tmp_path / "root"
    net = root / "proc" / "thread-self" / "net"
    net.mkdir(parents=True)
    (net / "dev").write_text(INTERFACES)
    if ipv6:
        addresses = (
            "00000000000000000000000000000001 01 80 10 80       lo\n"
            "fe800000000000000000000000000001 02 40 20 80     eth0\n"
        )
        (net / "if_inet6").write_text(addresses)
        for name in ("lo", "eth0", "eth1"):
            conf = root / "proc" / "sys" / "net" / "ipv6" / "conf" / name
            conf.mkdir(parents=True)
            (conf / "disable_ipv6").write_text("1\n" if name == disabled else "0\n")
    return root


def loaded_on(tmp_path: Path, root: Path, resource: str) -> list[str]:
    text = f'{BASE}{GROUP}resources = ["{resource}"]\n'
    place = directory(tmp_path, {"heartbus.toml": text})
    found: Loaded = load(str(place / "heartbus.toml"), root=str(root))
    assert all(d.here for d in found.diagnostics)
    return said(found.diagnostics, place)


def test_an_interface_that_is_not_here_is_said_with_those_that_are(tmp_path: Path) -> None:
    (remark,) = loaded_on(tmp_path, on_machine(tmp_path), "10.0.0.1/24/eth3")
    assert remark == (
        f"warning heartbus.toml:{FIRST + 3}: groups[0].resources[0]: no interface 'eth3' here;"
        " there are eth0, eth1, lo; did you mean eth1 or eth0?"
    )


@pytest.mark.parametrize(("node", "code"), [("a", 2), ("laptop", 0)])
def test_on_a_director_itself_a_missing_interface_is_refused(
    tmp_path: Path, node: str, code: int
) -> None:
    text = f'{BASE}{GROUP}resources = ["10.0.0.1/24/no-such-nic"]\n'
    place = directory(tmp_path, {"heartbus.toml": text})
    done = CliRunner().invoke(config, ["check", str(place), "--node", node, "--json"])
    assert done.exit_code == code
    (remark,) = [r for r in json.loads(done.stdout)["remarks"] if "no-such-nic" in r["message"]]
    assert (remark["level"], remark["line"]) == ("error" if code else "warning", FIRST + 3)


def test_interfaces_that_are_here_are_met_with_silence(tmp_path: Path) -> None:
    root = on_machine(tmp_path)
    for resource in ("10.0.0.1/24/eth1", "2001:db8::1/64/eth0", "2001:db8::1/64", "10.0.0.1/24"):
        assert loaded_on(tmp_path, root, resource) == []


def test_an_address_of_ipv6_where_ipv6_is_off_is_said(tmp_path: Path) -> None:
    (remark,) = loaded_on(tmp_path, on_machine(tmp_path, disabled="eth1"), "2001:db8::1/64/eth1")
    assert "'eth1' can have no address of IPv6: net.ipv6.conf.eth1.disable_ipv6 is not 0" in remark


def test_an_address_of_ipv6_where_no_interface_has_one_is_said(tmp_path: Path) -> None:
    (remark,) = loaded_on(tmp_path, on_machine(tmp_path, ipv6=False), "2001:db8::1/64")
    assert (
        "2001:db8::1: no interface here has an address of IPv6, so no route leads to it" in remark
    )


def test_a_machine_without_proc_is_no_reason_to_complain(tmp_path: Path) -> None:
    assert loaded_on(tmp_path, tmp_path / "nothing", "10.0.0.1/24/eth3") == []
    with pytest.raises(ConfigError):
        loaded_on(tmp_path, tmp_path / "nothing", "10.0.0.300/24")
