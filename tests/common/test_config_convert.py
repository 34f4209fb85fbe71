"""One file instead of many means the same; what differs is told in terms of the model."""

from __future__ import annotations

import dataclasses
import json
import stat
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from heartbus.cli.config import config
from heartbus.config import load
from heartbus.config.convert import NotTextError, to_toml
from heartbus.config.difference import differences
from heartbus.config.document import document
from heartbus.config.origin import origins
from heartbus.model import (
    BroadcastLink,
    Cluster,
    PingNode,
    SerialLink,
    UnicastLink,
)
from tests.common.config_samples import (
    EXAMPLES,
    QUIET,
    QUIET_HA_CF,
    classic_files,
    directory,
    loaded,
)

CHECKED = """\
checktimeout=3
quiescent=yes
virtual=192.168.7.110:80
\treal=192.168.7.11:80 masq 5 "a" "b"
\treal=192.168.7.12:80 masq
\tfallback=127.0.0.1:80
\tservice=http
\trequest="/x \\"y"
\treceive="Te.t"
\tpersistent=600
\tnetmask=255.255.255.0
virtual=192.168.7.110:25
\treal=192.168.7.11:25 gate
\tcheckcommand="/bin/check -v 'two words'"
\tchecktype=external
"""


def same(cluster: Cluster, tmp_path: Path) -> Cluster:
    """Convert it, read the result, and return that with what names files left as it was."""
    file = tmp_path / "converted.toml"
    file.write_text(to_toml(cluster))
    file.chmod(0o600)
    again = load(str(file), root=str(tmp_path / "no-such-root")).cluster
    return dataclasses.replace(again, source=cluster.source, directors_at=cluster.directors_at)


def checked(tmp_path: Path, text: str = CHECKED) -> Cluster:
    files = QUIET | {
        "haresources": "linuxha1 192.168.7.110/24 ipvsadm ldirectord::l.cf\n",
        "l.cf": text,
    }
    return loaded(directory(tmp_path, files)).cluster


def test_the_classic_cluster_converted_means_the_same(tmp_path: Path) -> None:
    cluster = loaded(directory(tmp_path, classic_files())).cluster
    assert same(cluster, tmp_path) == cluster


def test_checks_persistence_and_own_requests_survive(tmp_path: Path) -> None:
    cluster = checked(tmp_path)
    assert cluster.virtual_services[1].check.addresses
    assert same(cluster, tmp_path) == cluster


def test_the_commented_example_converted_means_the_same(tmp_path: Path) -> None:
    file = tmp_path / "heartbus.toml"
    file.write_bytes((EXAMPLES / "heartbus.toml").read_bytes())
    file.chmod(0o600)
    cluster = load(str(file), root=str(tmp_path)).cluster
    assert same(cluster, tmp_path) == cluster


def test_the_order_of_ping_nodes_of_all_kinds_is_kept(tmp_path: Path) -> None:
    lines = "ping 10.0.0.1\nping_group g 10.0.0.2 10.0.0.3\nping6 fe80::1\nping 10.0.0.4\n"
    files = QUIET | {"ha.cf": QUIET_HA_CF + "realtime off\n" + lines}
    cluster = loaded(directory(tmp_path, files)).cluster
    assert [node.name for node in cluster.membership.ping_nodes] == [
        "10.0.0.1",
        "g",
        "fe80::1",
        "10.0.0.4",
    ]
    assert PingNode(name="fe80::1", members=("fe80::1",), ipv6=True) in (
        same(cluster, tmp_path).membership.ping_nodes
    )
    assert same(cluster, tmp_path) == cluster


def test_links_of_all_kinds_survive(tmp_path: Path) -> None:
    lines = (
        "udpport 700\nucast eth0 10.0.0.2\nucast6 eth0 host.x\nucast6 eth0 fe80::2\n"
        "mcast eth0 239.0.0.1 694 2 1\nmcast6 eth0 ff02::1 694 1 0\nbaud 9600\nserial /dev/ttyS1\n"
    )
    files = QUIET | {"ha.cf": lines + QUIET_HA_CF + "realtime off\n"}
    cluster = loaded(directory(tmp_path, files)).cluster
    kinds = {type(link) for link in cluster.membership.links}
    assert {BroadcastLink, UnicastLink, SerialLink} < kinds
    assert same(cluster, tmp_path) == cluster


def test_a_key_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    files = QUIET | {"authkeys": b"auth 1\n1 sha256 \xff\xfe\n"}
    cluster = loaded(directory(tmp_path, files)).cluster
    with pytest.raises(NotTextError, match=r"keys\[0\]\.secret: not UTF-8 text.*secret_file"):
        to_toml(cluster)


def test_every_field_of_the_model_is_in_the_document(tmp_path: Path) -> None:
    """A field more in the model is a key more, without a line of code."""
    content = document(checked(tmp_path), whole=True)
    service = content["virtual_services"][0]
    assert service["real_servers"][0] == {
        "address": "192.168.7.11:80",
        "method": "masq",
        "weight": 5,
        "upper_threshold": 0,
        "lower_threshold": 0,
        "tunnel": {"type": "ipip", "port": 0, "checksum": "none"},
        "request": "/a",
        "receive": "b",
    }
    assert {field.name for field in dataclasses.fields(Cluster)} - set(content) == {
        "resource_path",  # this and the next are in [cluster]
        "reload",
        "source",
        "directors_at",
    }


