"""Who may say, ask and hear what on the bus: the one source of permissions and of their table.

Sans-I/O. The nats-server of each director enforces it for its own clients (``up.nats_config``);
what comes from a peer's server is checked again by who hears it (``distrust``), because servers
believe one another. docs/bus-users.md is made of it (``rights_table``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Final, get_args

from heartbus import subjects
from heartbus.events import (
    EVENT_CLASSES,
    QUERY_CLASSES,
    AskRecent,
    Command,
    ConfigApplied,
    ConfigRejected,
    ConfigSkew,
    DryRun,
    Envelope,
    Event,
    FailBack,
    GroupGranted,
    GroupRevoked,
    HeartbeatGaps,
    HistoryFailed,
    HistoryRestored,
    IpvsChanged,
    IpvsConnections,
    IpvsDiffers,
    IpvsDigests,
    IpvsFailed,
    IpvsOverrides,
    IpvsRepaired,
    IpvsWithheld,
    LinkDown,
    LinkUp,
    NodeAlive,
    NodeDead,
    NodeFenced,
    NodeLate,
    NodeLeft,
    NodeUnfenced,
    OperatorAnswered,
    OperatorCommanded,
    OverrideCommand,
    PingNodeDown,
    PingNodeUp,
    PushConfig,
    QuorumGained,
    QuorumLost,
    RealServerDown,
    RealServerDrained,
    RealServerDraining,
    RealServerOverridden,
    RealServerUp,
    RealServerWeight,
    Reload,
    ServiceStarted,
    ServiceStopped,
    Standby,
    TakeOver,
    VipAcquired,
    VipConflict,
    VipFailed,
    VipMoved,
    VipReleased,
    VipRepaired,
    VirtualServiceDown,
    VirtualServiceGained,
    VirtualServiceLost,
    VirtualServiceUp,
)
from heartbus.observer import EVENT_SUBJECTS


class Role(enum.StrEnum):
    """What a user of the bus is. Services have one user each; people as many as they like."""

    MEMBERSHIP = "membership"
    WITNESS = "witness"
    VIP = "vip"
    CHECKER = "checker"
    IPVS_AGENT = "ipvs-agent"
    RECORDER = "recorder"
    OPERATOR = "operator"
    OBSERVER = "observer"


class Reach(enum.StrEnum):
    """Whom a role may ask for something."""

    NOBODY = "no"
    OWN = "own director"
    ANY = "any director"


SERVICES: Final = ("membership", "vip", "checker", "ipvs-agent", "recorder")
PEOPLE: Final = (Role.OPERATOR, Role.OBSERVER)
STATE_VERB: Final = "state"

SERVICE_OF: Final[dict[Role, str]] = {
    Role.MEMBERSHIP: "membership",
    Role.WITNESS: "membership",
    Role.VIP: "vip",
    Role.CHECKER: "checker",
    Role.IPVS_AGENT: "ipvs-agent",
    Role.RECORDER: "recorder",
}
"""The service that has a role; the membership of a witness has one of its own."""

_OF_ALL: Final[tuple[type[Event], ...]] = (
    ConfigApplied,
    ConfigRejected,
    ServiceStarted,
    ServiceStopped,
    OperatorCommanded,
    OperatorAnswered,
)
_OWN_EVENTS: Final[dict[str, tuple[type[Event], ...]]] = {
    "membership": (
        NodeAlive,
        NodeLate,
        NodeDead,
        NodeLeft,
        NodeFenced,
        NodeUnfenced,
        HeartbeatGaps,
        LinkUp,
        LinkDown,
        QuorumGained,
        QuorumLost,
        PingNodeUp,
        PingNodeDown,
        GroupGranted,
        GroupRevoked,
        ConfigSkew,
    ),
    "vip": (VipAcquired, VipReleased, VipFailed, VipRepaired, VipConflict, VipMoved),
    "checker": (
        RealServerUp,
        RealServerDown,
        RealServerWeight,
        VirtualServiceUp,
        VirtualServiceDown,
    ),
    "ipvs-agent": (
        RealServerDraining,
        RealServerDrained,
        RealServerOverridden,
        VirtualServiceGained,
        VirtualServiceLost,
        IpvsChanged,
        IpvsRepaired,
        IpvsFailed,
        IpvsOverrides,
        IpvsWithheld,
        IpvsDigests,
        IpvsConnections,
        IpvsDiffers,
    ),
    "recorder": (HistoryFailed, HistoryRestored),
}

_SERVED: Final[dict[str, tuple[type[Command], ...]]] = {
    "membership": (Standby, TakeOver, FailBack, Reload, DryRun, PushConfig),
    "vip": (Reload, DryRun, PushConfig),
    "checker": (Reload, DryRun),
    "ipvs-agent": (*get_args(OverrideCommand), Reload, DryRun),
    "recorder": (Reload, DryRun),
}

_ALL_EVENTS: Final = EVENT_SUBJECTS
_HEARD: Final[dict[Role, tuple[str, ...]]] = {
    Role.MEMBERSHIP: (
        *map(subjects.states_of_service, ("vip", "checker", "ipvs-agent")),
        VipMoved.kind,
        IpvsDiffers.kind,
    ),
    Role.VIP: (
        "state.{node}.membership",
        subjects.states_of_service("vip"),
        GroupGranted.kind,
        GroupRevoked.kind,
    ),
    Role.CHECKER: (
        subjects.states_of_service("checker"),
        ServiceStopped.kind,
        RealServerOverridden.kind,
    ),
    Role.IPVS_AGENT: (
        subjects.states_of_service("checker"),
        "state.{node}.vip",
        RealServerUp.kind,
        RealServerDown.kind,
        RealServerWeight.kind,
        IpvsOverrides.kind,
        IpvsDigests.kind,
        IpvsConnections.kind,
    ),
    Role.RECORDER: (*_ALL_EVENTS, subjects.ALL_STATES),
    Role.OPERATOR: (*_ALL_EVENTS, subjects.ALL_STATES),
    Role.OBSERVER: (*_ALL_EVENTS, subjects.ALL_STATES),
}
_HEARD[Role.WITNESS] = _HEARD[Role.MEMBERSHIP]

_RELOADED_BY_WRITER: Final = ("membership", "vip", "checker", "ipvs-agent")
"""Who has put a pushed configuration in place makes the others of its director read it."""


# --- what there is -------------------------------------------------------------------------------


def events_of(service: str) -> tuple[str, ...]:
    """Return the kinds of events that a service may publish."""
    return tuple(event.kind for event in (*_OWN_EVENTS.get(service, ()), *_OF_ALL))


def commands() -> Iterator[tuple[str, str]]:
    """Yield every (service, verb) that there is; ``state`` asks for a snapshot."""
    for service in SERVICES:
        for command in _SERVED[service]:
            yield service, _verb(command.kind)
        yield service, STATE_VERB


def queries() -> Iterator[tuple[str, str]]:
    """Yield every (service, verb) of a query."""
    for service in SERVICES:
        yield service, _verb(AskRecent.kind)
    for query in QUERY_CLASSES:
        if query is not AskRecent:
            yield "recorder", _verb(query.kind)


def heard(role: Role) -> tuple[str, ...]:
    """Return what a role may hear of what is said to all; ``{node}``: the token of its director."""
    return _HEARD[role]


# --- who may -------------------------------------------------------------------------------------


def may_command(role: Role, service: str, verb: str) -> Reach:
    """Return at which directors a role may ask a service to do something."""
    if role is Role.OPERATOR:
        return Reach.ANY
    if verb == STATE_VERB:
        # A late director's host lives if its other services answer.
        asks = role in (Role.MEMBERSHIP, Role.WITNESS) and service in ("vip", "ipvs-agent")
        return Reach.ANY if asks else Reach.NOBODY
    writes = role in (Role.VIP, Role.WITNESS)
    told = verb == _verb(Reload.kind) and service in _RELOADED_BY_WRITER
    return Reach.OWN if writes and told and service != SERVICE_OF[role] else Reach.NOBODY


def may_query(role: Role, service: str, verb: str) -> Reach:
    """Return at which directors a role may ask a service a question."""
    if role is Role.RECORDER:
        return Reach.ANY
    # Not of the other services: a flood of questions must not reach who holds a VIP.
    people = role in PEOPLE and service == "recorder"
    return Reach.ANY if people and (service, verb) in set(queries()) else Reach.NOBODY


def publishes(role: Role, *, node: str, user: str) -> tuple[str, ...]:
    """Return the subjects that a user may publish on at this director's nats-server."""
    asked = [
        *_asked("command", commands(), lambda s, v: may_command(role, s, v), node),
        *_asked("query", queries(), lambda s, v: may_query(role, s, v), node),
    ]
    if role in PEOPLE:
        return (*asked, f"local.{user}.*.echo")
    service = SERVICE_OF[role]
    return (
        *events_of(service),
        subjects.state(node, service),
        *asked,
        # Answers, and nothing else whatever reply subject a request names: allow_responses would
        # let a requester choose any.
        "_INBOX.>",
        subjects.echo(node, service),
    )


