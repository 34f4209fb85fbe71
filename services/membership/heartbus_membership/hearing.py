"""Decides which datagrams are believed, and counts the others by reason.

Sans-I/O. A datagram is believed when it is genuine, comes from another configured director over a
configured link, and is no replay. Our own broadcasts come back to us: those are passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from heartbus_membership.claims import PeerReport
from heartbus_membership.replay import Mark, Novelty, ReplayGuard
from heartbus_membership.signing import Keyring
from heartbus_membership.wire import HeardMark, Heartbeat, WireError, decode, name_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A believed datagram; ``report`` None: a copy of what is known, it counts for its link."""

    peer: str
    link: str
    incarnation: int
    sequence: int
    leaving: bool
    report: PeerReport | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A datagram that is not believed. ``reason`` is one of about ten words."""

    reason: str
    detail: str


class Hearing:
    """Judges the datagrams of one director; ``newest`` heartbeat by peer, ``dropped`` counts."""

    def __init__(
        self,
        *,
        node: str,
        incarnation: int,
        peers: Collection[str],
        keyring: Keyring,
        groups_by_id: Mapping[int, str],
        remembered: Mapping[str, Mark] | None = None,
    ) -> None:
        self._node = node
        self._incarnation = incarnation
        self._peers = frozenset(peers)
        self._keyring = keyring
        self._groups_by_id = dict(groups_by_id)
        self._our_id = name_id(node)
        self.own_sequence = 0
        self.replays = ReplayGuard(remembered)
        self.newest: dict[str, Heartbeat] = {}
        self.dropped: Counter[str] = Counter()

    def use_groups(self, names: Iterable[str]) -> None:
        """Listen for these groups too; those that go are heard on, and asked about no more."""
        self._groups_by_id.update({name_id(name): name for name in names})

    def judge(self, datagram: bytes, *, link: str | None) -> Heard | Dropped | None:
        """Return what a datagram is worth; None: our own, come back."""
        try:
            beat = decode(datagram, self._keyring)
        except WireError as error:
            return self._drop(error.reason, str(error))
        if beat.node == self._node:
            if beat.incarnation == self._incarnation:
                return None
            return self._drop("own-name", f"another director calls itself {self._node}")
        if beat.node not in self._peers:
            return self._drop("unknown-node", f"{beat.node[:64]!r} is not a configured director")
        if link is None:
            return self._drop("no-link", f"{beat.node} sends over a link that is not configured")
        echoed = self._echo_of_us(beat)
        novelty = self.replays.judge(
            beat.node,
            link=link,
            incarnation=beat.incarnation,
            sequence=beat.sequence,
            echoes_us=echoed is not None and self.replays.echo_is_fresh(beat.node, echoed),
            own_sequence=self.own_sequence,
        )
        if novelty is Novelty.REPLAYED:
            return self._drop("replayed", f"heartbeat {beat.sequence} of {beat.node} again")
        if novelty is Novelty.COPY:
            return self._heard(beat, link, report=None)
        self.newest[beat.node] = beat
        return self._heard(beat, link, report=self._report(beat))

    @staticmethod
    def _heard(beat: Heartbeat, link: str, *, report: PeerReport | None) -> Heard:
        return Heard(
            peer=beat.node,
            link=link,
            incarnation=beat.incarnation,
            sequence=beat.sequence,
            leaving=beat.leaving,
            report=report,
        )

    def _report(self, beat: Heartbeat) -> PeerReport:
        names, our_id = self._groups_by_id, self._our_id
        return PeerReport(
            incarnation=beat.incarnation,
            settled=beat.settled,
            claims={names[number]: claim for number, claim in beat.claims if number in names},
            supports=frozenset(
                names[number] for number, whom in beat.votes if whom == our_id and number in names
            ),
            echoed=self._echo_of_us(beat),
        )

    def _echo_of_us(self, beat: Heartbeat) -> int | None:
        """Return the sequence of our newest heartbeat that a sender had heard, of this process."""
        echoes = (
            mark.sequence
            for mark in beat.heard
            if mark.peer == self._our_id and mark.incarnation == self._incarnation
        )
        return next(echoes, None)

    def marks(self) -> tuple[HeardMark, ...]:
        """Return the newest heartbeat believed of each peer, for our own."""
        return tuple(
            HeardMark(peer=name_id(peer), incarnation=beat.incarnation, sequence=beat.sequence)
            for peer, beat in self.newest.items()
        )

    def _drop(self, reason: str, detail: str) -> Dropped:
        self.dropped[reason] += 1
        return Dropped(reason=reason, detail=detail)
