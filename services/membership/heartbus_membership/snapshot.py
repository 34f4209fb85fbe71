"""What membership tells the bus about itself, as one snapshot.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heartbus.events import DirectorStatus, DirectorView, Lease, LinkView
from heartbus_membership.claims import StandingLease
from heartbus_membership.detector import FailureDetector
from heartbus_membership.wire import Heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCondition:
    """Whether a link can be sent on, and what is wrong if not."""

    name: str
    usable: bool
    problem: str | None


def peer_view(
    peer: str, *, detector: FailureDetector, beat: Heartbeat | None, witness: bool, now_s: float
) -> DirectorView:
    """Return another director as we see it; ``beat`` is its newest heartbeat."""
    return DirectorView(
        name=peer,
        status=detector.status(peer),
        silent_s=detector.silent_s(peer, now_s=now_s),
        incarnation=detector.incarnation(peer),
        config_digest=None if beat is None else beat.config_digest.hex(),
        ready=beat is not None and beat.ready and not beat.leaving,
        witness=witness,
    )


def own_view(
    node: str, *, incarnation: int, digest: str, ready: bool, witness: bool
) -> DirectorView:
    """Return ourselves."""
    return DirectorView(
        name=node,
        status=DirectorStatus.ALIVE,
        incarnation=incarnation,
        config_digest=digest,
        ready=ready,
        witness=witness,
    )


def link_views(
    conditions: Sequence[LinkCondition], *, detector: FailureDetector
) -> tuple[LinkView, ...]:
    """Return the links and who is heard over each."""
    return tuple(
        LinkView(
            name=link.name,
            usable=link.usable,
            heard=detector.heard_on(link.name),
            problem=link.problem,
        )
        for link in conditions
    )


def lease_views(
    leases: Sequence[StandingLease], *, causes: Mapping[str, str | None]
) -> tuple[Lease, ...]:
    """Return the leases as vip reads them; ``causes``: id of the granting event by group."""
    return tuple(
        Lease(
            group=lease.group,
            epoch=lease.epoch,
            deadline_monotonic_s=lease.deadline_s,
            cause=causes.get(lease.group),
            ask_first=lease.ask_first,
        )
        for lease in leases
    )
