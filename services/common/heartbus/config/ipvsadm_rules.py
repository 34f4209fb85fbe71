"""Reads the output of ``ipvsadm --save``: the virtual services that ``ipvsadm`` restored.

Sans-I/O. The grammar is the table ``OPTIONS``; see ipvsadm(8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from heartbus.config.report import Place, Report, Setting, closest, word
from heartbus.config.values import (
    BadValueError,
    bad,
    endpoint,
    integer,
    netmask,
    unusable_text,
)
from heartbus.model import (
    Check,
    CheckType,
    Endpoint,
    ForwardingMethod,
    RealServer,
    Scheduler,
    TransportProtocol,
    VirtualService,
)

WEIGHT_MAX: Final = 65535
PERSISTENCE_DEFAULT_S: Final = 300
"""ipvsadm -p without a number."""


@dataclass(slots=True, kw_only=True)
class Rule:
    """One line. ``unused`` are options that are understood and not acted on."""

    adds: str = ""
    protocol: TransportProtocol | None = None
    service: Endpoint | None = None
    server: Endpoint | None = None
    scheduler: Scheduler = Scheduler.WLC
    forwarding: ForwardingMethod = ForwardingMethod.GATE
    weight: int = 1
    persistent_s: int | None = None
    netmask: int | None = None
    unused: list[str] = field(default_factory=list)
    left_out: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One row: what an option does with its argument (None: it takes none)."""

    names: tuple[str, ...]
    take: Callable[[Rule, str], None]
    argument: bool | None = True
    """True: needed; False: none; None: may follow if it does not start with a minus."""


def scheduler(text: str) -> Scheduler:
    """Return the scheduler of this name."""
    try:
        return Scheduler(text)
    except ValueError:
        raise bad(text, f"one of {', '.join(Scheduler)}{closest(text, Scheduler)}") from None


def _endpoint(text: str) -> Endpoint:
    address, port = endpoint(text)
    return Endpoint(address=address, port=port)


def _adds(what: str) -> Callable[[Rule, str], None]:
    def take(rule: Rule, _: str) -> None:
        rule.adds = what

    return take


def _service(protocol: TransportProtocol) -> Callable[[Rule, str], None]:
    def take(rule: Rule, text: str) -> None:
        rule.protocol = protocol
        rule.service = _endpoint(text)

    return take


def _leave_out(what: str) -> Callable[[Rule, str], None]:
    def take(rule: Rule, _: str) -> None:
        rule.left_out = what

    return take


def _unused(what: str) -> Callable[[Rule, str], None]:
    def take(rule: Rule, _: str) -> None:
        rule.unused.append(what)

    return take


def _forward(method: ForwardingMethod) -> Callable[[Rule, str], None]:
    def take(rule: Rule, _: str) -> None:
        rule.forwarding = method

    return take


def _real(rule: Rule, text: str) -> None:
    rule.server = _endpoint(text)


def _scheduler(rule: Rule, text: str) -> None:
    rule.scheduler = scheduler(text)


def _weight(rule: Rule, text: str) -> None:
    rule.weight = integer(text, 0, WEIGHT_MAX)


def _persistent(rule: Rule, text: str) -> None:
    rule.persistent_s = integer(text, 1, 2**31 - 1) if text else PERSISTENCE_DEFAULT_S


def _netmask(rule: Rule, text: str) -> None:
    rule.netmask = netmask(text)


_ROWS: Final = (
    Option(names=("-A", "--add-service"), take=_adds("service"), argument=False),
    Option(names=("-a", "--add-server"), take=_adds("server"), argument=False),
    Option(names=("-t", "--tcp-service"), take=_service(TransportProtocol.TCP)),
    Option(names=("-u", "--udp-service"), take=_service(TransportProtocol.UDP)),
    Option(names=("-f", "--fwmark-service"), take=_leave_out("firewall-mark services")),
    Option(names=("--sctp-service",), take=_leave_out("SCTP services")),
    Option(names=("-s", "--scheduler"), take=_scheduler),
    Option(names=("-p", "--persistent"), take=_persistent, argument=None),
    Option(names=("-M", "--netmask"), take=_netmask),
    Option(names=("-r", "--real-server"), take=_real),
    Option(names=("-w", "--weight"), take=_weight),
    Option(names=("-g", "--gatewaying"), take=_forward(ForwardingMethod.GATE), argument=False),
    Option(names=("-m", "--masquerading"), take=_forward(ForwardingMethod.MASQ), argument=False),
    Option(names=("-i", "--ipip"), take=_forward(ForwardingMethod.IPIP), argument=False),
    Option(names=("-x", "--u-threshold"), take=_unused("connection thresholds")),
    Option(names=("-y", "--l-threshold"), take=_unused("connection thresholds")),
    Option(names=("-b", "--sched-flags"), take=_unused("scheduler flags")),
    Option(names=("-o", "--ops"), take=_unused("one-packet scheduling"), argument=False),
    Option(names=("-6", "--ipv6"), take=_unused("IPv6"), argument=False),
    Option(names=("--pe",), take=_unused("persistence engines")),
    Option(names=("--tun-type",), take=_unused("tunnel types")),
    Option(names=("--tun-port",), take=_unused("tunnel types")),
    Option(names=("--tun-nocsum",), take=_unused("tunnel types"), argument=False),
    Option(names=("--tun-csum",), take=_unused("tunnel types"), argument=False),
    Option(names=("--tun-remcsum",), take=_unused("tunnel types"), argument=False),
)
OPTIONS: Final[dict[str, Option]] = {name: row for row in _ROWS for name in row.names}


