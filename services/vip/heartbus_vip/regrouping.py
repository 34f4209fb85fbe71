"""Takes up another set of resource groups while vip runs.

Sans-I/O. What is held goes on being held: of a group that changed only the addresses that came or
went are touched. A group that is configured no more follows its lease as before, and is forgotten
once it is let go. The scripts of a group do not change here (``heartbus.reload`` sees to that).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from heartbus.events import HoldStatus
from heartbus.model import AddressResource, ResourceGroup, ScriptResource, VipSettings
from heartbus_vip.group import Group
from heartbus_vip.monitor import Monitor

FORGET_S: Final = 3.0
"""Membership and hooks hear of a release by the snapshots, of which there is one each second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What came to a group (``new``) and what is here of what went (``gone``), in order."""

    group: Group
    new: tuple[AddressResource, ...]
    gone: tuple[AddressResource, ...]


def begun(
    spec: ResourceGroup,
    settings: VipSettings,
    present: Collection[AddressResource],
    left_over: Collection[str] = (),
) -> Group:
    """Return a group of which nothing is known but what the kernel has of it."""
    return Group(
        spec=spec,
        monitor=Monitor(spec.resources, settings.resources),
        installed={a for a in spec.addresses if a in present},
        left_over=spec.name in left_over or any(a in present for a in spec.addresses),
    )


def regroup(
    groups: dict[str, Group],
    wanted: Collection[ResourceGroup],
    *,
    settings: VipSettings,
    present: Collection[AddressResource],
) -> list[Change]:
    """Make ``groups`` those that are wanted, in that order; return what changed in old ones."""
    before = dict(groups)
    groups.clear()
    changes: list[Change] = []
    for spec in wanted:
        group = before.pop(spec.name, None)
        if group is None:
            groups[spec.name] = begun(spec, settings, present)
            continue
        groups[spec.name] = group
        group.retired = False
        if group.spec != spec:
            changes.append(_change(group, spec))
    for name, group in before.items():
        group.retired = True
        groups[name] = group
    return changes


def planned(groups: Mapping[str, Group], wanted: Collection[ResourceGroup]) -> Iterator[str]:
    """Say what ``regroup`` and what follows it would do here, a line for each address and group."""
    names = {spec.name for spec in wanted}
    for spec in wanted:
        group = groups.get(spec.name)
        if group is None:
            addresses = ", ".join(a.name for a in spec.addresses) or "no address"
            yield f"group {spec.name} comes with {addresses}, prefers {spec.preferred}"
            continue
        where = "held here" if group.running else "not held here"
        old = group.spec
        for address in spec.addresses:
            if address not in old.addresses:
                yield f"{address.name} comes to group {spec.name}, {where}"
        for address in old.addresses:
            if address not in spec.addresses:
                yield f"{address.name} goes from group {spec.name}, {where}"
        if spec.preferred != old.preferred:
            yield f"group {spec.name} prefers {spec.preferred} instead of {old.preferred}"
    for name, group in groups.items():
        if name not in names:
            yield f"group {name} goes, {'held here' if group.running else 'not held here'}"


def _change(group: Group, spec: ResourceGroup) -> Change:
    old, group.spec = group.spec, spec
    new = tuple(a for a in spec.addresses if a not in old.addresses)
    gone = tuple(a for a in reversed(old.addresses) if a not in spec.addresses)
    todo = {r for r in group.todo if isinstance(r, ScriptResource) or r in spec.resources}
    if group.status is HoldStatus.STARTING:
        group.todo = [r for r in spec.resources if r in todo or r in new]
    elif group.status is HoldStatus.STOPPING:
        group.todo = [r for r in reversed(spec.resources) if r in todo]
    group.joining.difference_update(gone)
    for address in gone:
        group.known.pop(address, None)
        group.missing_since_s.pop(address, None)
    return Change(group=group, new=new, gone=tuple(a for a in gone if a in group.installed))


def forget_retired(groups: dict[str, Group], *, now_s: float) -> None:
    """Forget what is configured no more and let go, once everybody was told that it is let go."""
    for name, group in list(groups.items()):
        idle = group.status in (HoldStatus.RELEASED, HoldStatus.FAILED) and not group.left_over
        if not (group.retired and idle):
            group.idle_since_s = None
        elif group.idle_since_s is None:
            group.idle_since_s = now_s
        elif now_s - group.idle_since_s >= FORGET_S:
            del groups[name]
