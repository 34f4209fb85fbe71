"""What each director's checker says lately, and whose word counts for a real server.

Sans-I/O. ``own``: our own checker's word counts. After OWN_SILENT_S of silence, while our own
checker says that its view is suspect (it sees most servers down and a peer sees them up), and for
servers that it leaves to others, the word of one peer's checker counts instead: of the first by
name among those heard lately that check this server, so that two peers who disagree cannot make an
entry flap. ``majority``: down is what more than half of the checkers say that are heard lately, are
not suspect and know the server; all directors come to the same. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from heartbus.events import CheckerState, Health, RealServerDown, RealServerUp, RealServerWeight
from heartbus.model import DecidedBy
from heartbus.table_pages import VerdictPages

OWN_SILENT_S: Final = 10.0
PEER_FRESH_S: Final = 3.0

Server = tuple[str, str]
"""Names of a virtual service and of a real server in it."""


class Word(NamedTuple):
    """What is said of a real server. ``cause``: id of the event that said so."""

    health: Health
    weight: int | None
    cause: str | None


class _Vantage:
    """What one checker says: snapshots come whole, or page by page."""

    def __init__(self) -> None:
        self.heard_s = 0.0
        self.suspect = False
        self.elsewhere: set[Server] = set()
        self._pages = VerdictPages()
        self._words: dict[Server, Word] | None = None
        """Made from the snapshot when first asked for: most snapshots are never asked."""

    def heard(self, snapshot: CheckerState, *, now_s: float) -> None:
        """Take in a snapshot or a page of one."""
        self.heard_s, self.suspect = now_s, snapshot.suspect is not None
        if not self._pages.see(snapshot):
            self._words = None
            self.elsewhere.clear()
        for verdict in snapshot.verdicts:
            server = (verdict.virtual_service, verdict.real_server)
            if verdict.elsewhere:
                self.elsewhere.add(server)
            elif self.elsewhere:
                self.elsewhere.discard(server)
        if self._words is not None:
            self._take_up(self._words, snapshot)

    @property
    def is_asked(self) -> bool:
        """Whether anybody has asked for a word."""
        return self._words is not None

    def word(self, server: Server) -> Word | None:
        """Return what it says; None: it does not check this server."""
        return self._all().get(server)

    def says(self, server: Server, word: Word) -> None:
        """Take in a word that comes before the next snapshot."""
        self._all()[server] = word

    def _all(self) -> dict[Server, Word]:
        if self._words is None:
            self._words = {}
            state = self._pages.state
            if state is not None:
                self._take_up(self._words, state)
        return self._words

    @staticmethod
    def _take_up(words: dict[Server, Word], snapshot: CheckerState) -> None:
        for v in snapshot.verdicts:
            if v.elsewhere:
                words.pop((v.virtual_service, v.real_server), None)
            else:
                words[v.virtual_service, v.real_server] = Word(v.health, v.weight, v.cause)


class Vantages:
    """The newest words of all checkers."""

    def __init__(self, *, node: str, decided_by: DecidedBy, now_s: float) -> None:
        self._node = node
        self.decided_by = decided_by
        self._own_heard_s = now_s
        self._own: _Vantage | None = None
        self._peers: dict[str, _Vantage] = {}

    def bus_found(self, *, now_s: float) -> None:
        """Silence during an outage of the bus says nothing about any checker: count anew."""
        self._own_heard_s = now_s
        for vantage in (self._own, *self._peers.values()):
            if vantage is not None:
                vantage.heard_s = now_s

    def heard(self, node: str, snapshot: CheckerState, *, now_s: float) -> None:
        """Take in a snapshot, or a page of one."""
        if node == self._node:
            self._own_heard_s = now_s
            self._own = self._own or _Vantage()
            self._own.heard(snapshot, now_s=now_s)
            return
        for peer in [p for p, v in self._peers.items() if now_s - v.heard_s > PEER_FRESH_S]:
            del self._peers[peer]
        self._peers.setdefault(node, _Vantage()).heard(snapshot, now_s=now_s)

    def told(
        self,
        node: str,
        event: RealServerUp | RealServerDown | RealServerWeight,
        event_id: str,
        *,
        now_s: float,
    ) -> None:
        """Take in an event, which comes before the next snapshot of who sent it."""
        vantage = self._own if node == self._node else self._peers.get(node)
        if node == self._node:
            self._own_heard_s = now_s
        server = (event.virtual_service, event.real_server)
        if vantage is None or not (vantage.is_asked or self._asked_for(node, server)):
            return
        vantage.says(server, word_of(event, event_id))

    def own_decides(self, *, now_s: float) -> bool:
        """Return whether our own checker's word counts for all servers that it checks."""
        return (
            self.decided_by is DecidedBy.OWN
            and not self._own_suspect
            and now_s - self._own_heard_s <= OWN_SILENT_S
        )

    def elsewhere(self, server: Server) -> bool:
        """Return whether our own checker leaves this server to others."""
        return self._own is not None and server in self._own.elsewhere

    def peers_matter(self, *, now_s: float) -> bool:
        """Return whether the word of a peer counts for any server."""
        left_out = self._own is not None and bool(self._own.elsewhere)
        return left_out or not self.own_decides(now_s=now_s)

    def word(self, server: Server, *, now_s: float) -> Word | None:
        """Return whose word counts; None: nobody knows, and the last decision stands."""
        if self.decided_by is DecidedBy.MAJORITY:
            return self._majority(server, now_s=now_s)
        if self.own_decides(now_s=now_s) and not self.elsewhere(server):
            word = None if self._own is None else self._own.word(server)
            return _known(word)
        for _peer, vantage in self._heard_lately(now_s=now_s):
            word = vantage.word(server)
            if word is not None:
                return _known(word)
        return None

    def contradicted(self, server: Server, *, now_s: float) -> bool:
        """Return whether a peer that is heard says up, and none says down."""
        words = [vantage.word(server) for _peer, vantage in self._heard_lately(now_s=now_s)]
        healths = {word.health for word in words if word is not None}
        return Health.UP in healths and Health.DOWN not in healths

    @property
    def _own_suspect(self) -> bool:
        return self._own is not None and self._own.suspect

    def _asked_for(self, node: str, server: Server) -> bool:
        return node != self._node or self.decided_by is DecidedBy.MAJORITY or self.elsewhere(server)

    def _heard_lately(self, *, now_s: float) -> Iterator[tuple[str, _Vantage]]:
        """Yield the peers whose word may count, by name."""
        for peer in sorted(self._peers):
            vantage = self._peers[peer]
            if now_s - vantage.heard_s <= PEER_FRESH_S and not vantage.suspect:
                yield peer, vantage

    def _majority(self, server: Server, *, now_s: float) -> Word | None:
        vantages = [vantage for _peer, vantage in self._heard_lately(now_s=now_s)]
        own_lately = now_s - self._own_heard_s <= PEER_FRESH_S
        if self._own is not None and own_lately and not self._own_suspect:
            vantages.insert(0, self._own)  # where it is of the majority its weight counts
        words = [word for v in vantages if (word := _known(v.word(server))) is not None]
        downs = sum(word.health is Health.DOWN for word in words)
        health = Health.DOWN if downs * 2 > len(words) else Health.UP
        return next((word for word in words if word.health is health), None)


def word_of(event: RealServerUp | RealServerDown | RealServerWeight, event_id: str) -> Word:
    """Return what an event says."""
    if isinstance(event, RealServerDown):
        return Word(Health.DOWN, None, event_id)
    return Word(Health.UP, event.weight, event_id)


def _known(word: Word | None) -> Word | None:
    return None if word is None or word.health is Health.UNKNOWN else word
