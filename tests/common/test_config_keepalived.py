"""keepalived.conf becomes one TOML file; what has no counterpart is listed with its line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heartbus.cli.config import config
from heartbus.config import ConfigError, load
from heartbus.config import keepalived as imported
from heartbus.config.convert import to_toml
from heartbus.config.report import Report
from heartbus.model import (
    AddressResource,
    BroadcastLink,
    Check,
    CheckService,
    CheckType,
    Cluster,
    Endpoint,
    Failback,
    ForwardingMethod,
    Page,
    RealServer,
    SorryServer,
    Tls,
    TransportProtocol,
    UnicastLink,
    VirtualService,
)

SAMPLE = """\
! the classic cluster
global_defs {
    router_id lvs1
}
$NIC=eth0
vrrp_script chk {
    script "/bin/true"
}
vrrp_sync_group G1 {
    group {
        inside
        outside
    }
    notify_master /bin/x
}
vrrp_instance inside {
    state MASTER
    interface eth1
    virtual_router_id 51
    priority 150
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass hush
    }
    virtual_ipaddress { 10.0.0.1/24 dev eth1 }
    track_script { chk }
}
vrrp_instance outside {
    state MASTER
    interface $NIC
    nopreempt
    virtual_ipaddress {
        192.168.7.110/24 brd 192.168.7.255 dev ${NIC} label eth0:1
    }
}
virtual_server 192.168.7.110 80 {
    delay_loop 6
    lvs_sched wlc
    lvs_method NAT
    persistence_timeout 50
    protocol TCP
    virtualhost www.x.org
    sorry_server 127.0.0.1 8080
    real_server 10.0.0.11 80 {
        weight 3
        inhibit_on_failure
        HTTP_GET {
            url { path /.testpage
                  status_code 200-299 401
                  digest 640205B7B0FC66C1EA91C463FAC6334D }
            url {
                path /two
            }
            connect_timeout 3
            retry 2
            delay_before_retry 3
        }
    }
    real_server 10.0.0.12 80 {
        inhibit_on_failure
        TCP_CHECK { connect_timeout 3 }
    }
}
static_routes {
    10.9.0.0/16 via 10.0.0.254
}
"""


def read(tmp_path: Path, text: str, *, config_id: str = "") -> tuple[Cluster | None, list[str]]:
    file = tmp_path / "keepalived.conf"
    file.write_text(text)
    report = Report()
    cluster = imported.load(
        str(file), directors=["lvs1", "lvs2"], secret=b"s", report=report, config_id=config_id
    )
    said = [f"{d.level} {d}".replace(f"{tmp_path}/", "") for d in report.diagnostics()]
    return (None if report.errors else cluster), said


def service(tmp_path: Path, *lines: str) -> VirtualService:
    text = "virtual_server 10.0.0.1 80 {\n" + "\n".join(lines) + "\n}\n" + LINK
    cluster, said = read(tmp_path, text)
    assert cluster is not None, said
    return cluster.virtual_services[0]


LINK = "vrrp_instance v {\n interface eth0\n virtual_ipaddress {\n 10.0.0.1/24\n }\n}\n"


def test_a_whole_file(tmp_path: Path) -> None:
    cluster, said = read(tmp_path, SAMPLE)
    assert cluster is not None, said
    (group,) = cluster.groups
    assert (group.name, group.preferred) == ("G1", "lvs1")
    assert group.addresses == (
        AddressResource(address="10.0.0.1", prefix_len=24, interface="eth1"),
        AddressResource(
            address="192.168.7.110",
            prefix_len=24,
            broadcast="192.168.7.255",
            interface="eth0",
            label="eth0:1",
        ),
    )
    assert cluster.membership.failback is Failback.OFF
    assert cluster.membership.links == (
        BroadcastLink(interface="eth1"),
        BroadcastLink(interface="eth0"),
    )
    (web,) = cluster.virtual_services
    assert web.group == "G1"
    assert (web.scheduler, web.persistence_timeout_s, web.quiescent) == ("wlc", 50, True)
    assert web.sorry_server == SorryServer(
        endpoint=Endpoint(address="127.0.0.1", port=8080), forwarding=ForwardingMethod.MASQ
    )
    assert web.real_servers[0] == RealServer(
        endpoint=Endpoint(address="10.0.0.11", port=80), forwarding=ForwardingMethod.MASQ, weight=3
    )
    assert web.check == Check(
        type=CheckType.NEGOTIATE,
        service=CheckService.HTTP,
        request="/.testpage",
        statuses=((200, 299), (401, 401)),
        digest="640205b7b0fc66c1ea91c463fac6334d",
        pages=(Page(request="/two"),),
        virtualhost="www.x.org",
        connect_timeout_s=3.0,
        negotiate_timeout_s=3.0,
        interval_s=6.0,
        fall=3,
    )


def test_what_has_no_counterpart_is_listed_with_its_line(tmp_path: Path) -> None:
    _cluster, said = read(tmp_path, SAMPLE)
    lost = "has no counterpart in heartbus; left out"
    for line in (
        f"warning keepalived.conf:3: router_id: 'router_id lvs1' {lost}",
        "warning keepalived.conf:14: notify_master: 'notify_master /bin/x' is called in another"
        " way here, with STATE, GROUP and EPOCH: see [[vip.resources.hooks]]; left out",
        f"warning keepalived.conf:57: delay_before_retry: 'delay_before_retry 3' {lost}",
        "warning keepalived.conf:62: TCP_CHECK: the check of '10.0.0.12:80' is another than that"
        " of the first real server, which counts for the whole service",
        f"warning keepalived.conf:65: static_routes: 'static_routes' {lost}",
    ):
        assert line in said


def test_what_was_imported_reads_as_the_same_model(tmp_path: Path) -> None:
    cluster, _said = read(tmp_path, SAMPLE)
    assert cluster is not None
    file = tmp_path / "heartbus.toml"
    file.write_text(to_toml(cluster))
    file.chmod(0o600)
    again = load(str(file), root=str(tmp_path)).cluster
    assert dataclasses.replace(again, source=cluster.source, directors_at="") == cluster


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("TCP_CHECK {\n connect_port 81\n }", {"type": CheckType.CONNECT, "port": 81}),
        ("SMTP_CHECK {\n }", {"service": CheckService.SMTP}),
        ("DNS_CHECK {\n name x.org\n }", {"service": CheckService.DNS, "request": "x.org"}),
        ("PING_CHECK {\n retry 1\n }", {"type": CheckType.PING, "fall": 2}),
        (
            'MISC_CHECK {\n misc_path "/bin/check -a b"\n misc_dynamic\n misc_timeout 4\n }',
            {
                "type": CheckType.EXTERNAL,
                "command": ("/bin/check", "-a", "b"),
                "dynamic_weight": True,
                "connect_timeout_s": 4.0,
            },
        ),
        (
            "SSL_GET {\n url {\n path /\n regex ok now\n }\n }",
            {"service": CheckService.HTTPS, "receive": "ok now", "tls": Tls(verify=False)},
        ),
    ],
)
def test_every_checker_has_its_check(
    tmp_path: Path, block: str, expected: dict[str, object]
) -> None:
    found = service(tmp_path, "real_server 10.0.0.2 80 {", block, "}")
    assert {name: getattr(found.check, name) for name in expected} == expected


def test_marks_and_groups_of_addresses(tmp_path: Path) -> None:
    text = (
        "virtual_server_group web {\n 10.0.0.5-7 80\n fwmark 3\n}\n"
        "virtual_server group web {\n protocol UDP\n ops\n real_server 10.0.0.2 80 {\n }\n}\n"
    )
    cluster, said = read(tmp_path, text + LINK)
    assert cluster is not None, said
    assert [(s.endpoint.address, s.endpoint.port, s.fwmark) for s in cluster.virtual_services] == [
        ("10.0.0.5", 80, 0),
        ("10.0.0.6", 80, 0),
        ("10.0.0.7", 80, 0),
        ("0.0.0.0", 0, 3),
    ]
    assert [s.protocol for s in cluster.virtual_services] == [
        *[TransportProtocol.UDP] * 3,
        TransportProtocol.FWM,
    ]


def test_includes_conditions_and_definitions(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "1.conf").write_text("virtual_server 10.0.0.1 $PORT {\n}\n")
    text = "$PORT=81\n@one $PORT=82\n@^one include none\ninclude d/*.conf\n" + LINK
    for config_id, port in (("one", 82), ("", 81)):
        cluster, said = read(tmp_path, text, config_id=config_id)
        assert cluster is not None, said
        assert cluster.virtual_services[0].endpoint.port == port
        assert ("warning keepalived.conf:3: include: no file 'none'" in said) == (not config_id)


def test_unicast_peers_are_links(tmp_path: Path) -> None:
    text = LINK.replace(" virtual_ip", " state BACKUP\n unicast_peer {\n 10.0.0.9\n }\n virtual_ip")
    cluster, said = read(tmp_path, text)
    assert cluster is not None, said
    assert cluster.membership.links == (UnicastLink(interface="eth0", peer="10.0.0.9"),)
    assert cluster.groups[0].preferred == "lvs2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "virtual_server 10.0.0.1 80 {\n",
            "error keepalived.conf:1: virtual_server: no } for its {",
        ),
        ("}\n", "error keepalived.conf:1: } without a {"),
        ("{\n}\n", "error keepalived.conf:1: '{' opens nothing, or is too deep"),
        ("x $Y\n", "error keepalived.conf:1: $Y: is not defined above"),
        (
            "virtual_server 10.0.0.1 80 {\n lvs_method FOO\n}\n",
            "error keepalived.conf:2: lvs_method: 'FOO' is not allowed; allowed is NAT, DR or TUN",
        ),
        (
            "include " + "keepalived.conf\n",
            "error keepalived.conf:1: include: allowed is a file name",
        ),
        ("x \x01\n", "error keepalived.conf:1: control characters in the line"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, said: str) -> None:
    cluster, lines = read(tmp_path, text)
    assert cluster is None
    assert any(line.startswith(said) for line in lines), lines


def test_the_command_writes_a_file_that_loads(tmp_path: Path) -> None:
    (tmp_path / "keepalived.conf").write_text(SAMPLE)
    output = tmp_path / "heartbus.toml"
    arguments = ["convert", str(tmp_path / "keepalived.conf"), "--output", str(output)]
    names = ["--director", "LVS1", "--director", "lvs2"]
    result = CliRunner().invoke(config, arguments + names)
    assert result.exit_code == 0, result.output
    assert "static_routes" in result.output
    cluster = load(str(output), root=str(tmp_path)).cluster
    assert [director.name for director in cluster.directors] == ["lvs1", "lvs2"]
    assert len(cluster.membership.authentication.keys[0].secret) == 64


WORDS = st.sampled_from(sorted({*SAMPLE.split(), "{", "}", "$A", "$A=$A$A", "include", "@x", '"'}))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(WORDS | st.text(max_size=8), max_size=6).map(" ".join), max_size=30))
def test_anything_ends_in_a_configuration_or_remarks(tmp_path: Path, lines: list[str]) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    report = Report()
    cluster = imported.load(str(file), directors=["a"], secret=b"s", report=report)
    if report.errors:
        with pytest.raises(ConfigError):
            report.refuse_errors()
    else:
        assert cluster is not None
        to_toml(cluster)
