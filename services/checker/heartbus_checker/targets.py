"""Decides what is probed, and whose verdict a probe feeds.

Sans-I/O. A target is everything that changes the outcome of a check, times included (ldirectord
shared results between checks that differed in credentials or timeouts, L-18). Real servers with
equal targets share one probe, in whatever number of virtual services they are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from heartbus.config.values import is_url
from heartbus.events import Health
from heartbus.model import (
    Check,
    CheckService,
    CheckType,
    Endpoint,
    RealServer,
    RealServerName,
    Seconds,
    TransportProtocol,
    VirtualService,
    VirtualServiceName,
)
from heartbus.model_checks import PATH_ONLY, UDP_ALWAYS, UDP_SERVICES, WELL_KNOWN_PORTS, bare, uses
from heartbus.probe_marks import probe_marks


class TargetError(ValueError):
    """A check that cannot be carried out; the message names the virtual service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Through:
    """Where a target is asked instead of its own address: the VIP, with a mark for this server."""

    vip: Endpoint
    mark: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One distinct thing to probe.

    ``check`` is bare: fields that do not change what is asked have their default. ``udp``: asked by
    UDP. ``timeout_s`` bounds the check, ``connect_timeout_s`` the connect checks of a combined one.
    ``arguments`` follow those of an external command. ``fast_interval_s``: see Check.
    """

    endpoint: Endpoint
    check: Check
    timeout_s: Seconds
    interval_s: Seconds
    fast_interval_s: Seconds | None = None
    connect_timeout_s: Seconds | None = None
    udp: bool = False
    arguments: tuple[str, ...] = ()
    through: Through | None = None
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = (self.endpoint, self.check, self.timeout_s, self.interval_s, self.udp, self.through)
        object.__setattr__(self, "_hash", hash((own, self.arguments)))

    def __hash__(self) -> int:
        """Return what was worked out once: hashing all fields takes long, and is done often."""
        return self._hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A real server of one virtual service: it has its own verdict, by its own rise and fall.

    ``weight``: the configured one. ``slow_start_s``: see Check.
    """

    virtual_service: VirtualServiceName
    real_server: RealServerName
    rise: int
    fall: int
    weight: int = 1
    slow_start_s: Seconds = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """A real server whose verdict needs no probe, and never changes."""

    virtual_service: VirtualServiceName
    real_server: RealServerName
    health: Health
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPlan:
    """Everything to probe, in the order of the configuration, and who listens to it."""

    targets: tuple[Target, ...]
    listeners: Mapping[Target, tuple[Listener, ...]]
    unchecked: tuple[Unchecked, ...]
    maintenance: Mapping[tuple[VirtualServiceName, RealServerName], str] = field(
        default_factory=dict
    )
    """The maintenance directory of each real server that is checked and has one."""


def plan_differences(old: CheckPlan, new: CheckPlan) -> tuple[str, ...]:
    """Return in words which probes end, and which begin."""
    before, after = dict.fromkeys(old.targets), dict.fromkeys(new.targets)
    ended = [f"no more {_in_words(target)}" for target in before if target not in after]
    return (*ended, *(_in_words(target) for target in after if target not in before))


def _in_words(target: Target) -> str:
    return f"check of {target.endpoint} ({target.check.type}, every {target.interval_s:g} s)"


def plan_checks(virtual_services: tuple[VirtualService, ...]) -> CheckPlan:
    """Return what to probe for these services.

    Raises:
        TargetError: a check cannot be carried out.

    """
    listeners: dict[Target, list[Listener]] = {}
    unchecked: list[Unchecked] = []
    seen: dict[tuple[VirtualServiceName, RealServerName], Target | None] = {}
    marks = probe_marks(virtual_services)
    for service in virtual_services:
        verdict = _without_probe(service.check)
        for real_server in service.real_servers:
            target = None if verdict else _target(service, real_server)
            if target is not None and service.check.through_vip:
                mark = marks[service.name, real_server.name]
                target = replace(target, through=Through(vip=service.endpoint, mark=mark))
            key = (service.name, real_server.name)
            if key in seen:
                if seen[key] == target:
                    continue
                raise TargetError(
                    f"virtual service {service.name}: real server {real_server.name} is listed "
                    "twice, with different checks; the kernel has one entry for both"
                )
            seen[key] = target
            if verdict is not None:
                health, reason = verdict
                unchecked.append(
                    Unchecked(
                        virtual_service=service.name,
                        real_server=real_server.name,
                        health=health,
                        reason=reason,
                    )
                )
            elif target is not None:
                listener = Listener(
                    virtual_service=service.name,
                    real_server=real_server.name,
                    rise=service.check.rise,
                    fall=service.check.fall,
                    weight=real_server.weight,
                    slow_start_s=service.check.slow_start_s,
                )
                listeners.setdefault(target, []).append(listener)
    return CheckPlan(
        targets=tuple(listeners),
        listeners={target: tuple(found) for target, found in listeners.items()},
        unchecked=tuple(unchecked),
        maintenance={
            (service.name, real_server.name): service.check.maintenance_dir
            for service in virtual_services
            for real_server in service.real_servers
            if service.check.maintenance_dir is not None and _without_probe(service.check) is None
        },
    )


