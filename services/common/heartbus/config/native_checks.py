"""Reads the ``check`` table of a [[virtual_services]] table of the TOML form.

Sans-I/O.
"""

from __future__ import annotations

import re
import shlex
from typing import Final

from heartbus.config.native_guards import Secrets
from heartbus.config.toml_table import Table
from heartbus.config.values import BadValueError, absolute_path, bad, virtual_host
from heartbus.model import (
    Check,
    CheckService,
    CheckType,
    HttpMethod,
    Page,
    Tls,
    TransportProtocol,
)
from heartbus.model_checks import SERVICE_BY_PORT, TLS_SERVICES, UDP_SERVICES

RESULTS_MAX: Final = 1000
ATTEMPTS_MAX: Final = 100
PROXY_VERSIONS: Final = 2
DEFAULT_REQUESTS: Final = {
    # What is asked where nothing is said; the others that use it send nothing.
    CheckService.MYSQL: "SELECT 1",
    CheckService.PGSQL: "SELECT 1",
    CheckService.ORACLE: "SELECT 1 FROM dual",
    **dict.fromkeys(
        (
            CheckService.FTP,
            CheckService.LDAP,
            CheckService.LDAPS,
            CheckService.DNS,
            CheckService.SIMPLETCP,
            CheckService.UDP,
            CheckService.GRPC,
        ),
        "",
    ),
}
NEGOTIATED: Final = (CheckType.NEGOTIATE, CheckType.COMBINED)

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEXADECIMAL = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")
_STATUSES = re.compile(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?")


def check(table: Table, port: int, protocol: TransportProtocol, secrets: Secrets) -> Check:
    """Return the check; what is not said follows from the port, as in ldirectord."""
    default = Check()
    service = table.choice("service", CheckService)
    if service is None:
        service = SERVICE_BY_PORT.get(port, CheckService.NONE)
        if protocol is TransportProtocol.UDP and service not in UDP_SERVICES:
            service = CheckService.NONE
    type_ = _type(table, service, protocol)
    negotiated = type_ in NEGOTIATED
    tls = _tls(table, wanted=negotiated and service in TLS_SERVICES)
    connect_timeout_s = table.seconds("connect_timeout")
    negotiate_timeout_s = table.seconds("negotiate_timeout")
    result = Check(
        type=type_,
        service=service,
        port=table.integer("port", 1, 65535),
        request=table.text("request", str) or DEFAULT_REQUESTS.get(service, "/"),
        receive=table.text("receive", str) or None,
        virtualhost=table.text("virtualhost", virtual_host),
        http_method=table.choice("http_method", HttpMethod) or default.http_method,
        login=table.text("login", str) or "",
        password=_secret(table, "password", secrets),
        database=table.text("database", str) or "",
        secret=_secret(table, "secret", secrets),
        statuses=tuple(table.texts("statuses", _status_range)),
        digest=table.text("digest", _digest),
        pages=tuple(_page(page) for page in table.tables("pages")),
        weight_header=table.text("weight_header", _field_name),
        tls=tls,
        proxy_protocol=table.integer("proxy_protocol", 0, PROXY_VERSIONS) or 0,
        through_vip=bool(table.boolean("through_vip")),
        command=_command(table),
        addresses=bool(table.boolean("addresses")),
        dynamic_weight=bool(table.boolean("dynamic_weight")),
        file=table.text("file", absolute_path),
        attempts=table.integer("attempts", 1, ATTEMPTS_MAX) or default.attempts,
        connects=table.integer("connects", 1, RESULTS_MAX) or default.connects,
        connect_timeout_s=connect_timeout_s or default.connect_timeout_s,
        negotiate_timeout_s=negotiate_timeout_s or default.negotiate_timeout_s,
        interval_s=table.seconds("interval") or default.interval_s,
        fast_interval_s=table.seconds("fast_interval"),
        slow_start_s=table.seconds("slow_start", zero=True) or default.slow_start_s,
        maintenance_dir=table.text("maintenance_dir", absolute_path),
        rise=table.integer("rise", 1, RESULTS_MAX) or default.rise,
        fall=table.integer("fall", 1, RESULTS_MAX) or default.fall,
    )
    table.close()
    return result


def _secret(table: Table, key: str, secrets: Secrets) -> str:
    """Return a secret that is written here, or in the file that ``KEY_file`` names."""
    written = table.secret(key)
    file = table.text(f"{key}_file", str)
    if written is not None and file is not None:
        table.report.error(table.at(f"{key}_file"), f"given beside {key}; allowed is one")
    elif file is not None:
        return secrets.from_file(table, f"{key}_file", file).decode("utf-8", "surrogateescape")
    elif written:
        secrets.written_here(table, key)
    return written or ""


def _type(table: Table, service: CheckService, protocol: TransportProtocol) -> CheckType:
    type_ = table.choice("type", CheckType)
    spoken = service is not CheckService.NONE
    if type_ is None:
        if spoken:
            return CheckType.NEGOTIATE
        if protocol is TransportProtocol.TCP:
            return CheckType.CONNECT
        return CheckType.PING
    if type_ in NEGOTIATED and not spoken:
        table.report.error(
            table.at("type"),
            f'{type_} needs a service to speak; allowed is service = "http" or another, or'
            ' type = "connect"',
        )
    if type_ is CheckType.CONNECT and protocol is TransportProtocol.UDP:
        table.report.error(
            table.at("type"),
            'a udp service has nothing to connect to; allowed is type = "ping", or a service that'
            f" is asked by UDP: {', '.join(sorted(UDP_SERVICES))}",
        )
    return type_


def _tls(table: Table, *, wanted: bool) -> Tls | None:
    written = table.has("tls")
    inner = table.table("tls")
    table.peek("tls")
    verify = inner.boolean("verify")
    tls = Tls(
        verify=True if verify is None else verify,
        server_name=inner.text("server_name", virtual_host),
        ca_file=inner.text("ca_file", absolute_path),
    )
    inner.close()
    return tls if written or wanted else None


def _page(table: Table) -> Page:
    page = Page(
        request=table.required("request", table.text("request", str)) or "/",
        receive=table.text("receive", str) or None,
        statuses=tuple(table.texts("statuses", _status_range)),
        digest=table.text("digest", _digest),
    )
    table.close()
    return page


def _command(table: Table) -> tuple[str, ...]:
    if not isinstance(table.peek("command"), str):
        return tuple(table.texts("command", str))
    return table.text("command", _words) or ()


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise BadValueError(f"{error}; allowed is a program and its arguments") from None


def _status_range(text: str) -> tuple[int, int]:
    match = _STATUSES.fullmatch(text)
    if match is None or (match[2] and match[2] < match[1]):
        raise bad(text, 'a status code such as "204", or a range such as "200-299"')
    return int(match[1]), int(match[2] or match[1])


def _digest(text: str) -> str:
    if _HEXADECIMAL.fullmatch(text.lower()):
        return text.lower()
    raise bad(text, "an MD5 or SHA-256 digest: 32 or 64 hexadecimal digits")


def _field_name(text: str) -> str:
    if _FIELD_NAME.fullmatch(text):
        return text
    raise bad(text, "the name of a field of an HTTP answer, such as X-Weight")
