"""Every message on the bus, one frozen class each, and what wraps it.

Sans-I/O. A fact is noun + state or past participle (``RealServerDown``), published on the subject
that is its kind. A snapshot (``…State``) is the whole truth of one service, republished about
every second. ``director``, ``group``, ``virtual_service`` and ``real_server`` hold names as in
``heartbus.model``. Times in a payload are seconds; ``…_monotonic_s`` are on the sender's own
monotonic clock and mean something on that host only.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import ClassVar, Final, get_args

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Who says what, when, and because of what; travels with every message.

    ``time_s``: sender's wall clock (Unix epoch), for people only. ``uptime_s``: sender's monotonic
    clock, from which a receiver tells a late burst from fresh news without comparing wall clocks.
    ``incarnation`` grows each time the sending process starts, ``sequence`` with each message of
    one incarnation. ``valid_for_s``: older than this it must not be acted upon. ``cause``: id of
    the message that led to this one.
    """

    schema: int
    kind: str
    id: str
    time_s: float
    uptime_s: float
    node: str
    service: str
    incarnation: int
    sequence: int
    valid_for_s: float
    cause: str | None = None


# --- facts about directors and links (membership) ------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAlive:
    """A director is heard, for the first time or again."""

    kind: ClassVar[str] = "node.alive"
    director: str
    incarnation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLate:
    """A director was silent on all links for longer than warntime."""

    kind: ClassVar[str] = "node.late"
    director: str
    silent_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDead:
    """A director was silent on all links for longer than deadtime (or initdead)."""

    kind: ClassVar[str] = "node.dead"
    director: str
    silent_s: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLeft:
    """A director said that it stops; takeover needs not wait."""

    kind: ClassVar[str] = "node.left"
    director: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp:
    """Heartbeats of a director arrive over a link."""

    kind: ClassVar[str] = "link.up"
    director: str
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDown:
    """Heartbeats of a director no longer arrive over a link."""

    kind: ClassVar[str] = "link.down"
    director: str
    link: str
    silent_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumGained:
    """The sending voter hears a majority of the voters (itself included)."""

    kind: ClassVar[str] = "quorum.gained"
    heard: int
    voters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumLost:
    """The sending voter hears no majority of the voters: it can hold nothing."""

    kind: ClassVar[str] = "quorum.lost"
    heard: int
    voters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PingNodeUp:
    """A ping node answers the sender, for the first time or again; a group: one of its members."""

    kind: ClassVar[str] = "pingnode.up"
    ping_node: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PingNodeDown:
    """A ping node (of a group: every member) did not answer the sender for deadping."""

    kind: ClassVar[str] = "pingnode.down"
    ping_node: str
    silent_s: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupGranted:
    """The sending director may hold a resource group, under this epoch, while it renews."""

    kind: ClassVar[str] = "group.granted"
    group: str
    director: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRevoked:
    """The sending director may no longer hold a resource group."""

    kind: ClassVar[str] = "group.revoked"
    group: str
    director: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFenced:
    """A fence command ended well: the director is off, nothing that it held is left on it."""

    kind: ClassVar[str] = "node.fenced"
    director: str
    command: str
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUnfenced:
    """Every fence command of a director failed once more; they are tried again."""

    kind: ClassVar[str] = "node.unfenced"
    director: str
    reason: str


# --- facts about addresses (vip) -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class VipAcquired:
    """A resource group is held: addresses are announced, scripts are started."""

    kind: ClassVar[str] = "vip.acquired"
    group: str
    director: str
    epoch: int
    addresses: tuple[str, ...]
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VipReleased:
    """A resource group is no longer held: scripts are stopped, addresses are gone."""

    kind: ClassVar[str] = "vip.released"
    group: str
    director: str
    epoch: int
    addresses: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VipFailed:
    """A resource could not be started or stopped."""

    kind: ClassVar[str] = "vip.failed"
    group: str
    director: str
    epoch: int
    resource: str
    reason: str


# --- facts about real servers (checker) ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServerUp:
    """A real server passes its check."""

    kind: ClassVar[str] = "realserver.up"
    virtual_service: str
    real_server: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServerDown:
    """A real server failed its check ``fall`` times in a row; ``reason`` in words."""

    kind: ClassVar[str] = "realserver.down"
    virtual_service: str
    real_server: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServiceUp:
    """At least one real server is up again."""

    kind: ClassVar[str] = "virtualservice.up"
    virtual_service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServiceDown:
    """No real server is up: the sorry server answers, if there is one."""

    kind: ClassVar[str] = "virtualservice.down"
    virtual_service: str


# --- facts about the kernel table (ipvs-agent) ---------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsChanged:
    """The kernel table was brought to what is wanted now; actions in ipvsadm's words."""

    kind: ClassVar[str] = "ipvs.changed"
    actions: tuple[str, ...]
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsRepaired:
    """Somebody else had changed the kernel table; actions in ipvsadm's words."""

    kind: ClassVar[str] = "ipvs.repaired"
    actions: tuple[str, ...]
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsFailed:
    """The kernel refused an action; the rest of the plan was carried out."""

    kind: ClassVar[str] = "ipvs.failed"
    action: str
    reason: str


