"""How real servers are checked: the words of a check, and which of them each kind of check uses.

Sans-I/O. Names are those of ldirectord wherever it has one; ``heartbus.model`` has them too.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final

Seconds = float


class CheckType(enum.StrEnum):
    """How a real server is checked; ldirectord ``checktype``, keepalived FILE_CHECK for ``file``.

    ``combined``: a negotiate check, then ``connects`` connect checks, and so on; ldirectord N.
    """

    NEGOTIATE = "negotiate"
    CONNECT = "connect"
    COMBINED = "combined"
    PING = "ping"
    EXTERNAL = "external"
    EXTERNAL_PERL = "external-perl"
    FILE = "file"
    ON = "on"
    OFF = "off"


class CheckService(enum.StrEnum):
    """What a negotiate check speaks; ldirectord ``service``, the last block is ours."""

    HTTP = "http"
    HTTPS = "https"
    HTTP_PROXY = "http_proxy"
    FTP = "ftp"
    SMTP = "smtp"
    SUBMISSION = "submission"
    POP = "pop"
    POPS = "pops"
    IMAP = "imap"
    IMAPS = "imaps"
    NNTP = "nntp"
    LDAP = "ldap"
    LDAPS = "ldaps"
    MYSQL = "mysql"
    PGSQL = "pgsql"
    ORACLE = "oracle"
    DNS = "dns"
    RADIUS = "radius"
    SIP = "sip"
    SIMPLETCP = "simpletcp"
    NONE = "none"

    UDP = "udp"
    HTTP2 = "http2"
    GRPC = "grpc"
    WEBSOCKET = "websocket"
    REDIS = "redis"
    MEMCACHED = "memcached"
    AMQP = "amqp"
    MQTT = "mqtt"


class HttpMethod(enum.StrEnum):
    """ldirectord ``httpmethod``."""

    GET = "GET"
    HEAD = "HEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """A check within TLS. ``verify``: the certificate must be trusted, in time and of the name.

    ``server_name`` is sent as SNI and is the name that is verified; None: that of ``virtualhost``,
    and without one the address of the real server is verified. ``ca_file``: trusted instead of the
    system's authorities.
    """

    verify: bool = True
    server_name: str | None = None
    ca_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One request of an HTTP check and what is expected; keepalived ``url { … }``.

    ``statuses``: accepted codes, as ranges with both ends; none: 200 to 299. ``digest``: MD5 or
    SHA-256 of the body, in hexadecimal. ``receive``: searched in the body.
    """

    request: str = "/"
    receive: str | None = None
    statuses: tuple[tuple[int, int], ...] = ()
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How the real servers of a virtual service are checked; times in seconds.

    ``port`` None means the port of the real server. ``receive`` is a regular expression that is
    searched anywhere in the answer; None accepts any good answer. ``connect_timeout_s`` bounds
    connect, ping and external checks, ``negotiate_timeout_s`` negotiate checks (ldirectord
    checktimeout and negotiatetimeout). ``fall`` equal failures in a row make an up server down
    (failurecount), ``rise`` equal passes make a down server up.

    ``command``: program and arguments of external checks; ``addresses`` True: the addresses and
    ports of the virtual service and the real server follow, as ldirectord gives them.
    ``dynamic_weight``: exit status 2 to 255 of a command is a weight plus 2 (keepalived
    misc_dynamic), the number in a file a weight. ``attempts``: echo requests of one ping check,
    each with its own timeout (checkcount). ``pages``: what an HTTP check asks after ``request``.
    ``proxy_protocol``: 0, or the version that is sent first. ``weight_header``: a field of the HTTP
    answer whose number is the weight. ``through_vip``: asked by the address of the virtual service,
    through IPVS, as clients are.

    ``fast_interval_s``: the interval while a verdict is about to change; None: ``interval_s``.
    ``slow_start_s``: after a recovery the weight grows to its full value within this time.
    ``maintenance_dir``: a file there, named after a real server, takes it out (maintenancedir).
    """

    type: CheckType = CheckType.NEGOTIATE
    service: CheckService = CheckService.NONE
    port: int | None = None
    request: str = "/"
    receive: str | None = None
    virtualhost: str | None = None
    http_method: HttpMethod = HttpMethod.GET
    login: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    secret: str = field(default="", repr=False)
    statuses: tuple[tuple[int, int], ...] = ()
    digest: str | None = None
    pages: tuple[Page, ...] = ()
    weight_header: str | None = None
    tls: Tls | None = None
    proxy_protocol: int = 0
    through_vip: bool = False
    command: tuple[str, ...] = ()
    addresses: bool = False
    dynamic_weight: bool = False
    file: str | None = None
    attempts: int = 1
    connects: int = 0
    connect_timeout_s: Seconds = 5.0
    negotiate_timeout_s: Seconds = 30.0
    interval_s: Seconds = 10.0
    fast_interval_s: Seconds | None = None
    slow_start_s: Seconds = 0.0
    maintenance_dir: str | None = None
    rise: int = 1
    fall: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library that some check needs: the module to import, and the extra that brings it."""

    extra: str
    module: str


