"""``heartbus config show``: everything that counts is shown, and never a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heartbus.config.show import render
from heartbus.model import Cluster
from tests.common.config_samples import EXAMPLES, classic_files, directory, loaded

SECRET = "key-for-sha1-any-text-you-want"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return loaded(directory(tmp_path, classic_files())).cluster


@pytest.mark.parametrize("as_json", [False, True])
def test_secrets_are_never_shown(cluster: Cluster, as_json: bool) -> None:
    text = render(cluster, as_json)
    assert SECRET not in text
    assert "(not shown)" in text


def test_json_can_be_read_back(cluster: Cluster) -> None:
    document = json.loads(render(cluster, True))
    assert document["membership"]["timers"]["deadtime_s"] == 30.0
    assert [link["kind"] for link in document["membership"]["links"]] == ["serial", "bcast"]
    assert [r["kind"] for r in document["groups"][0]["resources"]] == [
        "address",
        "ipvsadm",
        "ldirectord",
        "ldirectord",
    ]
    assert document["virtual_services"][0]["real_servers"][2]["endpoint"] == {
        "address": "192.168.7.13",
        "port": 80,
    }


@pytest.mark.parametrize(
    "line",
    [
        "  linuxha2.linux-ha.org                    (looked up by name)",
        "  deadtime        30 s",
        "  failback        off",
        "                  bcast eth1, UDP port 694",
        "  links           serial /dev/ttyS0, 19200 baud",
        "  hopfudge        1",
        "  keys            1 sha1 (not shown) signs",
        "  1. address 192.168.7.110/24 broadcast 192.168.7.255 on the interface of the route",
        "  3. virtual services of www.cf",
        "Virtual service tcp:192.168.7.110:80",
        "  check           http: GET /.testpage must match 'Test Page', within 3 s, every 1 s,"
        " rise 1, fall 1",
        "  fallback        127.0.0.1:80 gate",
        "  real 192.168.7.12:80           gate  weight 1",
    ],
)
def test_text_says_it_in_lines(cluster: Cluster, line: str) -> None:
    assert line in render(cluster, False).split("\n")


def test_the_toml_example_is_shown(tmp_path: Path) -> None:
    place = directory(tmp_path, {"heartbus.toml": EXAMPLES / "heartbus.toml"})
    text = render(loaded(place).cluster, False)
    assert SECRET not in text
    assert text.endswith("weight 1\n")


def test_links_of_every_kind_are_shown(tmp_path: Path) -> None:
    files = classic_files()
    files["ha.cf"] = Path(str(files["ha.cf"])).read_text() + (
        "mcast eth1 239.0.0.1 695 1 0\nmcast6 eth1 ff02::4:1 696 2 1\n"
        "ucast6 eth1 fe80::2\nucast6 eth1 b.example\n"
    )
    cluster = loaded(directory(tmp_path, files)).cluster
    lines = [line.strip() for line in render(cluster, False).split("\n")]
    for line in (
        "mcast eth1 to 239.0.0.1, UDP port 695, ttl 1, no loop",
        "mcast eth1 to ff02::4:1, UDP port 696, ttl 2, heard by ourselves too",
        "ucast eth1 to fe80::2, UDP port 694",
        "ucast6 eth1 to b.example, UDP port 694",
    ):
        assert line in lines
    document = json.loads(render(cluster, True))
    assert [link["kind"] for link in document["membership"]["links"][2:]] == [
        "mcast", "mcast", "ucast", "ucast6",
    ]  # fmt: skip
