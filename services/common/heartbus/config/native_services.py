"""Reads a [[virtual_services]] table of the TOML form.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from heartbus.config import native_checks
from heartbus.config.ipvsadm_rules import ANY_IPV4, ANY_IPV6
from heartbus.config.native_guards import Secrets
from heartbus.config.native_policy import policy
from heartbus.config.toml_table import Table
from heartbus.config.values import bad, client_netmask, endpoint, endpoint_or_address
from heartbus.model import (
    PLAIN_TUNNEL,
    Endpoint,
    ForwardingMethod,
    PersistenceEngine,
    RealServer,
    Scheduler,
    SchedulerFlag,
    SorryServer,
    TransportProtocol,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualService,
)
from heartbus.model_ipvs import FWMARK_MAX, PERSISTENCE_MAX_S, THRESHOLD_MAX, WEIGHT_MAX


def virtual_service(table: Table, secrets: Secrets) -> VirtualService | None:
    """Return the service, or None after the report was told what is wrong with it."""
    fwmark = table.integer("fwmark", 1, FWMARK_MAX) or 0
    address = _marked(table) if table.has("fwmark") else _addressed(table)
    protocol = table.choice("protocol", TransportProtocol)
    if table.has("fwmark") != (protocol is TransportProtocol.FWM) and protocol is not None:
        table.report.error(
            table.at("protocol"),
            "fwm goes with fwmark = NUMBER and nothing else does; allowed are tcp, udp and sctp"
            " with an address",
        )
    protocol = protocol or (TransportProtocol.FWM if fwmark else TransportProtocol.TCP)
    scheduler = table.choice("scheduler", Scheduler) or Scheduler.WRR
    flags = tuple(dict.fromkeys(table.texts("scheduler_flags", _scheduler_flag)))
    one_packet = table.boolean("one_packet")
    quiescent = table.boolean("quiescent")
    persistent_s = table.integer("persistent", 1, PERSISTENCE_MAX_S)
    mask = table.text("netmask", client_netmask)
    engine = table.choice("persistence_engine", PersistenceEngine)
    for key in ("netmask", "persistence_engine"):
        if table.has(key) and not table.has("persistent"):
            table.report.error(table.at(key), "without persistent; allowed is both or neither")
    read = endpoint_or_address if fwmark else endpoint
    sorry_server = _sorry_server(table.table("fallback"), read) if table.has("fallback") else None
    table.peek("fallback")
    settings = policy(table)
    group = table.text("group", str)
    servers = [_real_server(server, read) for server in table.tables("real_servers")]
    port = address.port if address is not None else 0
    check = native_checks.check(table.table("check"), port, protocol, secrets)
    table.close()
    if address is None:
        return None
    return VirtualService(
        protocol=protocol,
        endpoint=address,
        fwmark=fwmark,
        scheduler=scheduler,
        scheduler_flags=flags,
        one_packet=bool(one_packet),
        real_servers=tuple(server for server in servers if server is not None),
        sorry_server=sorry_server,
        check=check,
        quiescent=bool(quiescent),
        persistence_timeout_s=persistent_s,
        persistence_netmask=mask,
        persistence_engine=engine,
        policy=settings,
        group=group,
    )


def _addressed(table: Table) -> Endpoint | None:
    return table.required("address", table.text("address", partial(_endpoint, endpoint)))


def _marked(table: Table) -> Endpoint:
    """Return the family of a service by firewall mark; it has no address."""
    if table.has("address"):
        table.peek("address")
        table.report.error(table.at("address"), "beside fwmark; allowed is one of the two")
    return ANY_IPV6 if table.word("family", ("ipv4", "ipv6")) == "ipv6" else ANY_IPV4


def _endpoint(read: Callable[[str], tuple[str, int]], text: str) -> Endpoint:
    address, port = read(text)
    return Endpoint(address=address, port=port)


def _scheduler_flag(text: str) -> SchedulerFlag:
    try:
        return SchedulerFlag(text)
    except ValueError:
        raise bad(text, f"one of {', '.join(SchedulerFlag)}") from None


def _sorry_server(table: Table, read: Callable[[str], tuple[str, int]]) -> SorryServer | None:
    address = table.required("address", table.text("address", partial(_endpoint, read)))
    method = table.choice("method", ForwardingMethod) or ForwardingMethod.GATE
    table.close()
    return SorryServer(endpoint=address, forwarding=method) if address is not None else None


def _real_server(table: Table, read: Callable[[str], tuple[str, int]]) -> RealServer | None:
    address = table.required("address", table.text("address", partial(_endpoint, read)))
    method = table.choice("method", ForwardingMethod) or ForwardingMethod.GATE
    weight = table.integer("weight", 0, WEIGHT_MAX)
    upper = table.integer("upper_threshold", 0, THRESHOLD_MAX) or 0
    lower = table.integer("lower_threshold", 0, THRESHOLD_MAX) or 0
    tunnel = _tunnel(table.table("tunnel")) if table.has("tunnel") else PLAIN_TUNNEL
    table.peek("tunnel")
    request = table.text("request", str)
    receive = table.text("receive", str)
    table.close()
    if address is None:
        return None
    return RealServer(
        endpoint=address,
        forwarding=method,
        weight=1 if weight is None else weight,
        upper_threshold=upper,
        lower_threshold=lower,
        tunnel=tunnel,
        request=request,
        receive=receive or None,
    )


def _tunnel(table: Table) -> Tunnel:
    type_ = table.required("type", table.choice("type", TunnelType))
    port = table.integer("port", 0, 65535)
    checksum = table.choice("checksum", TunnelChecksum)
    table.close()
    return Tunnel(
        type=type_ or TunnelType.IPIP,
        port=port or 0,
        checksum=checksum or TunnelChecksum.NONE,
    )
