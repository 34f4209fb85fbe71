"""Quorum, commands, start and stop of virtual services, from every form of configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.config.show import render
from heartbus.model import ServicePolicy, StartPolicy
from tests.common.config_samples.ldirectord import section, with_file
from tests.common.config_samples.ldirectord import service as ldirectord
from tests.common.config_samples.native import BASE, FIRST, read, remarks
from tests.common.test_config_convert import same
from tests.common.test_config_keepalived import read as imported
from tests.common.test_config_keepalived import service as keepalived

TOML = """\
[[virtual_services]]
address = "10.0.0.1:80"
quorum = 3
hysteresis = 1
start = "up"
cleanstop = true
fallback_command = "/usr/local/bin/tell 'a b'"
quorum_up = ["/bin/up", "x y"]
quorum_down = ["/bin/down"]
real_servers = [{ address = "10.0.0.2:80", weight = 9 }]
"""
POLICY = ServicePolicy(
    quorum=3,
    hysteresis=1,
    start=StartPolicy.UP,
    cleanstop=True,
    fallback_command=("/usr/local/bin/tell", "a b"),
    quorum_up=("/bin/up", "x y"),
    quorum_down=("/bin/down",),
)


def test_the_toml_form_has_all_of_it_and_writes_it_back(tmp_path: Path) -> None:
    cluster = read(tmp_path, BASE + TOML)
    assert cluster.virtual_services[0].policy == POLICY
    assert same(cluster, tmp_path) == cluster
    shown = render(cluster, as_json=False)
    for line in (
        "  quorum          gained at weight 4, lost below weight 2",
        "  before a check  up",
        "  at a stop       leaves the table",
        "  fallback command/usr/local/bin/tell 'a b'",
        "  at quorum       /bin/up 'x y'",
        "  without quorum  /bin/down",
    ):
        assert " ".join(line.split()) in " ".join(shown.split())


LINE = FIRST + 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("quorum = 0", "quorum: 0 is not allowed; allowed is a whole number from 1 to 2147483647"),
        ("hysteresis = 1", "hysteresis: 1 is not below quorum (1); allowed is 0 to 0"),
        ('start = "alpha"', "start: 'alpha' is not allowed; allowed is keep, down, up"),
        ('quorum_up = "up"', "quorum_up: 'up' is not allowed; allowed is a program's whole path"),
        ('quorum_up = "/bin/x \'"', "quorum_up: No closing quotation; allowed is a program"),
        ("quorum_down = []", "quorum_down: no program; allowed is a path such as"),
        ("fallback_command = 7", "fallback_command: 7 is not allowed; allowed is a list"),
        ('quorum_up = ["/bin/x", 7]', "quorum_up[1]: 7 is not allowed; allowed is text in quotes"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, line: str, said: str) -> None:
    text = f'[[virtual_services]]\naddress = "10.0.0.1:80"\n{line}\n'
    text += 'real_servers = [{ address = "10.0.0.2:80" }]\n'
    found = remarks(tmp_path, BASE + text)
    assert any(said in each and f"heartbus.toml:{LINE}: " in each for each in found), found


def test_a_quorum_that_no_server_makes_is_warned_about(tmp_path: Path) -> None:
    text = TOML.replace("weight = 9", "weight = 3")
    assert any(
        "quorum: it takes weight 4, and all real servers together have 3" in each
        for each in remarks(tmp_path, BASE + text)
    )


@pytest.mark.parametrize(
    ("line", "policy"),
    [
        ("cleanstop=yes", ServicePolicy(cleanstop=True)),
        ("cleanstop=no", ServicePolicy()),
        (
            'fallbackcommand="/usr/local/bin/tell x"',
            ServicePolicy(fallback_command=("/usr/local/bin/tell", "x")),
        ),
        (
            "fallbackcommand=/usr/local/bin/tell x",
            ServicePolicy(fallback_command=("/usr/local/bin/tell", "x")),
        ),
        (
            "fallbackcommand=tell >/dev/null",
            ServicePolicy(
                fallback_command=("/bin/sh", "-c", 'tell >/dev/null "$@"', "fallbackcommand")
            ),
        ),
    ],
)
def test_ldirectord_says_it_for_all_services_or_for_one(
    tmp_path: Path, line: str, policy: ServicePolicy
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "all").mkdir()
    assert ldirectord(tmp_path / "one", section(line)).policy == policy
    assert ldirectord(tmp_path / "all", section(before=line + "\n")).policy == policy


def test_readdquiescent_is_what_heartbus_always_does(tmp_path: Path) -> None:
    from tests.common.config_samples import directory, loaded, said

    place = directory(tmp_path, with_file(section(before="readdquiescent=no\n")))
    found = said(loaded(place).diagnostics, place)
    assert any(
        "readdquiescent: with either value a server is added with weight 0" in f for f in found
    )


def test_keepalived_has_quorum_hysteresis_and_commands(tmp_path: Path) -> None:
    found = keepalived(
        tmp_path,
        "quorum 3",
        "hysteresis 1",
        'quorum_up "/bin/up a b"',
        "quorum_down /bin/down",
        "omega",
        "real_server 10.0.0.2 80 {\n weight 9\n}",
    )
    assert found.policy == ServicePolicy(
        quorum=3,
        hysteresis=1,
        quorum_up=("/bin/up", "a", "b"),
        quorum_down=("/bin/down",),
        cleanstop=True,
    )


def test_a_bad_quorum_of_keepalived_is_named(tmp_path: Path) -> None:
    text = "virtual_server 10.0.0.1 80 {\n quorum none\n quorum_up up\n}\n"
    _cluster, said = imported(tmp_path, text)
    assert any(s.startswith("error keepalived.conf:2: quorum: 'none' is not allowed") for s in said)
    assert any(
        s.startswith("error keepalived.conf:3: quorum_up: 'up' is not allowed") for s in said
    )
