"""Which leases stand, from the newest news of our own membership.

Sans-I/O. The same truth comes twice: as snapshots over the bus and as a file. Both say when they
were written, on the monotonic clock that all processes of a host share, so the newest one wins and
replaces all that was said before: a lease that it lacks was revoked. No news changes nothing, until
the deadline of the last lease passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from heartbus.events import Lease

FUTURE_S: Final = 1.0
"""News said to be written later than this from now are of another clock, and not believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseNews:
    """All leases of this director at ``written_s``, in monotonic seconds of this host."""

    written_s: float
    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Revocation:
    said_s: float
    epoch: int


class LeaseBook:
    """The newest news, whatever way and in whatever order they came."""

    def __init__(self) -> None:
        self._written_s = -math.inf
        self._woke_s = -math.inf
        self._leases: dict[str, Lease] = {}
        self._revocations: dict[str, _Revocation] = {}

    @property
    def spoken(self) -> bool:
        """Whether membership was heard at all since we started."""
        return self._written_s > -math.inf

    @property
    def fresh(self) -> bool:
        """Whether the newest news were written since we last slept."""
        return self._written_s >= self._woke_s

    def woke(self, *, now_s: float) -> None:
        """Note that we did not run for a while: what was written before may be long untrue."""
        self._woke_s = now_s

    def news_received(self, news: LeaseNews, *, now_s: float) -> bool:
        """Take news in; return False if they are older than what is known, or make no sense."""
        times = [news.written_s, *(lease.deadline_monotonic_s for lease in news.leases)]
        if not all(map(math.isfinite, times)) or news.written_s > now_s + FUTURE_S:
            return False
        if news.written_s < self._written_s:
            return False
        self._written_s = news.written_s
        self._leases = {lease.group: lease for lease in news.leases}
        self._revocations = {
            group: revocation
            for group, revocation in self._revocations.items()
            if revocation.said_s > news.written_s and group in self._leases
        }
        return True

    def group_revoked(self, group: str, *, epoch: int, said_s: float) -> bool:
        """Take a hint in; it counts against leases of this epoch or less that are older than it."""
        if not math.isfinite(said_s) or said_s < self._written_s or group not in self._leases:
            return False
        self._revocations[group] = _Revocation(said_s=said_s, epoch=epoch)
        return True

    def standing(self, group: str, *, now_s: float) -> Lease | None:
        """Return the lease that allows to hold a group at this moment, or None."""
        lease = self._leases.get(group)
        if lease is None or now_s >= lease.deadline_monotonic_s:
            return None
        revocation = self._revocations.get(group)
        if revocation is not None and lease.epoch <= revocation.epoch:
            return None
        return lease
