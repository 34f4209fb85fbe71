"""What the kernel's IPVS can be told about a virtual service, in the words of ipvsadm.

Sans-I/O. ``heartbus.model`` names all of this too; import it from there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

FWMARK_MAX: Final = 2**32 - 1
THRESHOLD_MAX: Final = 2**32 - 1
PERSISTENCE_MAX_S: Final = 2**31 - 1
WEIGHT_MAX: Final = 65535
"""What ipvsadm takes."""


class ForwardingMethod(enum.StrEnum):
    """How IPVS sends a packet on; spelled as in ldirectord (ipvsadm -g, -m, -i)."""

    GATE = "gate"
    MASQ = "masq"
    IPIP = "ipip"


class TransportProtocol(enum.StrEnum):
    """Transport of a virtual service; ``fwm``: whatever the packets with its mark are."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"
    FWM = "fwm"


class Scheduler(enum.StrEnum):
    """Kernel algorithms that pick a real server (net/netfilter/ipvs/ip_vs_*.c)."""

    RR = "rr"
    WRR = "wrr"
    LC = "lc"
    WLC = "wlc"
    LBLC = "lblc"
    LBLCR = "lblcr"
    DH = "dh"
    SH = "sh"
    SED = "sed"
    NQ = "nq"
    FO = "fo"
    OVF = "ovf"
    MH = "mh"
    TWOS = "twos"


class SchedulerFlag(enum.StrEnum):
    """Options of the schedulers sh and mh; ipvsadm ``-b``.

    ``…-port``: the client's port counts too, not its address alone. ``…-fallback``: where the
    picked server has weight 0 or is overloaded another one is picked, instead of refusing.
    """

    SH_PORT = "sh-port"
    SH_FALLBACK = "sh-fallback"
    MH_PORT = "mh-port"
    MH_FALLBACK = "mh-fallback"

    @property
    def scheduler(self) -> Scheduler:
        """The only scheduler that knows it."""
        return Scheduler(self.partition("-")[0])


class PersistenceEngine(enum.StrEnum):
    """What else than the address makes a client; ipvsadm ``--pe``. ``sip``: the Call-ID."""

    SIP = "sip"


class TunnelType(enum.StrEnum):
    """What method ipip wraps packets in; ipvsadm ``--tun-type``. Linux 5.3 or later but for ipip.

    ``gue``: generic UDP encapsulation, which spreads over the queues of network cards.
    """

    IPIP = "ipip"
    GUE = "gue"
    GRE = "gre"


class TunnelChecksum(enum.StrEnum):
    """Checksum of the wrapping; ipvsadm ``--tun-nocsum``, ``--tun-csum``, ``--tun-remcsum``.

    ``remote``: the inner checksum is computed by the receiver; gue only.
    """

    NONE = "none"
    FULL = "full"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """How method ipip reaches a real server. ``port``: UDP port of gue, 0 for the others."""

    type: TunnelType = TunnelType.IPIP
    port: int = 0
    checksum: TunnelChecksum = TunnelChecksum.NONE

    def __str__(self) -> str:
        if self.type is TunnelType.IPIP:
            return str(self.type)
        port = f" port {self.port}" if self.type is TunnelType.GUE else ""
        return f"{self.type}{port} checksum {self.checksum}"


PLAIN_TUNNEL: Final = Tunnel()


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncDaemon:
    """The kernel's connection sync daemon; ipvsadm ``--start-daemon``.

    A director that holds a resource group sends (``master``), one that does not hold all of them
    listens (``backup``); where there are no groups each does both. ``sync_id`` must be the same on
    all directors. ``maxlen``, ``group``, ``port`` and ``ttl`` 0 or "": the kernel's default.
    """

    interface: str
    sync_id: int = 0
    maxlen: int = 0
    group: str = ""
    port: int = 0
    ttl: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsSettings:
    """What is set for the whole of IPVS on each director; what is not written is left alone.

    Timeouts in seconds, 0 for left alone; ipvsadm ``--set``. ``sysctls``: names and values under
    net.ipv4.vs. ``loss_percent``: how much of the weight of a service may leave within a minute
    when a peer's checker disagrees (one server always may); 100: no limit. With ``sync`` a group is
    not handed over, where that can wait, to a director that knows less than ``warm_percent`` of
    its established connections; 0: it is. It waits for ``warm_wait_s`` at most. ``remove_foreign``:
    virtual services that are not configured leave the table, whoever made them.
    """

    loss_percent: int = 50
    warm_percent: int = 90
    warm_wait_s: float = 60.0
    remove_foreign: bool = False
    timeout_tcp_s: int = 0
    timeout_tcpfin_s: int = 0
    timeout_udp_s: int = 0
    sync: SyncDaemon | None = None
    sysctls: tuple[tuple[str, str], ...] = ()


SYSCTLS: Final = {
    "am_droprate": "",
    "amemthresh": "",
    "backup_only": "",
    "cache_bypass": "",
    "conn_reuse_mode": "0 sends a client that reuses its port to the old server, drained or not",
    "conntrack": "",
    "drop_entry": "anything but 0 drops established connections at random when memory is short",
    "drop_packet": "anything but 0 drops packets when memory is short",
    "expire_nodest_conn": "",
    "expire_quiescent_template": "",
    "ignore_tunneled": "",
    "nat_icmp_send": "",
    "pmtu_disc": "",
    "run_estimation": "0 leaves all rates of services and servers at zero",
    "schedule_icmp": "",
    "secure_tcp": "",
    "sloppy_sctp": "",
    "sloppy_tcp": "",
    "snat_reroute": "",
    "sync_persist_mode": "",
    "sync_ports": "must be the same on all directors, or a part of the connections is not heard",
    "sync_qlen_max": "",
    "sync_refresh_period": "",
    "sync_retries": "",
    "sync_sock_size": "",
    "sync_threshold": "",
    "sync_version": "0 carries no IPv6 and no persistence engines",
}
"""Under net.ipv4.vs (Documentation/networking/ipvs-sysctl.rst); what is risky about one, or ""."""