def subscribes(role: Role, *, node: str, user: str) -> tuple[str, ...]:
    """Return the subjects that a user may subscribe to at this director's nats-server."""
    token = subjects.node_token(node)
    of_all = tuple(subject.format(node=token) for subject in _HEARD[role])
    if role in PEOPLE:
        return (*of_all, f"_INBOX.{user}.>", f"local.{user}.*.echo")
    service = SERVICE_OF[role]
    return (
        *of_all,
        f"command.{token}.{service}.*",
        f"query.{token}.{service}.*",
        f"_INBOX.{token}.{service}.>",
        subjects.echo(node, service),
    )


# --- what is believed ----------------------------------------------------------------------------


def distrust(subject: str, envelope: Envelope) -> str | None:
    """Return why a message cannot be what its envelope says, or None.

    A user may publish on its own subjects only, so the subject proves what the envelope claims: a
    snapshot of another service in the envelope of an event would otherwise be taken for one.
    """
    if subject.startswith("state."):
        try:
            own = subjects.state(envelope.node, envelope.service)
        except ValueError:
            return "no service of a director is called so"
        if subject != own:
            return f"is of {envelope.service} on {envelope.node}"
        return None if envelope.kind == f"state.{envelope.service}" else f"holds {envelope.kind}"
    if envelope.kind != subject:
        return f"holds {envelope.kind}"
    if envelope.kind in _KINDS and envelope.kind not in events_of(envelope.service):
        return f"is not said by {envelope.service}"
    return None


def distrust_request(subject: str, kind: str) -> str | None:
    """Return why a command or query cannot be what its subject says, or None."""
    asked = subject.rpartition(".")[2]
    return None if asked == _verb(kind) else f"holds {kind}"


_KINDS: Final = frozenset(event.kind for event in EVENT_CLASSES)


def _asked(
    family: str,
    rows: Iterator[tuple[str, str]],
    reach: Callable[[str, str], Reach],
    node: str,
) -> Iterator[str]:
    for service, verb in rows:
        match reach(service, verb):
            case Reach.ANY:
                yield f"{family}.*.{service}.{verb}"
            case Reach.OWN:
                yield f"{family}.{subjects.node_token(node)}.{service}.{verb}"
            case Reach.NOBODY:
                pass


def _verb(kind: str) -> str:
    return kind.rpartition(".")[2]
