"""Small clusters for the tests of the checker."""

from __future__ import annotations

from heartbus.model import (
    Check,
    CheckService,
    CheckType,
    Endpoint,
    ForwardingMethod,
    RealServer,
    TransportProtocol,
    VirtualService,
)


def real_server(
    address: str = "192.0.2.11",
    port: int = 80,
    *,
    request: str | None = None,
    receive: str | None = None,
) -> RealServer:
    return RealServer(
        endpoint=Endpoint(address=address, port=port),
        forwarding=ForwardingMethod.GATE,
        request=request,
        receive=receive,
    )


def virtual_service(
    *real_servers: RealServer,
    check: Check | None = None,
    port: int = 80,
    protocol: TransportProtocol = TransportProtocol.TCP,
) -> VirtualService:
    return VirtualService(
        protocol=protocol,
        endpoint=Endpoint(address="192.0.2.110", port=port),
        real_servers=real_servers,
        check=check or http_check(),
    )


def http_check(
    *,
    request: str = "/.testpage",
    receive: str | None = "Test Page",
    timeout_s: float = 3.0,
    interval_s: float = 1.0,
    rise: int = 1,
    fall: int = 1,
) -> Check:
    return Check(
        type=CheckType.NEGOTIATE,
        service=CheckService.HTTP,
        request=request,
        receive=receive,
        negotiate_timeout_s=timeout_s,
        interval_s=interval_s,
        rise=rise,
        fall=fall,
    )


def connect_check(*, timeout_s: float = 3.0, interval_s: float = 1.0, fall: int = 1) -> Check:
    return Check(
        type=CheckType.CONNECT, connect_timeout_s=timeout_s, interval_s=interval_s, fall=fall
    )
