"""Why a director is alive, late, dead or gone for the others.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from heartbus.events import (
    LinkDown,
    Message,
    NodeAlive,
    NodeDead,
    NodeFenced,
    NodeLate,
    NodeLeft,
    PingNodeDown,
    ServiceStarted,
    ServiceStopped,
)
from heartbus.why.story import Account, Step, Story, step
from heartbus.why.words import clock, line, say, short, took

BEFORE_S: Final = 60.0
"""How long before a death its signs are looked for, on the same director's clock."""

STOP_S: Final = 30.0
START_MS: Final = 60_000

NodeNews = NodeAlive | NodeLate | NodeDead | NodeLeft


def why_node(name: str, story: Story) -> Account:
    """Return why a director is for the others as it is."""
    subject = f"director {name}"
    news = [
        message
        for message in story.messages
        if isinstance(message.body, NodeNews) and message.body.director == name
    ]
    if not news:
        return Account(
            subject=subject,
            answer=f"unknown: nobody said anything of {name}",
            unknown=_nothing(story, f"no event about {name}"),
        )
    newest = {message.envelope.node: message for message in news}
    last = max(newest.values(), key=lambda m: m.envelope.time_s)
    steps, unknown = explain(last, story)
    opinions = [
        f"{short(node)}: {_status(message)} since {clock(message.envelope.time_s)}"
        for node, message in sorted(newest.items())
    ]
    return Account(
        subject=subject,
        answer=f"{name} is {_status(last)} for {short(last.envelope.node)}"
        f" since {clock(last.envelope.time_s)}{_in_short(steps)}",
        steps=tuple(steps),
        unknown=unknown,
        remarks=tuple(opinions) if len(opinions) > 1 else (),
    )


def explain(message: Message, story: Story) -> tuple[list[Step], str | None]:
    """Return the chain from what a director said of another one, and why it may not be known."""
    body = message.body
    if isinstance(body, NodeLeft):
        return _left(message, body, story)
    if isinstance(body, NodeDead | NodeLate):
        return [step(message, say(message), _signs(message, body, story))], None
    assert isinstance(body, NodeAlive)
    observer = message.envelope.node
    gone = [
        m
        for m, _ in story.of(NodeDead, lambda e: e.director == body.director, by=observer)
        + story.of(NodeLeft, lambda e: e.director == body.director, by=observer)
        if m.envelope.time_s <= message.envelope.time_s
    ]
    started = _starts(body.director, body.incarnation, story)
    first = step(message, say(message), map(line, started))
    if not gone:
        return [first], None
    before = max(gone, key=lambda m: m.envelope.time_s)
    away = took(message.envelope.time_s - before.envelope.time_s)
    first = step(message, f"{say(message)} again, {away} later", map(line, started))
    steps, unknown = explain(before, story)
    return [first, *steps], unknown


def _left(message: Message, body: NodeLeft, story: Story) -> tuple[list[Step], str | None]:
    # The one that stops says why itself, by its own clock; it is the newest such word before the
    # observer's, or a moment later.
    stops = [
        m
        for m, _ in story.of(ServiceStopped, by=body.director)
        if m.envelope.service == "membership"
        and abs(m.envelope.time_s - message.envelope.time_s) <= STOP_S
    ]
    steps = [step(message, say(message))]
    if not stops:
        return steps, (
            f"unknown, because the history has no word of {body.director} itself about its stop"
        )
    return [*steps, step(stops[-1], f"membership of {body.director}: {say(stops[-1])}")], None


def _signs(message: Message, body: NodeDead | NodeLate, story: Story) -> Iterator[str]:
    """Return what shows that a director was silent, and whether it lived on."""
    observer, at_s = message.envelope.node, message.envelope.time_s
    for said in story.said_by(observer, from_s=at_s - BEFORE_S, until_s=at_s + 1.0):
        match said.body:
            case NodeLate() | LinkDown() if said.body.director == body.director:
                if said is not message:
                    yield line(said)
            case PingNodeDown():
                yield line(said)
            case _:
                pass
    yield from _afterwards(message, body.director, story)


def _afterwards(message: Message, director: str, story: Story) -> Iterator[str]:
    observer, at_s = message.envelope.node, message.envelope.time_s
    alive = [
        (m, e)
        for m, e in story.of(NodeAlive, lambda e: e.director == director, by=observer)
        if m.envelope.time_s >= at_s
    ]
    for fenced, _ in story.of(NodeFenced, lambda e: e.director == director):
        yield line(fenced)
    if not alive:
        yield f"{short(director)} was not heard since"
        return
    heard, event = alive[0]
    yield line(heard)
    known = {
        e.incarnation
        for m, e in story.of(NodeAlive, lambda e: e.director == director, by=observer)
        if m.envelope.time_s < at_s
    }
    started = _starts(director, event.incarnation, story)
    if event.incarnation in known:
        yield f"it was the same process as before: {short(director)} was cut off, or did not run"
    elif started:
        yield f"its membership had ended: {line(started[0])}"


def _starts(director: str, incarnation: int, story: Story) -> list[Message]:
    """Return the start of the membership that is heard with this incarnation, if it is known.

    Both are milliseconds of its wall clock, this one of its first heartbeat, a moment later.
    """
    starts = [
        m
        for m, _ in story.of(ServiceStarted, by=director)
        if m.envelope.service == "membership"
        and 0 <= incarnation - m.envelope.incarnation <= START_MS
    ]
    return starts[-1:]


def _status(message: Message) -> str:
    return message.envelope.kind.partition(".")[2]


def _in_short(steps: Sequence[Step]) -> str:
    """Return where the chain begins, behind the answer."""
    if steps[0].kind == NodeAlive.kind:
        return "" if len(steps) == 1 else f"; before that {steps[-1].text}"
    return f": {steps[-1].text}"


def _nothing(story: Story, what: str) -> str:
    if not story.since_s:
        return f"unknown, because the history has {what}"
    return f"unknown, because the history, which begins at {clock(story.since_s)}, has {what}"
