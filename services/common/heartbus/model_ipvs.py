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
