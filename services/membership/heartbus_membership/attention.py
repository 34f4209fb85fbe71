"""Whether we know what the other voters did while we did not look.

Sans-I/O; times are seconds on our monotonic clock. After a stall of ours, or for a group that we
did not know of, a peer may have claimed without our hearing it: nothing is claimed before each one
was heard afresh, or is silent for so long that it counts for nothing (``View.woke_s``).
"""

from __future__ import annotations

from typing import Final

from heartbus_membership.view import KnownPeer, View

STALL_S: Final = 1.0
"""We were not running for so long: vip's silence meanwhile is ours, and counts anew."""

BLINK_S: Final = (0.1, 0.5)
"""Two keepalives, but no less and no more than this, without a turn: a peer may have claimed while
we did not look. Nothing is claimed before it was heard again, or was silent for as long as it takes
to be dead; if we stall again and again, only the time counts in which we did look."""

QUIET_BEATS: Final = 3
"""After our own stall, a director that was dead before it is silent for so many keepalives: had it
come back meanwhile, we would have heard it. Any other one must be silent for a whole deadtime."""


class Attention:
    """Sets and clears ``woke_s`` of a view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._last_s = self._watched_since_s = view.started_s
        low_s, high_s = BLINK_S
        self._blink_s = min(max(2 * view.timers.keepalive_s, low_s), high_s)
        self._gone_before: frozenset[str] = frozenset()

    def turned(self, *, now_s: float) -> None:
        """Note that we run; call it before anything is taken in or decided."""
        away_s = now_s - self._last_s
        if away_s > self._blink_s:
            self.look_afresh(now_s=now_s)
        if away_s > STALL_S:
            self._view.readiness.own_stall(now_s=now_s)
        self._last_s = now_s

    def look_afresh(self, *, now_s: float) -> None:
        """Claim nothing before each peer was heard again, or is silent for long enough."""
        view, away_s = self._view, now_s - self._last_s
        first = view.woke_s is None
        self._watched_since_s = now_s if first else self._watched_since_s + away_s
        view.woke_s = now_s
        self._gone_before = frozenset(
            p.name for p in view.peers.values() if p.gone_since_s <= self._last_s
        )

    def trust_again(self, *, now_s: float) -> None:
        """Note that time has passed; call it before deciding."""
        view = self._view
        if view.woke_s is None:
            return
        # What was read in the turn in which we woke may have waited in the socket for as long as
        # we slept; only what comes later is a fresh look.
        woke_s = view.woke_s
        if now_s > woke_s and all(self._is_sure(p, woke_s, now_s) for p in view.peers.values()):
            view.woke_s = None

    def _is_sure(self, peer: KnownPeer, woke_s: float, now_s: float) -> bool:
        """Whether we know of a peer what it did while we did not look."""
        timers = self._view.timers
        beats_s = min(timers.deadtime_s, QUIET_BEATS * timers.keepalive_s)
        if peer.heard_s > woke_s:
            return True
        enough = peer.name in self._gone_before
        enough |= now_s >= self._watched_since_s + timers.deadtime_s
        return enough and now_s >= woke_s + beats_s
