"""Every message on the bus, one frozen class each, and what wraps it.

Sans-I/O. A fact is noun + state or past participle (``RealServerDown``), published on the subject
that is its kind. A snapshot (``…State``) is the whole truth of one service, republished about
every second. ``director``, ``group``, ``virtual_service`` and ``real_server`` hold names as in
``heartbus.model``. Times in a payload are seconds; ``…_monotonic_s`` are on the sender's own
monotonic clock and mean something on that host only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, get_args

from heartbus.conflicts import ConflictView as ConflictView
from heartbus.conflicts import VipConflict as VipConflict
from heartbus.conflicts import VipMoved as VipMoved
from heartbus.ordering import CommandOutcome as CommandOutcome
from heartbus.ordering import FailBack as FailBack
from heartbus.ordering import GroupScope as GroupScope
from heartbus.ordering import Reload as Reload
from heartbus.ordering import Standby as Standby
from heartbus.ordering import TakeOver as TakeOver
from heartbus.overrides import Disable as Disable
from heartbus.overrides import Drain as Drain
from heartbus.overrides import Enable as Enable
from heartbus.overrides import IpvsOverrides as IpvsOverrides
from heartbus.overrides import Maintain as Maintain
from heartbus.overrides import Override as Override
from heartbus.overrides import OverrideAction as OverrideAction
from heartbus.overrides import OverrideCommand as OverrideCommand
from heartbus.overrides import RealServerDrained as RealServerDrained
from heartbus.overrides import RealServerDraining as RealServerDraining
from heartbus.overrides import RealServerOverridden as RealServerOverridden
from heartbus.overrides import SetWeight as SetWeight
from heartbus.push.messages import DryRun as DryRun
from heartbus.push.messages import PushConfig as PushConfig
from heartbus.push.messages import PushStep as PushStep
from heartbus.recorded_gaps import Gap as Gap
from heartbus.recorded_gaps import HeartbeatGaps as HeartbeatGaps
from heartbus.recording import Answer as Answer
from heartbus.recording import AskBuckets as AskBuckets
from heartbus.recording import AskEvents as AskEvents
from heartbus.recording import AskIds as AskIds
from heartbus.recording import AskRecent as AskRecent
from heartbus.recording import FoundBuckets as FoundBuckets
from heartbus.recording import FoundEvents as FoundEvents
from heartbus.recording import FoundIds as FoundIds
from heartbus.recording import HistoryFailed as HistoryFailed
from heartbus.recording import HistoryRestored as HistoryRestored
from heartbus.recording import NoAnswer as NoAnswer
from heartbus.recording import OperatorAnswered as OperatorAnswered
from heartbus.recording import OperatorCommanded as OperatorCommanded
from heartbus.recording import Query as Query
from heartbus.recording import RecorderState as RecorderState
from heartbus.states import CheckerState as CheckerState
from heartbus.states import ClientStatus as ClientStatus
from heartbus.states import ClientView as ClientView
from heartbus.states import ConfigDifference as ConfigDifference
from heartbus.states import DirectorStatus as DirectorStatus
from heartbus.states import DirectorView as DirectorView
from heartbus.states import FenceStatus as FenceStatus
from heartbus.states import FenceView as FenceView
from heartbus.states import GroupView as GroupView
from heartbus.states import Health as Health
from heartbus.states import HeldGroup as HeldGroup
from heartbus.states import HoldStatus as HoldStatus
from heartbus.states import IpvsState as IpvsState
from heartbus.states import Lease as Lease
from heartbus.states import LinkView as LinkView
from heartbus.states import MembershipState as MembershipState
from heartbus.states import PingNodeView as PingNodeView
from heartbus.states import PingStatus as PingStatus
from heartbus.states import ResourceStatus as ResourceStatus
from heartbus.states import ResourceView as ResourceView
from heartbus.states import Rung as Rung
from heartbus.states import State as State
from heartbus.states import TableRealServer as TableRealServer
from heartbus.states import TableService as TableService
from heartbus.states import TrackStatus as TrackStatus
from heartbus.states import TrackView as TrackView
from heartbus.states import Traffic as Traffic
from heartbus.states import Verdict as Verdict
from heartbus.states import VipState as VipState
from heartbus.states import WatchdogView as WatchdogView

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Who says what, when, and because of what; travels with every message.

    ``time_s``: sender's wall clock (Unix epoch), for people only. ``uptime_s``: sender's monotonic
    clock, from which a receiver tells a late burst from fresh news without comparing wall clocks.
    ``incarnation`` grows each time the sending process starts, ``sequence`` with each message of
    one incarnation. ``valid_for_s``: older than this it must not be acted upon. ``cause``: id of
    the message that led to this one. ``previous``: id of the last event that this process published
    before; who has not got it missed something.
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
    previous: str | None = None


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
    """The sending director may no longer hold a resource group.

    ``handover``: it was withdrawn on purpose, for another director to take it.
    """

    kind: ClassVar[str] = "group.revoked"
    group: str
    director: str
    epoch: int
    reason: str
    handover: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class VipRepaired:
    """A held address had been taken away by somebody else and was put back, and announced.

    ``times``: how often since the last of these events of this address.
    """

    kind: ClassVar[str] = "vip.repaired"
    group: str
    director: str
    epoch: int
    address: str
    times: int


# --- facts about real servers (checker) ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServerUp:
    """A real server passes its check. ``weight``: what it is to have, None as configured."""

    kind: ClassVar[str] = "realserver.up"
    virtual_service: str
    real_server: str
    reason: str
    weight: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServerDown:
    """A real server failed its check ``fall`` times in a row; ``reason`` in words."""

    kind: ClassVar[str] = "realserver.down"
    virtual_service: str
    real_server: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServerWeight:
    """A real server is to have another weight: it asks for it itself, or starts slowly.

    ``weight`` None: as configured.
    """

    kind: ClassVar[str] = "realserver.weight"
    virtual_service: str
    real_server: str
    weight: int | None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServiceGained:
    """Enough of a service is up on the sender: ``weight`` reached quorum + hysteresis.

    Told of services with a quorum or with commands, by ipvs-agent, like ``virtualservice.lost``.
    """

    kind: ClassVar[str] = "virtualservice.gained"
    virtual_service: str
    weight: int
    quorum: int
    hysteresis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServiceLost:
    """Too little of a service is up on the sender: the sorry server answers, if there is one."""

    kind: ClassVar[str] = "virtualservice.lost"
    virtual_service: str
    weight: int
    quorum: int
    hysteresis: int


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


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsWithheld:
    """A real server is down for the sender's checker alone and stays, or too much would leave."""

    kind: ClassVar[str] = "ipvs.withheld"
    virtual_service: str
    real_server: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsDigests:
    """A digest of each virtual service in the sender's table, every few seconds."""

    kind: ClassVar[str] = "ipvs.digests"
    digests: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsConnections:
    """Established connections that the sender's kernel knows, its own and those it was told of.

    By virtual service, those without any left out; on the period of its looks at the table.
    """

    kind: ClassVar[str] = "ipvs.connections"
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsDiffers:
    """A director has another table than the sender, for longer than verdicts take; or no more."""

    kind: ClassVar[str] = "ipvs.differs"
    director: str
    virtual_service: str
    agreed: bool = False


