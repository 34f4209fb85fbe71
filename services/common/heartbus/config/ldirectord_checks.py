"""Turns the check directives of one section of an ldirectord file into a check of the model.

Sans-I/O. Defaults are those of ldirectord. Where its behaviour was a defect the right thing is done
here, and the report says so when the file relies on the old one.
"""

from __future__ import annotations

import shlex
from typing import Final

from heartbus.config.ldirectord_directives import Section, Settings
from heartbus.config.report import Place, Report, Setting
from heartbus.model import Check, CheckService, CheckType, HttpMethod, Tls, TransportProtocol
from heartbus.model_checks import SERVICE_BY_PORT, TLS_SERVICES, USED_BY_SERVICE

CHECKTIMEOUT_DEFAULT_S: Final = 5
NEGOTIATETIMEOUT_DEFAULT_S: Final = 30
CHECKINTERVAL_DEFAULT_S: Final = 10

HTTP_SERVICES: Final = frozenset({CheckService.HTTP, CheckService.HTTPS, CheckService.HTTP_PROXY})
SQL_SERVICES: Final = frozenset({CheckService.MYSQL, CheckService.PGSQL, CheckService.ORACLE})
DEFAULT_QUERIES: Final = {
    CheckService.MYSQL: "SELECT 1",
    CheckService.PGSQL: "SELECT 1",
    CheckService.ORACLE: "SELECT 1 FROM dual",
}
_CHECKTIMEOUT_BOUND: Final = frozenset({CheckService.LDAP, CheckService.LDAPS, CheckService.RADIUS})
"""ldirectord bounds these by checktimeout instead of negotiatetimeout."""


def check(
    section: Section, port: int, protocol: TransportProtocol, defaults: Settings, report: Report
) -> Check:
    """Return how the real servers of a section are checked; ``port``: of the virtual service."""
    own = section.settings
    type_, connects = _type(section, protocol, report)
    service = _service(own, port)
    type_ = _never_asked(section, type_, service, report)
    negotiated = type_ in (CheckType.NEGOTIATE, CheckType.COMBINED)
    if negotiated:
        _say_differences(section, service, report)
    falls = own.failurecount or defaults.failurecount
    counts = own.checkcount or defaults.checkcount
    external = type_ in (CheckType.EXTERNAL, CheckType.EXTERNAL_PERL)
    return Check(
        type=type_,
        service=service,
        port=own.checkport.value if own.checkport else None,
        request=_request(own.request.value if own.request else "/", service),
        receive=(own.receive.value or None) if own.receive else None,
        virtualhost=own.virtualhost.value if own.virtualhost else None,
        http_method=own.httpmethod.value if own.httpmethod else HttpMethod.GET,
        login=own.login.value if own.login else "",
        password=own.passwd.value if own.passwd else "",
        database=own.database.value if own.database else "",
        secret=own.secret.value if own.secret else "",
        tls=Tls(verify=False) if negotiated and service in TLS_SERVICES else None,
        command=_command(section, report) if external else (),
        addresses=external,
        attempts=counts.value if counts else 1,
        connects=connects,
        connect_timeout_s=_first(
            own.checktimeout_s,
            own.negotiatetimeout_s,
            defaults.checktimeout_s,
            defaults.negotiatetimeout_s,
            default_s=CHECKTIMEOUT_DEFAULT_S,
        ),
        negotiate_timeout_s=_first(
            own.negotiatetimeout_s,
            own.checktimeout_s,
            defaults.negotiatetimeout_s,
            defaults.checktimeout_s,
            default_s=NEGOTIATETIMEOUT_DEFAULT_S,
        ),
        interval_s=_interval_s(own, defaults, report),
        maintenance_dir=defaults.maintenancedir.value if defaults.maintenancedir else None,
        fall=falls.value if falls else 1,
    )


def own_request(request: str | None, service: CheckService) -> str | None:
    """Return the request of a ``real=`` line as the check of its service has it."""
    return None if request is None else _request(request, service)


def _request(written: str, service: CheckService) -> str:
    """Return the request as it is asked: ldirectord adds a slash and takes it away again."""
    if service in HTTP_SERVICES or "request" not in USED_BY_SERVICE[service]:
        return written
    return written.removeprefix("/") or DEFAULT_QUERIES.get(service, "")


def _first(*settings: Setting[float] | None, default_s: int) -> float:
    return float(next((s.value for s in settings if s is not None), default_s))


