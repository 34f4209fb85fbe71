"""Why a resource group is where it is: what granted it, what ended the grant before, and so on.

Sans-I/O. Grants of two directors are put in order by their epochs, which only grow, and causes are
followed by ids; no wall clocks are compared for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heartbus.events import (
    GroupGranted,
    GroupRevoked,
    Message,
    NodeAlive,
    NodeDead,
    NodeLate,
    NodeLeft,
    OperatorAnswered,
    OperatorCommanded,
    PingNodeDown,
    QuorumLost,
    ServiceStarted,
    ServiceStopped,
    VipAcquired,
    VipFailed,
    VipReleased,
)
from heartbus.why import nodes
from heartbus.why.story import STEPS_MAX, Account, Step, Story, step
from heartbus.why.words import clock, line, say, short

AROUND_S: Final = 10.0
"""What happened on a director so shortly before it let go belongs to the evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """Who holds the group now, as snapshots say; ``holder`` None: nobody."""

    holder: str | None
    epoch: int


def why_group(name: str, story: Story, present: Present | None = None) -> Account:
    """Return why a group is where it is. ``present`` None: nobody could be asked."""
    return _Teller(name, story, present).account()


class _Teller:
    def __init__(self, name: str, story: Story, present: Present | None) -> None:
        self._name = name
        self._story = story
        self._present = present
        self._grants = sorted(
            story.of(GroupGranted, lambda e: e.group == name), key=lambda pair: pair[1].epoch
        )
        self._revokes = story.of(GroupRevoked, lambda e: e.group == name)
        self._acquired = story.of(VipAcquired, lambda e: e.group == name)
        self._released = story.of(VipReleased, lambda e: e.group == name)
        self._failed = story.of(VipFailed, lambda e: e.group == name)

    def account(self) -> Account:
        subject = f"group {self._name}"
        present = self._present
        newest = self._grants[-1][1].epoch if self._grants else 0
        if present is not None and present.holder is not None and present.epoch > newest:
            since = f"; it begins at {clock(self._story.since_s)}" if self._story.since_s else ""
            return Account(
                subject=subject,
                answer=f"{present.holder} holds it with epoch {present.epoch}; it is unknown why",
                unknown=f"unknown, because the history has not got the grant of epoch"
                f" {present.epoch}: the newest one that it has is {newest or 'none'}{since}",
            )
        if not self._grants:
            return Account(
                subject=subject,
                answer="unknown: nobody ever granted it as far as the history goes",
                unknown=f"unknown, because the history has no event about {self._name}",
            )
        message, grant = self._grants[-1]
        ended = self._end_of(grant)
        answer, steps, unknown = self._held(message, grant) if ended is None else self._free(*ended)
        return Account(
            subject=subject,
            answer=answer,
            steps=tuple(steps[:STEPS_MAX]),
            unknown=unknown,
            remarks=tuple(self._remarks(steps)),
        )

    # --- where it is now -------------------------------------------------------------------------

    def _end_of(self, grant: GroupGranted) -> tuple[Message, GroupRevoked] | None:
        return next(
            (
                (m, e)
                for m, e in reversed(self._revokes)
                if (e.director, e.epoch) == (grant.director, grant.epoch)
            ),
            None,
        )

    def _free(self, message: Message, revoke: GroupRevoked) -> tuple[str, list[Step], str | None]:
        steps, unknown = self._because_revoked(message, revoke)
        answer = f"nobody holds it since {clock(message.envelope.time_s)}: {revoke.reason}"
        return answer, steps, unknown

    def _held(self, message: Message, grant: GroupGranted) -> tuple[str, list[Step], str | None]:
        """Begin with the moment when the holder got it: later grants raised its epoch only."""
        director = grant.director
        got = [
            (m, e) for m, e in self._acquired if e.director == director and e.epoch <= grant.epoch
        ]
        let_go_s = max(
            (m.envelope.time_s for m, e in self._released if e.director == director), default=0.0
        )
        got = [(m, e) for m, e in got if m.envelope.time_s >= let_go_s]
        if not got:
            failures = [
                m for m, e in self._failed if (e.director, e.epoch) == (director, grant.epoch)
            ]
            steps, unknown = self._because_granted(message, grant)
            if failures:
                steps.insert(0, step(failures[-1], say(failures[-1])))
                return f"{director} may hold it, and cannot: {say(failures[-1])}", steps, unknown
            since = clock(message.envelope.time_s)
            return f"{director} may hold it since {since}", steps, unknown
        acquired, event = got[-1]
        first = step(acquired, say(acquired))
        answer = f"{director} holds it since {clock(acquired.envelope.time_s)}"
        granted = self._story.cause(acquired)
        if granted is None or not isinstance(granted.body, GroupGranted):
            granted = next((m for m, e in self._grants if e.epoch == event.epoch), None)
        if granted is None or not isinstance(granted.body, GroupGranted):
            return answer, [first], self._gap(acquired, f"the grant of epoch {event.epoch}")
        steps, unknown = self._because_granted(granted, granted.body)
        short_cause = f": {granted.body.reason}"
        return answer + short_cause, [first, *steps], unknown

    # --- what led there --------------------------------------------------------------------------

    def _because_granted(
        self, message: Message, grant: GroupGranted
    ) -> tuple[list[Step], str | None]:
        first = step(message, say(message))
        cause = self._story.cause(message)
        if cause is not None:
            steps, unknown = self._explain(cause)
            return [first, *steps], unknown
        if message.envelope.cause is not None:
            return [first], self._gap(message, "the event that led to it")
        before = [(m, e) for m, e in self._grants if e.epoch < grant.epoch]
        if not before:
            return self._first_grant(message, first)
        previous = before[-1][1]
        ended = self._end_of(previous)
        if ended is not None:
            steps, unknown = self._because_revoked(*ended)
            return [first, *steps], unknown
        if previous.director == grant.director:
            # It held it already: a new epoch, or a start that found what an earlier one held.
            steps, unknown = self._because_granted(*before[-1])
            return [first, *steps], unknown
        return [first], self._gap(
            before[-1][0], f"how {previous.director} let it go (epoch {previous.epoch})"
        )

    def _first_grant(self, message: Message, first: Step) -> tuple[list[Step], str | None]:
        """Nobody held it before, as far as is known: the directors had just started."""
        starts = [
            m
            for m, _ in self._story.of(ServiceStarted, by=message.envelope.node)
            if m.envelope.service == "membership"
            and m.envelope.time_s <= message.envelope.time_s
            and m.envelope.incarnation == message.envelope.incarnation
        ]
        if not starts:
            return [first], self._gap(message, "who held it before")
        return [first, step(starts[-1], f"membership: {say(starts[-1])}")], None

    def _because_revoked(
        self, message: Message, revoke: GroupRevoked
    ) -> tuple[list[Step], str | None]:
        first = step(message, say(message), self._evidence(message))
        cause = self._story.cause(message)
        if cause is not None:
            steps, unknown = self._explain(cause)
            return [first, *steps], unknown
        if message.envelope.cause is not None:
            return [first], self._gap(message, "the event that led to it")
        if (asked := self._asked_for(revoke)) is not None:
            steps, unknown = self._explain(asked)
            return [first, *steps], unknown
        return [first], None  # its reason in words is where it began

    def _asked_for(self, revoke: GroupRevoked) -> Message | None:
        """Return the command to the director that took it over, where that led to the end."""
        later = [m for m, e in self._grants if e.epoch > revoke.epoch]
        cause = self._story.cause(later[0]) if later else None
        return cause if cause is not None and isinstance(cause.body, OperatorCommanded) else None

    def _explain(self, cause: Message) -> tuple[list[Step], str | None]:
        if isinstance(cause.body, NodeAlive | NodeLate | NodeDead | NodeLeft):
            return nodes.explain(cause, self._story)
        answers = [m for m in self._story.effects(cause) if isinstance(m.body, OperatorAnswered)]
        return [step(cause, say(cause), map(line, answers))], None

    def _evidence(self, message: Message) -> Iterable[str]:
        """Return what else the director told shortly before it let go."""
        node, at_s = message.envelope.node, message.envelope.time_s
        for said in self._story.said_by(node, from_s=at_s - AROUND_S, until_s=at_s + 1.0):
            match said.body:
                case VipFailed() if said.body.group == self._name:
                    yield line(said)
                case NodeDead() | PingNodeDown() | QuorumLost():
                    yield line(said)
                case ServiceStopped() if said.envelope.service in ("membership", "vip"):
                    yield f"{line(said)} ({said.envelope.service})"
                case _:
                    pass

    # --- what is not known -----------------------------------------------------------------------

    def _gap(self, message: Message, what: str) -> str:
        envelope = message.envelope
        gaps = self._story.gaps_of(
            envelope.node, from_s=envelope.time_s - 600.0, until_s=envelope.time_s + 600.0
        )
        where = "".join(
            f"; events of {m.envelope.service} on {short(m.envelope.node)} before"
            f" {clock(m.envelope.time_s)} are missing"
            for m in gaps[:2]
        )
        since = self._story.since_s
        begins = f"; the history begins at {clock(since)}" if since and not where else ""
        return f"unknown, because the history has not got {what}{where}{begins}"

    def _remarks(self, steps: list[Step]) -> Iterable[str]:
        if not steps:
            return
        begun = next((m for m, _ in self._acquired if m.envelope.id == steps[0].id), None)
        if begun is not None and isinstance(begun.body, VipAcquired):
            for message, grant in self._grants:
                if grant.epoch > begun.body.epoch:
                    yield f"still there, with a higher epoch: {line(message)}"
        from_s, until_s = min(s.at_s for s in steps) - 60.0, max(s.at_s for s in steps) + 1.0
        for node in dict.fromkeys(s.node for s in steps):
            for message in self._story.gaps_of(node, from_s=from_s, until_s=until_s):
                yield (
                    f"events of {message.envelope.service} on {short(node)} before"
                    f" {clock(message.envelope.time_s)} are missing"
                )
