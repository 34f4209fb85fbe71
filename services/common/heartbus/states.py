"""Every snapshot on the bus: the whole truth of one service, republished about every second.

Sans-I/O. ``heartbus.events`` names them beside the events; import them from there. Words and units
are as in events.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import ClassVar

from heartbus.conflicts import ConflictView as ConflictView
from heartbus.recording import RecorderState


class DirectorStatus(enum.StrEnum):
    """What membership knows of a director. ``unknown``: never heard since our start."""

    UNKNOWN = "unknown"
    ALIVE = "alive"
    LATE = "late"
    DEAD = "dead"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorView:
    """One director as the sender sees it; ``silent_s`` None: never heard, or ourselves."""

    name: str
    status: DirectorStatus
    silent_s: float | None = None
    incarnation: int | None = None
    config_digest: str | None = None
    ready: bool = False
    witness: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkView:
    """One heartbeat link. ``heard``: directors whose heartbeats arrive over it now."""

    name: str
    usable: bool
    heard: tuple[str, ...] = ()
    problem: str | None = None


class PingStatus(enum.StrEnum):
    """What the sender knows of a ping node. ``unknown``: not asked long enough yet to say."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class PingNodeView:
    """One ping node as the sender reaches it. ``members_heard``: members that answer now.

    ``silent_s`` None: it never answered. ``problem``: why it cannot be asked, if it cannot.
    """

    name: str
    status: PingStatus
    silent_s: float | None = None
    members_heard: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """Who holds a resource group, as the sender sees it; ``holder`` None: nobody known."""

    name: str
    holder: str | None
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The sender's right to hold a group until ``deadline_monotonic_s`` on its host's clock.

    A lease is good for its own host only and for the boot that ``boot_id`` names. ``ask_first``:
    nobody knows who had the group before, so its addresses may be in use: ask the network.
    """

    group: str
    epoch: int
    deadline_monotonic_s: float
    cause: str | None = None
    ask_first: bool = False


class Rung(enum.StrEnum):
    """What a director has left of its ways to the others, and what it may do.

    ``bus``: all is well. ``links``: the bus is lost, the others are heard over the heartbeat links:
    it holds, takes over and hands over as always, and vip follows the lease file. ``alone``: no
    other director is heard: it takes what the dead held. ``isolated``: neither another director nor
    a ping node is heard: it takes nothing, and with strict takeover gives up what it holds.
    ``minority``: a majority is needed and not heard: what it holds ends with its lease.
    """

    BUS = "bus"
    LINKS = "links"
    ALONE = "alone"
    ISOLATED = "isolated"
    MINORITY = "minority"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogView:
    """The watchdog device. ``armed``: it resets the host ``timeout_s`` after we stop feeding it."""

    device: str
    armed: bool
    timeout_s: float
    problem: str | None = None


class FenceStatus(enum.StrEnum):
    """Where fencing of a director stands. ``idle``: nobody asked for it since it was heard."""

    IDLE = "idle"
    RUNNING = "running"
    FENCED = "fenced"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceView:
    """Fencing of one director; ``failures`` in a row, ``reason`` of the last one."""

    director: str
    status: FenceStatus
    failures: int = 0
    reason: str = ""


class ClientStatus(enum.StrEnum):
    """What became of a program beside membership.

    ``refused``: it could not be started, which is tried again. ``done``: it ended with status 100.
    ``given-up``: it ended too often too soon.
    """

    RUNNING = "running"
    WAITING = "waiting"
    REFUSED = "refused"
    DONE = "done"
    GIVEN_UP = "given-up"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientView:
    """A program that runs beside membership; ``exits`` since our start."""

    command: str
    user: str
    status: ClientStatus
    exits: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigDifference:
    """A live director whose configuration is not ours, for longer than a reload of all takes.

    ``theirs``: its digest. ``differs``: what differs, in words, as far as it is known.
    """

    director: str
    theirs: str
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipState:
    """Snapshot of membership. ``settled``: every director was heard or declared dead once.

    ``quorum``: whether a majority of the voters is heard; None with fewer than three voters.
    ``watchdog``, ``fences`` and ``clients``: what is configured of these.
    ``local_health``: 0 when this director trusts its own clock, up to 7 when it lags.
    ``config_differences``: an alarm each; they are no reason to move anything.
    """

    kind: ClassVar[str] = "state.membership"
    settled: bool
    directors: tuple[DirectorView, ...]
    groups: tuple[GroupView, ...]
    leases: tuple[Lease, ...]
    links: tuple[LinkView, ...]
    boot_id: str
    config_digest: str
    lag_s: float = 0.0
    local_health: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    quorum: bool | None = None
    rung: Rung = Rung.BUS
    ping_nodes: tuple[PingNodeView, ...] = ()
    watchdog: WatchdogView | None = None
    fences: tuple[FenceView, ...] = ()
    clients: tuple[ClientView, ...] = ()
    config_differences: tuple[ConfigDifference, ...] = ()


class HoldStatus(enum.StrEnum):
    """What ``vip`` does with a resource group."""

    RELEASED = "released"
    STARTING = "starting"
    HELD = "held"
    STOPPING = "stopping"
    FAILED = "failed"


class ResourceStatus(enum.StrEnum):
    """What ``vip`` knows of one resource.

    ``unknown``: not asked since our start. ``unwatched``: started, but its program does not say
    whether it runs. ``everywhere``: virtual services, whose table is kept on every director.
    """

    UNKNOWN = "unknown"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    UNWATCHED = "unwatched"
    STOPPING = "stopping"
    FAILED = "failed"
    EVERYWHERE = "everywhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceView:
    """One resource of a group, by its name in haresources form."""

    name: str
    status: ResourceStatus
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldGroup:
    """One resource group on the sender's host; ``epoch`` of its last grant, 0 for none.

    ``able``: False while something tracked bars this director from holding it, None until that is
    known. ``score``: what the trackers' weights add up to; of two candidates the higher one holds.
    """

    name: str
    status: HoldStatus
    epoch: int
    addresses: tuple[str, ...]
    reason: str = ""
    resources: tuple[ResourceView, ...] = ()
    able: bool | None = True
    barred: str = ""
    score: int = 0


class TrackStatus(enum.StrEnum):
    """What a tracker found. ``unknown``: not looked at often enough yet to say."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackView:
    """One tracker on the sender's host; ``effect``: what it adds to the score now."""

    name: str
    status: TrackStatus
    effect: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VipState:
    """Snapshot of vip. ``stopping``: a clean stop is under way, it can take no group.

    ``conflicts``: other machines that answer for our addresses. ``macs``: hardware addresses of
    this host, by which the others tell it from such machines. ``unread``: packets about our
    addresses that were not believed, by reason.
    """

    kind: ClassVar[str] = "state.vip"
    groups: tuple[HeldGroup, ...]
    stopping: bool = False
    trackers: tuple[TrackView, ...] = ()
    conflicts: tuple[ConflictView, ...] = ()
    macs: tuple[str, ...] = ()
    unread: dict[str, int] = field(default_factory=dict)


