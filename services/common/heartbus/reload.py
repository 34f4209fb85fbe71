"""What of a configuration that was read anew a running director uses at once.

Sans-I/O. The keys, failback, the resource groups, the virtual services, the settings of checks and
of IPVS, and when files are read anew. All else needs a restart, one director after the other; what
waits for one is told, with why and how (docs/decisions/0041-groups-change-live.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

from heartbus.config.digest import differing_parts, part_digests
from heartbus.model import Cluster, ResourceGroup, ScriptResource

WHY: Final = {
    "directors": "a majority is counted by all alike",
    "timers": "a director that sends slower than another one waits for would be taken for dead",
    "links": "directors that share no link take each other for dead",
    "takeover rules": "who waits for a lease to end must know how long it is",
    "ping nodes": "read by membership when it starts",
    "watchdog, fences and programs": "read by membership when it starts",
    "vip settings": "read by vip when it starts",
    "other settings": "read by each service when it starts",
}

HOW: Final = (
    "restart one director after the other, first one that holds nothing: heartbus standby on the"
    " one to restart, systemctl restart heartbus.target (or heartbus up anew), heartbus takeover"
)


def with_live_parts(running: Cluster, read: Cluster) -> Cluster:
    """Return what runs, with what of the configuration that was read is used at once."""
    membership = dataclasses.replace(
        running.membership,
        authentication=read.membership.authentication,
        failback=read.membership.failback,
    )
    groups_wait = any(why_groups_wait(running, read))
    return dataclasses.replace(
        running,
        membership=membership,
        groups=running.groups if groups_wait else read.groups,
        virtual_services=read.virtual_services,
        ipvs=read.ipvs,
        checks=read.checks,
        reload=read.reload,
    )


def waits_for_restart(running: Cluster, read: Cluster) -> tuple[str, ...]:
    """Return in which parts, other than those, what was read differs from what runs."""
    theirs = part_digests(with_live_parts(read, running))
    return differing_parts(part_digests(running), theirs)


def told_of_restart(running: Cluster, read: Cluster) -> tuple[str, ...]:
    """Return what waits for a restart as lines for people: what, why of each, and how."""
    waiting = waits_for_restart(running, read)
    if not waiting:
        return ()
    lines = [f"waits for a restart: {', '.join(waiting)}"]
    for part in waiting:
        if part == "resource groups":
            lines += [f"{part}: {reason}" for reason in why_groups_wait(running, read)]
        else:
            lines.append(f"{part}: {WHY[part]}")
    return (*lines, HOW)


def why_groups_wait(running: Cluster, read: Cluster) -> Iterator[str]:
    """Say why the groups that were read cannot be used at once; nothing: they can.

    While one director has read them and another one has not, both decide about an address by the
    lease of its group. So an address may come and go, but not change from one group to another.
    """
    if running.groups == read.groups:
        return
    if [d.name for d in running.directors] != [d.name for d in read.directors]:
        yield "the directors change too"
    groups = {group.name: group for group in running.groups}
    homes = {a.address: group.name for group in running.groups for a in group.addresses}
    for group in read.groups:
        for address in group.addresses:
            home = homes.get(address.address, group.name)
            if home != group.name:
                yield (
                    f"{address.address} moves from the group {home} to {group.name}; without a"
                    " restart: take it out, reload every director, then put it in"
                )
        before = groups.get(group.name)
        if before is not None and _scripts(before) != _scripts(group):
            yield (
                f"the scripts of {group.name} change; without a restart: give a new one a group"
                " of its own"
            )


def _scripts(group: ResourceGroup) -> list[ScriptResource]:
    return [resource for resource in group.resources if isinstance(resource, ScriptResource)]
