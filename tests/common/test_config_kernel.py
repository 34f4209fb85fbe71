"""What the kernel of this machine cannot do is said of a configuration, where that can be known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from heartbus.cli.config import config
from heartbus.config import load
from tests.common.config_samples import QUIET, directory, said

HEAD = """\
[[directors]]
name = "a"
[[membership.links]]
kind = "bcast"
interface = "eth1"
[membership.authentication]
signing_key = 1
keys = [{ id = 1, method = "sha256", secret = "s" }]
"""
SERVICE = """\
[[virtual_services]]
address = "192.0.2.110:80"
scheduler = "twos"
check = { type = "on" }
"""
MIXED = """\
[[virtual_services.real_servers]]
address = "[fd00::11]:80"
method = "ipip"
[[virtual_services.real_servers]]
address = "192.0.2.12:80"
method = "ipip"
tunnel = { type = "gre" }
"""


def machine(tmp_path: Path, release: str, modules: list[str] | None, built_in: str = "") -> Path:
    root = tmp_path / "root"
    kernel = root / "proc/sys/kernel"
    kernel.mkdir(parents=True)
    (kernel / "osrelease").write_text(f"{release}\n")
    if modules is not None:
        ipvs = root / "lib/modules" / release / "kernel/net/netfilter/ipvs"
        ipvs.mkdir(parents=True)
        for name in modules:
            (ipvs / name).touch()
        (root / "lib/modules" / release / "modules.builtin").write_text(built_in)
    return root


def remarks(tmp_path: Path, root: Path, text: str) -> list[str]:
    place = directory(tmp_path, {"heartbus.toml": HEAD + text})
    found = load(str(place / "heartbus.toml"), root=str(root))
    assert all(d.here for d in found.diagnostics)
    return said(found.diagnostics, place)


def test_a_scheduler_and_an_engine_without_a_module_are_said(tmp_path: Path) -> None:
    root = machine(tmp_path, "6.1.0-28-amd64", ["ip_vs.ko", "ip_vs_wrr.ko.xz"])
    sip = 'persistent = 60\nprotocol = "udp"\npersistence_engine = "sip"\nscheduler = "wrr"\n'
    text = SERVICE + SERVICE.replace(":80", ":5060").replace('scheduler = "twos"\n', sip)
    assert remarks(tmp_path, root, text) == [
        "warning heartbus.toml:11: virtual_services[0].scheduler: twos: the kernel here"
        " (6.1.0-28-amd64) has no module ip_vs_twos, and refuses the service",
        "warning heartbus.toml:17: virtual_services[1].persistence_engine: sip: the kernel here"
        " (6.1.0-28-amd64) has no module ip_vs_pe_sip, and refuses the service",
    ]


@pytest.mark.parametrize(
    ("modules", "built_in"),
    [
        (["ip_vs.ko", "ip_vs_twos.ko.zst"], ""),
        (["ip_vs.ko"], "kernel/net/netfilter/ipvs/ip_vs_twos.ko\n"),
        (None, ""),
    ],
    ids=["module", "built in", "not to be seen"],
)
def test_where_the_kernel_has_it_or_nobody_knows_nothing_is_said(
    tmp_path: Path, modules: list[str] | None, built_in: str
) -> None:
    root = machine(tmp_path, "6.1.0", modules, built_in)
    assert remarks(tmp_path, root, SERVICE + MIXED) == []


@pytest.mark.parametrize(
    ("release", "words"),
    [
        (
            "3.10.0-1160.el7.x86_64",
            [
                "[0].address: [fd00::11]:80: another family than its service's takes Linux 3.18;"
                " here runs 3.10.0-1160.el7.x86_64",
                "[1].tunnel: 192.0.2.12:80: a tunnel of type gre takes Linux 5.3; here runs"
                " 3.10.0-1160.el7.x86_64",
            ],
        ),
        (
            "4.19.0",
            ["[1].tunnel: 192.0.2.12:80: a tunnel of type gre takes Linux 5.3; here runs 4.19.0"],
        ),
        ("5.3.0", []),
        ("unheard of", []),
    ],
)
def test_what_a_kernel_is_too_old_for_is_said(
    tmp_path: Path, release: str, words: list[str]
) -> None:
    found = remarks(tmp_path, machine(tmp_path, release, None), SERVICE + MIXED)
    assert [line.partition("real_servers")[2] for line in found] == words


def test_files_in_the_old_form_too(tmp_path: Path) -> None:
    root = machine(tmp_path, "6.1.0", ["ip_vs.ko"])
    text = "quiescent=no\ncleanstop=no\nvirtual=192.168.7.110:80\n\tscheduler=rr\n"
    files = {**QUIET, "haresources": "linuxha1 192.168.7.110 ldirectord::l.cf\n", "l.cf": text}
    place = directory(tmp_path, files)
    found = said(load(str(place), root=str(root)).diagnostics, place)
    assert [line for line in found if "ip_vs_rr" in line] != []


@pytest.mark.parametrize(("node", "code"), [("a", 2), ("laptop", 0)])
def test_on_a_director_itself_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: str, code: int
) -> None:
    root = machine(tmp_path, "6.1.0", ["ip_vs.ko"])
    monkeypatch.setattr("heartbus.config.kernel_here.RELEASE", f"{root}/proc/sys/kernel/osrelease")
    monkeypatch.setattr("heartbus.config.kernel_here.MODULES", f"{root}/lib/modules")
    place = directory(tmp_path, {"heartbus.toml": HEAD + SERVICE})
    done = CliRunner().invoke(
        config, ["check", str(place / "heartbus.toml"), "--node", node, "--json"]
    )
    assert done.exit_code == code, done.output
    assert any("ip_vs_twos" in r["message"] for r in json.loads(done.stdout)["remarks"])
