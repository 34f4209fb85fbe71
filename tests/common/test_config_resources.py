"""Resources as haresources writes them: every form, what is built in, and programs that are not."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from heartbus.cli.config import config
from heartbus.config import ConfigError, load
from heartbus.config.resources import parse_resource
from heartbus.config.values import BadValueError
from heartbus.model import (
    AddressResource,
    CheckedServicesResource,
    Hook,
    Resource,
    ResourceSettings,
    SavedRulesResource,
    ScriptResource,
    StopFailure,
    Tracker,
    TrackKind,
)
from tests.common.config_samples import QUIET, QUIET_HA_CF, directory, loaded, remarks, said

PLAIN = AddressResource(address="192.168.7.110", prefix_len=24)
ON_ETH1 = AddressResource(address="192.168.7.110", prefix_len=24, interface="eth1")
BCAST = AddressResource(address="192.168.7.110", prefix_len=24, broadcast="192.168.7.255")
BOTH = AddressResource(
    address="192.168.7.110", prefix_len=24, interface="eth1", broadcast="192.168.7.255"
)
SIX = AddressResource(address="2001:db8::110", prefix_len=64, interface="eth1")


def script(name: str, *arguments: str) -> ScriptResource:
    return ScriptResource(script=name, arguments=arguments)


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ("192.168.7.110/24", PLAIN),
        ("IPaddr::192.168.7.110/24", PLAIN),
        ("IPaddr2::192.168.7.110/24", PLAIN),
        ("IPaddr::192.168.7.110/255.255.255.0", PLAIN),
        ("IPaddr::192.168.7.110/24/eth1", ON_ETH1),
        ("IPaddr::192.168.7.110/24/192.168.7.255", BCAST),
        ("192.168.7.110/24/eth1/192.168.7.255", BOTH),
        ("IPv6addr::2001:db8::110/64/eth1", SIX),
        ("IPv6addr::2001:DB8:0:0::110/64/eth1", SIX),
        ("2001:db8::110/64/eth1", SIX),
        ("IPaddr2::2001:db8::110/64/eth1", SIX),
        ("fe80::110/64/eth1", dataclasses.replace(SIX, address="fe80::110")),
        ("IPaddr2::192.168.7.110/24/eth1:0", dataclasses.replace(ON_ETH1, label="eth1:0")),
        ("192.168.7.110/24/eth1:0/192.168.7.255", dataclasses.replace(BOTH, label="eth1:0")),
        ("fe::1", script("fe", "1")),  # an address would have a prefix length, or more colons
        ("ipvsadm", SavedRulesResource()),
        ("ldirectord::www.cf", CheckedServicesResource(file="www.cf")),
        ("LVSSyncDaemonSwap::master", script("LVSSyncDaemonSwap", "master")),
        ("LVSSyncDaemonSwap::backup::eth1::7", script("LVSSyncDaemonSwap", "backup", "eth1", "7")),
        ("IPsrcaddr::192.168.7.110", script("IPsrcaddr", "192.168.7.110")),
        ("SendArp::192.168.7.110/eth0", script("SendArp", "192.168.7.110/eth0")),
        ("Delay::3::0.5", script("Delay", "3", "0.5")),
        ("MailTo::root@localhost::web", script("MailTo", "root@localhost", "web")),
        ("Xinetd::telnet", script("Xinetd", "telnet")),
        ("Filesystem::/dev/drbd0::/srv::ext3", script("Filesystem", "/dev/drbd0", "/srv", "ext3")),
        ("ocf:heartbeat:Dummy::state=/run/x", script("ocf:heartbeat:Dummy", "state=/run/x")),
        ("systemd:nginx", script("systemd:nginx")),
        ("telnet", script("telnet")),
    ],
)
def test_every_form_of_haresources_is_read(text: str, resource: Resource) -> None:
    said: list[str] = []
    assert parse_resource(text, said.append) == resource
    assert said == []


@pytest.mark.parametrize(
    "text",
    [
        "IPv6addr::192.168.7.110/24",
        "IPv6addr::2001:db8::110/129",
        "IPv6addr::2001:db8::110/0",
        "IPv6addr::2001:db8::110/ffff::",
        "IPv6addr::2001:db8::110/64/eth1:0",
        "IPv6addr::2001:db8::110/64/eth1/x",
        "IPv6addr::fe80::1%eth0/64",
        "2001:db8::110/129",
        "IPaddr::192.168.7.110/24/eth1:",
        "IPaddr::192.168.7.110/24/eth1:a-long-label",
        "IPv6addr::",
        "LVSSyncDaemonSwap",
        "LVSSyncDaemonSwap::primary",
        "LVSSyncDaemonSwap::master::eth0::256",
        "LVSSyncDaemonSwap::master::eth0 x",
        "Delay",
        "Delay::soon",
        "Delay::3601",
        "Delay::1::2::3",
        "SendArp::192.168.7.110",
        "SendArp::host/eth0",
        "IPsrcaddr",
        "IPsrcaddr::host",
        "MailTo",
        "MailTo::-f",
        "Xinetd",
        "Xinetd::../passwd",
    ],
)
def test_arguments_that_could_only_fail_later_are_refused(text: str) -> None:
    with pytest.raises(BadValueError, match=r"(?s)allowed is"):
        parse_resource(text, lambda _: None)


@pytest.mark.parametrize("text", ["IPv6addr::2001:db8::110", "2001:db8::110"])
def test_an_address_of_ipv6_without_prefix_length_is_that_of_a_host(text: str) -> None:
    said: list[str] = []
    read = parse_resource(text, said.append)
    assert read == AddressResource(address="2001:db8::110", prefix_len=128)
    assert said == [
        "no prefix length after 2001:db8::110: here it is /128, which adds no route; write"
        " 2001:db8::110/64 to say it"
    ]


# --- programs that are missing -------------------------------------------------------------------


def files(resources: str, **more: str) -> dict[str, str | bytes | Path]:
    line = f"linuxha1 192.168.7.110/24 {resources}\n"
    return {**QUIET, "haresources": f"# one group\n{line}", **more}


def test_a_missing_program_is_a_warning_with_line_and_all_that_was_tried(tmp_path: Path) -> None:
    (warning,) = remarks(tmp_path, files("nowhere"))
    root = tmp_path / "no-such-root"
    assert warning == (
        "warning haresources:2: nowhere: no program of this name here; tried"
        f" resource.d/nowhere (no such file), {root}/etc/ha.d/resource.d/nowhere (no such file),"
        f" {root}/etc/init.d/nowhere (no such file), {root}/etc/rc.d/init.d/nowhere (no such file),"
        " systemd unit nowhere.service (systemd does not run here),"
        f" {root}/usr/lib/ocf/resource.d (no OCF agents here); a director without it goes on with"
        " the rest of the group, as Heartbeat 1.0 did"
    )


def test_a_script_that_is_not_executable_is_told(tmp_path: Path) -> None:
    (warning,) = remarks(tmp_path, files("mine", **{"resource.d/mine": "#!/bin/sh\n"}))
    assert "tried resource.d/mine (not executable)" in warning


def test_a_script_of_the_name_of_what_is_built_in_is_said_not_to_be_called(tmp_path: Path) -> None:
    place = directory(tmp_path, files("Delay::1", **{"resource.d/Delay": "#!/bin/sh\n"}))
    (note,) = said(loaded(place).diagnostics, place)
    assert note == (
        "note haresources:2: Delay::1: built into heartbus; resource.d/Delay is not called;"
        " lsb:Delay would call it"
    )


@pytest.mark.parametrize(("node", "code"), [("linuxha1", 2), ("LINUXHA2", 2), ("laptop", 0)])
def test_on_a_director_itself_a_missing_program_is_refused(
    tmp_path: Path, node: str, code: int
) -> None:
    place = directory(tmp_path, files("nowhere-at-all"))
    done = CliRunner().invoke(config, ["check", str(place), "--node", node, "--json"])
    assert done.exit_code == code
    document = json.loads(done.output)
    assert document["usable"] is (code == 0)
    (remark,) = [r for r in document["remarks"] if r["directive"] == "nowhere-at-all"]
    assert (remark["level"], remark["line"]) == ("error" if code else "warning", 2)


def test_which_director_this_is_comes_from_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = os.uname().nodename.lower()
    ha_cf = QUIET_HA_CF.replace("linuxha1", name) + "realtime off\n"
    content = {**files("nowhere-at-all"), "ha.cf": ha_cf, "haresources": f"{name} nowhere-at-all\n"}
    monkeypatch.delenv("HEARTBUS_NODE", raising=False)
    place = str(directory(tmp_path, content))
    assert CliRunner().invoke(config, ["check", place]).exit_code == 2


def test_a_group_key_that_is_there_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    lines = "linuxha1 192.168.7.110/24\nlinuxha2 192.168.7.110/24\n"
    told = remarks(tmp_path, {**QUIET, "haresources": lines})
    assert any(
        line.startswith("error haresources:2:") and "'192.168.7.110/24' of line 1 again" in line
        for line in told
    )


# --- [vip.resources] -----------------------------------------------------------------------------

NATIVE = """\
directors = [{ name = "a" }, { name = "b" }]
groups = [{ name = "www", preferred = "a", resources = ["192.168.7.110/24"] }]
[membership]
links = [{ kind = "bcast", interface = "eth1" }]
authentication = { signing_key = 1, keys = [{ id = 1, secret = "a-secret-of-sixteen-or-more" }] }
"""


def native(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "heartbus.toml"
    file.write_text(NATIVE + text)
    file.chmod(0o600)
    return file


def test_all_settings_of_resources_are_read(tmp_path: Path) -> None:
    text = """\