class Health(enum.StrEnum):
    """A verdict. ``unknown``: not checked often enough yet to say."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the sender's checks say of one real server of one virtual service.

    ``since_s``: sender's wall clock when it became so (Unix epoch), for people only. ``cause``: id
    of the event that announced this health. ``weight``: what it is to have, None as configured.
    ``elsewhere``: other directors check it, and this one says nothing of it.
    """

    virtual_service: str
    real_server: str
    health: Health
    reason: str
    since_s: float
    cause: str | None = None
    weight: int | None = None
    elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckerState:
    """Snapshot of checker: one verdict per real server of each virtual service.

    ``suspect``: in words, why the sender's own view is not to be believed; None while it is. Many
    verdicts are told in ``pages``, each in a message of its own: those that changed first, the
    others in turn. All of one ``edition`` together are all verdicts; heartbus.table_pages puts
    them together.
    """

    kind: ClassVar[str] = "state.checker"
    verdicts: tuple[Verdict, ...]
    suspect: str | None = None
    page: int = 0
    pages: int = 1
    edition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the kernel has counted since the entry was made, and its estimate of the rates now.

    ``out``: what came back through the director, so nothing with methods gate and ipip. The rates
    are the kernel's, means over some seconds; with net.ipv4.vs.run_estimation 0 they are 0.
    """

    connections: int
    packets_in: int
    packets_out: int
    bytes_in: int
    bytes_out: int
    connections_per_s: int = 0
    packets_in_per_s: int = 0
    packets_out_per_s: int = 0
    bytes_in_per_s: int = 0
    bytes_out_per_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRealServer:
    """A real server entry as the kernel holds it.

    ``override``: what an operator wants of it, in words; ``drained``: nothing is left on it.
    """

    real_server: str
    forwarding: str
    weight: int
    active_connections: int
    inactive_connections: int
    sorry: bool = False
    persistent_connections: int = 0
    override: str = ""
    drained: bool = False
    traffic: Traffic | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableService:
    """A virtual service entry as the kernel holds it; ``lost``: too little of it is up.

    One that is larger than a page stands on several, with some of its real servers on each.
    """

    virtual_service: str
    scheduler: str
    real_servers: tuple[TableRealServer, ...]
    lost: bool = False
    traffic: Traffic | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsState:
    """Snapshot of ipvs-agent: the kernel's table of the services that heartbus manages.

    ``digest``: of the whole table. ``sync``: which sync daemons run, ``master``, ``backup`` or
    both. ``known``: of the established connections of services that are served here, the percentage
    that each other director knows; ``cold``: those that no group should be handed over to yet
    where it could stay, and why. A large table is told in ``pages``, each in a message of its own:
    those that changed first, the others in turn. All of one ``edition`` together are the table;
    heartbus.table_pages puts them together.
    """

    kind: ClassVar[str] = "state.ipvs-agent"
    services: tuple[TableService, ...]
    digest: str
    repairs: int = 0
    failures: tuple[str, ...] = ()
    sync: tuple[str, ...] = ()
    known: dict[str, float] = field(default_factory=dict)
    cold: dict[str, str] = field(default_factory=dict)
    page: int = 0
    pages: int = 1
    edition: str = ""


State = MembershipState | VipState | CheckerState | IpvsState | RecorderState
