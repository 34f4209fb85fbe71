"""Decides what is probed, and whose verdict a probe feeds.

Sans-I/O. A target is everything that changes the outcome of a check, times included (ldirectord
shared results between checks that differed in credentials or timeouts, L-18). Real servers with
equal targets share one probe, in whatever number of virtual services they are listed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heartbus.events import Health
from heartbus.model import (
    Check,
    CheckService,
    CheckType,
    Endpoint,
    HttpMethod,
    RealServer,
    RealServerName,
    Seconds,
    TransportProtocol,
    VirtualService,
    VirtualServiceName,
)

WELL_KNOWN_PORTS: Final = {CheckService.HTTP: 80, CheckService.SMTP: 25}
"""Checked where neither checkport nor the real server names a port."""


class TargetError(ValueError):
    """A check that cannot be carried out; the message names the virtual service."""


class Exchange(enum.StrEnum):
    """What a probe does with a target."""

    CONNECT = "connect"
    HTTP = "http"
    SMTP = "smtp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One distinct thing to probe. Fields that its exchange does not use have their default."""

    exchange: Exchange
    endpoint: Endpoint
    timeout_s: Seconds
    interval_s: Seconds
    http_method: HttpMethod = HttpMethod.GET
    request: str = ""
    receive: str | None = None
    virtualhost: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A real server of one virtual service: it has its own verdict, by its own rise and fall."""

    virtual_service: VirtualServiceName
    real_server: RealServerName
    rise: int
    fall: int


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


def plan_checks(virtual_services: tuple[VirtualService, ...]) -> CheckPlan:
    """Return what to probe for these services.

    Raises:
        TargetError: a check cannot be carried out.

    """
    listeners: dict[Target, list[Listener]] = {}
    unchecked: list[Unchecked] = []
    seen: dict[tuple[VirtualServiceName, RealServerName], Target | None] = {}
    for service in virtual_services:
        verdict = _without_probe(service.check)
        for real_server in service.real_servers:
            target = None if verdict else _target(service, real_server)
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
                )
                listeners.setdefault(target, []).append(listener)
    return CheckPlan(
        targets=tuple(listeners),
        listeners={target: tuple(found) for target, found in listeners.items()},
        unchecked=tuple(unchecked),
    )


def _without_probe(check: Check) -> tuple[Health, str] | None:
    match check.type:
        case CheckType.ON:
            return Health.UP, "checktype=on: up without a check"
        case CheckType.OFF:
            return Health.UNKNOWN, "checktype=off: never checked and never activated"
        case CheckType.NEGOTIATE if check.service is CheckService.NONE:
            return Health.UP, "checktype=negotiate with service=none: up without a check"
        case CheckType.NEGOTIATE | CheckType.CONNECT:
            return None


def _target(service: VirtualService, real_server: RealServer) -> Target:
    check = service.check
    port = check.port or real_server.endpoint.port or WELL_KNOWN_PORTS.get(check.service)
    if not port:
        raise TargetError(
            f"virtual service {service.name}: real server {real_server.name} has no port to check; "
            "name one with checkport"
        )
    endpoint = Endpoint(address=real_server.endpoint.address, port=port)
    if check.type is CheckType.CONNECT:
        if service.protocol is TransportProtocol.UDP:
            raise TargetError(
                f"virtual service {service.name}: checktype=connect needs TCP and the service is "
                "UDP; use negotiate, on or off"
            )
        return Target(
            exchange=Exchange.CONNECT,
            endpoint=endpoint,
            timeout_s=check.connect_timeout_s,
            interval_s=check.interval_s,
        )
    if check.service is CheckService.SMTP:
        return Target(
            exchange=Exchange.SMTP,
            endpoint=endpoint,
            timeout_s=check.negotiate_timeout_s,
            interval_s=check.interval_s,
        )
    request = check.request if real_server.request is None else real_server.request
    if "://" in request.split("?")[0]:
        raise TargetError(
            f"virtual service {service.name}: request {request!r} is a whole URL; give the path, "
            "and the host name with virtualhost"
        )
    return Target(
        exchange=Exchange.HTTP,
        endpoint=endpoint,
        timeout_s=check.negotiate_timeout_s,
        interval_s=check.interval_s,
        http_method=check.http_method,
        request=request,
        receive=(check.receive if real_server.receive is None else real_server.receive) or None,
        virtualhost=check.virtualhost,
    )
