"""What the checkers of the other directors said last.

Sans-I/O. One that was silent for FRESH_S, has stopped, or says that its own view is suspect does
not count. What a peer leaves to others it says nothing about. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from heartbus.events import CheckerState, Verdict
from heartbus.table_pages import VerdictPages

FRESH_S: Final = 3.0
"""A snapshot counts for so long; it is republished every second."""

Key = tuple[str, str]
"""Names of a virtual service and of a real server in it."""


@dataclass(slots=True)
class _Peer:
    heard_s: float = 0.0
    suspect: bool = False
    pages: VerdictPages = field(default_factory=VerdictPages)
    own: dict[Key, Verdict] | None = None
    """Made from the snapshot when first asked for: most are never asked."""

    def verdicts(self) -> Mapping[Key, Verdict]:
        if self.own is None:
            state = self.pages.state
            self.own = {
                (v.virtual_service, v.real_server): v
                for v in (state.verdicts if state is not None else ())
                if not v.elsewhere
            }
        return self.own


class Peers:
    """The newest snapshot of each."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}

    def heard(self, node: str, state: CheckerState, *, now_s: float) -> None:
        """Take in a snapshot, or a page of one."""
        peer = self._peers.setdefault(node, _Peer())
        peer.heard_s, peer.suspect, peer.own = now_s, state.suspect is not None, None
        peer.pages.see(state)

    def stopped(self, node: str) -> None:
        """Forget a checker that says that it stops."""
        self._peers.pop(node, None)

    def lately(self, *, now_s: float) -> dict[str, Mapping[Key, Verdict]]:
        """Return what those say that count now, by name, of the servers that they check."""
        return {
            node: self._peers[node].verdicts()
            for node in sorted(self._peers)
            if not self._peers[node].suspect and now_s - self._peers[node].heard_s <= FRESH_S
        }
