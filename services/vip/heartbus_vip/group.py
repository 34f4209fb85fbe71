"""One resource group on this director: where it stands, and what is known of each resource.

Sans-I/O. ``holder`` moves it from state to state; this is what it moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from heartbus.events import (
    HeldGroup,
    HoldStatus,
    Lease,
    ResourceStatus,
    ResourceView,
    VipAcquired,
    VipFailed,
    VipReleased,
)
from heartbus.model import (
    AddressResource,
    CheckedServicesResource,
    Resource,
    ResourceGroup,
    SavedRulesResource,
    ScriptResource,
)
from heartbus_vip.actions import CallScript, Tell
from heartbus_vip.monitor import Monitor
from heartbus_vip.stopping import Stopping


@dataclass(slots=True)
class Group:
    """``todo``: resources that are still to be started or stopped, the next one first.

    ``stopping``: how it goes with the first of them, if that is a script that stops. ``joining``:
    addresses that came to a group that is held; one that cannot be had is left out, and the group
    held on. ``retired``: it is configured no more, and is forgotten once it is let go.
    """

    spec: ResourceGroup
    monitor: Monitor
    status: HoldStatus = HoldStatus.RELEASED
    lease: Lease | None = None
    epoch: int = 0
    cause: str | None = None
    reason: str = ""
    failure: str | None = None
    began_s: float = 0.0
    lease_ends_s: float = 0.0
    todo: list[Resource] = field(default_factory=list)
    step: int = 0
    called: CallScript | None = None
    installed: set[AddressResource] = field(default_factory=set)
    missing_since_s: dict[AddressResource, float] = field(default_factory=dict)
    left_over: bool = False
    stopping: Stopping | None = None
    known: dict[Resource, tuple[ResourceStatus, str]] = field(default_factory=dict)
    joining: set[AddressResource] = field(default_factory=set)
    retired: bool = False
    idle_since_s: float | None = None

    @property
    def running(self) -> bool:
        """Whether the group is started, or on its way."""
        return self.status in (HoldStatus.STARTING, HoldStatus.HELD)

    def may_run(self, resource: Resource) -> bool:
        """Whether a script was started here, as far as we know."""
        stopped = (ResourceStatus.UNKNOWN, ResourceStatus.STOPPED)
        return self.known.get(resource, (ResourceStatus.UNKNOWN, ""))[0] not in stopped

    def note(self, resource: Resource, status: ResourceStatus, reason: str = "") -> None:
        """Remember where a resource stands."""
        self.known[resource] = (status, reason)

    def acquired(self, node: str, *, now_s: float) -> Tell:
        """Return the news that all of it is here."""
        there = [a for a in self.spec.addresses if a in self.installed]
        event = VipAcquired(
            group=self.spec.name,
            director=node,
            epoch=self.epoch,
            addresses=tuple(a.address for a in there),
            took_s=now_s - self.began_s,
        )
        return Tell(event=event, cause=self.cause)

    def released(self, node: str) -> Tell:
        """Return the news that nothing of it is here any more."""
        event = VipReleased(
            group=self.spec.name,
            director=node,
            epoch=self.epoch,
            addresses=tuple(a.address for a in self.spec.addresses),
            reason=self.reason,
        )
        return Tell(event=event, cause=self.cause)

    def failed(self, node: str, resource: str, reason: str) -> Tell:
        """Return the news that one of its resources failed."""
        event = VipFailed(
            group=self.spec.name,
            director=node,
            epoch=self.epoch,
            resource=resource,
            reason=reason,
        )
        return Tell(event=event, cause=self.cause)

    def view(self) -> HeldGroup:
        """Return what the snapshot says of the group."""
        return HeldGroup(
            name=self.spec.name,
            status=self.status,
            epoch=self.epoch,
            addresses=tuple(a.address for a in self.spec.addresses if a in self.installed),
            reason=self.reason,
            resources=tuple(map(self._resource, self.spec.resources)),
        )

    def _resource(self, resource: Resource) -> ResourceView:
        match resource:
            case AddressResource():
                status, reason = self.known.get(resource, (ResourceStatus.STOPPED, ""))
                if resource in self.installed:
                    status, reason = ResourceStatus.RUNNING, ""
            case ScriptResource():
                status, reason = self.known.get(resource, (ResourceStatus.UNKNOWN, ""))
            case CheckedServicesResource() | SavedRulesResource():
                status, reason = ResourceStatus.EVERYWHERE, ""
        return ResourceView(name=resource.name, status=status, reason=reason)
