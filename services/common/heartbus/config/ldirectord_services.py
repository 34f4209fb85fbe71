"""Turns the sections of an ldirectord file into virtual services of the model.

Sans-I/O. Defaults and the order in which settings override one another are those of ldirectord.
"""

from __future__ import annotations

from typing import Final

from heartbus.config import ldirectord_checks
from heartbus.config.ipvsadm_rules import ANY_IPV4, ANY_IPV6
from heartbus.config.ldirectord import LdirectordFile
from heartbus.config.ldirectord_checks import own_request
from heartbus.config.ldirectord_directives import (
    Fallback,
    Section,
    Settings,
    VirtualAddress,
)
from heartbus.config.ldirectord_shared import note_shared
from heartbus.config.report import Path, Place, Report, Setting
from heartbus.model import (
    CheckService,
    CheckType,
    Endpoint,
    RealServer,
    Scheduler,
    ServicePolicy,
    SorryServer,
    TransportProtocol,
    VirtualService,
)

DNS_PORT: Final = 53


def services(content: LdirectordFile, group: str, report: Report) -> list[Setting[VirtualService]]:
    """Return the virtual services of the file as part of this resource group."""
    result: list[Setting[VirtualService]] = []
    for section in content.sections:
        if section.address is None:
            continue
        service = _service(section, section.address, content.settings, group, report)
        _note_redirects(section, service, report)
        parts = _parts(section, service, content.settings)
        result.append(Setting(value=service, place=section.place, parts=parts))
    _note_quiescent(content, report)
    _note_cleanstop(content, report)
    note_shared(result, report)
    return result


def _note_quiescent(content: LdirectordFile, report: Report) -> None:
    """Say once what a file that does not say it gets: the default changed in 2009 (L-15)."""
    silent = [s.place for s in content.sections if s.address and s.settings.quiescent is None]
    if silent and content.settings.quiescent is None:
        report.note(
            silent[0].of("quiescent"),
            "not given: no, as in ldirectord since 2009; before that, and in its manual, it is yes",
        )


def _note_cleanstop(content: LdirectordFile, report: Report) -> None:
    """Say once that the default is not ldirectord's, to a file that leaves it to the default."""
    silent = [s.place for s in content.sections if s.address and s.settings.cleanstop is None]
    if silent and content.settings.cleanstop is None:
        report.note(
            silent[0].of("cleanstop"),
            "not given: no, a stop leaves the table and its connections; for ldirectord it is yes,"
            " its stop empties the table, as cleanstop=yes does here",
        )


def _note_redirects(section: Section, service: VirtualService, report: Report) -> None:
    """Say what a check that any good answer passed for ldirectord does otherwise here."""
    check = service.check
    asked = check.type in (CheckType.NEGOTIATE, CheckType.COMBINED)
    if not asked or check.service not in ldirectord_checks.HTTP_SERVICES or check.receive:
        return
    if any(server.receive is None for server in service.real_servers):
        own = section.settings
        place = (own.request or own.service or own.checktype or section).place
        report.note(
            place,
            "no receive, and redirects are not followed here as ldirectord does: an answer 3xx"
            " counts as failed",
        )