def _without_probe(check: Check) -> tuple[Health, str] | None:
    match check.type:
        case CheckType.ON:
            return Health.UP, "checktype=on: up without a check"
        case CheckType.OFF:
            return Health.UNKNOWN, "checktype=off: never checked and never activated"
        case CheckType.NEGOTIATE if check.service is CheckService.NONE:
            return Health.UP, "checktype=negotiate with service=none: up without a check"
        case _:
            return None


_WITHOUT_PORT = (CheckType.PING, CheckType.EXTERNAL, CheckType.EXTERNAL_PERL, CheckType.FILE)


def _target(service: VirtualService, real_server: RealServer) -> Target:
    check = service.check
    port = check.port or real_server.endpoint.port or WELL_KNOWN_PORTS.get(check.service)
    if not port and check.type not in _WITHOUT_PORT:
        raise TargetError(
            f"virtual service {service.name}: real server {real_server.name} has no port to check; "
            "name one with checkport"
        )
    address = real_server.endpoint.address
    negotiated = check.type in (CheckType.NEGOTIATE, CheckType.COMBINED)
    target = Target(
        endpoint=Endpoint(address=address, port=0 if check.type is CheckType.PING else port or 0),
        check=_asked(service.name, check, real_server),
        timeout_s=check.negotiate_timeout_s if negotiated else check.connect_timeout_s,
        interval_s=check.interval_s,
        fast_interval_s=check.fast_interval_s,
    )
    udp = service.protocol is TransportProtocol.UDP
    match check.type:
        case CheckType.CONNECT if udp:
            raise TargetError(
                f"virtual service {service.name}: checktype=connect needs TCP and the service is "
                "UDP; use ping, negotiate, on or off"
            )
        case CheckType.PING:
            # Every attempt has the whole timeout, as in ldirectord.
            return replace(target, timeout_s=check.connect_timeout_s * check.attempts)
        case CheckType.EXTERNAL | CheckType.EXTERNAL_PERL if check.addresses:
            return replace(target, arguments=_arguments(service, real_server))
        case CheckType.COMBINED:
            return replace(target, connect_timeout_s=check.connect_timeout_s)
        case CheckType.NEGOTIATE:
            asked_by_udp = check.service in UDP_ALWAYS or (udp and check.service in UDP_SERVICES)
            return replace(target, udp=asked_by_udp)
        case _:
            return target


def _asked(service: VirtualServiceName, check: Check, real_server: RealServer) -> Check:
    """Return the check as this real server is asked: its own request and receive count."""
    own = bare(check)
    used = uses(check)
    if real_server.request is not None and "request" in used:
        own = replace(own, request=real_server.request)
    if "request" in used and own.service in PATH_ONLY and is_url(own.request):
        raise TargetError(
            f"virtual service {service}: request {own.request!r} is a whole URL; give the path, "
            "and the host name with virtualhost"
        )
    if real_server.receive is not None and "receive" in used:
        own = replace(own, receive=real_server.receive)
    return own


def _arguments(service: VirtualService, real_server: RealServer) -> tuple[str, ...]:
    """Return what ldirectord gives to a check command; for a mark its number, and port 0."""
    return (
        str(service.fwmark) if service.fwmark else service.endpoint.address,
        "0" if service.fwmark else str(service.endpoint.port),
        real_server.endpoint.address,
        str(real_server.endpoint.port),
    )
