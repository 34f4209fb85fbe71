"""Checks in the TOML form, and what this machine must have for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.config import ConfigError, check_libraries, load
from heartbus.config.diagnostics import Level
from heartbus.config.digest import config_digest
from heartbus.config.show import render
from heartbus.model import Check, CheckService, CheckType, Page, Tls

HEAD = """
[[directors]]
name = "one"

[membership.authentication]
signing_key = 1
keys = [{ id = 1, method = "sha256", secret = "s" }]

[[virtual_services]]
address = "192.0.2.110:8000"
"""


PAGES = ", ".join(["{ request = '/' }"] * 17)


def written(directory: Path, check: str, *, head: str = HEAD) -> Path:
    path = directory / "heartbus.toml"
    path.write_text(
        f'{head}check = {{ {check} }}\nreal_servers = [{{ address = "192.0.2.11:8000" }}]\n'
    )
    path.chmod(0o600)
    return path


def check_of(directory: Path, check: str, *, head: str = HEAD) -> Check:
    return load(str(written(directory, check, head=head))).cluster.virtual_services[0].check


def errors(directory: Path, check: str, *, head: str = HEAD) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(str(written(directory, check, head=head)))
    return [d.message for d in refused.value.diagnostics if d.level is Level.ERROR]


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ('service = "https"', "tls", Tls(verify=True)),
        ('service = "https", tls = { verify = false }', "tls", Tls(verify=False)),
        (
            'service = "redis", tls = { server_name = "r.example", ca_file = "/ca.pem" }',
            "tls",
            Tls(server_name="r.example", ca_file="/ca.pem"),
        ),
        ('service = "redis"', "tls", None),
        ('service = "http", statuses = ["204", "300-399"]', "statuses", ((204, 204), (300, 399))),
        (
            f'service = "http", pages = [{{ request = "/a", digest = "{"A" * 32}" }}]',
            "pages",
            (Page(request="/a", digest="a" * 32),),
        ),
        (
            'type = "external", command = "/bin/check -x \'a b\'"',
            "command",
            ("/bin/check", "-x", "a b"),
        ),
        ('type = "external", command = ["/bin/check", "a b"]', "command", ("/bin/check", "a b")),
        ('type = "combined", service = "http", connects = 3', "connects", 3),
        ('type = "ping", attempts = 3', "attempts", 3),
        ('type = "file", file = "/run/health"', "file", "/run/health"),
        ('service = "mysql", login = "a"', "request", "SELECT 1"),
        ('service = "oracle", login = "a"', "request", "SELECT 1 FROM dual"),
        ('service = "http", fast_interval = "200ms"', "fast_interval_s", 0.2),
        ('service = "http", slow_start = 30', "slow_start_s", 30.0),
        ('service = "http", maintenance_dir = "/var/m"', "maintenance_dir", "/var/m"),
        ('service = "http", proxy_protocol = 2', "proxy_protocol", 2),
        ('service = "grpc"', "request", ""),
    ],
)
def test_keys_of_a_check(tmp_path: Path, text: str, field: str, value: object) -> None:
    assert getattr(check_of(tmp_path, text), field) == value


def test_a_udp_service_is_pinged_where_nothing_is_said(tmp_path: Path) -> None:
    head = HEAD + 'protocol = "udp"\n'
    assert check_of(tmp_path, "interval = 1", head=head).type is CheckType.PING
    dns = check_of(tmp_path, 'service = "dns", request = "example.net"', head=head)
    assert dns.service is CheckService.DNS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('type = "external"', "missing; an external check needs a program to run"),
        (
            'type = "external", command = "check"',
            "'check' is not allowed; allowed is an absolute path",
        ),
        ('type = "external", command = "/bin/a \'"', "allowed is a program and its arguments"),
        ('type = "file"', "missing; a file check needs a file to read"),
        ('type = "combined", service = "http"', "missing; allowed is 1 or more connect checks"),
        (
            'type = "combined", service = "radius", login = "a", secret = "s", connects = 1',
            "by UDP",
        ),
        ('service = "pgsql"', "missing; pgsql asks who logs in"),
        ('service = "radius", login = "a"', "missing; radius needs login and secret"),
        ('service = "dns"', "missing; allowed is a name to ask for, or an address"),
        ('service = "ftp", tls = {}', "ftp is not asked within TLS by this version"),
        ('service = "http", statuses = ["2xx"]', "'2xx' is not allowed; allowed is a status code"),
        ('service = "http", statuses = ["300-200"]', "allowed is a status code"),
        ('service = "http", digest = "abc"', "allowed is an MD5 or SHA-256 digest"),
        ('service = "http", weight_header = "a b"', "allowed is the name of a field"),
        ('service = "http", tls = { verfy = true }', "unknown key; allowed is"),
        (f'service = "http", pages = [{PAGES}]', "17 are too many; allowed is 16"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert any(words in message for message in errors(tmp_path, text)), errors(tmp_path, text)


@pytest.mark.parametrize(
    ("service", "extra"),
    [
        ("dns", "dns"),
        ("http2", "http2"),
        ("grpc", "http2"),
        ("mysql", "mysql"),
        ("pgsql", "pgsql"),
        ("oracle", "oracle"),
    ],
)
def test_a_library_that_is_missing_is_an_error_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str, extra: str
) -> None:
    text = f'service = "{service}", request = "x", login = "a"'
    assert check_of(tmp_path, text).service == service
    monkeypatch.setattr(check_libraries, "_installed", lambda _module: False)
    words = (
        f"{service} checks need a library that is not installed; allowed after pip install"
        f" 'heartbus[{extra}]'"
    )
    assert errors(tmp_path, text) == [words]
    check_of(tmp_path, 'service = "http"')


def test_passwords_are_in_no_output_and_no_digest(tmp_path: Path) -> None:
    text = 'service = "pgsql", login = "a", password = "{}", secret = "{}"'
    digests = set()
    for number in range(2):
        cluster = load(str(written(tmp_path, text.format(f"pw-{number}", f"s3-{number}")))).cluster
        digests.add(config_digest(cluster))
        for shown in (render(cluster, as_json=False), render(cluster, as_json=True), repr(cluster)):
            assert f"pw-{number}" not in shown
            assert f"s3-{number}" not in shown
    assert len(digests) == 1
