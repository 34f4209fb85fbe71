"""Decides which ping nodes are up, when to ask each of them, and so how far our network reaches.

Sans-I/O; times are seconds on our monotonic clock.

    unknown ──answer of any member──► up ──deadping without an answer──► down
       └──────deadping since the first question without an answer─────────►┘ ▲
                                       ▲─────────answer──────────────────────┘

Silence is counted from the last answer, from the first question, or from when we last noticed our
own stall, whichever is latest: what we did not read while we did not run says nothing about the
network. Like a peer, a silent ping node profits from at most REARMS_MAX stalls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from heartbus.events import PingNodeDown, PingNodeUp, PingNodeView, PingStatus
from heartbus.model import PingNode

REARMS_MAX: Final = 4
"""Stalls of ours in a row that a silent ping node may profit from."""

NOT_SETTLED: Final = 0xFF
"""In the place of ``reached`` on the wire; a configuration has at most 128 ping nodes."""

STALL_KEEPALIVES: Final = 3
STALL_MIN_S: Final = 0.3

PingNodeEvent = PingNodeUp | PingNodeDown


def stall_s(keepalive_s: float) -> float:
    """Return the shortest stall of a director that makes it count its ping nodes anew.

    It is long enough to show as a gap in its heartbeats, by which the peers know that its reach is
    not news (see ``connectivity``).
    """
    return max(STALL_KEEPALIVES * keepalive_s, STALL_MIN_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How many ping nodes answer one director, of how many that it asks.

    ``settled``: each of them was heard, or was asked for a whole deadping in vain; before that
    ``reached`` says nothing yet.
    """

    reached: int
    configured: int
    settled: bool

    def octets(self) -> bytes:
        """Return the two bytes that a heartbeat carries."""
        return bytes((self.reached if self.settled else NOT_SETTLED, self.configured))

    @classmethod
    def from_octets(cls, octets: bytes) -> Self | None:
        """Return what two bytes of a heartbeat say, None if they make no sense."""
        if len(octets) != 2:
            return None
        reached, configured = octets
        if reached == NOT_SETTLED:
            return cls(reached=0, configured=configured, settled=False)
        if reached > configured:
            return None
        return cls(reached=reached, configured=configured, settled=True)


@dataclass(slots=True)
class _Watched:
    node: PingNode
    ask_s: float
    status: PingStatus = PingStatus.UNKNOWN
    started_s: float | None = None
    heard_s: float | None = None
    rearmed_s: float = float("-inf")
    rearms: int = 0
    members_heard_s: dict[str, float] = field(default_factory=dict)


class PingNodes:
    """Watches the ping nodes of one director. Each input returns the events that it makes true."""

    def __init__(
        self, *, nodes: Sequence[PingNode], interval_s: float, deadping_s: float, started_s: float
    ) -> None:
        self._interval_s = interval_s
        self._deadping_s = deadping_s
        spread_s = interval_s / max(len(nodes), 1)
        self._nodes = {
            node.name: _Watched(node, ask_s=started_s + number * spread_s)
            for number, node in enumerate(nodes)
        }

    # --- what happened ---------------------------------------------------------------------------

    def started(self, node: str, *, now_s: float) -> None:
        """Note that questions to this node go out from now, or should: its silence counts."""
        watched = self._nodes[node]
        if watched.started_s is None:
            watched.started_s = now_s

    def reply_received(self, node: str, member: str, *, now_s: float) -> list[PingNodeEvent]:
        """Take in an answer of a member."""
        watched = self._nodes[node]
        assert member in watched.node.members
        self.started(node, now_s=now_s)
        watched.heard_s = now_s
        watched.members_heard_s[member] = now_s
        watched.rearms = 0
        if watched.status is PingStatus.UP:
            return []
        watched.status = PingStatus.UP
        who = "answers" if member == node else f"{member} answers"
        return [PingNodeUp(ping_node=node, reason=who)]

    def own_stall(self, *, now_s: float) -> None:
        """Note that we were not running: silence until now says nothing about the network."""
        for watched in self._nodes.values():
            if watched.rearms < REARMS_MAX:
                watched.rearms += 1
                watched.rearmed_s = now_s

    def deadline_passed(self, *, now_s: float) -> list[PingNodeEvent]:
        """Return what silence has made true by now; empty the sockets before you ask."""
        events: list[PingNodeEvent] = []
        for watched in self._nodes.values():
            if watched.status is not PingStatus.DOWN and now_s >= self._down_at_s(watched):
                watched.status = PingStatus.DOWN
                events.append(self._down(watched, now_s))
        return events

    def questions_due(self, *, now_s: float) -> tuple[str, ...]:
        """Return the nodes to ask now, all members of each; asked for late, none is asked twice."""
        due = [watched for watched in self._nodes.values() if now_s >= watched.ask_s]
        for watched in due:
            missed = (now_s - watched.ask_s) // self._interval_s
            watched.ask_s += (missed + 1) * self._interval_s
            if watched.ask_s <= now_s:  # rounding must not make us spin
                watched.ask_s = now_s + self._interval_s
        return tuple(watched.node.name for watched in due)

    # --- what is known ---------------------------------------------------------------------------

    @property
    def next_deadline_s(self) -> float:
        """When a question is due or silence will make something true; infinity for never."""
        times = [
            min(w.ask_s, float("inf") if w.status is PingStatus.DOWN else self._down_at_s(w))
            for w in self._nodes.values()
        ]
        return min(times, default=float("inf"))

    def status(self, node: str) -> PingStatus:
        """Return what is known of a ping node."""
        return self._nodes[node].status

    def reach(self) -> Reach:
        """Return how far we reach."""
        statuses = [watched.status for watched in self._nodes.values()]
        return Reach(
            reached=statuses.count(PingStatus.UP),
            configured=len(statuses),
            settled=PingStatus.UNKNOWN not in statuses,
        )

    def views(
        self, *, now_s: float, problems: Mapping[str, str] | None = None
    ) -> tuple[PingNodeView, ...]:
        """Return what is shown of each; ``problems``: by node, why it cannot be asked."""
        problems = problems or {}
        return tuple(
            PingNodeView(
                name=name,
                status=watched.status,
                silent_s=None if watched.heard_s is None else now_s - watched.heard_s,
                members_heard=self._answering(watched, now_s),
                problem=problems.get(name),
            )
            for name, watched in self._nodes.items()
        )

    # --- the rules -------------------------------------------------------------------------------

    def _down_at_s(self, watched: _Watched) -> float:
        if watched.started_s is None:
            return float("inf")
        since_s = watched.started_s if watched.heard_s is None else watched.heard_s
        return max(since_s, watched.rearmed_s) + self._deadping_s

    def _answering(self, watched: _Watched, now_s: float) -> tuple[str, ...]:
        if watched.status is not PingStatus.UP:
            return ()
        return tuple(
            member
            for member, heard_s in watched.members_heard_s.items()
            if now_s < max(heard_s, watched.rearmed_s) + self._deadping_s
        )

    def _down(self, watched: _Watched, now_s: float) -> PingNodeDown:
        assert watched.started_s is not None
        if watched.heard_s is None:
            silent_s = now_s - watched.started_s
            reason = f"never answered, asked for {silent_s:.3g} s (deadping)"
        else:
            silent_s = now_s - watched.heard_s
            reason = f"no answer for {silent_s:.3g} s (deadping)"
        if len(watched.node.members) > 1:
            reason += f" from any of its {len(watched.node.members)} members"
        return PingNodeDown(ping_node=watched.node.name, silent_s=silent_s, reason=reason)
