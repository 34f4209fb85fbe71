"""Why this director should rather not hold what it could: others reach more, or it is cut off.

Sans-I/O. Joins what is known of ping nodes here and elsewhere into what ownership asks for.
"""

from __future__ import annotations

from collections.abc import Sequence

from heartbus.model import Membership
from heartbus_membership.claims import Effect
from heartbus_membership.connectivity import Connectivity
from heartbus_membership.ownership import Ownership
from heartbus_membership.pingnodes import Reach


class Doubts:
    """What one director thinks of its own place in the network.

    ``peers``: the other directors, as configured; a witness is no place to yield to.
    """

    def __init__(self, *, peers: Sequence[str], settings: Membership, ownership: Ownership) -> None:
        self._ownership = ownership
        self._peers = frozenset(peers)
        self._connectivity = Connectivity(
            peers=peers,
            keepalive_s=settings.timers.keepalive_s,
            interval_s=settings.ping_interval_s,
            deadping_s=settings.ping_silence_s,
        )

    def peer_heard(self, peer: str, reach: Reach | None, *, now_s: float) -> None:
        """Take in what the newest heartbeat of a peer says of its ping nodes, changed or not."""
        if reach is not None and peer in self._peers:
            self._connectivity.peer_reach(peer, reach, now_s)

    def peer_gone(self, peer: str) -> None:
        """Forget a peer that is dead or has left."""
        self._connectivity.peer_gone(peer)

    def look(self, reach: Reach, *, barred: str | None, now_s: float) -> list[Effect]:
        """Compare again; call it once a turn, after reading the sockets.

        ``reach`` is our own; ``barred``: why we should take nothing over, as our own clock says.
        """
        self._connectivity.own_reach(reach, now_s)
        standing = self._connectivity.standing(now_s)
        return self._ownership.doubts_changed(
            bar=barred, yield_to=standing.yield_to, isolated=standing.isolated, now_s=now_s
        )
