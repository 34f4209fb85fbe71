"""What a played cluster is made of: from a real configuration, or as a test wants it.

Sans-I/O. What of a configuration is not played is said by ``left_out``, in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from heartbus.model import (
    EXPIRY_TAIL_S,
    Cluster,
    Failback,
    ResourceGroup,
    ScriptResource,
    Takeover,
    Timers,
    VipSettings,
)
from heartbus_membership.claims import GroupRule
from heartbus_membership.taking_up import group_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times that must fit one another; ``E <= G + D - 2K`` holds for each, as configured ones."""

    timers: Timers
    lease_s: float
    grace_s: float
    lifetime_s: int


class Plan(Protocol):
    """One cluster. ``bus`` False: there never is one."""

    @property
    def bus(self) -> bool:
        """Whether there is a bus."""

    @property
    def failback(self) -> bool:
        """Whether the preferred director takes its groups back."""

    @property
    def times(self) -> Pace:
        """The times of this cluster."""

    @property
    def directors(self) -> tuple[str, ...]:
        """Their names, in the order of the configuration."""

    @property
    def witness_names(self) -> tuple[str, ...]:
        """Voters that are no directors."""

    @property
    def link_names(self) -> tuple[str, ...]:
        """The heartbeat links, the same on all hosts."""

    @property
    def vip(self) -> VipSettings:
        """How addresses are held."""

    @property
    def resource_groups(self) -> tuple[ResourceGroup, ...]:
        """What moves."""

    @property
    def group_names(self) -> tuple[str, ...]:
        """All names that heartbeats may speak of."""

    @property
    def rules(self) -> Sequence[GroupRule]:
        """The groups as ownership sees them."""

    @property
    def tail_s(self) -> float:
        """How long an address may outlive its lease where takeover is strict."""

    @property
    def takeover_options(self) -> dict[str, Any]:
        """What ``Ownership`` is told of the mode, beyond what the fast pair needs."""


class Configured:
    """The plan of a real configuration."""

    bus = True

    def __init__(self, cluster: Cluster, *, timers: Timers | None = None) -> None:
        settings = cluster.membership
        self.failback = settings.failback is Failback.ON
        self.times = Pace(
            timers=timers or settings.timers,
            lease_s=settings.lease_s,
            grace_s=settings.restart_grace_s,
            lifetime_s=cluster.vip.lifetime_s,
        )
        self.directors = tuple(d.name for d in cluster.directors)
        self.witness_names = tuple(w.name for w in cluster.witnesses)
        self.link_names = tuple(dict.fromkeys(link.name for link in settings.links))
        self.vip = cluster.vip
        self.resource_groups = cluster.groups
        self.group_names = tuple(g.name for g in cluster.groups)
        self.rules = group_rules(cluster)
        self.tail_s = EXPIRY_TAIL_S if settings.takeover is Takeover.STRICT else 0.0
        self.takeover_options = {"witnesses": self.witness_names, "tail_s": self.tail_s}


def left_out(cluster: Cluster) -> tuple[str, ...]:
    """Return in words what of a configuration the play leaves out or takes as given."""
    settings = cluster.membership
    remarks = []
    if settings.ping_nodes:
        remarks.append("ping nodes are not played: no director yields for what it reaches")
    if settings.fences:
        remarks.append("fence agents are not played")
    if cluster.vip.resources.trackers:
        remarks.append("trackers are not played: every score is 0")
    if any(isinstance(r, ScriptResource) for g in cluster.groups for r in g.resources):
        remarks.append("each call of a resource script is taken to need 0.1 s")
    return tuple(remarks)