[[membership.fences]]
director = "a"
command = "/bin/true"
[[membership.fences]]
director = "b"
command = "/bin/true"
[vip.resources]
monitor_interval = 0
monitor_fall = 3
stop_retries = 0
stop_retry = "100ms"
on_stop_failure = "fence"
hooks = [{ command = "/bin/notify", timeout = 2, groups = ["www"] }]
[[vip.resources.trackers]]
kind = "interface"
target = "eth0"
[[vip.resources.trackers]]
kind = "script"
target = "/bin/check"
name = "way out"
weight = -20
interval = 5
timeout = 1
rise = 2
fall = 3
groups = ["www"]
[[vip.resources.trackers]]
kind = "process"
target = "nginx"
quorum = 2
[[vip.resources.trackers]]
kind = "file"
target = "/run/weight"
weight = 1
"""
    read = load(str(native(tmp_path, text)), root=str(tmp_path)).cluster.vip.resources
    assert read == ResourceSettings(
        monitor_interval_s=0,
        monitor_fall=3,
        stop_retries=0,
        stop_retry_s=0.1,
        on_stop_failure=StopFailure.FENCE,
        hooks=(Hook(command="/bin/notify", timeout_s=2, groups=("www",)),),
        trackers=(
            Tracker(name="interface:eth0", kind=TrackKind.INTERFACE, target="eth0"),
            Tracker(
                name="way out",
                kind=TrackKind.SCRIPT,
                target="/bin/check",
                weight=-20,
                interval_s=5,
                timeout_s=1,
                rise=2,
                fall=3,
                groups=("www",),
            ),
            Tracker(name="process:nginx", kind=TrackKind.PROCESS, target="nginx", quorum=2),
            Tracker(name="file:/run/weight", kind=TrackKind.FILE, target="/run/weight", weight=1),
        ),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("monitor_fall = 0", "monitor_fall: 0 is not allowed; allowed is a whole number from 1"),
        ('on_stop_failure = "reboot"', "'reboot' is not allowed; allowed is tell, fence"),
        ('on_stop_failure = "fence"', "no fence for a, b; allowed is fence where each director"),
        ('hooks = [{ command = "notify" }]', "'notify' is not allowed"),
        ('hooks = [{ command = "/x", groups = ["wwww"] }]', "'wwww' is no group; allowed is www"),
        ('trackers = [{ kind = "bfd", target = "x" }]', "'bfd' is not allowed; allowed is interf"),
        ('trackers = [{ kind = "interface" }]', "target: missing; this key is needed"),
        ('trackers = [{ kind = "interface", target = "eth 0" }]', "'eth 0' is not allowed"),
        ('trackers = [{ kind = "file", target = "weight" }]', "'weight' is not allowed"),
        ('trackers = [{ kind = "process", target = "a/b" }]', "'a/b' is not allowed"),
        ('trackers = [{ kind = "process", target = "x", weight = 255 }]', "255 is not allowed"),
        (
            'trackers = [{ kind = "process", target = "x" }, { kind = "process", target = "x" }]',
            "'process:x' is there twice",
        ),
    ],
)
def test_settings_of_resources_that_make_no_sense_are_refused_with_their_line(
    tmp_path: Path, text: str, words: str
) -> None:
    file = native(tmp_path, f"[vip.resources]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load(str(file), root=str(tmp_path))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{file}:7: ")
    assert words in line


# --- groups that move together -------------------------------------------------------------------

SYNC = """\
directors = [{ name = "a" }, { name = "b" }]
[membership]
links = [{ kind = "bcast", interface = "eth1" }]
authentication = { signing_key = 1, keys = [{ id = 1, secret = "a-secret-of-sixteen-or-more" }] }
[[groups]]
name = "inside"
sync = "router"
preferred = "a"
resources = ["192.168.7.110/24"]
[[groups]]
name = "alone"
preferred = "b"
resources = ["192.168.7.111/24"]
[[groups]]
name = "outside"
sync = "router"
preferred = "a"
resources = ["10.1.0.1/24", "Delay::1"]
[[virtual_services]]
address = "10.1.0.1:80"
group = "outside"
real_servers = [{ address = "10.2.0.1:80" }]
"""


def sync_file(tmp_path: Path, old: str = "", new: str = "") -> Path:
    file = tmp_path / "heartbus.toml"
    file.write_text(SYNC.replace(old, new) if old else SYNC)
    file.chmod(0o600)
    return file


def test_groups_of_one_sync_are_one_group_with_all_their_resources(tmp_path: Path) -> None:
    cluster = load(str(sync_file(tmp_path)), root=str(tmp_path)).cluster
    assert [(g.name, g.preferred, [r.name for r in g.resources]) for g in cluster.groups] == [
        ("router", "a", ["192.168.7.110/24", "10.1.0.1/24", "Delay::1"]),
        ("alone", "b", ["192.168.7.111/24"]),
    ]
    assert cluster.virtual_services[0].group == "router"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("10.1.0.1/24", "192.168.7.110/24", 18, "192.168.7.110 is already held by the group"),
        (
            'sync = "router"\npreferred = "a"\nresources = ["10',
            'sync = "router"\npreferred = "b"\nresources = ["10',
            17,
            "'b', but the other groups of 'router' prefer a",
        ),
        ('"outside"\nsync', '"inside"\nsync', 17, "the group 'inside' is there twice"),
        ('name = "alone"', 'name = "router"', 11, "the group 'router' of line 6 again"),
    ],
)
def test_groups_that_cannot_be_tied_are_refused_with_their_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    file = sync_file(tmp_path, old, new)
    with pytest.raises(ConfigError) as caught:
        load(str(file), root=str(tmp_path))
    assert any(
        said.startswith(f"{file}:{line}: ") and words in said
        for said in str(caught.value).splitlines()
    ), str(caught.value)
