"""The rows of [ipvs] in the table of every key; see ``keys``.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.keys import Form, Key
from heartbus.config.native_ipvs import MAXLEN_MAX, SYNC_ID_MAX, TIMEOUT_MAX_S

_ALONE: Final = "left alone"


def _number(path: str, text: str, low: int, high: int, default: str) -> Key:
    return Key(path=path, form=Form.INTEGER, text=text, default=default, low=low, high=high)


_TIMEOUTS: Final = (
    ("tcp", "Of an idle TCP connection, in seconds."),
    ("tcpfin", "Of a TCP connection after a FIN, in seconds."),
    ("udp", "Of a flow of UDP, in seconds."),
)

IPVS_KEYS: Final = (
    Key(path="ipvs", form=Form.TABLE, text="What is set for the whole of IPVS.", default="nothing"),
    _number(
        "ipvs.loss_percent",
        "Of the weight of a service, what may leave in a minute though a peer disagrees"
        " (one server always may); 100 is no limit.",
        0,
        100,
        "50",
    ),
    _number(
        "ipvs.warm_percent",
        "With [ipvs.sync], of the connections here, what another director must know before a group"
        " that could stay is handed over to it; 0 is off.",
        0,
        100,
        "90",
    ),
    Key(
        path="ipvs.warm_wait",
        form=Form.TIME,
        text="After so long it is handed over all the same.",
        default="60 s",
    ),
    Key(
        path="ipvs.remove_foreign",
        form=Form.BOOLEAN,
        text="Virtual services that are not configured leave the table, whoever made them.",
        default="false",
    ),
    Key(
        path="ipvs.timeouts",
        form=Form.TABLE,
        text="How long the kernel remembers connections.",
        default=_ALONE,
    ),
    *(_number(f"ipvs.timeouts.{name}", text, 1, TIMEOUT_MAX_S, _ALONE) for name, text in _TIMEOUTS),
    Key(
        path="ipvs.sync",
        form=Form.TABLE,
        text="Sync daemons: sends while a group is held, listens while not all are.",
        default=_ALONE,
    ),
    Key(
        path="ipvs.sync.interface",
        form=Form.TEXT,
        text="Where connections are told and heard.",
        default=None,
    ),
    _number("ipvs.sync.sync_id", "The same on all directors.", 0, SYNC_ID_MAX, "0"),
    _number("ipvs.sync.maxlen", "Bytes of a message.", 1, MAXLEN_MAX, "that of the kernel"),
    Key(
        path="ipvs.sync.group",
        form=Form.TEXT,
        text="Multicast group, IPv4 or IPv6.",
        default="224.0.0.81",
    ),
    _number("ipvs.sync.port", "UDP port.", 1, 65535, "8848"),
    _number("ipvs.sync.ttl", "Routers that a message may pass, plus 1.", 1, 255, "1"),
    Key(
        path="ipvs.sysctls",
        form=Form.OPTIONS,
        text="Names under net.ipv4.vs; a risky value is warned about.",
        default=_ALONE,
    ),
)
