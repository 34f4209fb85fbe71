"""The events that an account is told from, and the account itself.

Sans-I/O. Times are wall clocks of the senders (Unix epoch). What one director said is in the order
of its own clock; the clocks of two directors may differ, so what one of them led the other to do is
followed by ids and epochs, never by time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from heartbus.events import Event, Message

EVIDENCE_MAX: Final = 6
"""Lines beneath one step: an account is read in a minute."""

STEPS_MAX: Final = 12

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One link of the chain. ``evidence``: what shows it, or belongs to it, in words."""

    at_s: float
    node: str
    kind: str
    text: str
    id: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Why something is as it is. ``steps``: what is first, then what led to it, and so on.

    ``unknown``: why the chain ends where it does though something must have led there; None where
    its last step is the true beginning. ``remarks``: what belongs to it and is no cause.
    """

    subject: str
    answer: str
    steps: tuple[Step, ...] = ()
    unknown: str | None = None
    remarks: tuple[str, ...] = ()


class Story:
    """Events by id and in order.

    ``gaps``: ids of events before which the same process published others that nobody has.
    ``since_s``: what is older is forgotten.
    """

    def __init__(
        self,
        messages: Iterable[Message],
        *,
        gaps: Collection[str] = (),
        since_s: float = 0.0,
    ) -> None:
        self._by_id = {message.envelope.id: message for message in messages}
        self.messages = sorted(self._by_id.values(), key=lambda m: m.envelope.time_s)
        self.since_s = since_s
        self._gaps = [m for m in self.messages if m.envelope.id in gaps]
        self._effects: defaultdict[str, list[Message]] = defaultdict(list)
        for message in self.messages:
            if message.envelope.cause is not None:
                self._effects[message.envelope.cause].append(message)

    def cause(self, message: Message) -> Message | None:
        """Return what led to an event, None where that is not said or not known."""
        cause = message.envelope.cause
        return None if cause is None else self._by_id.get(cause)

    def effects(self, message: Message) -> list[Message]:
        """Return what an event led to at once."""
        return self._effects.get(message.envelope.id, [])

    def of(
        self,
        kind: type[E],
        where: Callable[[E], bool] = lambda _event: True,
        *,
        by: str | None = None,
    ) -> list[tuple[Message, E]]:
        """Return the events of a class, the oldest first; ``by``: of one director."""
        return [
            (m, m.body)
            for m in self.messages
            if isinstance(m.body, kind) and where(m.body) and by in (None, m.envelope.node)
        ]

    def gaps_of(self, node: str, *, from_s: float, until_s: float) -> list[Message]:
        """Return events of a director before which others are missing."""
        return [
            m
            for m in self._gaps
            if m.envelope.node == node and from_s <= m.envelope.time_s <= until_s
        ]

    def said_by(self, node: str, *, from_s: float, until_s: float) -> Iterator[Message]:
        """Return what one director said in a time of its own clock, the oldest first."""
        for message in self.messages:
            if message.envelope.node == node and from_s <= message.envelope.time_s <= until_s:
                yield message


def step(message: Message, text: str, evidence: Iterable[str] = ()) -> Step:
    """Return an event as a link of the chain."""
    envelope = message.envelope
    return Step(
        at_s=envelope.time_s,
        node=envelope.node,
        kind=envelope.kind,
        text=text,
        id=envelope.id,
        evidence=tuple(evidence)[:EVIDENCE_MAX],
    )


def document(account: Account) -> dict[str, Any]:
    """Return an account as plain values, as ``--json`` prints it."""
    return {
        "subject": account.subject,
        "answer": account.answer,
        "known": account.unknown is None,
        "unknown": account.unknown,
        "steps": [
            {
                "time_s": s.at_s,
                "node": s.node,
                "kind": s.kind,
                "text": s.text,
                "id": s.id,
                "evidence": list(s.evidence),
            }
            for s in account.steps
        ],
        "remarks": list(account.remarks),
    }
