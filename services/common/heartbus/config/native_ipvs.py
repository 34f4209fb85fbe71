"""Reads the [ipvs] table of the TOML form: what is set for the whole of IPVS.

Sans-I/O.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from heartbus.config.report import closest
from heartbus.config.toml_table import Table
from heartbus.config.values import bad, interface
from heartbus.model_ipvs import SYSCTLS, IpvsSettings, SyncDaemon

TIMEOUT_MAX_S: Final = (2**31 - 1) // 1000
"""The kernel counts them in ticks of at most a thousandth second."""
SYNC_ID_MAX: Final = 255
MAXLEN_MAX: Final = 65535 - 20 - 8

_NUMBERS: Final = re.compile(r"-?\d{1,10}( \d{1,10})?", re.ASCII)


def read_ipvs(table: Table) -> IpvsSettings:
    """Return what [ipvs] says; what is wrong is told to the report."""
    timeouts = table.table("timeouts")
    default = IpvsSettings()
    loss = table.integer("loss_percent", 0, 100)
    warm = table.integer("warm_percent", 0, 100)
    settings = IpvsSettings(
        loss_percent=default.loss_percent if loss is None else loss,
        warm_percent=default.warm_percent if warm is None else warm,
        warm_wait_s=table.seconds("warm_wait") or default.warm_wait_s,
        remove_foreign=bool(table.boolean("remove_foreign")),
        timeout_tcp_s=timeouts.integer("tcp", 1, TIMEOUT_MAX_S) or 0,
        timeout_tcpfin_s=timeouts.integer("tcpfin", 1, TIMEOUT_MAX_S) or 0,
        timeout_udp_s=timeouts.integer("udp", 1, TIMEOUT_MAX_S) or 0,
        sync=_sync(table.table("sync")) if table.has("sync") else None,
        sysctls=_sysctls(table.table("sysctls")),
    )
    timeouts.close()
    table.peek("sync")
    table.close()
    return settings


def _sync(table: Table) -> SyncDaemon | None:
    name = table.required("interface", table.text("interface", interface))
    daemon = SyncDaemon(
        interface=name or "",
        sync_id=table.integer("sync_id", 0, SYNC_ID_MAX) or 0,
        maxlen=table.integer("maxlen", 1, MAXLEN_MAX) or 0,
        group=table.text("group", _group) or "",
        port=table.integer("port", 1, 65535) or 0,
        ttl=table.integer("ttl", 1, 255) or 0,
    )
    table.close()
    return daemon if name is not None else None


def _sysctls(table: Table) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for name in table.keys:
        value = table.peek(name)
        if name not in SYSCTLS:
            allowed = f"one of {', '.join(SYSCTLS)}{closest(name, SYSCTLS)}"
            table.report.error(table.at(name), f"no sysctl of net.ipv4.vs; allowed is {allowed}")
            continue
        text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
        if not _NUMBERS.fullmatch(text):
            table.refuse(name, value, 'a whole number, or two as text: "3 50"')
            continue
        if SYSCTLS[name]:
            table.report.warning(table.at(name), f"{name} = {text}: {SYSCTLS[name]}")
        found.append((name, text))
    return tuple(found)


def _group(text: str) -> str:
    try:
        group = ipaddress.ip_address(text)
    except ValueError:
        raise bad(text, "a multicast group such as 224.0.0.81 or ff02::81") from None
    if not group.is_multicast:
        raise bad(text, "a multicast group such as 224.0.0.81 or ff02::81")
    return str(group)
