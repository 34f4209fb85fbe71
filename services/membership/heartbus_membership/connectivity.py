"""Decides whether a director that reaches less of the network than a peer should yield to it.

Sans-I/O; times are seconds on our monotonic clock. This is what Heartbeat's ipfail was for, for any
number of directors. With

    K  keepalive        I  how often a ping node is asked        P  deadping, as ``ping_silence_s``

we yield to a peer that has reached strictly more ping nodes than we do, of equally many, both sides
settled, without interruption for

    settle = max(2 K, SETTLE_MIN) + I + (I + P)

2 K is how old the news of a peer is when one heartbeat is lost; I is how late we see a change, and
I + P how long the peer may go on counting a ping node after the last answer that we both had: one
more answer that only it got, or a stall of its own, gives it a deadping anew. So a ping node that
dies, returns or flickers once for everybody moves nothing. With P for us to notice, a director that
has lost its network alone yields after P + I + settle at the latest (and a heartbeat).

A gap in the news of a peer longer than a stall (``stall_s``) starts the waiting from nothing; so
do equal again, gone and unsettled.

Nobody yields at equal reach, 0 of n on both sides included: there is no better place. What that
case needs is ``isolated``: a director that reaches none of its ping nodes must not conclude from
the silence of its peers that they are dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from heartbus_membership.pingnodes import Reach, stall_s

SETTLE_MIN_S: Final = 0.5
"""At fast heartbeats a move still costs more than half a second of patience."""

NOBODY: Final = Reach(reached=0, configured=0, settled=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """``isolated``: ping nodes are configured and none is reached. ``yield_to``: a better peer.

    ``reason`` says in words why we should yield; empty if we should not.
    """

    isolated: bool
    yield_to: str | None
    reason: str = ""


@dataclass(slots=True)
class _Peer:
    reach: Reach
    heard_s: float
    better_since_s: float | None = None


class Connectivity:
    """Compares our reach with that of the live peers; ``peers`` in the configured order."""

    def __init__(
        self, *, peers: Sequence[str], keepalive_s: float, interval_s: float, deadping_s: float
    ) -> None:
        self._order = tuple(peers)
        self._gap_s = stall_s(keepalive_s)
        self._settle_s = max(2 * keepalive_s, SETTLE_MIN_S) + 2 * interval_s + deadping_s
        self._own = NOBODY
        self._peers: dict[str, _Peer] = {}

    # --- what happened ---------------------------------------------------------------------------

    def own_reach(self, reach: Reach, now_s: float) -> None:
        """Take in how far we reach; the same again changes nothing."""
        self._own = reach
        for peer in self._peers.values():
            self._compare(peer, now_s)

    def peer_reach(self, peer: str, reach: Reach, now_s: float) -> None:
        """Take in what the newest heartbeat of a peer says."""
        assert peer in self._order
        known = self._peers.get(peer)
        if known is None or now_s - known.heard_s > self._gap_s:
            known = _Peer(reach, heard_s=now_s)
            self._peers[peer] = known
        known.reach = reach
        known.heard_s = now_s
        self._compare(known, now_s)

    def peer_gone(self, peer: str) -> None:
        """Forget a peer that is dead or has left."""
        self._peers.pop(peer, None)

    # --- what follows ----------------------------------------------------------------------------

    @property
    def settle_s(self) -> float:
        """How long a peer must reach more than we do."""
        return self._settle_s

    @property
    def isolated(self) -> bool:
        """Whether ping nodes are configured and we reach none of them."""
        return self._own.settled and self._own.configured > 0 and self._own.reached == 0

    def yield_to(self, now_s: float) -> str | None:
        """Return the peer that should hold what we hold, None while there is no better one."""
        better = [name for name in self._order if now_s >= self._due_s(name, now_s)]
        return max(better, key=lambda name: self._peers[name].reach.reached, default=None)

    def standing(self, now_s: float) -> Standing:
        """Return both answers and the reason."""
        name = self.yield_to(now_s)
        if name is None:
            return Standing(isolated=self.isolated, yield_to=None)
        peer = self._peers[name]
        assert peer.better_since_s is not None
        reason = (
            f"{name} reaches {peer.reach.reached} of {peer.reach.configured} ping nodes,"
            f" we reach {self._own.reached}, for {now_s - peer.better_since_s:.3g} s"
        )
        return Standing(isolated=self.isolated, yield_to=name, reason=reason)

    def next_deadline_s(self, now_s: float) -> float:
        """When the answer of ``yield_to`` may change without news; infinity for never."""
        times = [
            time_s
            for name in self._peers
            for time_s in (self._due_s(name, now_s), self._stale_s(name))
            if now_s < time_s
        ]
        return min(times, default=float("inf"))

    # --- the rules -------------------------------------------------------------------------------

    def _compare(self, peer: _Peer, now_s: float) -> None:
        ours, theirs = self._own, peer.reach
        comparable = ours.settled and theirs.settled and ours.configured == theirs.configured
        if not (comparable and theirs.reached > ours.reached):
            peer.better_since_s = None
        elif peer.better_since_s is None:
            peer.better_since_s = now_s

    def _stale_s(self, name: str) -> float:
        """When the news of a peer is too old; just before, the gap still counts as none."""
        peer = self._peers[name]
        return float("inf") if peer.better_since_s is None else peer.heard_s + self._gap_s

    def _due_s(self, name: str, now_s: float) -> float:
        peer = self._peers.get(name)
        if peer is None or peer.better_since_s is None or now_s - peer.heard_s > self._gap_s:
            return float("inf")
        return peer.better_since_s + self._settle_s
