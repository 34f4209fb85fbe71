"""Reads a [[virtual_services]] table of the TOML form.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config import native_checks
from heartbus.config.ipvsadm_rules import WEIGHT_MAX
from heartbus.config.toml_table import Table
from heartbus.config.values import endpoint, netmask
from heartbus.model import (
    Endpoint,
    ForwardingMethod,
    RealServer,
    Scheduler,
    SorryServer,
    TransportProtocol,
    VirtualService,
)

PERSISTENCE_MAX_S: Final = 2**31 - 1


def virtual_service(table: Table) -> VirtualService | None:
    """Return the service, or None after the report was told what is wrong with it."""
    address = table.required("address", table.text("address", _endpoint))
    protocol = table.choice("protocol", TransportProtocol) or TransportProtocol.TCP
    scheduler = table.choice("scheduler", Scheduler) or Scheduler.WRR
    quiescent = table.boolean("quiescent")
    persistent_s = table.integer("persistent", 1, PERSISTENCE_MAX_S)
    mask = table.text("netmask", netmask)
    if mask is not None and persistent_s is None:
        table.report.error(table.at("netmask"), "without persistent; allowed is both or neither")
    sorry_server = _sorry_server(table.table("fallback")) if table.has("fallback") else None
    table.peek("fallback")
    group = table.text("group", str)
    servers = [_real_server(server) for server in table.tables("real_servers")]
    port = address.port if address is not None else 0
    check = native_checks.check(table.table("check"), port, protocol)
    table.close()
    if address is None:
        return None
    return VirtualService(
        protocol=protocol,
        endpoint=address,
        scheduler=scheduler,
        real_servers=tuple(server for server in servers if server is not None),
        sorry_server=sorry_server,
        check=check,
        quiescent=bool(quiescent),
        persistence_timeout_s=persistent_s,
        persistence_netmask=mask,
        group=group,
    )


def _endpoint(text: str) -> Endpoint:
    address, port = endpoint(text)
    return Endpoint(address=address, port=port)


def _sorry_server(table: Table) -> SorryServer | None:
    address = table.required("address", table.text("address", _endpoint))
    method = table.choice("method", ForwardingMethod) or ForwardingMethod.GATE
    table.close()
    return SorryServer(endpoint=address, forwarding=method) if address is not None else None


def _real_server(table: Table) -> RealServer | None:
    address = table.required("address", table.text("address", _endpoint))
    method = table.choice("method", ForwardingMethod) or ForwardingMethod.GATE
    weight = table.integer("weight", 0, WEIGHT_MAX)
    request = table.text("request", str)
    receive = table.text("receive", str)
    table.close()
    if address is None:
        return None
    return RealServer(
        endpoint=address,
        forwarding=method,
        weight=1 if weight is None else weight,
        request=request,
        receive=receive or None,
    )
