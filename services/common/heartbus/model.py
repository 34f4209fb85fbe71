"""The vocabulary of heartbus: one frozen description of a cluster, whatever file it came from.

Sans-I/O. Names are those of ipvsadm, ldirectord and Heartbeat wherever these have one; text
enums keep their spelling, so that configuration, log and kernel dump show the same word.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NewType

from heartbus.guards import RTPRIO_DEFAULT as RTPRIO_DEFAULT
from heartbus.guards import Fence as Fence
from heartbus.guards import FenceAction as FenceAction
from heartbus.guards import FenceOption as FenceOption
from heartbus.guards import SupervisedClient as SupervisedClient

Seconds = float

VirtualServiceName = NewType("VirtualServiceName", str)
"""A virtual service in events and logs: ``tcp:192.168.7.110:80``."""

RealServerName = NewType("RealServerName", str)
"""A real server of a virtual service in events and logs: ``192.168.7.11:80``."""


class ForwardingMethod(enum.StrEnum):
    """How IPVS sends a packet on; spelled as in ldirectord (ipvsadm -g, -m, -i)."""

    GATE = "gate"
    MASQ = "masq"
    IPIP = "ipip"


class TransportProtocol(enum.StrEnum):
    """Transport of a virtual service."""

    TCP = "tcp"
    UDP = "udp"


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


class CheckType(enum.StrEnum):
    """How a real server is checked; ldirectord ``checktype``."""

    NEGOTIATE = "negotiate"
    CONNECT = "connect"
    ON = "on"
    OFF = "off"


class CheckService(enum.StrEnum):
    """What a negotiate check speaks; ldirectord ``service``."""

    HTTP = "http"
    SMTP = "smtp"
    NONE = "none"


class HttpMethod(enum.StrEnum):
    """ldirectord ``httpmethod``."""

    GET = "GET"
    HEAD = "HEAD"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Endpoint:
    """An IP address in canonical text and a port (0: any)."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else self.text

    @property
    def text(self) -> str:
        """``address:port`` without brackets."""
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How the real servers of a virtual service are checked; times in seconds.

    ``port`` None means the port of the real server. ``receive`` is a regular expression that is
    searched anywhere in the answer; None accepts any good answer. ``connect_timeout_s`` bounds
    connect checks, ``negotiate_timeout_s`` negotiate checks (ldirectord checktimeout and
    negotiatetimeout). ``fall`` equal failures in a row make an up server down (failurecount),
    ``rise`` equal passes make a down server up.
    """

    type: CheckType = CheckType.NEGOTIATE
    service: CheckService = CheckService.NONE
    port: int | None = None
    request: str = "/"
    receive: str | None = None
    virtualhost: str | None = None
    http_method: HttpMethod = HttpMethod.GET
    connect_timeout_s: Seconds = 5.0
    negotiate_timeout_s: Seconds = 30.0
    interval_s: Seconds = 10.0
    rise: int = 1
    fall: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServer:
    """A server behind one virtual service. ``weight`` is its share when up; 0 is legal.

    ``request`` and ``receive`` override those of the check for this server only.
    """

    endpoint: Endpoint
    forwarding: ForwardingMethod
    weight: int = 1
    request: str | None = None
    receive: str | None = None

    @property
    def name(self) -> RealServerName:
        """Its name in events: ``address:port``."""
        return RealServerName(str(self.endpoint))


@dataclass(frozen=True, slots=True, kw_only=True)
class SorryServer:
    """Answers while no real server is up; ldirectord ``fallback``. Never checked, weight 1."""

    endpoint: Endpoint
    forwarding: ForwardingMethod = ForwardingMethod.GATE


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualService:
    """What clients connect to: address, port and protocol in the kernel's IPVS table.

    ``persistence_timeout_s`` None is no persistence; ``persistence_netmask`` is the prefix length
    of the client address that counts as one client. ``quiescent``: a failed real server keeps its
    entry with weight 0 instead of leaving the table. ``group`` names the resource group that this
    service belongs to (ldirectord::NAME in haresources), None if it belongs to no group.
    """

    protocol: TransportProtocol
    endpoint: Endpoint
    scheduler: Scheduler = Scheduler.WRR
    real_servers: tuple[RealServer, ...] = ()
    sorry_server: SorryServer | None = None
    check: Check = field(default_factory=Check)
    quiescent: bool = False
    persistence_timeout_s: int | None = None
    persistence_netmask: int | None = None
    group: str | None = None

    @property
    def name(self) -> VirtualServiceName:
        """Its name in events: ``tcp:address:port``."""
        return VirtualServiceName(f"{self.protocol}:{self.endpoint}")


class AuthMethod(enum.StrEnum):
    """How heartbeats are signed; the first three are those of authkeys, sha256 is ours."""

    CRC = "crc"
    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthKey:
    """One line of authkeys. ``secret`` is empty for crc, which protects against accidents only."""

    id: int
    method: AuthMethod
    secret: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """``signing_key`` signs what we send; each of ``keys`` is accepted on what we hear."""

    signing_key: int
    keys: tuple[AuthKey, ...]

    def key(self, key_id: int) -> AuthKey | None:
        """Return the key with this id, or None."""
        return next((key for key in self.keys if key.id == key_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastLink:
    """Heartbeats to everybody on the network of one interface; ha.cf ``bcast``."""

    interface: str
    port: int = 694

    @property
    def name(self) -> str:
        """Its name in events: ``bcast:eth1``."""
        return f"bcast:{self.interface}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnicastLink:
    """Heartbeats to one peer address or host name through one interface; ha.cf ``ucast``.

    An entry that points at ourselves is harmless, so that all directors can share one file.
    """

    interface: str
    peer: str
    port: int = 694

    @property
    def name(self) -> str:
        """Its name in events: ``ucast:eth1:10.0.0.2``."""
        return f"ucast:{self.interface}:{self.peer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialLink:
    """Heartbeats over a serial line; ha.cf ``serial`` and ``baud``."""

    device: str
    baud: int = 19200

    @property
    def name(self) -> str:
        """Its name in events: ``serial:/dev/ttyS0``."""
        return f"serial:{self.device}"


HeartbeatLink = BroadcastLink | UnicastLink | SerialLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """Detection times in seconds; ha.cf keepalive, warntime, deadtime, initdead.

    A director is late after ``warntime_s`` of silence on all its links and dead after
    ``deadtime_s``; while it was never heard since our own start, ``initdead_s`` counts instead.
    """

    keepalive_s: Seconds = 1.0
    warntime_s: Seconds = 15.0
    deadtime_s: Seconds = 30.0
    initdead_s: Seconds = 30.0


TIMER_PROFILES: dict[str, Timers] = {
    # What the classic how-to recommends; it survives a very busy machine of 2003.
    "classic": Timers(keepalive_s=2.0, warntime_s=10.0, deadtime_s=30.0, initdead_s=120.0),
    # One switched network: three heartbeats may be lost, a dead director is replaced in 0.4 s.
    "lan": Timers(keepalive_s=0.075, warntime_s=0.15, deadtime_s=0.3, initdead_s=10.0),
}


class Failback(enum.StrEnum):
    """Whether the preferred director takes its groups back; ha.cf ``auto_failback``."""

    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Everything that decides who is alive and who may hold what.

    ``lease_s``: how long a grant to ``vip`` stands without renewal. ``restart_grace_s``: when only
    the membership process of a peer is silent while the bus shows its host alive, a takeover waits
    at most this long after deadtime. ``lease_s`` must not exceed ``restart_grace_s`` + deadtime
    - 2 x keepalive, so that a peer whose membership hangs has lost its VIP before we take it.
    ``watchdog``: a device that resets the host unless we write to it. ``fences``: tried in order,
    per director. ``clients`` run beside membership. ``realtime``: scheduling class SCHED_RR at
    ``rtprio`` (1 to 99) and memory that is never paged out. ``ping_nodes`` are carried from ha.cf.
    """

    timers: Timers = field(default_factory=Timers)
    links: tuple[HeartbeatLink, ...] = ()
    authentication: Authentication
    failback: Failback = Failback.OFF
    lease_s: Seconds = 5.0
    restart_grace_s: Seconds = 5.0
    ping_nodes: tuple[str, ...] = ()
    watchdog: str | None = None
    fences: tuple[Fence, ...] = ()
    clients: tuple[SupervisedClient, ...] = ()
    realtime: bool = False
    rtprio: int = RTPRIO_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class VipSettings:
    """How addresses are held and announced.

    ``lifetime_s``: kernel lifetime of a VIP (whole seconds, IFA_CACHEINFO); refreshed every
    ``refresh_s``. ``announce_count`` gratuitous ARP frames are sent ``announce_spacing_s`` apart,
    then one every ``announce_refresh_s`` while the address is held (0: none).
    ``script_timeout_s`` bounds one call of a resource script.
    """

    lifetime_s: int = 3
    refresh_s: Seconds = 0.25
    announce_count: int = 5
    announce_spacing_s: Seconds = 0.2
    announce_refresh_s: Seconds = 60.0
    script_timeout_s: Seconds = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressResource:
    """A virtual IP; haresources ``IPaddr::address/prefix/interface/broadcast``.

    ``interface`` None: chosen by the route to the address. ``broadcast`` None: the highest
    address of the network.
    """

    address: str
    prefix_len: int
    broadcast: str | None = None
    interface: str | None = None

    @property
    def name(self) -> str:
        """``192.168.7.110/24``."""
        return f"{self.address}/{self.prefix_len}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptResource:
    """An init-style script, called as ``script arguments… start|stop|status``."""

    script: str
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As written in haresources: ``script::argument``."""
        return "::".join((self.script, *self.arguments))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedServicesResource:
    """The virtual services of one ldirectord file; haresources ``ldirectord::NAME``.

    Needs no script: their table is kept warm on every director, the group moves the address.
    """

    file: str

    @property
    def name(self) -> str:
        """As written in haresources: ``ldirectord::www.cf``."""
        return f"ldirectord::{self.file}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRulesResource:
    """Virtual services saved by ``ipvsadm --save``; haresources ``ipvsadm``. Needs no script."""

    file: str | None = None

    @property
    def name(self) -> str:
        """As written in haresources."""
        return "ipvsadm"


Resource = AddressResource | ScriptResource | CheckedServicesResource | SavedRulesResource


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceGroup:
    """What moves together; one line of haresources. Started left to right, stopped right to left.

    ``name`` is the text of its first resource, in haresources form, or the name given in TOML.
    """

    name: str
    preferred: str
    resources: tuple[Resource, ...]

    @property
    def addresses(self) -> tuple[AddressResource, ...]:
        """The virtual IPs of the group, in order."""
        return tuple(r for r in self.resources if isinstance(r, AddressResource))


@dataclass(frozen=True, slots=True, kw_only=True)
class Director:
    """A load-balancer node. ``address``: where its nats-server is reached by its peers.

    None: the node name is resolved by the system (hosts file, DNS).
    """

    name: str
    address: str | None = None

    @property
    def route_host(self) -> str:
        """Host part of its NATS route."""
        return self.address or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """Ports of the nats-server that runs beside every director."""

    client_port: int = 4222
    route_port: int = 6222


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One configuration, the same on every director.

    ``resource_path``: directories that are searched for resource scripts, in order.
    ``source``: the file or directory that it was read from, for messages only.
    """

    directors: tuple[Director, ...]
    membership: Membership
    vip: VipSettings = field(default_factory=VipSettings)
    bus: BusSettings = field(default_factory=BusSettings)
    groups: tuple[ResourceGroup, ...] = ()
    virtual_services: tuple[VirtualService, ...] = ()
    resource_path: tuple[str, ...] = ("/etc/ha.d/resource.d", "/etc/init.d", "/etc/rc.d/init.d")
    source: str = ""

    def director(self, name: str) -> Director | None:
        """Return the director of this name, or None."""
        return next((d for d in self.directors if d.name == name), None)

    def group(self, name: str) -> ResourceGroup | None:
        """Return the resource group of this name, or None."""
        return next((g for g in self.groups if g.name == name), None)

    def peers_of(self, node: str) -> tuple[Director, ...]:
        """Return all directors but this one, in the order of the configuration."""
        return tuple(d for d in self.directors if d.name != node)
