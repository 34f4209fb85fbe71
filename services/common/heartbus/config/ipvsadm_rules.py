"""Reads the output of ``ipvsadm --save``: the virtual services that ``ipvsadm`` restored.

Sans-I/O. The grammar is the table ``OPTIONS``; see ipvsadm(8).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from heartbus.config.report import Place, Report, Setting, closest, word
from heartbus.config.values import (
    BadValueError,
    bad,
    client_netmask,
    endpoint,
    integer,
    unusable_text,
)
from heartbus.model import (
    Check,
    CheckType,
    Endpoint,
    ForwardingMethod,
    PersistenceEngine,
    RealServer,
    Scheduler,
    SchedulerFlag,
    TransportProtocol,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualService,
)
from heartbus.model_ipvs import FWMARK_MAX, PERSISTENCE_MAX_S, THRESHOLD_MAX, WEIGHT_MAX

E = TypeVar("E", bound=enum.StrEnum)

ANY_IPV4: Final = Endpoint(address="0.0.0.0", port=0)
ANY_IPV6: Final = Endpoint(address="::", port=0)
PERSISTENCE_DEFAULT_S: Final = 300
"""ipvsadm -p without a number."""


@dataclass(slots=True, kw_only=True)
class Rule:
    """One line."""

    adds: str = ""
    protocol: TransportProtocol | None = None
    service: Endpoint | None = None
    fwmark: int = 0
    ipv6: bool = False
    server: Endpoint | None = None
    scheduler: Scheduler = Scheduler.WLC
    forwarding: ForwardingMethod = ForwardingMethod.GATE
    weight: int = 1
    persistent_s: int | None = None
    netmask: int | None = None
    engine: PersistenceEngine | None = None
    flags: tuple[SchedulerFlag, ...] = ()
    one_packet: bool = False
    upper_threshold: int = 0
    lower_threshold: int = 0
    tunnel_type: TunnelType = TunnelType.IPIP
    tunnel_port: int = 0
    checksum: TunnelChecksum = TunnelChecksum.NONE

    @property
    def key(self) -> tuple[TransportProtocol | None, Endpoint | None, int]:
        """What names the service of this line."""
        return self.protocol, self.service, self.fwmark


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One row: what an option does with its argument (None: it takes none)."""

    names: tuple[str, ...]
    take: Callable[[Rule, str], None]
    argument: bool | None = True
    """True: needed; False: none; None: may follow if it does not start with a minus."""


def scheduler(text: str) -> Scheduler:
    """Return the scheduler of this name."""
    return _one_of(Scheduler, text)


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


def _marked(rule: Rule, text: str) -> None:
    rule.protocol = TransportProtocol.FWM
    rule.fwmark = integer(text, 1, FWMARK_MAX)


def _ipv6(rule: Rule, _: str) -> None:
    rule.ipv6 = True


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
    rule.persistent_s = integer(text, 1, PERSISTENCE_MAX_S) if text else PERSISTENCE_DEFAULT_S


def _netmask(rule: Rule, text: str) -> None:
    rule.netmask = client_netmask(text)


def _engine(rule: Rule, text: str) -> None:
    rule.engine = _one_of(PersistenceEngine, text)


def _flags(rule: Rule, text: str) -> None:
    """Ipvsadm saves flags by their name, or by number where the scheduler is none that it knows."""
    rule.flags = tuple(_one_of(SchedulerFlag, word) for word in text.split(","))


def _one_packet(rule: Rule, _: str) -> None:
    rule.one_packet = True


def _upper(rule: Rule, text: str) -> None:
    rule.upper_threshold = integer(text, 0, THRESHOLD_MAX)


def _lower(rule: Rule, text: str) -> None:
    rule.lower_threshold = integer(text, 0, THRESHOLD_MAX)


def _tunnel_type(rule: Rule, text: str) -> None:
    rule.tunnel_type = _one_of(TunnelType, text)


def _tunnel_port(rule: Rule, text: str) -> None:
    rule.tunnel_port = integer(text, 1, 65535)


def _checksum(checksum: TunnelChecksum) -> Callable[[Rule, str], None]:
    def take(rule: Rule, _: str) -> None:
        rule.checksum = checksum

    return take


