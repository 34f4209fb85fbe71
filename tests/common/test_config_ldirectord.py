"""Each directive of an ldirectord file means what it should."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from heartbus.config import ldirectord_directives, load
from heartbus.config.report import Place, Setting
from heartbus.model import (
    Check,
    CheckService,
    CheckType,
    Endpoint,
    ForwardingMethod,
    HttpMethod,
    RealServer,
    SorryServer,
    TransportProtocol,
)
from tests.common.config_samples import directory, loaded, remarks
from tests.common.config_samples.ldirectord import section, service, with_file


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        (section("checktype=connect"), "type", CheckType.CONNECT),
        (section("checktype=on"), "type", CheckType.ON),
        (section("checktype=off"), "type", CheckType.OFF),
        (section(), "type", CheckType.NEGOTIATE),
        (section(), "service", CheckService.HTTP),
        (section(port="25"), "service", CheckService.SMTP),
        (section(port="smtp"), "service", CheckService.SMTP),
        (section("service=smtp"), "service", CheckService.SMTP),
        (section("service=http", port="8080"), "service", CheckService.HTTP),
        (section(port="8080"), "type", CheckType.ON),
        (section("service=none"), "type", CheckType.ON),
        (section("service=ftp"), "service", CheckService.FTP),
        (section(port="143"), "service", CheckService.IMAP),
        (section("checktype=ping"), "type", CheckType.PING),
        (section("checktype=ping", "checkcount=3"), "attempts", 3),
        (section("checktype=3"), "type", CheckType.COMBINED),
        (section("checktype=3"), "connects", 3),
        (section("checktype=0"), "type", CheckType.NEGOTIATE),
        (section("protocol=udp", "checktype=connect"), "type", CheckType.PING),
        (section("checkport=8080"), "port", 8080),
        (section('request="x.html"'), "request", "/x.html"),
        (section('request="/x?u=http://y"'), "request", "/x?u=http://y"),
        (section('request="http://x/"', "checktype=connect"), "request", "http://x/"),
        (section('receive="a b"'), "receive", "a b"),
        (section('receive=""'), "receive", None),
        (section('receive="a#b"'), "receive", "a#b"),
        (section("virtualhost=www.x.org"), "virtualhost", "www.x.org"),
        (section('virtualhost="www.x.org"'), "virtualhost", "www.x.org"),
        (section("httpmethod=head"), "http_method", HttpMethod.HEAD),
        (section("failurecount=3"), "fall", 3),
        (section(before="failurecount=4\n"), "fall", 4),
        (section("failurecount=3", before="failurecount=4\n"), "fall", 3),
        (section(), "interval_s", 10.0),
        (section(before="checkinterval=2\n"), "interval_s", 2.0),
        (section("checkinterval=3", before="checkinterval=2\n"), "interval_s", 2.0),
        (section("checkinterval=3", before="fork=yes\ncheckinterval=2\n"), "interval_s", 3.0),
    ],
)
def test_checks(tmp_path: Path, text: str, field: str, value: object) -> None:
    assert getattr(service(tmp_path, text).check, field) == value


@pytest.mark.parametrize(
    ("own", "of_all", "connect_s", "negotiate_s"),
    [
        ("", "", 5, 30),
        ("", "c", 3, 3),
        ("", "n", 4, 4),
        ("", "cn", 3, 4),
        ("c", "", 1, 1),
        ("n", "", 2, 2),
        ("cn", "cn", 1, 2),
        ("n", "c", 2, 2),
        ("c", "n", 1, 1),
    ],
)
def test_timeouts_stand_in_for_one_another(
    tmp_path: Path, own: str, of_all: str, connect_s: float, negotiate_s: float
) -> None:
    names = {"c": "checktimeout", "n": "negotiatetimeout"}
    before = "".join(f"{names[k]}={3 if k == 'c' else 4}\n" for k in of_all)
    lines = [f"{names[k]}={1 if k == 'c' else 2}" for k in own]
    check: Check = service(tmp_path, section(*lines, before=before)).check
    assert (check.connect_timeout_s, check.negotiate_timeout_s) == (connect_s, negotiate_s)


@pytest.mark.parametrize(
    ("line", "server"),
    [
        (
            "real=10.0.0.1:80 masq",
            RealServer(
                endpoint=Endpoint(address="10.0.0.1", port=80), forwarding=ForwardingMethod.MASQ
            ),
        ),
        (
            "real = 10.0.0.1:http ipip 0",
            RealServer(
                endpoint=Endpoint(address="10.0.0.1", port=80),
                forwarding=ForwardingMethod.IPIP,
                weight=0,
            ),
        ),
        (
            "real=10.0.0.1 gate 5",
            RealServer(
                endpoint=Endpoint(address="10.0.0.1", port=80),
                forwarding=ForwardingMethod.GATE,
                weight=5,
            ),
        ),
        (
            'real=10.0.0.1:80 gate 5 "a", "b" # x',
            RealServer(
                endpoint=Endpoint(address="10.0.0.1", port=80),
                forwarding=ForwardingMethod.GATE,
                weight=5,
                request="/a",
                receive="b",
            ),
        ),
        (
            'real=10.0.0.1:80 gate "/a" "b" l:1 u:2',
            RealServer(
                endpoint=Endpoint(address="10.0.0.1", port=80),
                forwarding=ForwardingMethod.GATE,
                request="/a",
                receive="b",
                lower_threshold=1,
                upper_threshold=2,
            ),
        ),
    ],
)
def test_real_servers(tmp_path: Path, line: str, server: RealServer) -> None:
    assert service(tmp_path, section(line)).real_servers == (server,)


def test_a_range_of_real_servers(tmp_path: Path) -> None:
    servers = service(tmp_path, section("real=10.0.0.254->10.0.1.1:80 gate")).real_servers
    assert [s.endpoint.address for s in servers] == [
        "10.0.0.254",
        "10.0.0.255",
        "10.0.1.0",
        "10.0.1.1",
    ]


@pytest.mark.parametrize(
    ("text", "fallback"),
    [
        (
            section("fallback=127.0.0.1"),
            SorryServer(endpoint=Endpoint(address="127.0.0.1", port=80)),
        ),
        (
            section(before="fallback=127.0.0.1:81 masq\n"),
            SorryServer(
                endpoint=Endpoint(address="127.0.0.1", port=81), forwarding=ForwardingMethod.MASQ
            ),
        ),
        (
            section("fallback=127.0.0.2", before="fallback=127.0.0.1\n"),
            SorryServer(endpoint=Endpoint(address="127.0.0.2", port=80)),
        ),
    ],
)
def test_fallbacks(tmp_path: Path, text: str, fallback: SorryServer) -> None:
    assert service(tmp_path, text).sorry_server == fallback


def test_persistence_and_protocol(tmp_path: Path) -> None:
    lines = ("persistent=600", "netmask=255.255.255.0", "protocol=udp", "quiescent=yes")
    result = service(tmp_path, section(*lines, port="53"))
    assert (result.persistence_timeout_s, result.persistence_netmask) == (600, 24)
    assert result.protocol is TransportProtocol.UDP
    assert result.quiescent


def test_services_do_not_stay_in_the_table_unless_told(tmp_path: Path) -> None:
    assert not service(tmp_path, section()).quiescent


@pytest.mark.parametrize("blanks", ["\v", "\u3000", "  \x85", "\f\t"])
def test_a_line_of_any_blanks_is_a_blank_line(tmp_path: Path, blanks: str) -> None:
    plain = remarks(tmp_path, with_file(section("scheduler=rr") + "\n\n" + "quiescent=yes\n"))
    text = section("scheduler=rr") + f"\n{blanks}\n" + "quiescent=yes\n"
    assert remarks(tmp_path, with_file(text)) == plain


def test_firewall_marks_of_both_families(tmp_path: Path) -> None:
    text = (
        "fallback=127.0.0.1:80\nfallback6=[::1]:80\n"
        "virtual=7\n\tprotocol=fwm\n\treal=10.0.0.1 gate\n\tchecktype=on\n"
        "virtual6=7\n\treal6=[2001:db8::1] masq\n\tchecktype=on\n"
    )
    four, six = loaded(directory(tmp_path, with_file(text))).cluster.virtual_services
    assert (four.fwmark, four.endpoint.address, four.protocol) == (7, "0.0.0.0", "fwm")
    assert (six.fwmark, six.endpoint.address, six.protocol) == (7, "::", "fwm")
    assert four.real_servers[0].endpoint == Endpoint(address="10.0.0.1", port=0)
    assert four.sorry_server is not None
    assert four.sorry_server.endpoint == Endpoint(address="127.0.0.1", port=80)
    assert six.sorry_server is not None
    assert six.sorry_server.endpoint == Endpoint(address="::1", port=80)


def test_ipv6_services(tmp_path: Path) -> None:
    text = (
        "virtual6=[2001:db8::1]:53\n\tnetmask=64\n\tpersistent=60\n\treal6=[2001:db8::2]:53 gate\n"
        "\tfallback6=[::1]\n\tops=yes\n\tchecktype=on\n\tscheduler=sh\n"
        "\tschedflags=sh-port,sh-fallback\n"
    )
    only = service(tmp_path, text)
    assert only.endpoint == Endpoint(address="2001:db8::1", port=53)
    assert only.protocol is TransportProtocol.UDP
    assert only.persistence_netmask == 64
    assert only.one_packet
    assert only.scheduler_flags == ("sh-port", "sh-fallback")
    assert only.sorry_server is not None
    assert only.sorry_server.endpoint == Endpoint(address="::1", port=53)


def test_host_names_are_those_of_the_hosts_file(tmp_path: Path) -> None:
    """L-14: ldirectord asks the resolver once; here the file says it on every director."""
    hosts = (
        "10.0.0.7 Web1.x web1 # first\n10.0.0.9 web3\n10.0.0.8 web1\n2001:db8::7 web1\nnonsense x\n"
    )
    text = (
        "fallback=web3:80\nvirtual=web1:80\n\treal=web1->web3:80 gate\n"
        "virtual6=web1:80\n\treal6=web1:80 gate\n"
    )
    place = directory(tmp_path, with_file(text))
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "root" / "etc" / "hosts").write_text(hosts)
    result = load(str(place), root=str(tmp_path / "root"))
    four, six = result.cluster.virtual_services
    assert str(four.endpoint) == "10.0.0.7:80"
    assert [str(s.endpoint) for s in four.real_servers] == [
        "10.0.0.7:80",
        "10.0.0.8:80",
        "10.0.0.9:80",
    ]
    assert four.sorry_server is not None
    assert str(four.sorry_server.endpoint) == "10.0.0.9:80"
    assert str(six.endpoint) == "[2001:db8::7]:80"
    assert f"note {place}/l.cf:2: virtual: web1 is 10.0.0.7, by /etc/hosts of this director" in [
        f"{d.level} {d}" for d in result.diagnostics
    ]


def test_execute_loads_the_other_file_too(tmp_path: Path) -> None:
    files = with_file("execute=more\n" + section()) | {
        "more.cf": "execute=l.cf\nvirtual=192.168.7.110:81\n\treal=10.0.0.1:81 gate\n"
    }
    result = loaded(directory(tmp_path, files))
    assert [s.endpoint.port for s in result.cluster.virtual_services] == [80, 81]


REDIRECTS = (
    "no receive, and redirects are not followed here as ldirectord does: an answer 3xx counts as"
    " failed"
)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["real=10.0.0.1:80 gate"], [f"note l.cf:1: virtual: {REDIRECTS}"]),
        (["real=10.0.0.1:80 gate", 'request="/"'], [f"note l.cf:3: request: {REDIRECTS}"]),
        (["service=http", "real=10.0.0.1:80 gate"], [f"note l.cf:2: service: {REDIRECTS}"]),
        (["real=10.0.0.1:80 gate", 'receive=""'], [f"note l.cf:1: virtual: {REDIRECTS}"]),
        (["real=10.0.0.1:80 gate", 'receive="x"'], []),
        (['real=10.0.0.1:80 gate "/" "x"'], []),
        (["real=10.0.0.1:80 gate", "checktype=connect"], []),
        (["real=10.0.0.1:80 gate", "service=smtp"], []),
        ([], []),
    ],
)
def test_a_check_that_ldirectord_redirected_is_noted(
    tmp_path: Path, lines: list[str], words: list[str]
) -> None:
    place = tmp_path / "ha.d"
    text = section(*lines, "quiescent=no", "cleanstop=no")
    said = [line.replace(f"{place}/", "") for line in remarks(tmp_path, with_file(text))]
    assert said == words


def test_the_default_of_quiescent_that_has_changed_is_said_once(tmp_path: Path) -> None:
    """L-15: manual and code of ldirectord disagree."""
    words = "not given: no, as in ldirectord since 2009; before that, and in its manual, it is yes"
    said = remarks(
        tmp_path, with_file(section("service=none") + "virtual=10.0.0.9:81\n\tcheckport=1\n")
    )
    assert len([line for line in said if words in line]) == 1
    for text in (section("quiescent=no"), section(before="quiescent=yes\n")):
        assert not any(words in line for line in remarks(tmp_path, with_file(text)))


def test_the_default_of_cleanstop_that_is_another_is_said_once(tmp_path: Path) -> None:
    words = "not given: no, a stop leaves the table and its connections; for ldirectord it is yes"
    said = remarks(
        tmp_path, with_file(section("service=none") + "virtual=10.0.0.9:81\n\tcheckport=1\n")
    )
    assert len([line for line in said if words in line]) == 1
    for text in (section("cleanstop=no"), section(before="cleanstop=yes\n")):
        assert not any(words in line for line in remarks(tmp_path, with_file(text)))


def test_a_directive_below_an_indented_section_is_global(tmp_path: Path) -> None:
    text = section("scheduler=rr") + "quiescent=yes\ncleanstop=no\n" + section(port="25")
    result = loaded(directory(tmp_path, with_file(text)))
    assert [s.quiescent for s in result.cluster.virtual_services] == [True, True]
    assert result.diagnostics == ()


def test_a_directive_below_a_section_that_lost_its_indentation_belongs_to_it(
    tmp_path: Path,
) -> None:
    text = "virtual=192.168.7.110:80\nscheduler=rr\nquiescent=yes\n\nvirtual=192.168.7.110:25\n"
    result = loaded(directory(tmp_path, with_file(text)))
    assert [s.quiescent for s in result.cluster.virtual_services] == [True, False]


@pytest.mark.parametrize("row", ldirectord_directives.DIRECTIVES.values(), ids=lambda row: row.name)
def test_each_row_of_ldirectord_sets_a_field(row: ldirectord_directives.Directive) -> None:
    settings = ldirectord_directives.Settings()
    if row.sets != "reals":
        setattr(settings, row.sets, Setting(value=1, place=Place(file="")))
    assert row.sets in {field.name for field in dataclasses.fields(settings)}
    assert row.name not in ldirectord_directives.UNUSED
