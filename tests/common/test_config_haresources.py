"""Each form of a resource means what it should; a wrong one is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.model import (
    AddressResource,
    Resource,
    ScriptResource,
)
from tests.common.config_samples import QUIET, directory, loaded, remarks


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