def _parts(section: Section, service: VirtualService, defaults: Settings) -> dict[Path, Place]:
    """Return where the parts that are tested together with others were written."""
    own = section.settings
    assert section.address is not None
    fallback = _fallback(own, defaults, section.address)
    parts: dict[Path, Place] = {}
    for path, setting in (
        (("check",), own.service or own.checktype),
        (("check", "request"), own.request),
        (("check", "receive"), own.receive),
        (("check", "port"), own.checkport),
        (("check", "service"), own.service),
        (("check", "type"), own.checktype),
        (("check", "connects"), own.checktype),
        (("check", "command"), own.checkcommand),
        (("check", "login"), own.login),
        (("check", "password"), own.passwd),
        (("check", "database"), own.database),
        (("check", "secret"), own.secret),
        (("check", "virtualhost"), own.virtualhost),
        (("check", "http_method"), own.httpmethod),
        (("check", "attempts"), own.checkcount or defaults.checkcount),
        (("check", "maintenance_dir"), defaults.maintenancedir),
        (("check", "fall"), own.failurecount or defaults.failurecount),
        (("check", "interval"), _interval(own, defaults)),
        (
            ("check", "connect_timeout"),
            own.checktimeout_s
            or own.negotiatetimeout_s
            or defaults.checktimeout_s
            or defaults.negotiatetimeout_s,
        ),
        (
            ("check", "negotiate_timeout"),
            own.negotiatetimeout_s
            or own.checktimeout_s
            or defaults.negotiatetimeout_s
            or defaults.checktimeout_s,
        ),
        (("scheduler",), own.scheduler),
        (("protocol",), own.protocol),
        (("persistent",), own.persistent_s),
        (("netmask",), own.netmask),
        (("quiescent",), own.quiescent or defaults.quiescent),
        (("cleanstop",), own.cleanstop or defaults.cleanstop),
        (("fallback_command",), own.fallbackcommand or defaults.fallbackcommand),
        (("fallback",), fallback),
        (("fallback", "address"), fallback),
        (("fallback", "method"), fallback),
        (("scheduler_flags",), own.schedflags),
        (("one_packet",), own.ops),
        (("address",), section),
        (("fwmark",), section),
        (("family",), section),
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


def _interval(own: Settings, defaults: Settings) -> Setting[float] | None:
    """Return the interval that counts: a section has its own with fork=yes alone."""
    if own.checkinterval_s is not None and defaults.fork is not None and defaults.fork.value:
        return own.checkinterval_s
    return defaults.checkinterval_s


def _service(
    section: Section, address: VirtualAddress, defaults: Settings, group: str, report: Report
) -> VirtualService:
    own = section.settings
    protocol = _protocol(own, address, report)
    quiescent = own.quiescent or defaults.quiescent
    if own.netmask is not None and own.persistent_s is None:
        report.warning(own.netmask.place, "without persistent it has no effect, as in ldirectord")
    persistent_s = own.persistent_s.value if own.persistent_s else None
    check = ldirectord_checks.check(section, address.port, protocol, defaults, report)
    return VirtualService(
        protocol=protocol,
        endpoint=_endpoint(address),
        fwmark=address.fwmark,
        scheduler=own.scheduler.value if own.scheduler else Scheduler.WRR,
        scheduler_flags=own.schedflags.value if own.schedflags else (),
        one_packet=_one_packet(own, protocol, report),
        real_servers=_real_servers(own, address, check.service, report),
        sorry_server=_sorry_server(_fallback(own, defaults, address), address),
        check=check,
        quiescent=quiescent.value if quiescent else False,
        persistence_timeout_s=persistent_s,
        persistence_netmask=own.netmask.value if own.netmask and persistent_s else None,
        policy=_policy(own, defaults),
        group=group,
    )


def _policy(own: Settings, defaults: Settings) -> ServicePolicy:
    """Return what is written; the default of cleanstop is no here (docs/decisions/0028)."""
    cleanstop = own.cleanstop or defaults.cleanstop
    command = own.fallbackcommand or defaults.fallbackcommand
    return ServicePolicy(
        cleanstop=cleanstop.value if cleanstop else False,
        fallback_command=command.value if command else (),
    )


def _endpoint(address: VirtualAddress) -> Endpoint:
    if address.fwmark:
        return ANY_IPV6 if address.ipv6 else ANY_IPV4
    return Endpoint(address=address.address, port=address.port)


def _protocol(own: Settings, address: VirtualAddress, report: Report) -> TransportProtocol:
    written = own.protocol.value if own.protocol else None
    if own.protocol is not None and (written is TransportProtocol.FWM) != bool(address.fwmark):
        allowed = "fwm, or no such line" if address.fwmark else "tcp or udp"
        report.error(
            own.protocol.place, f"{written} for virtual={address.text}; allowed is {allowed}"
        )
    if address.fwmark:
        return TransportProtocol.FWM
    if written in (TransportProtocol.TCP, TransportProtocol.UDP):
        return written
    return TransportProtocol.UDP if address.port == DNS_PORT else TransportProtocol.TCP


def _one_packet(own: Settings, protocol: TransportProtocol, report: Report) -> bool:
    if own.ops is None or not own.ops.value:
        return False
    if protocol is TransportProtocol.UDP:
        return True
    report.warning(own.ops.place, f"without effect for {protocol}, as in ldirectord: udp only")
    return False


def _fallback(
    own: Settings, defaults: Settings, address: VirtualAddress
) -> Setting[Fallback] | None:
    """Return the fallback that counts: each family has its own."""
    if address.ipv6:
        return own.fallback6 or own.fallback or defaults.fallback6
    return own.fallback or own.fallback6 or defaults.fallback


def _real_servers(
    own: Settings, address: VirtualAddress, spoken: CheckService, report: Report
) -> tuple[RealServer, ...]:
    servers: dict[Endpoint, RealServer] = {}
    for setting in own.reals:
        real = setting.value
        for words in real.odd:
            report.warning(setting.place, words)
        if (setting.place.directive == "real6") != address.ipv6:
            report.warning(
                setting.place,
                f"ldirectord wants {'real6' if address.ipv6 else 'real'} here; taken all the same",
            )
        if real.port is None and not address.fwmark:
            report.warning(setting.place, f"no port; taken as {address.port}, as virtual= has it")
        for host in real.addresses:
            endpoint = Endpoint(address=host, port=real.port or address.port)
            if endpoint in servers:
                report.warning(setting.place, f"{endpoint} stands above already; this one counts")
            servers[endpoint] = RealServer(
                endpoint=endpoint,
                forwarding=real.forwarding,
                weight=real.weight,
                lower_threshold=real.lower_threshold,
                upper_threshold=real.upper_threshold,
                request=own_request(real.request, spoken),
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
