"""What an event says, in words.

Sans-I/O.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from heartbus.events import (
    ConfigSkew,
    GroupGranted,
    GroupRevoked,
    IpvsChanged,
    IpvsFailed,
    IpvsRepaired,
    IpvsWithheld,
    LinkDown,
    LinkUp,
    Message,
    NodeAlive,
    NodeDead,
    NodeFenced,
    NodeLate,
    NodeLeft,
    NodeUnfenced,
    OperatorAnswered,
    OperatorCommanded,
    PingNodeDown,
    PingNodeUp,
    QuorumLost,
    RealServerDown,
    RealServerDrained,
    RealServerDraining,
    RealServerOverridden,
    RealServerUp,
    RealServerWeight,
    ServiceStarted,
    ServiceStopped,
    VipAcquired,
    VipFailed,
    VipReleased,
    VirtualServiceDown,
)

ACTIONS_MAX = 3


def say(message: Message) -> str:
    """Return what an event says, in one sentence without its end."""
    body = message.body
    said = _of_directors(body) or _of_groups(body) or _of_real_servers(body) or _of_processes(body)
    if said is not None:
        return said
    if not dataclasses.is_dataclass(body):  # every body is; for the type checker
        return ""
    return " ".join(f"{f.name}={getattr(body, f.name)}" for f in dataclasses.fields(body))


def clock(at_s: float) -> str:
    """Return a time of day in the local time zone, with milliseconds."""
    return datetime.fromtimestamp(at_s, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]


def line(message: Message) -> str:
    """Return an event as a line of evidence."""
    envelope = message.envelope
    return f"{clock(envelope.time_s)} {short(envelope.node)} {envelope.kind}: {say(message)}"


def short(node: str) -> str:
    """Return a host name without its domain."""
    return node.partition(".")[0]


def took(seconds: float) -> str:
    """Return a length of time for people."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _of_directors(body: object) -> str | None:
    match body:
        case NodeAlive():
            return f"{body.director} is heard"
        case NodeLate():
            return f"{body.director} was silent on all links for {took(body.silent_s)}"
        case NodeDead():
            return f"{body.director}: {body.reason}"
        case NodeLeft():
            return f"{body.director} said that it stops"
        case NodeFenced():
            return f"{body.director} was fenced by {body.command} in {took(body.took_s)}"
        case NodeUnfenced():
            return f"{body.director} could not be fenced: {body.reason}"
        case LinkUp():
            return f"{body.director} is heard over {body.link}"
        case LinkDown():
            return f"{body.director} was silent over {body.link} for {took(body.silent_s)}"
        case PingNodeUp():
            return f"ping node {body.ping_node}: {body.reason}"
        case PingNodeDown():
            silent = took(body.silent_s)
            return f"ping node {body.ping_node} was silent for {silent}: {body.reason}"
        case QuorumLost():
            return f"{body.heard} of {body.voters} voters are heard: no majority"
        case _:
            return None


def _of_groups(body: object) -> str | None:
    match body:
        case GroupGranted():
            return f"{body.director} may hold it, epoch {body.epoch}: {body.reason}"
        case GroupRevoked():
            return f"{body.director} may not hold it any more, epoch {body.epoch}: {body.reason}"
        case VipAcquired():
            addresses = ", ".join(body.addresses) or "no address"
            return f"{body.director} has it after {took(body.took_s)}: {addresses}"
        case VipReleased():
            return f"{body.director} let it go: {body.reason}"
        case VipFailed():
            return f"{body.resource} failed on {body.director}: {body.reason}"
        case _:
            return None


def _of_real_servers(body: object) -> str | None:
    match body:
        case RealServerUp() | RealServerDown():
            word = "up" if isinstance(body, RealServerUp) else "down"
            return f"{body.real_server} is {word} for {body.virtual_service}: {body.reason}"
        case RealServerWeight():
            weight = "as configured" if body.weight is None else body.weight
            return f"{body.real_server} is to have weight {weight}: {body.reason}"
        case RealServerDraining():
            return f"{body.real_server} gets no new connections for {body.virtual_service}"
        case RealServerDrained():
            cut = f", {body.cut} connections were cut" if body.cut else ""
            return f"nothing is left on {body.real_server} for {body.virtual_service}{cut}"
        case RealServerOverridden():
            weight = f" {body.weight}" if body.action == "weight" else ""
            return f"{body.server}: {body.action}{weight}"
        case VirtualServiceDown():
            return f"no real server of {body.virtual_service} is up"
        case IpvsChanged() | IpvsRepaired():
            more = len(body.actions) - ACTIONS_MAX
            told = "; ".join(body.actions[:ACTIONS_MAX]) + (f"; and {more} more" * (more > 0))
            return f"the kernel's table was changed in {took(body.took_s)}: {told}"
        case IpvsFailed():
            return f"the kernel refused: {body.action}: {body.reason}"
        case IpvsWithheld():
            return f"{body.real_server} stays in the table: {body.reason}"
        case _:
            return None


def _of_processes(body: object) -> str | None:
    match body:
        case ServiceStarted():
            return f"it started, version {body.version}, pid {body.pid}"
        case ServiceStopped():
            return f"it stopped: {body.reason}"
        case OperatorCommanded():
            given = f" {body.arguments}" if body.arguments else ""
            return f"{body.by} commanded: {body.command}{given}"
        case OperatorAnswered():
            return f"{body.command}: {'done' if body.done else 'not done'}: {body.message}"
        case ConfigSkew():
            return f"the configuration of {body.director} is another one"
        case _:
            return None