def test_the_same_configuration_has_no_difference(tmp_path: Path) -> None:
    assert differences(checked(tmp_path), checked(tmp_path)) == ()


def told(tmp_path: Path, old: str, new: str) -> list[str]:
    before = checked(tmp_path / "old", old)
    return [str(difference) for difference in differences(before, checked(tmp_path / "new", new))]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "masq 5",
            "masq 6",
            "~ virtual_services[tcp:192.168.7.110:80].real_servers[192.168.7.11:80].weight: 5 -> 6",
        ),
        (
            "\treal=192.168.7.12:80 masq\n",
            "",
            "- virtual_services[tcp:192.168.7.110:80].real_servers[192.168.7.12:80]:"
            " address 192.168.7.12:80, method masq, weight 1",
        ),
        (
            "\tpersistent=600\n",
            "",
            "- virtual_services[tcp:192.168.7.110:80].persistent: 600",
        ),
        (
            '\treceive="Te.t"\n',
            '\treceive="Test"\n',
            "~ virtual_services[tcp:192.168.7.110:80].check.receive: Te.t -> Test",
        ),
    ],
)
def test_a_difference_is_told_by_what_it_is_about(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert said in told(tmp_path, CHECKED, CHECKED.replace(old, new))


def test_a_service_that_moved_in_the_file_is_told_as_order_alone(tmp_path: Path) -> None:
    head, first, second = CHECKED.partition("virtual=192.168.7.110:80\n")[0], "", ""
    first = CHECKED[len(head) : CHECKED.index("virtual=192.168.7.110:25")]
    second = CHECKED[CHECKED.index("virtual=192.168.7.110:25") :]
    (only,) = told(tmp_path, CHECKED, head + second + first)
    assert only.startswith("~ order of virtual_services: ")


def test_a_changed_secret_is_told_and_not_shown(tmp_path: Path) -> None:
    text = CHECKED.replace("\tservice=http\n", '\tservice=http\n\tpasswd="{}"\n')
    said = told(tmp_path, text.format("hush1"), text.format("hush2"))
    assert said == [
        "~ virtual_services[tcp:192.168.7.110:80].check.password: (not shown) -> (not shown)"
    ]


def test_each_value_is_shown_with_its_line(tmp_path: Path) -> None:
    files = QUIET | {
        "ha.cf": QUIET_HA_CF + "realtime off\nkeepalive 500ms\n",
        "haresources": "linuxha1 192.168.7.110/24 ldirectord::l.cf\n",
        "l.cf": CHECKED,
    }
    result = loaded(directory(tmp_path, files))
    where = {
        origin.key: f"{Path(origin.place.file).name}:{origin.place.line}" if origin.place else ""
        for origin in origins(result.cluster, result.places)
    }
    expected = {
        "membership.keepalive": "ha.cf:5",
        "membership.deadtime": "",
        "membership.authentication.keys[0].method": "authkeys:2",
        "groups[0].resources[0].address": "haresources:1",
        "virtual_services[0].real_servers[1].weight": "l.cf:5",
        "virtual_services[0].check.connect_timeout": "l.cf:1",
        "virtual_services[0].check.rise": "",
        "virtual_services[0].quiescent": "l.cf:2",
        "virtual_services[0].persistent": "l.cf:10",
        "virtual_services[1].fallback": None,
    }
    assert {key: where.get(key) for key in expected} == expected


def test_toml_values_are_shown_with_the_line_of_their_key(tmp_path: Path) -> None:
    file = tmp_path / "heartbus.toml"
    text = (EXAMPLES / "heartbus.toml").read_text()
    file.write_text(text)
    file.chmod(0o600)
    result = load(str(file), root=str(tmp_path))
    lines = text.splitlines()
    where = {origin.key: origin.place for origin in origins(result.cluster, result.places)}
    for key, start in (
        ("membership.keepalive", 'timers = "classic"'),
        ("virtual_services[0].check.receive", 'receive = "Test Page"'),
        ("vip.lifetime", "lifetime = 3"),
    ):
        place = where[key]
        assert place is not None
        assert place.line is not None
        assert lines[place.line - 1].startswith(start)
    assert where["virtual_services[0].check.login"] is None


def test_convert_writes_a_file_for_its_owner_only_and_never_over_another(tmp_path: Path) -> None:
    place = directory(tmp_path, QUIET)
    output = tmp_path / "new.toml"
    runner = CliRunner()
    arguments = ["convert", str(place), "--output", str(output)]
    assert runner.invoke(config, arguments).exit_code == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert tomllib.loads(output.read_text())["membership"]["authentication"]["signing_key"] == 1
    again = runner.invoke(config, arguments)
    assert again.exit_code == 1
    assert f"{output}: File exists" in again.output
    assert runner.invoke(config, ["diff", str(place), str(output)]).output == "no difference\n"


def test_diff_exits_with_1_and_gives_json(tmp_path: Path) -> None:
    old = directory(tmp_path / "old", QUIET)
    new = directory(tmp_path / "new", QUIET | {"haresources": "linuxha2 192.168.7.110/24\n"})
    result = CliRunner().invoke(config, ["diff", str(old), str(new), "--json"])
    assert result.exit_code == 1
    by_part = {row["part"]: row for row in json.loads(result.output)}
    assert by_part["groups[192.168.7.110/24].preferred"] == {
        "kind": "changed",
        "part": "groups[192.168.7.110/24].preferred",
        "old": "linuxha1",
        "new": "linuxha2",
    }