# --- facts about the processes -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigApplied:
    """A process runs with this configuration."""

    kind: ClassVar[str] = "config.applied"
    source: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRejected:
    """A process was told to read its files anew, and goes on with what it had.

    ``reasons``: errors as ``FILE:LINE: directive: what is wrong``, the first 20 of them.
    """

    kind: ClassVar[str] = "config.rejected"
    source: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSkew:
    """A live director runs with another configuration than we; ``agreed``: not any more.

    ``differs``: what differs, in words, as far as it is known.
    """

    kind: ClassVar[str] = "config.skew"
    director: str
    ours: str
    theirs: str
    agreed: bool = False
    differs: tuple[str, ...] = ()


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
    | HeartbeatGaps
    | VipAcquired
    | VipReleased
    | VipFailed
    | VipRepaired
    | VipConflict
    | VipMoved
    | RealServerUp
    | RealServerDown
    | RealServerDraining
    | RealServerDrained
    | RealServerOverridden
    | RealServerWeight
    | VirtualServiceUp
    | VirtualServiceDown
    | VirtualServiceGained
    | VirtualServiceLost
    | IpvsChanged
    | IpvsRepaired
    | IpvsFailed
    | IpvsOverrides
    | IpvsWithheld
    | IpvsDigests
    | IpvsConnections
    | IpvsDiffers
    | ConfigApplied
    | ConfigRejected
    | ConfigSkew
    | ServiceStarted
    | ServiceStopped
    | OperatorCommanded
    | OperatorAnswered
    | HistoryFailed
    | HistoryRestored
)


# --- what there is ------------------------------------------------------------------------------

Command = Standby | TakeOver | FailBack | Reload | PushConfig | DryRun | OverrideCommand

Body = Event | State | Command | CommandOutcome | Query | Answer

EVENT_CLASSES: Final[tuple[type[Event], ...]] = get_args(Event)
STATE_CLASSES: Final[tuple[type[State], ...]] = get_args(State)
COMMAND_CLASSES: Final[tuple[type[Command], ...]] = get_args(Command)
QUERY_CLASSES: Final[tuple[type[Query], ...]] = get_args(Query)
ANSWER_CLASSES: Final[tuple[type[Answer], ...]] = get_args(Answer)
BODY_CLASSES: Final[dict[str, type[Body]]] = {
    c.kind: c
    for c in (
        *EVENT_CLASSES,
        *STATE_CLASSES,
        *COMMAND_CLASSES,
        CommandOutcome,
        *QUERY_CLASSES,
        *ANSWER_CLASSES,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An envelope and what it wraps."""

    envelope: Envelope
    body: Body
