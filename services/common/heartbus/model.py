"""The vocabulary of heartbus: one frozen description of a cluster, whatever file it came from.

Sans-I/O. Names are those of ipvsadm, ldirectord and Heartbeat wherever these have one; text
enums keep their spelling, so that configuration, log and kernel dump show the same word.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final, NewType

from heartbus.guards import RTPRIO_DEFAULT as RTPRIO_DEFAULT
from heartbus.guards import Fence as Fence
from heartbus.guards import FenceAction as FenceAction
from heartbus.guards import FenceOption as FenceOption
from heartbus.guards import SupervisedClient as SupervisedClient
from heartbus.model_addresses import AddressResource as AddressResource
from heartbus.model_addresses import AnnounceForm as AnnounceForm
from heartbus.model_addresses import AnnounceSettings as AnnounceSettings
from heartbus.model_checking import CheckingSettings as CheckingSettings
from heartbus.model_checking import DecidedBy as DecidedBy
from heartbus.model_checks import Check as Check
from heartbus.model_checks import CheckService as CheckService
from heartbus.model_checks import CheckType as CheckType
from heartbus.model_checks import HttpMethod as HttpMethod
from heartbus.model_checks import Page as Page
from heartbus.model_checks import Tls as Tls
from heartbus.model_conflicts import ConflictSettings as ConflictSettings
from heartbus.model_conflicts import OnConflict as OnConflict
from heartbus.model_history import HistorySettings as HistorySettings
from heartbus.model_ipvs import PLAIN_TUNNEL as PLAIN_TUNNEL
from heartbus.model_ipvs import ForwardingMethod as ForwardingMethod
from heartbus.model_ipvs import IpvsSettings as IpvsSettings
from heartbus.model_ipvs import PersistenceEngine as PersistenceEngine
from heartbus.model_ipvs import Scheduler as Scheduler
from heartbus.model_ipvs import SchedulerFlag as SchedulerFlag
from heartbus.model_ipvs import SyncDaemon as SyncDaemon
from heartbus.model_ipvs import TransportProtocol as TransportProtocol
from heartbus.model_ipvs import Tunnel as Tunnel
from heartbus.model_ipvs import TunnelChecksum as TunnelChecksum
from heartbus.model_ipvs import TunnelType as TunnelType
from heartbus.model_policy import DEFAULT_POLICY as DEFAULT_POLICY
from heartbus.model_policy import ServicePolicy as ServicePolicy
from heartbus.model_policy import StartPolicy as StartPolicy
from heartbus.model_reload import ReloadSettings as ReloadSettings
from heartbus.model_resources import STOP_TIMEOUTS_MAX as STOP_TIMEOUTS_MAX
from heartbus.model_resources import Hook as Hook
from heartbus.model_resources import ResourceSettings as ResourceSettings
from heartbus.model_resources import StopFailure as StopFailure
from heartbus.model_resources import Tracker as Tracker
from heartbus.model_resources import TrackKind as TrackKind

Seconds = float

VirtualServiceName = NewType("VirtualServiceName", str)
"""A virtual service in events and logs: ``tcp:192.168.7.110:80``."""

RealServerName = NewType("RealServerName", str)
"""A real server of a virtual service in events and logs: ``192.168.7.11:80``."""


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
class RealServer:
    """A server behind one virtual service. ``weight`` is its share when up; 0 is legal.

    From ``upper_threshold`` connections on it is given no new ones, until it has fewer than
    ``lower_threshold`` (0: three quarters of the upper one); upper 0: no limit. ``tunnel`` counts
    with method ipip. ``request`` and ``receive`` override those of the check for this server only.
    """

    endpoint: Endpoint
    forwarding: ForwardingMethod
    weight: int = 1
    upper_threshold: int = 0
    lower_threshold: int = 0
    tunnel: Tunnel = PLAIN_TUNNEL
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
    """What clients connect to: address, port and protocol in the kernel's IPVS table, or a mark.

    ``fwmark`` not 0: packets that a firewall rule marked with this number, whatever their address,
    port and protocol; its endpoint says the family only (0.0.0.0:0 or [::]:0), its protocol is fwm.
    Port 0: every port of the address, with persistence only. ``one_packet``: each UDP packet is
    scheduled by itself. ``persistence_timeout_s`` None is no persistence; ``persistence_netmask``
    is the prefix length of the client address that counts as one client, ``persistence_engine``
    what else does. ``quiescent``: a failed real server keeps its entry with weight 0 instead of
    leaving the table. ``policy``: its quorum, start and stop. ``group`` names the resource group
    that it belongs to (ldirectord::NAME in haresources), None if it belongs to no group.
    """

    protocol: TransportProtocol
    endpoint: Endpoint
    fwmark: int = 0
    scheduler: Scheduler = Scheduler.WRR
    scheduler_flags: tuple[SchedulerFlag, ...] = ()
    one_packet: bool = False
    real_servers: tuple[RealServer, ...] = ()
    sorry_server: SorryServer | None = None
    check: Check = field(default_factory=Check)
    quiescent: bool = False
    persistence_timeout_s: int | None = None
    persistence_netmask: int | None = None
    persistence_engine: PersistenceEngine | None = None
    policy: ServicePolicy = DEFAULT_POLICY
    group: str | None = None

    @property
    def name(self) -> VirtualServiceName:
        """Its name in events: ``tcp:address:port``, ``fwm:mark`` or ``fwm6:mark``."""
        if self.fwmark:
            family = "fwm6" if ":" in self.endpoint.address else "fwm"
            return VirtualServiceName(f"{family}:{self.fwmark}")
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
    """Heartbeats to one peer through one interface; ha.cf ``ucast`` and ``ucast6``.

    ``peer``: an IPv4 or IPv6 address, or a host name, which is looked up as IPv4 first; ``ipv6``:
    as IPv6 only. The interface is the scope of a link-local address. An entry that points at
    ourselves is harmless, so that all directors can share one file.
    """

    interface: str
    peer: str
    port: int = 694
    ipv6: bool = False

    @property
    def name(self) -> str:
        """Its name in events: ``ucast:eth1:10.0.0.2``, ``ucast6:eth1:host``."""
        return f"{'ucast6' if self.ipv6 else 'ucast'}:{self.interface}:{self.peer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MulticastLink:
    """Heartbeats to a group of IPv4 or IPv6 on one interface; ha.cf ``mcast`` and ``mcast6``.

    ``ttl``: how many routers they may pass, plus 1. ``loop``: the sending host hears them too.
    """

    interface: str
    group: str
    port: int = 694
    ttl: int = 1
    loop: bool = False

    @property
    def name(self) -> str:
        """Its name in events: ``mcast:eth1:239.0.0.1``."""
        return f"mcast:{self.interface}:{self.group}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialLink:
    """Heartbeats over a serial line; ha.cf ``serial`` and ``baud``."""

    device: str
    baud: int = 19200

    @property
    def name(self) -> str:
        """Its name in events: ``serial:/dev/ttyS0``."""
        return f"serial:{self.device}"


HeartbeatLink = BroadcastLink | MulticastLink | UnicastLink | SerialLink


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
    # A link of its own between directors that are not short of CPU: dead after 0.12 s of silence.
    "fast": Timers(keepalive_s=0.03, warntime_s=0.06, deadtime_s=0.12, initdead_s=10.0),
}


MAJORITY_VOTERS_MIN = 3
"""With two voters no majority is left when one dies."""

LEASE_DEFAULT_S = 5.0
LEASE_DEFAULT_MAJORITY_S = 2.0
LEASE_DEFAULT_KEEPALIVES = 5
"""With a majority a takeover waits for the lease; a membership that restarts is back in less, and
two lost heartbeats in a row end no lease."""

EXPIRY_TAIL_S = 1.3
"""How long an address may outlive its lease: vip rounds lifetimes up to the next whole second, and
the kernel removes an address up to 0.3 s after its lifetime (addrconf and inetaddr timers)."""


class Takeover(enum.StrEnum):
    """How long a director waits before it takes what a dead one held.

    ``fast``: not at all; the address may be on two directors for one kernel lifetime where the dead
    one was only killed or hung. ``strict``: until the lease and the address are over for sure.
    """

    FAST = "fast"
    STRICT = "strict"


def default_lease_s(timers: Timers, *, voters: int) -> Seconds:
    """Return how long a lease stands where the configuration does not say it."""
    if voters < MAJORITY_VOTERS_MIN:
        return LEASE_DEFAULT_S
    return max(LEASE_DEFAULT_MAJORITY_S, LEASE_DEFAULT_KEEPALIVES * timers.keepalive_s)


class Failback(enum.StrEnum):
    """Whether the preferred director takes its groups back; ha.cf ``auto_failback``."""

    ON = "on"
    OFF = "off"


PING_INTERVAL_MIN_S: Final = 0.2
"""Ping nodes are other people's routers: none is asked more often than this."""

