"""Why a real server is in the table as it is: its newest verdict or command, and what came of it.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.events import (
    IpvsChanged,
    IpvsFailed,
    IpvsWithheld,
    Message,
    OperatorAnswered,
    OperatorCommanded,
    RealServerDown,
    RealServerDrained,
    RealServerDraining,
    RealServerOverridden,
    RealServerUp,
    RealServerWeight,
    VirtualServiceDown,
    VirtualServiceUp,
)
from heartbus.why.story import STEPS_MAX, Account, Step, Story, step
from heartbus.why.words import clock, line, say, short

REMARKS_MAX: Final = 8

_News = (
    RealServerUp
    | RealServerDown
    | RealServerWeight
    | RealServerDraining
    | RealServerDrained
    | RealServerOverridden
)


def why_real_server(name: str, story: Story) -> Account:
    """Return why a real server is as it is; ``name``: its address, with its port or without."""
    subject = f"real server {name}"
    news = [m for m in story.messages if isinstance(m.body, _News) and is_named(m.body, name)]
    if not news:
        return Account(
            subject=subject,
            answer=f"unknown: nobody said anything of {name}",
            unknown=f"unknown, because the history has no event about {name}"
            + (f"; it begins at {clock(story.since_s)}" if story.since_s else ""),
        )
    last = news[-1]
    steps, unknown = _chain(last, story)
    return Account(
        subject=subject,
        answer=f"{say(last)} (since {clock(last.envelope.time_s)}, {short(last.envelope.node)})",
        steps=tuple(steps[:STEPS_MAX]),
        unknown=unknown,
        remarks=tuple(_others(last, news))[:REMARKS_MAX],
    )


def is_named(event: _News, name: str) -> bool:
    """Whether an event is about the real server of this name, or about one of this address."""
    server = event.server if isinstance(event, RealServerOverridden) else event.real_server
    address = server.rpartition(":")[0].strip("[]")
    return name == server or name.strip("[]") == address or server == name.rpartition(":")[0]


def _chain(last: Message, story: Story) -> tuple[list[Step], str | None]:
    """Return what it led to in the kernel, then itself, then what led to it."""
    done = [m for m in story.effects(last) if isinstance(m.body, IpvsChanged | IpvsFailed)]
    command = story.cause(last)
    if command is not None and not done:
        done = [m for m in story.effects(command) if isinstance(m.body, IpvsChanged | IpvsFailed)]
    steps = [step(m, say(m)) for m in done[-2:]]
    steps.append(step(last, say(last), _evidence(last, story)))
    if command is None:
        if last.envelope.cause is not None:
            return steps, "unknown, because the history has not got the event that led to it"
        return steps, None  # a check is where it begins: its words are the server's own
    answers = [m for m in story.effects(command) if isinstance(m.body, OperatorAnswered)]
    if isinstance(command.body, OperatorCommanded):
        steps.append(step(command, say(command), map(line, answers)))
    else:
        steps.append(step(command, say(command)))
    return steps, None


def _evidence(last: Message, story: Story) -> list[str]:
    found = [
        line(m)
        for m in story.effects(last)
        if isinstance(m.body, VirtualServiceDown | VirtualServiceUp | IpvsWithheld)
    ]
    body = last.body
    if not isinstance(body, RealServerUp | RealServerDown):
        return found
    same = [
        m
        for m in story.messages
        if isinstance(m.body, RealServerUp | RealServerDown)
        and (m.body.virtual_service, m.body.real_server) == (body.virtual_service, body.real_server)
        and m is not last
    ]
    own = [m for m in same if m.envelope.node == last.envelope.node]
    if own:
        found.append(f"before: {line(own[-1])}")
    for node in sorted({m.envelope.node for m in same} - {last.envelope.node}):
        newest = [m for m in same if m.envelope.node == node][-1]
        agrees = type(newest.body) is type(body)
        found.append(f"{'agrees' if agrees else 'DISAGREES'}: {line(newest)}")
    return found


def _others(last: Message, news: list[Message]) -> list[str]:
    """Return the newest word of each other service and director about it."""
    newest = {(m.envelope.node, _service(m)): m for m in news}
    return [
        line(m) for (_, service), m in newest.items() if m is not last and service != _service(last)
    ]


def _service(message: Message) -> str:
    body = message.body
    if isinstance(body, RealServerOverridden):
        return body.service
    return body.virtual_service if isinstance(body, _News) else ""