# --- facts about the processes -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigApplied:
    """A process runs with this configuration."""

    kind: ClassVar[str] = "config.applied"
    source: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSkew:
    """A live director runs with another configuration than we; ``agreed``: not any more."""

    kind: ClassVar[str] = "config.skew"
    director: str
    ours: str
    theirs: str
    agreed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStarted:
    """A process of heartbus started."""

    kind: ClassVar[str] = "service.started"
    version: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStopped:
    """A process of heartbus stops cleanly; what it held is already given up."""

    kind: ClassVar[str] = "service.stopped"
    reason: str


Event = (
    NodeAlive
    | NodeLate
    | NodeDead
    | NodeLeft
    | LinkUp
    | LinkDown
    | QuorumGained
    | QuorumLost
    | PingNodeUp
    | PingNodeDown
    | GroupGranted
    | GroupRevoked
    | NodeFenced
    | NodeUnfenced
    | VipAcquired
    | VipReleased
    | VipFailed
    | RealServerUp
    | RealServerDown
    | VirtualServiceUp
    | VirtualServiceDown
    | IpvsChanged
    | IpvsRepaired
    | IpvsFailed
    | ConfigApplied
    | ConfigSkew
    | ServiceStarted
    | ServiceStopped
)


# --- snapshots -----------------------------------------------------------------------------------


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

    A lease is good for its own host only and for the boot that ``boot_id`` names.
    """

    group: str
    epoch: int
    deadline_monotonic_s: float
    cause: str | None = None


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
class MembershipState:
    """Snapshot of membership. ``settled``: every director was heard or declared dead once.

    ``quorum``: whether a majority of the voters is heard; None with fewer than three voters.
    ``watchdog``, ``fences`` and ``clients``: what is configured of these.
    ``local_health``: 0 when this director trusts its own clock, up to 7 when it lags.
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


class HoldStatus(enum.StrEnum):
    """What ``vip`` does with a resource group."""

    RELEASED = "released"
    STARTING = "starting"
    HELD = "held"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldGroup:
    """One resource group on the sender's host; ``epoch`` of its last grant, 0 for none."""

    name: str
    status: HoldStatus
    epoch: int
    addresses: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VipState:
    """Snapshot of vip. ``stopping``: a clean stop is under way, it can take no group."""

    kind: ClassVar[str] = "state.vip"
    groups: tuple[HeldGroup, ...]
    stopping: bool = False


class Health(enum.StrEnum):
    """A verdict. ``unknown``: not checked often enough yet to say."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the sender's checks say of one real server of one virtual service.

    ``since_s``: sender's wall clock when it became so (Unix epoch), for people only. ``cause``: id
    of the event that announced this health.
    """

    virtual_service: str
    real_server: str
    health: Health
    reason: str
    since_s: float
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckerState:
    """Snapshot of checker: one verdict per real server of each virtual service."""

    kind: ClassVar[str] = "state.checker"
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRealServer:
    """A real server entry as the kernel holds it."""

    real_server: str
    forwarding: str
    weight: int
    active_connections: int
    inactive_connections: int
    sorry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableService:
    """A virtual service entry as the kernel holds it."""

    virtual_service: str
    scheduler: str
    real_servers: tuple[TableRealServer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsState:
    """Snapshot of ipvs-agent: the kernel's table of the services that heartbus manages."""

    kind: ClassVar[str] = "state.ipvs-agent"
    services: tuple[TableService, ...]
    digest: str
    repairs: int = 0
    failures: tuple[str, ...] = ()


State = MembershipState | VipState | CheckerState | IpvsState


# --- commands and their answers ------------------------------------------------------------------


class GroupScope(enum.StrEnum):
    """Which groups a command is about, as seen by the director it is sent to (Heartbeat's words).

    ``local``: those that prefer it. ``foreign``: those that prefer others.
    """

    ALL = "all"
    LOCAL = "local"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """Give resource groups to other directors, and leave them there while there are any."""

    kind: ClassVar[str] = "command.standby"
    scope: GroupScope = GroupScope.ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    """Ask the holders of resource groups to hand them over to the director that is told."""

    kind: ClassVar[str] = "command.takeover"
    scope: GroupScope = GroupScope.ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class FailBack:
    """Give groups that prefer another director to that one, where it is ready."""

    kind: ClassVar[str] = "command.failback"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutcome:
    """The answer to a command. ``done``: what was asked for is so now; ``message`` says what is.

    ``holders``: who holds each group that the command was about, "" if nobody is known to.
    """

    kind: ClassVar[str] = "command.outcome"
    done: bool
    message: str
    holders: dict[str, str] = field(default_factory=dict)
    took_s: float = 0.0


Command = Standby | TakeOver | FailBack

Body = Event | State | Command | CommandOutcome

EVENT_CLASSES: Final[tuple[type[Event], ...]] = get_args(Event)
STATE_CLASSES: Final[tuple[type[State], ...]] = get_args(State)
COMMAND_CLASSES: Final[tuple[type[Command], ...]] = get_args(Command)
BODY_CLASSES: Final[dict[str, type[Body]]] = {
    c.kind: c for c in (*EVENT_CLASSES, *STATE_CLASSES, *COMMAND_CLASSES, CommandOutcome)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An envelope and what it wraps."""

    envelope: Envelope
    body: Body