PING_INTERVALS_PER_DEADPING: Final = 3
"""Where deadping is not given, at least so many questions in a row must stay without answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PingNode:
    """A host, or a group of hosts, outside of the cluster that is asked by ICMP echo.

    ha.cf ``ping``, ``ping6`` and ``ping_group``. It is up while any of ``members`` (host names or
    addresses) answers; a plain ping node has one member, itself. A name that has both kinds of
    address is asked over IPv4, unless ``ipv6`` is set.
    """

    name: str
    members: tuple[str, ...]
    ipv6: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Everything that decides who is alive and who may hold what.

    ``lease_s``: how long a grant to ``vip`` stands without renewal. ``restart_grace_s``: when only
    the membership process of a peer is silent while the bus shows its host alive, a takeover waits
    at most this long after deadtime. ``lease_s`` must not exceed ``restart_grace_s`` + deadtime
    - 2 x keepalive, so that a peer whose membership hangs has lost its VIP before we take it; with
    three or more voters a majority renews each lease, and it may be as long as a takeover may take.
    ``deadping_s`` None: ``ping_silence_s`` says what counts. ``hopfudge``: in a ring of serial
    lines a heartbeat passes at most directors + hopfudge lines.
    ``watchdog``: a device that resets the host unless we write to it. ``fences``: tried in order,
    per director. ``clients`` run beside membership. ``realtime``: scheduling class SCHED_RR at
    ``rtprio`` (1 to 99) and memory that is never paged out.
    """

    timers: Timers = field(default_factory=Timers)
    links: tuple[HeartbeatLink, ...] = ()
    hopfudge: int = 1
    authentication: Authentication
    failback: Failback = Failback.OFF
    takeover: Takeover = Takeover.FAST
    lease_s: Seconds = LEASE_DEFAULT_S
    restart_grace_s: Seconds = 5.0
    ping_nodes: tuple[PingNode, ...] = ()
    deadping_s: Seconds | None = None
    watchdog: str | None = None
    fences: tuple[Fence, ...] = ()
    clients: tuple[SupervisedClient, ...] = ()
    realtime: bool = False
    rtprio: int = RTPRIO_DEFAULT

    @property
    def ping_interval_s(self) -> Seconds:
        """How often each ping node is asked: about every keepalive."""
        return max(self.timers.keepalive_s, PING_INTERVAL_MIN_S)

    @property
    def ping_silence_s(self) -> Seconds:
        """After how much silence a ping node is down: deadping, or else deadtime.

        A deadtime below three questions is no default: one lost answer would be a death.
        """
        if self.deadping_s is not None:
            return self.deadping_s
        return max(self.timers.deadtime_s, PING_INTERVALS_PER_DEADPING * self.ping_interval_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class VipSettings:
    """How addresses are held and announced.

    ``lifetime_s``: kernel lifetime of a VIP (whole seconds, IFA_CACHEINFO); refreshed every
    ``refresh_s``. ``script_timeout_s`` bounds one call of a resource script.
    """

    lifetime_s: int = 3
    refresh_s: Seconds = 0.25
    script_timeout_s: Seconds = 60.0
    announce: AnnounceSettings = field(default_factory=AnnounceSettings)
    resources: ResourceSettings = field(default_factory=ResourceSettings)
    conflicts: ConflictSettings = field(default_factory=ConflictSettings)


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
    ``announce``: of its addresses; None: as all are announced.
    """

    name: str
    preferred: str
    resources: tuple[Resource, ...]
    announce: AnnounceSettings | None = None

    @property
    def addresses(self) -> tuple[AddressResource, ...]:
        """The virtual IPs of the group, in order."""
        return tuple(r for r in self.resources if isinstance(r, AddressResource))

    def stop_max_s(self, script_timeout_s: Seconds) -> Seconds:
        """Return how long its scripts may take to stop, tries that fail included."""
        scripts = sum(isinstance(r, ScriptResource) for r in self.resources)
        return scripts * STOP_TIMEOUTS_MAX * script_timeout_s


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

    ``witnesses`` vote and hold nothing: a membership process alone. ``resource_path``: directories
    that are searched for resource scripts, in order. ``source``: the file or directory that it was
    read from, ``directors_at``: where in it the directors are named; for messages only.
    """

    directors: tuple[Director, ...]
    witnesses: tuple[Director, ...] = ()
    membership: Membership
    vip: VipSettings = field(default_factory=VipSettings)
    bus: BusSettings = field(default_factory=BusSettings)
    ipvs: IpvsSettings = field(default_factory=IpvsSettings)
    reload: ReloadSettings = field(default_factory=ReloadSettings)
    checks: CheckingSettings = field(default_factory=CheckingSettings)
    history: HistorySettings = field(default_factory=HistorySettings)
    groups: tuple[ResourceGroup, ...] = ()
    virtual_services: tuple[VirtualService, ...] = ()
    resource_path: tuple[str, ...] = ("/etc/ha.d/resource.d", "/etc/init.d", "/etc/rc.d/init.d")
    source: str = ""
    directors_at: str = field(default="", compare=False)

    @property
    def voters(self) -> tuple[Director, ...]:
        """All that send heartbeats: directors, then witnesses."""
        return (*self.directors, *self.witnesses)

    @property
    def has_majority(self) -> bool:
        """Whether a majority grants each lease: with three or more voters."""
        return len(self.voters) >= MAJORITY_VOTERS_MIN

    def director(self, name: str) -> Director | None:
        """Return the director or witness of this name, or None."""
        return next((d for d in self.voters if d.name == name), None)

    def group(self, name: str) -> ResourceGroup | None:
        """Return the resource group of this name, or None."""
        return next((g for g in self.groups if g.name == name), None)

    def peers_of(self, node: str) -> tuple[Director, ...]:
        """Return all directors and witnesses but this one, in the order of the configuration."""
        return tuple(d for d in self.voters if d.name != node)