WELL_KNOWN_PORTS: Final[Mapping[CheckService, int]] = {
    CheckService.FTP: 21,
    CheckService.SMTP: 25,
    CheckService.DNS: 53,
    CheckService.HTTP: 80,
    CheckService.POP: 110,
    CheckService.NNTP: 119,
    CheckService.IMAP: 143,
    CheckService.LDAP: 389,
    CheckService.HTTPS: 443,
    CheckService.SUBMISSION: 587,
    CheckService.LDAPS: 636,
    CheckService.IMAPS: 993,
    CheckService.POPS: 995,
    CheckService.ORACLE: 1521,
    CheckService.RADIUS: 1812,
    CheckService.HTTP_PROXY: 3128,
    CheckService.MYSQL: 3306,
    CheckService.SIP: 5060,
    CheckService.PGSQL: 5432,
    CheckService.HTTP2: 443,
    CheckService.WEBSOCKET: 80,
    CheckService.REDIS: 6379,
    CheckService.MEMCACHED: 11211,
    CheckService.AMQP: 5672,
    CheckService.MQTT: 1883,
}
"""Checked where neither checkport nor the real server names a port."""

SERVICE_BY_PORT: Final[Mapping[int, CheckService]] = {
    port: service
    for service, port in WELL_KNOWN_PORTS.items()
    if service in tuple(CheckService)[: tuple(CheckService).index(CheckService.NONE)]
}
"""ldirectord: what a negotiate check speaks when nothing says it."""

TLS_SERVICES: Final = frozenset(
    {CheckService.HTTPS, CheckService.POPS, CheckService.IMAPS, CheckService.LDAPS}
)
"""Spoken within TLS, whatever the check says of it."""

PATH_ONLY: Final = frozenset(
    {CheckService.HTTP, CheckService.HTTPS, CheckService.HTTP2, CheckService.WEBSOCKET}
)
"""Asked for a path: whom to ask for it is said by the real server and ``virtualhost``."""

UDP_SERVICES: Final = frozenset(
    {CheckService.DNS, CheckService.SIP, CheckService.RADIUS, CheckService.UDP}
)
"""The only ones that a UDP service can be checked with."""

UDP_ALWAYS: Final = frozenset({CheckService.RADIUS, CheckService.UDP})
"""Asked by UDP, whatever the protocol of the virtual service."""

LIBRARIES: Final[Mapping[CheckService, Library]] = {
    CheckService.DNS: Library(extra="dns", module="dns"),
    CheckService.MYSQL: Library(extra="mysql", module="aiomysql"),
    CheckService.PGSQL: Library(extra="pgsql", module="asyncpg"),
    CheckService.ORACLE: Library(extra="oracle", module="oracledb"),
    CheckService.HTTP2: Library(extra="http2", module="h2"),
    CheckService.GRPC: Library(extra="http2", module="h2"),
}
"""What is not installed with heartbus itself."""

_HTTP: Final = frozenset(
    {
        "request",
        "receive",
        "virtualhost",
        "http_method",
        "statuses",
        "digest",
        "pages",
        "weight_header",
    }
)
_ENTER: Final = frozenset({"login", "password"})
_STREAM: Final = frozenset({"tls", "proxy_protocol"})
_SQL: Final = _ENTER | {"request", "database"}

