"""Turns the sections of an ldirectord file into virtual services of the model.

Sans-I/O. Defaults and the order in which settings override one another are those of ldirectord.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.ldirectord import LdirectordFile
from heartbus.config.ldirectord_directives import (
    SERVICE_BY_PORT,
    Fallback,
    Section,
    Settings,
    VirtualAddress,
)
from heartbus.config.report import Path, Place, Report, Setting
from heartbus.model import (
    Check,
    CheckService,
    CheckType,
    Endpoint,
    HttpMethod,
    RealServer,
    Scheduler,
    SorryServer,
    TransportProtocol,
    VirtualService,
)

CHECKTIMEOUT_DEFAULT_S: Final = 5
NEGOTIATETIMEOUT_DEFAULT_S: Final = 30
CHECKINTERVAL_DEFAULT_S: Final = 10
DNS_PORT: Final = 53


def services(content: LdirectordFile, group: str, report: Report) -> list[Setting[VirtualService]]:
    """Return the virtual services of the file as part of this resource group."""
    result: list[Setting[VirtualService]] = []
    for section in content.sections:
        if section.address is None:
            continue
        if section.address.left_out is not None:
            report.warning(
                section.place,
                "known to ldirectord, not used by this version:"
                f" {section.address.left_out}; the service is left out{_below(section)}",
            )
            continue
        service = _service(section, section.address, content.settings, group, report)
        _note_redirects(section, service, report)
        parts = _parts(section, service, content.settings)
        result.append(Setting(value=service, place=section.place, parts=parts))
    return result


def _note_redirects(section: Section, service: VirtualService, report: Report) -> None:
    """Say what a check that any good answer passed for ldirectord does otherwise here."""
    check = service.check
    if (check.type, check.service) != (CheckType.NEGOTIATE, CheckService.HTTP) or check.receive:
        return
    if any(server.receive is None for server in service.real_servers):
        own = section.settings
        place = (own.request or own.service or own.checktype or section).place
        report.note(
            place,
            "no receive, and redirects are not followed here as ldirectord does: an answer 3xx"
            " counts as failed",
        )


def _below(section: Section) -> str:
    match section.left_out_lines:
        case 0:
            return ""
        case 1:
            return " with the directive below it"
        case lines:
            return f" with the {lines} directives below it"


def _parts(section: Section, service: VirtualService, defaults: Settings) -> dict[Path, Place]:
    """Return where the parts that are tested together with others were written."""
    own = section.settings
    parts: dict[Path, Place] = {}
    for path, setting in (
        (("check", "request"), own.request),
        (("check", "receive"), own.receive),
        (("check", "port"), own.checkport),
        (("fallback",), own.fallback or defaults.fallback),
    ):
        if setting is not None:
            parts[path] = setting.place
    at = {
        (address, real.value.port or service.endpoint.port): real.place
        for real in own.reals
        for address in real.value.addresses
    }
    for index, server in enumerate(service.real_servers):
        parts["real_servers", index] = at[server.endpoint.address, server.endpoint.port]
    return parts


def _service(
    section: Section, address: VirtualAddress, defaults: Settings, group: str, report: Report
) -> VirtualService:
    own = section.settings
    protocol = TransportProtocol.UDP if address.port == DNS_PORT else TransportProtocol.TCP
    if own.protocol is not None:
        protocol = own.protocol.value
    quiescent = own.quiescent or defaults.quiescent
    if own.netmask is not None and own.persistent_s is None:
        report.warning(own.netmask.place, "without persistent it has no effect, as in ldirectord")
    persistent_s = own.persistent_s.value if own.persistent_s else None
    return VirtualService(
        protocol=protocol,
        endpoint=Endpoint(address=address.address, port=address.port),
        scheduler=own.scheduler.value if own.scheduler else Scheduler.WRR,
        real_servers=_real_servers(own, address, report),
        sorry_server=_sorry_server(own.fallback or defaults.fallback, address),
        check=_check(section, address, protocol, defaults, report),
        quiescent=quiescent.value if quiescent else False,
        persistence_timeout_s=persistent_s,
        persistence_netmask=own.netmask.value if own.netmask and persistent_s else None,
        group=group,
    )


def _real_servers(own: Settings, address: VirtualAddress, report: Report) -> tuple[RealServer, ...]:
    servers: dict[Endpoint, RealServer] = {}
    for setting in own.reals:
        real = setting.value
        for what in real.unused:
            report.warning(setting.place, f"known to ldirectord, not used by this version: {what}")
        if real.port is None:
            report.warning(setting.place, f"no port; taken as {address.port}, as virtual= has it")
        for host in real.addresses:
            endpoint = Endpoint(address=host, port=real.port or address.port)
            if endpoint in servers:
                report.warning(setting.place, f"{endpoint} stands above already; this one counts")
            servers[endpoint] = RealServer(
                endpoint=endpoint,
                forwarding=real.forwarding,
                weight=real.weight,
                request=real.request,
                receive=real.receive or None,
            )
    return tuple(servers.values())


def _sorry_server(setting: Setting[Fallback] | None, address: VirtualAddress) -> SorryServer | None:
    if setting is None:
        return None
    fallback = setting.value
    return SorryServer(
        endpoint=Endpoint(address=fallback.address, port=fallback.port or address.port),
        forwarding=fallback.forwarding,
    )


def _check(
    section: Section,
    address: VirtualAddress,
    protocol: TransportProtocol,
    defaults: Settings,
    report: Report,
) -> Check:
    own = section.settings
    type_, service = _check_type(section, address, protocol, report)
    interval = defaults.checkinterval_s
    if own.checkinterval_s is not None:
        if defaults.fork is not None and defaults.fork.value:
            interval = own.checkinterval_s
        else:
            report.warning(
                own.checkinterval_s.place,
                "left out here, as in ldirectord without fork=yes; the global one counts",
            )
    falls = own.failurecount or defaults.failurecount
    return Check(
        type=type_,
        service=service,
        port=own.checkport.value if own.checkport else None,
        request=own.request.value if own.request else "/",
        receive=(own.receive.value or None) if own.receive else None,
        virtualhost=own.virtualhost.value if own.virtualhost else None,
        http_method=own.httpmethod.value if own.httpmethod else HttpMethod.GET,
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
        interval_s=float(interval.value if interval else CHECKINTERVAL_DEFAULT_S),
        fall=falls.value if falls else 1,
    )


def _first(*settings: Setting[int] | None, default_s: int) -> float:
    return float(next((s.value for s in settings if s is not None), default_s))


def _check_type(
    section: Section, address: VirtualAddress, protocol: TransportProtocol, report: Report
) -> tuple[CheckType, CheckService]:
    """Return what this version does for checktype and service; less than asked with a warning."""
    own = section.settings
    written = own.checktype.value if own.checktype else "negotiate"
    service = own.service.value if own.service else SERVICE_BY_PORT.get(address.port, "none")
    at = (own.checktype or own.service or Setting(value="", place=section.place)).place
    if written in ("on", "off"):
        return CheckType(written), _spoken(service)
    if written not in ("negotiate", "connect"):
        kind = "combined" if written.isdecimal() else written
        instead = "negotiate" if written.isdecimal() else "connect"
        report.warning(
            at,
            f"known to ldirectord, not used by this version: {kind} checks; taken as {instead}",
        )
        written = instead
    if protocol is TransportProtocol.UDP:
        report.warning(
            at,
            "known to ldirectord, not used by this version: checks of udp services; every real"
            " server counts as up",
        )
        return CheckType.ON, CheckService.NONE
    if written == "connect":
        return CheckType.CONNECT, _spoken(service)
    if service == "none":
        report.note(
            at,
            "negotiate without a service always passes, as in ldirectord: every real server counts"
            " as up; checktype=connect would test the port",
        )
        return CheckType.ON, CheckService.NONE
    if _spoken(service) is CheckService.NONE:
        place = (own.service or Setting(value="", place=section.place)).place
        report.warning(place, _not_spoken(place, service))
        return CheckType.CONNECT, CheckService.NONE
    return CheckType.NEGOTIATE, _spoken(service)


def _spoken(service: str) -> CheckService:
    try:
        return CheckService(service)
    except ValueError:
        return CheckService.NONE


def _not_spoken(place: Place, service: str) -> str:
    implied = "" if place.directive == "service" else " (which the port implies)"
    return (
        f"known to ldirectord, not used by this version: {service} checks{implied};"
        " checked by TCP connect"
    )
