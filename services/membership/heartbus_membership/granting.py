"""Tells vip and everybody else what this director may hold: by events, and by the lease file.

Shell: the file is the truth that vip follows where the bus is silent, and wakes it up sooner than
the bus does. A file that cannot be written is told and tried again at the next turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from heartbus.bus import Bus
from heartbus.events import GroupGranted, GroupRevoked, Lease, QuorumGained, QuorumLost
from heartbus_membership import leases as files
from heartbus_membership import snapshot
from heartbus_membership.claims import Grant, Revoke
from heartbus_membership.ownership import Ownership


class Granting:
    """Grants and withdrawals of one director.

    ``say``: tell of a problem at most now and then. ``standing``: leases of an earlier process.
    ``changed``: the file says something else than is so.
    """

    def __init__(
        self,
        *,
        node: str,
        voters: int,
        ownership: Ownership,
        lease_file: files.LeaseFile,
        bus: Bus,
        say: Callable[[str, str, str], None],
        standing: Iterable[Lease],
    ) -> None:
        self._node = node
        self._voters = voters
        self._ownership = ownership
        self._lease_file = lease_file
        self._bus = bus
        self._say = say
        self._causes: dict[str, str | None] = {lease.group: lease.cause for lease in standing}
        self.changed = True
        self._written_s = float("-inf")
        self._quorum: bool | None = None

    @property
    def leases(self) -> tuple[Lease, ...]:
        """What the own vip may hold, each with the event that led to it."""
        return snapshot.lease_views(self._ownership.leases, causes=self._causes)

    def granted(self, effect: Grant) -> None:
        """Tell of a grant."""
        event = GroupGranted(
            group=effect.group, director=self._node, epoch=effect.epoch, reason=effect.reason
        )
        self._causes[effect.group] = self._bus.publish(event, cause=effect.cause)
        self.changed = True
        self._bus.publish_state()

    def revoked(self, effect: Revoke) -> None:
        """Tell of a withdrawal."""
        event = GroupRevoked(
            group=effect.group,
            director=self._node,
            epoch=effect.epoch,
            reason=effect.reason,
            handover=effect.handover,
        )
        self._bus.publish(event, cause=effect.cause)
        self._causes.pop(effect.group, None)
        self.changed = True
        self._bus.publish_state()

    def write(self, *, now_s: float) -> None:
        """Write the lease file where it says less than is so; call it after deciding."""
        leases = self.leases
        renewal_due = bool(leases) and now_s - self._written_s >= files.LEASE_WRITE_PERIOD_S
        if not (self.changed or renewal_due):
            return
        try:
            self._lease_file.write(leases, releasing=self._ownership.releasing, now_s=now_s)
            self.changed = False
            self._written_s = now_s
        except OSError as error:
            self._say("leases.unwritten", "leases", str(error))

    def tell_quorum(self) -> None:
        """Tell when a majority is heard, and when no more."""
        before, self._quorum = self._quorum, self._ownership.quorum
        if self._quorum is None or self._quorum == before:
            return
        heard = self._ownership.voters_heard
        if self._quorum:
            self._bus.publish(QuorumGained(heard=heard, voters=self._voters))
        elif before is not None:
            self._bus.publish(QuorumLost(heard=heard, voters=self._voters))
        self._bus.publish_state()
