"""Every protocol against the real server software: healthy, and each way of not being so."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import pytest

from heartbus.model import CheckService, Endpoint, Page, Tls
from tests.common.ports import free_port

from .asking import Asker
from .hostile import relay
from .servers import LOGIN, PAGE, PASSWORD, SECRET, RealServers

S = CheckService
ENTER: Final[dict[str, Any]] = {"login": LOGIN, "password": PASSWORD}
WRONG: Final = {"login": LOGIN, "password": "wrong"}
WEB: Final = {"request": "/.testpage", "receive": "Test Page"}
LDAP: Final = {
    "login": "cn=checker,dc=example,dc=net",
    "password": PASSWORD,
    "request": "dc=example,dc=net",
    "receive": "^dc=example",
}
QUIET: Final = Tls(verify=False)
WWW: Final = {"virtualhost": "www.example.net"}
UDP: Final = {"udp": True}

QUESTION: Final = (
    r"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    r"\x03www\x07example\x03net\x00\x00\x01\x00\x01"
)

HEALTHY: Final[list[tuple[str, str, CheckService, dict[str, Any], str]]] = [
    ("nginx", "http", S.HTTP, WEB, "GET /.testpage: 200 OK, as expected after "),
    ("nginx", "https", S.HTTPS, {**WEB, **WWW, "tls": "verified"}, "200 OK, as expected"),
    ("nginx", "https", S.HTTPS, {**WEB, "tls": "verified"}, "200 OK, as expected"),
    ("nginx", "expired", S.HTTPS, {**WEB, "tls": QUIET}, "200 OK, as expected"),
    (
        "nginx",
        "https",
        S.HTTPS,
        {"request": "/sni", "receive": "^sni=www.example.net$", **WWW, "tls": QUIET},
        "as expected",
    ),
    ("nginx", "proxied", S.HTTP, {**WEB, "proxy_protocol": 1}, "200 OK, as expected"),
    ("nginx", "proxied", S.HTTP, {**WEB, "proxy_protocol": 2}, "200 OK, as expected"),
    ("nginx", "h2c", S.HTTP2, WEB, "HTTP/2 GET /.testpage: 200, as expected after "),
    ("nginx", "h2", S.HTTP2, {**WEB, **WWW, "tls": "verified"}, "200, as expected"),
    ("squid", "http_proxy", S.HTTP_PROXY, {"request": "PROXIED", "receive": "Test Page"}, "200 OK"),
    ("exim", "smtp", S.SMTP, {}, "SMTP greeting: accepted after "),
    ("exim", "smtp", S.SUBMISSION, {}, "SMTP greeting: accepted after "),
    ("dovecot", "imap", S.IMAP, ENTER, "IMAP: checker is let in after "),
    ("dovecot", "imap", S.IMAP, {}, "IMAP: greeted after "),
    ("dovecot", "pop", S.POP, ENTER, "POP3: checker is let in after "),
    ("dovecot", "pop", S.POP, {}, "POP3: greeted after "),
    ("jamnntpd", "nntp", S.NNTP, {}, "NNTP: greeted: '200 "),
    (
        "vsftpd",
        "ftp",
        S.FTP,
        {"request": "status", "receive": "is well"},
        "FTP: RETR status: as expected after ",
    ),
    ("vsftpd", "ftp", S.FTP, {"request": ""}, "FTP: anonymous is let in after "),
    ("slapd", "ldap", S.LDAP, LDAP, "LDAP: the entry 'dc=example,dc=net' is there after "),
    ("slapd", "ldap", S.LDAP, {"request": "dc=example,dc=net"}, "LDAP: the entry"),
    ("slapd", "ldaps", S.LDAPS, {**LDAP, "tls": "verified"}, "LDAP: the entry"),
    ("mariadb", "mysql", S.MYSQL, {**ENTER, "request": "SELECT 7"}, "MySQL: a row, '(7,)' after "),
    (
        "postgres",
        "pgsql",
        S.PGSQL,
        {**ENTER, "database": "postgres", "request": "SELECT 7"},
        "a row",
    ),
    (
        "unbound",
        "dns",
        S.DNS,
        {"request": "www.example.net", **UDP},
        "DNS: www.example.net is 192.0",
    ),
    ("unbound", "dns", S.DNS, {"request": "www.example.net", "receive": "^192"}, "is 192.0.2.7"),
    ("unbound", "dns", S.DNS, {"request": "v6.example.net", **UDP}, "is 2001:db8::7"),
    ("unbound", "dns", S.DNS, {"request": "192.0.2.7", "receive": "^www", **UDP}, "is www.example"),
    ("freeradius", "radius", S.RADIUS, {**ENTER, "secret": SECRET}, "RADIUS: Access-Accept after "),
    ("kamailio", "sip", S.SIP, UDP, "SIP: 200 OK after "),
    ("kamailio", "sip", S.SIP, {}, "SIP: 200 OK after "),
    ("redis", "redis", S.REDIS, {"password": PASSWORD}, "Redis: PING is answered after "),
    ("memcached", "memcached", S.MEMCACHED, {}, "memcached: 'VERSION 1."),
    ("mosquitto", "mqtt", S.MQTT, ENTER, "MQTT: accepted after "),
    (
        "memcached",
        "memcached",
        S.SIMPLETCP,
        {"request": "version\\r\\n".replace("\\r", ""), "receive": "^VERSION"},
        "TCP: 'VERSION 1.",
    ),
    (
        "unbound",
        "dns",
        S.UDP,
        {"request": QUESTION, "receive": r"^\x12\x34"},
        "UDP: answered ",
    ),
]

WRONG_ANSWERS: Final[list[tuple[str, str, CheckService, dict[str, Any], str]]] = [
    ("nginx", "http", S.HTTP, {**WEB, "receive": "Other"}, "200 OK, a body of 19 bytes"),
    ("nginx", "http", S.HTTP, {"request": "/teapot"}, "GET /teapot: 418"),
    (
        "nginx",
        "http",
        S.HTTP,
        {"request": "/nonsense", "weight_header": "X-Weight"},
        "a weight that",
    ),
    ("nginx", "http", S.HTTP, {**WEB, "digest": "0" * 32}, "with the md5 digest"),
    ("nginx", "proxied", S.HTTP, WEB, "GET /.testpage: "),
    ("nginx", "https", S.HTTP, WEB, "GET /.testpage: 400 Bad Request"),
    ("nginx", "http", S.HTTPS, {**WEB, "tls": QUIET}, "TLS handshake: "),
    (
        "nginx",
        "expired",
        S.HTTPS,
        {**WEB, **WWW, "tls": "verified"},
        "TLS handshake: the certificate: certificate has expired after ",
    ),
    (
        "nginx",
        "other",
        S.HTTPS,
        {**WEB, **WWW, "tls": "verified"},
        "TLS handshake: the certificate: Hostname mismatch, certificate is not valid for "
        "'www.example.net'",
    ),
    ("nginx", "other", S.HTTPS, {**WEB, "tls": "verified"}, "IP address mismatch"),
    (
        "nginx",
        "https",
        S.HTTPS,
        {**WEB, **WWW, "tls": Tls()},
        "TLS handshake: the certificate: unable to get local issuer certificate",
    ),
    ("nginx", "http", S.HTTP2, WEB, "HTTP/2 GET /.testpage: the server closed"),
    ("nginx", "h2c", S.HTTP2, {"request": "/missing"}, "HTTP/2 GET /missing: 404"),
    ("nginx", "http", S.WEBSOCKET, WEB, "WebSocket GET /.testpage: 200 OK instead of 101"),
    ("nginx", "h2c", S.GRPC, {"request": ""}, "gRPC health of the server: 40"),
    ("squid", "http_proxy", S.HTTP_PROXY, {"request": "http://127.0.0.1:1/"}, "503 Service Unav"),
    ("dovecot", "imap", S.IMAP, WRONG, "IMAP LOGIN: 'a1 NO [AUTHENTICATIONFAILED]"),
    ("dovecot", "pop", S.POP, WRONG, "POP3 PASS: '-ERR [AUTH]"),
    ("dovecot", "imap", S.POP, ENTER, "POP3 greeting: '* OK"),
    ("dovecot", "pop", S.IMAP, ENTER, "IMAP greeting: '+OK"),
    ("dovecot", "imap", S.NNTP, {}, "NNTP greeting: '* OK"),
    ("vsftpd", "ftp", S.FTP, {**ENTER, "request": ""}, "FTP USER checker: '530 "),
    ("vsftpd", "ftp", S.FTP, {"request": "none", "receive": "x"}, "FTP RETR none: '550 Failed"),
    ("vsftpd", "ftp", S.FTP, {"request": "status", "receive": "Other"}, "without 'Other'"),
    ("slapd", "ldap", S.LDAP, {**LDAP, "password": "wrong"}, "LDAP bind: invalidCredentials"),
    ("slapd", "ldap", S.LDAP, {**LDAP, "request": "dc=elsewhere"}, "LDAP search: noSuchObject"),
    ("slapd", "ldap", S.LDAP, {**LDAP, "receive": "dc=org"}, "without 'dc=org'"),
    ("mariadb", "mysql", S.MYSQL, {**WRONG, "request": "SELECT 7"}, "MySQL login as checker: 1045"),
    ("mariadb", "mysql", S.MYSQL, {**ENTER, "request": "SELEKT"}, "MySQL SELEKT: 1064"),
    (
        "mariadb",
        "mysql",
        S.MYSQL,
        {**ENTER, "database": "shop", "request": "SELECT id FROM article"},
        "MySQL SELECT id FROM article: no row",
    ),
    (
        "postgres",
        "pgsql",
        S.PGSQL,
        {**WRONG, "database": "postgres", "request": "SELECT 7"},
        "PostgreSQL login as checker: password authentication failed",
    ),
    (
        "postgres",
        "pgsql",
        S.PGSQL,
        {**ENTER, "database": "postgres", "request": "SELECT 1 WHERE false"},
        "PostgreSQL SELECT 1 WHERE false: no row",
    ),
    (
        "unbound",
        "dns",
        S.DNS,
        {"request": "none.example.net", **UDP},
        "DNS A none.example.net: NXD",
    ),
    ("unbound", "dns", S.DNS, {"request": "www.example.net", "receive": "^10", **UDP}, "without"),
    (
        "freeradius",
        "radius",
        S.RADIUS,
        {**WRONG, "secret": SECRET},
        "RADIUS Access-Request: Access-Reject",
    ),
    (
        "unbound",
        "dns",
        S.UDP,
        {"request": QUESTION, "receive": r"^\x12\x35"},
        "without '^\\\\x12\\\\x35'",
    ),
    ("kamailio", "sip", S.SIP, {"login": "busy@lab", **UDP}, "SIP OPTIONS: 503 Too Busy"),
    ("redis", "redis", S.REDIS, {"password": "wrong"}, "Redis AUTH: '-WRONGPASS"),
    ("redis", "redis", S.REDIS, {}, "Redis PING: '-NOAUTH"),
    ("redis", "redis", S.MEMCACHED, {}, 'memcached version: "-ERR'),
    ("mosquitto", "mqtt", S.MQTT, WRONG, "MQTT CONNECT: "),
    (
        "memcached",
        "memcached",
        S.SIMPLETCP,
        {"request": "version\\n", "receive": "x"},
        "TCP request: ",
    ),
]


def shown(row: object) -> str:
    return str(row) if isinstance(row, str) else ""


async def ask(
    asker: Asker,
    servers: RealServers,
    endpoint: Endpoint,
    service: CheckService,
    fields: dict[str, Any],
    *,
    timeout_s: float = 10.0,
) -> Any:
    fields = dict(fields)
    if fields.get("tls") == "verified":
        fields["tls"] = Tls(ca_file=str(servers.authority_file))
    if fields.get("request") == "PROXIED":
        page = servers.get("nginx").endpoint("http")
        fields["request"] = f"http://{page}/.testpage"
    return await asker.ask(service, endpoint, timeout_s=timeout_s, **fields)


@pytest.mark.parametrize(("name", "spoken", "service", "fields", "words"), HEALTHY, ids=shown)
async def test_a_healthy_server_passes(
    asker: Asker,
    real_servers: RealServers,
    name: str,
    spoken: str,
    service: CheckService,
    fields: dict[str, Any],
    words: str,
) -> None:
    endpoint = real_servers.get(name).endpoint(spoken)
    result = await ask(asker, real_servers, endpoint, service, fields)
    assert result.passed, result.reason
    assert words in result.reason


@pytest.mark.parametrize(("name", "spoken", "service", "fields", "words"), WRONG_ANSWERS, ids=shown)
async def test_a_wrong_answer_fails_with_its_reason(
    asker: Asker,
    real_servers: RealServers,
    name: str,
    spoken: str,
    service: CheckService,
    fields: dict[str, Any],
    words: str,
) -> None:
    endpoint = real_servers.get(name).endpoint(spoken)
    # A server that does not know what to do with the question may say nothing at all.
    result = await ask(asker, real_servers, endpoint, service, fields, timeout_s=1.5)
    assert not result.passed, result.reason
    assert words in result.reason


async def test_another_secret_gets_no_answer_from_radius(
    asker: Asker, real_servers: RealServers
) -> None:
    endpoint = real_servers.get("freeradius").endpoint("radius")
    result = await asker.ask(
        S.RADIUS, endpoint, timeout_s=0.2, login=LOGIN, password=PASSWORD, secret="other"
    )
    assert not result.passed
    assert result.reason == "RADIUS Access-Request: no answer within 0.2 s"


# One row for each protocol by TCP: those that pass must pass in single bytes too.
STREAMS: Final = list(
    {
        row[2]: row
        for row in HEALTHY
        if "udp" not in row[3] and row[2] is not S.UDP and row[2] is not S.RADIUS
    }.values()
)


@pytest.mark.parametrize(("name", "spoken", "service", "fields", "words"), STREAMS, ids=shown)
async def test_an_answer_in_single_bytes_passes_and_one_that_is_too_slow_fails(
    asker: Asker,
    real_servers: RealServers,
    name: str,
    spoken: str,
    service: CheckService,
    fields: dict[str, Any],
    words: str,
) -> None:
    endpoint = real_servers.get(name).endpoint(spoken)
    async with relay(endpoint, every_s=0.0) as torn, relay(endpoint, every_s=0.1) as slow:
        result = await ask(asker, real_servers, torn, service, fields)
        assert result.passed, result.reason
        result = await ask(asker, real_servers, slow, service, fields, timeout_s=0.2)
        assert not result.passed
        assert "no answer within 0.2 s" in result.reason


@pytest.mark.parametrize(
    ("service", "name", "spoken", "fields", "words"),
    [
        (S.IMAPS, "dovecot", "imap", ENTER, "checker is let in"),
        (S.POPS, "dovecot", "pop", ENTER, "checker is let in"),
        (S.LDAPS, "slapd", "ldap", LDAP, "the entry"),
        (S.SMTP, "exim", "smtp", {}, "accepted"),
        (S.NNTP, "jamnntpd", "nntp", {}, "greeted"),
        (S.REDIS, "redis", "redis", {"password": PASSWORD}, "PING is answered"),
        (S.MQTT, "mosquitto", "mqtt", ENTER, "accepted"),
        (S.HTTP2, "nginx", "h2c", WEB, "200, as expected"),
    ],
    ids=shown,
)
async def test_within_tls_the_certificate_counts(
    asker: Asker,
    real_servers: RealServers,
    service: CheckService,
    name: str,
    spoken: str,
    fields: dict[str, Any],
    words: str,
) -> None:
    plain = real_servers.get(name).endpoint(spoken)
    named = Tls(ca_file=str(real_servers.authority_file), server_name="a.example.net")
    other = Tls(ca_file=str(real_servers.authority_file), server_name="b.example.net")
    good, expired = (real_servers.server_context("a.example.net", expired=e) for e in (False, True))
    async with relay(plain, tls=good) as endpoint, relay(plain, tls=expired) as old:
        for tls, asked, problem in (
            (QUIET, endpoint, None),
            (named, endpoint, None),
            (other, endpoint, "Hostname mismatch"),
            (Tls(server_name="a.example.net"), endpoint, "unable to get local issuer certificate"),
            (QUIET, old, None),
            (named, old, "certificate has expired"),
        ):
            result = await asker.ask(service, asked, tls=tls, **fields)
            assert result.passed is (problem is None), result.reason
            assert (problem or words) in result.reason


# --- more of HTTP --------------------------------------------------------------------------------


async def test_status_digest_pages_and_weight(asker: Asker, real_servers: RealServers) -> None:
    endpoint = real_servers.get("nginx").endpoint("http")
    teapot = await asker.ask(S.HTTP, endpoint, request="/teapot", statuses=((400, 420),))
    assert teapot.passed, teapot.reason
    digest = hashlib.sha256(PAGE.encode()).hexdigest()
    whole = await asker.ask(S.HTTP, endpoint, request="/.testpage", digest=digest)
    assert whole.passed, whole.reason
    weight = await asker.ask(S.HTTP, endpoint, request="/weight", weight_header="x-weight")
    assert (weight.passed, weight.weight) == (True, 7)
    pages = (Page(request="/.testpage", digest=digest), Page(request="/missing"))
    several = await asker.ask(S.HTTP, endpoint, request="/weight", pages=pages)
    assert not several.passed
    assert several.reason.startswith("GET /missing: 404 Not Found after ")
    assert several.reason.endswith("; 2 before it passed")


# --- nobody there --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "service", [s for s in CheckService if s not in (S.NONE, S.UDP, S.RADIUS)], ids=str
)
async def test_a_stopped_server_refuses(asker: Asker, service: CheckService) -> None:
    endpoint = Endpoint(address="127.0.0.1", port=free_port())
    fields: dict[str, Any] = {"login": LOGIN, "password": PASSWORD, "request": "/x"}
    result = await asker.ask(service, endpoint, timeout_s=5.0, **fields)
    assert not result.passed
    assert "refused" in result.reason.lower()


@pytest.mark.parametrize("service", [S.DNS, S.SIP, S.RADIUS, S.UDP], ids=str)
async def test_a_stopped_server_refuses_datagrams(asker: Asker, service: CheckService) -> None:
    endpoint = Endpoint(address="127.0.0.1", port=free_port())
    fields: dict[str, Any] = {"login": LOGIN, "password": PASSWORD, "secret": "s", "request": "x"}
    result = await asker.ask(service, endpoint, timeout_s=5.0, udp=True, **fields)
    assert not result.passed
    assert "nobody listens (ICMP port unreachable)" in result.reason