def _one_of(choices: type[E], text: str) -> E:
    try:
        return choices(text)
    except ValueError:
        raise bad(text, f"one of {', '.join(choices)}{closest(text, choices)}") from None


_ROWS: Final = (
    Option(names=("-A", "--add-service"), take=_adds("service"), argument=False),
    Option(names=("-a", "--add-server"), take=_adds("server"), argument=False),
    Option(names=("-t", "--tcp-service"), take=_service(TransportProtocol.TCP)),
    Option(names=("-u", "--udp-service"), take=_service(TransportProtocol.UDP)),
    Option(names=("-f", "--fwmark-service"), take=_marked),
    Option(names=("--sctp-service",), take=_service(TransportProtocol.SCTP)),
    Option(names=("-s", "--scheduler"), take=_scheduler),
    Option(names=("-p", "--persistent"), take=_persistent, argument=None),
    Option(names=("-M", "--netmask"), take=_netmask),
    Option(names=("-r", "--real-server"), take=_real),
    Option(names=("-w", "--weight"), take=_weight),
    Option(names=("-g", "--gatewaying"), take=_forward(ForwardingMethod.GATE), argument=False),
    Option(names=("-m", "--masquerading"), take=_forward(ForwardingMethod.MASQ), argument=False),
    Option(names=("-i", "--ipip"), take=_forward(ForwardingMethod.IPIP), argument=False),
    Option(names=("-x", "--u-threshold"), take=_upper),
    Option(names=("-y", "--l-threshold"), take=_lower),
    Option(names=("-b", "--sched-flags"), take=_flags),
    Option(names=("-o", "--ops"), take=_one_packet, argument=False),
    Option(names=("-6", "--ipv6"), take=_ipv6, argument=False),
    Option(names=("--pe",), take=_engine),
    Option(names=("--tun-type",), take=_tunnel_type),
    Option(names=("--tun-port",), take=_tunnel_port),
    Option(names=("--tun-nocsum",), take=_checksum(TunnelChecksum.NONE), argument=False),
    Option(names=("--tun-csum",), take=_checksum(TunnelChecksum.FULL), argument=False),
    Option(names=("--tun-remcsum",), take=_checksum(TunnelChecksum.REMOTE), argument=False),
)
OPTIONS: Final[dict[str, Option]] = {name: row for row in _ROWS for name in row.names}


@dataclass(slots=True, kw_only=True)
class SavedService:
    """One service of the file and its servers so far."""

    rule: Rule
    place: Place
    servers: list[RealServer] = field(default_factory=list)


Saved = dict[tuple[TransportProtocol | None, Endpoint | None, int], SavedService]


def parse(text: str, file: str, group: str, report: Report) -> list[Setting[VirtualService]]:
    """Return the services of the file as unchecked services of this resource group."""
    services: Saved = {}
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
    if rule.fwmark and rule.service is None:
        rule.service = ANY_IPV6 if rule.ipv6 else ANY_IPV4
    if rule.service is None or (rule.protocol is TransportProtocol.FWM) != bool(rule.fwmark):
        raise BadValueError(
            "no service; allowed is -t, -u or --sctp-service with address:port, or -f with a mark"
        )
    if rule.adds == "server" and rule.server is None:
        raise BadValueError("no server; allowed is -r with address:port")
    return rule


def _add(
    services: Saved,
    rule: Rule,
    place: Place,
    report: Report,
) -> None:
    key = rule.key
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
    server = RealServer(
        endpoint=rule.server,
        forwarding=rule.forwarding,
        weight=rule.weight,
        upper_threshold=rule.upper_threshold,
        lower_threshold=rule.lower_threshold,
        tunnel=Tunnel(type=rule.tunnel_type, port=rule.tunnel_port, checksum=rule.checksum),
    )
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
        fwmark=rule.fwmark,
        scheduler=rule.scheduler,
        scheduler_flags=rule.flags,
        one_packet=rule.one_packet,
        real_servers=tuple(saved.servers),
        check=Check(type=CheckType.ON),
        persistence_timeout_s=rule.persistent_s,
        persistence_netmask=rule.netmask if rule.persistent_s is not None else None,
        persistence_engine=rule.engine,
        group=group,
    )
