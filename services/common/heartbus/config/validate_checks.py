"""The rules that tie the parts of a check together, for every form of configuration.

Sans-I/O. Whether a library is installed is asked elsewhere (``check_libraries``).
"""

from __future__ import annotations

import functools
import warnings
from typing import Final

from heartbus.config.report import Place, Places, Report, shown
from heartbus.config.values import is_url
from heartbus.model import Check, CheckService, CheckType, TransportProtocol, VirtualService
from heartbus.model_checks import DESCRIBES_THE_EXCHANGE, PATH_ONLY, UDP_ALWAYS, is_stream, uses
from heartbus.perl_pattern import PATTERN_CHARS_MAX, PerlOnlyError, translated

PATTERN_SIGNS: Final = frozenset("\\.^$*+?{}[]|()")
PAGES_MAX: Final = 16

_NEGOTIATED: Final = (CheckType.NEGOTIATE, CheckType.COMBINED)
_SQL: Final = (CheckService.MYSQL, CheckService.PGSQL, CheckService.ORACLE)
_EXTERNAL: Final = (CheckType.EXTERNAL, CheckType.EXTERNAL_PERL)


def check_rules(service: VirtualService, index: int, places: Places, report: Report) -> None:
    """Report what contradicts itself in the check of one virtual service."""
    check = service.check
    at = functools.partial(places.at, "virtual_services", index, "check")
    if check.port is not None and not 1 <= check.port <= 65535:
        report.error(at("port"), f"{check.port} is not allowed; allowed is 1 to 65535")
    for name, value in (("rise", check.rise), ("fall", check.fall)):
        if value < 1:
            report.error(at(name), f"{value} is not allowed; allowed is 1 or more")
    _request(check.request, check, at("request"), report)
    _receive(check.receive, at("receive"), report)
    if len(check.pages) > PAGES_MAX:
        report.error(at("pages"), f"{len(check.pages)} are too many; allowed is {PAGES_MAX}")
    for number, page in enumerate(check.pages):
        _request(page.request, check, at("pages", number, "request"), report)
        _receive(page.receive, at("pages", number, "receive"), report)
    for position, real in enumerate(service.real_servers):
        if real.request is None and real.receive is None:
            continue
        own = functools.partial(places.at, "virtual_services", index, "real_servers", position)
        _request(real.request, check, own("request"), report)
        _receive(real.receive, own("receive"), report)
    if check.through_vip:
        _through_vip(service, at, report)
    _needed(service, at, report)
    _unused(check, at, report)


def _through_vip(service: VirtualService, at: functools.partial[Place], report: Report) -> None:
    """Report what cannot be asked by the address of the service."""
    place = at("through_vip")
    if service.fwmark or service.protocol is not TransportProtocol.TCP or not service.endpoint.port:
        report.error(place, "allowed for a tcp service with an address and a port")
    elif not is_stream(service.check):
        report.error(place, "allowed for checks over one TCP connection, which this is not")
    if service.check.port is not None:
        report.error(
            at("port"), "not allowed with through_vip: the port is that of the virtual service"
        )


def _needed(service: VirtualService, at: functools.partial[Place], report: Report) -> None:
    """Report what a check cannot do without."""
    check = service.check
    if check.type in _EXTERNAL and not check.command:
        report.error(at("command"), "missing; an external check needs a program to run")
    if check.type in _EXTERNAL and check.command and not check.command[0].startswith("/"):
        report.error(
            at("command"), f"{shown(check.command[0])} is not allowed; allowed is an absolute path"
        )
    if check.type is CheckType.FILE and check.file is None:
        report.error(at("file"), "missing; a file check needs a file to read")
    if check.type is CheckType.COMBINED and check.connects < 1:
        report.error(at("connects"), "missing; allowed is 1 or more connect checks between")
    if check.type not in _NEGOTIATED:
        return
    if check.service in _SQL and not check.login:
        report.error(at("login"), f"missing; {check.service} asks who logs in")
    if check.service is CheckService.RADIUS:
        for key, value in (("login", check.login), ("secret", check.secret)):
            if not value:
                report.error(at(key), "missing; radius needs login and secret")
    if check.service is CheckService.DNS and not all(
        (check.request if real.request is None else real.request) for real in service.real_servers
    ):
        report.error(at("request"), "missing; allowed is a name to ask for, or an address")
    if check.type is CheckType.COMBINED and check.service in UDP_ALWAYS:
        report.error(at("type"), f"{check.service} is asked by UDP, which has no connections")


def _unused(check: Check, at: functools.partial[Place], report: Report) -> None:
    """Say what is written and has no effect."""
    used = uses(check)
    default = Check()
    for name in sorted(DESCRIBES_THE_EXCHANGE - used - {"request", "tls", "addresses"}):
        if getattr(check, name) != getattr(default, name):
            what = f"{check.type} {check.service}" if check.type in _NEGOTIATED else check.type
            report.warning(at(name), f"without effect: a {what} check does not use it")
    if check.tls is not None and check.type in _NEGOTIATED and "tls" not in used:
        report.error(at("tls"), f"{check.service} is not asked within TLS by this version")


def _request(request: str | None, check: Check, place: Place, report: Report) -> None:
    if request is None or check.type not in _NEGOTIATED:
        return
    if check.service not in PATH_ONLY or not is_url(request):
        return
    report.error(
        place,
        f"{shown(request)} is a whole URL, which this version does not ask for; allowed is a path"
        " such as /.testpage: the real server and its port (or checkport) are asked, virtualhost"
        " gives the host name",
    )


def _receive(pattern: str | None, place: Place, report: Report) -> None:
    if pattern is None or not PATTERN_SIGNS.intersection(pattern):
        return
    if len(pattern) > PATTERN_CHARS_MAX:
        report.error(
            place,
            f"{len(pattern)} characters are too many for a pattern; allowed is"
            f" {PATTERN_CHARS_MAX} at most",
        )
        return
    # Only a pattern with signs needs the library: most have none, and importing it costs time at
    # the start of every service.
    import regex  # type: ignore[import-untyped]  # ships no types

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # As bytes, as the checker does: the rules differ.
            regex.compile(translated(pattern).encode())
    except PerlOnlyError as error:
        report.error(place, f"{shown(pattern)} cannot be translated: {error}")
    except (regex.error, OverflowError, RecursionError, ValueError) as error:
        report.error(
            place,
            f"{shown(pattern)} is no regular expression ({shown(str(error))[1:-1]});"
            " allowed are Perl's",
        )