@dataclass(slots=True, kw_only=True)
class SavedService:
    """One service of the file and its servers so far."""

    rule: Rule
    place: Place
    servers: list[RealServer] = field(default_factory=list)


def parse(text: str, file: str, group: str, report: Report) -> list[Setting[VirtualService]]:
    """Return the services of the file as unchecked services of this resource group."""
    services: dict[tuple[TransportProtocol, Endpoint], SavedService] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        place = Place(file=file, line=number)
        if (why := unusable_text(line)) is not None:
            report.error(place, f"{why}; allowed is the output of ipvsadm --save -n")
            continue
        words = line.split()
        try:
            rule = _rule(words)
        except BadValueError as error:
            report.error(place.of(word(words[0])), str(error))
            continue
        _add(services, rule, place.of(word(words[0])), report)
    return [Setting(value=_model(saved, group), place=saved.place) for saved in services.values()]


def _rule(words: list[str]) -> Rule:
    rule = Rule()
    rest = list(reversed(words))
    while rest:
        name = rest.pop()
        option = OPTIONS.get(name)
        if option is None:
            raise BadValueError(
                f"{word(name)} is no option of ipvsadm --save{closest(name, OPTIONS)};"
                " allowed are lines with -A and -a"
            )
        argument = ""
        if option.argument is True or (
            option.argument is None and rest and not rest[-1].startswith("-")
        ):
            if not rest:
                raise BadValueError(f"{name} needs a value")
            argument = rest.pop()
        try:
            option.take(rule, argument)
        except BadValueError as error:
            raise BadValueError(f"{name}: {error}") from None
    if not rule.adds:
        raise BadValueError("neither -A (a service) nor -a (a server of a service)")
    if rule.left_out is None and rule.service is None:
        raise BadValueError("no service; allowed is -t or -u with address:port")
    if rule.left_out is None and rule.adds == "server" and rule.server is None:
        raise BadValueError("no server; allowed is -r with address:port")
    return rule


def _add(
    services: dict[tuple[TransportProtocol, Endpoint], SavedService],
    rule: Rule,
    place: Place,
    report: Report,
) -> None:
    for what in dict.fromkeys(rule.unused):
        report.warning(place, f"known to ipvsadm, not used by this version: {what}")
    if rule.left_out is not None:
        report.warning(
            place,
            f"known to ipvsadm, not used by this version: {rule.left_out}; the line is left out",
        )
        return
    assert rule.protocol is not None
    assert rule.service is not None
    key = (rule.protocol, rule.service)
    saved = services.get(key)
    if rule.adds == "service":
        if saved is not None:
            report.error(place, f"the service of line {saved.place.line} again; each is added once")
            return
        services[key] = SavedService(rule=rule, place=place)
        return
    if saved is None:
        report.error(place, "a server of a service that no -A line above adds")
        return
    assert rule.server is not None
    server = RealServer(endpoint=rule.server, forwarding=rule.forwarding, weight=rule.weight)
    if any(known.endpoint == server.endpoint for known in saved.servers):
        report.error(place, f"{server.name} is added to this service twice")
        return
    saved.servers.append(server)


def _model(saved: SavedService, group: str) -> VirtualService:
    rule = saved.rule
    assert rule.protocol is not None
    assert rule.service is not None
    return VirtualService(
        protocol=rule.protocol,
        endpoint=rule.service,
        scheduler=rule.scheduler,
        real_servers=tuple(saved.servers),
        check=Check(type=CheckType.ON),
        persistence_timeout_s=rule.persistent_s,
        persistence_netmask=rule.netmask if rule.persistent_s is not None else None,
        group=group,
    )