USED_BY_SERVICE: Final[Mapping[CheckService, frozenset[str]]] = {
    CheckService.HTTP: _HTTP | _STREAM,
    CheckService.HTTPS: _HTTP | _STREAM,
    CheckService.HTTP_PROXY: _HTTP | _STREAM,
    CheckService.FTP: _ENTER | {"request", "receive"},
    CheckService.SMTP: _STREAM,
    CheckService.SUBMISSION: _STREAM,
    CheckService.POP: _ENTER | _STREAM,
    CheckService.POPS: _ENTER | _STREAM,
    CheckService.IMAP: _ENTER | _STREAM,
    CheckService.IMAPS: _ENTER | _STREAM,
    CheckService.NNTP: _STREAM,
    CheckService.LDAP: _ENTER | _STREAM | {"request", "receive"},
    CheckService.LDAPS: _ENTER | _STREAM | {"request", "receive"},
    CheckService.MYSQL: _SQL,
    CheckService.PGSQL: _SQL,
    CheckService.ORACLE: _SQL,
    CheckService.DNS: frozenset({"request", "receive"}),
    CheckService.RADIUS: _ENTER | {"secret"},
    CheckService.SIP: frozenset({"login"}),
    CheckService.SIMPLETCP: _STREAM | {"request", "receive"},
    CheckService.NONE: frozenset(),
    CheckService.UDP: frozenset({"request", "receive"}),
    CheckService.HTTP2: frozenset({"request", "receive", "virtualhost", "statuses"}) | _STREAM,
    CheckService.GRPC: frozenset({"request", "virtualhost"}) | _STREAM,
    CheckService.WEBSOCKET: frozenset({"request", "virtualhost"}) | _STREAM,
    CheckService.REDIS: _ENTER | _STREAM,
    CheckService.MEMCACHED: _STREAM,
    CheckService.AMQP: _STREAM,
    CheckService.MQTT: _ENTER | _STREAM,
}
"""The fields of a check that a negotiation uses."""

USED_BY_TYPE: Final[Mapping[CheckType, frozenset[str]]] = {
    CheckType.CONNECT: frozenset(),
    CheckType.PING: frozenset({"attempts"}),
    CheckType.EXTERNAL: frozenset({"command", "addresses", "dynamic_weight"}),
    CheckType.EXTERNAL_PERL: frozenset({"command", "addresses", "dynamic_weight"}),
    CheckType.FILE: frozenset({"file", "dynamic_weight"}),
}
"""The fields of a check that other types than negotiate use."""

DESCRIBES_THE_EXCHANGE: Final = frozenset.union(*USED_BY_SERVICE.values(), *USED_BY_TYPE.values())
"""Fields that say what is asked; the others say when, and what follows from the answer."""


def is_stream(check: Check) -> bool:
    """Return whether it is one TCP connection (FTP and SQL open their own)."""
    if check.type is CheckType.CONNECT:
        return True
    negotiated = check.type in (CheckType.NEGOTIATE, CheckType.COMBINED)
    return negotiated and "proxy_protocol" in USED_BY_SERVICE[check.service]


def uses(check: Check) -> frozenset[str]:
    """Return which fields of the check change what is asked."""
    used = USED_BY_TYPE.get(check.type, frozenset())
    if check.type in (CheckType.NEGOTIATE, CheckType.COMBINED):
        used |= USED_BY_SERVICE[check.service]
    if check.type is CheckType.COMBINED:
        used |= {"connects"}
    return used


def bare(check: Check) -> Check:
    """Return the check with every field that does not change what is asked at its default.

    Two bare checks that are equal ask the same.
    """
    used = uses(check) | {"type"}
    if check.type in (CheckType.NEGOTIATE, CheckType.COMBINED):
        used |= {"service"}
    return replace(
        _DEFAULT, **{f.name: getattr(check, f.name) for f in fields(check) if f.name in used}
    )


_DEFAULT: Final = Check()