def _interval_s(own: Settings, defaults: Settings, report: Report) -> float:
    interval = defaults.checkinterval_s
    if own.checkinterval_s is not None:
        if defaults.fork is not None and defaults.fork.value:
            interval = own.checkinterval_s
        else:
            report.warning(
                own.checkinterval_s.place,
                "left out here, as in ldirectord without fork=yes; the global one counts",
            )
    return float(interval.value if interval else CHECKINTERVAL_DEFAULT_S)


def _place(section: Section) -> Place:
    own = section.settings
    return (own.checktype or own.service or Setting(value="", place=section.place)).place


def _type(section: Section, protocol: TransportProtocol, report: Report) -> tuple[CheckType, int]:
    """Return the type, and how many connect checks follow each negotiate check."""
    own = section.settings
    written = own.checktype.value if own.checktype else "negotiate"
    if written.isdecimal():
        connects = int(written)
        return (CheckType.COMBINED, connects) if connects else (CheckType.NEGOTIATE, 0)
    type_ = CheckType(written)
    if type_ is CheckType.CONNECT and protocol is TransportProtocol.UDP:
        report.note(
            _place(section), "a udp service has nothing to connect to: ping, as in ldirectord"
        )
        return CheckType.PING, 0
    return type_, 0


def _service(own: Settings, port: int) -> CheckService:
    if own.service is not None:
        return CheckService(own.service.value)
    return SERVICE_BY_PORT.get(port, CheckService.NONE)


def _never_asked(
    section: Section, type_: CheckType, service: CheckService, report: Report
) -> CheckType:
    if service is not CheckService.NONE:
        return type_
    if type_ is CheckType.NEGOTIATE:
        report.note(
            _place(section),
            "negotiate without a service always passes, as in ldirectord: every real server counts"
            " as up; checktype=connect would test the port",
        )
        return CheckType.ON
    if type_ is CheckType.COMBINED:
        report.note(
            _place(section), "without a service there is nothing to negotiate: taken as connect"
        )
        return CheckType.CONNECT
    return type_


def _command(section: Section, report: Report) -> tuple[str, ...]:
    """Return program and arguments of checkcommand (L-20)."""
    written = section.settings.checkcommand
    if written is None:
        report.note(
            _place(section), "no checkcommand: /bin/true is run, as in ldirectord; it always passes"
        )
        return ("/bin/true",)
    try:
        words = shlex.split(written.value)
    except ValueError as error:
        report.error(written.place, f"{error}; allowed is a program and its arguments")
        return ("/bin/false",)
    if not words:
        report.error(written.place, "no program; allowed is a path such as /usr/local/bin/check")
        return ("/bin/false",)
    if len(words) > 1:
        report.note(
            written.place,
            f"the program is {words[0]}, the words after it are its first arguments; ldirectord"
            " takes the whole value as the name of the program",
        )
    return tuple(words)


def _say_differences(section: Section, service: CheckService, report: Report) -> None:
    """Say where the file relies on what was a defect of ldirectord (L-5, L-8, L-12)."""
    own = section.settings
    place = (own.service or own.checktype or Setting(value="", place=section.place)).place
    receive = own.receive is not None and own.receive.value != ""
    own_receive = bool(own.reals) and all(real.value.receive for real in own.reals)
    searched = receive or own_receive
    if service in (CheckService.POP, CheckService.POPS) and own.login is None:
        report.note(
            place,
            "without login the greeting of the server is awaited; ldirectord passes with nothing"
            " listening",
        )
    if service is CheckService.FTP and not searched:
        report.note(
            place,
            "without receive the server must accept the login; ldirectord passes with nothing"
            " listening",
        )
    if service is CheckService.DNS and not searched:
        report.note(
            place, "without receive any address in the answer passes; with ldirectord none does"
        )
    if service in SQL_SERVICES:
        if own.request is None:
            report.note(
                place,
                f"no request: {DEFAULT_QUERIES[service]!r} is asked; ldirectord counts every real"
                " server as down",
            )
        report.note(place, "bounded by negotiatetimeout; ldirectord waits as long as it takes")
    timeouts = (own.checktimeout_s, own.negotiatetimeout_s)
    if service in _CHECKTIMEOUT_BOUND and all(t is not None for t in timeouts):
        report.note(place, "bounded by negotiatetimeout; ldirectord takes checktimeout here")
    if service in TLS_SERVICES:
        sni = " and virtualhost is sent as SNI" if own.virtualhost is not None else ""
        report.note(
            place,
            f"the certificate is not verified, as in ldirectord{sni}; the TOML form has tls.verify",
        )
