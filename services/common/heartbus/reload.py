"""What of a configuration that was read anew a running director uses at once.

Sans-I/O. The keys, the virtual services, the settings of checks and of IPVS, and when files are
read anew. All else needs a restart, one director after the other; what waits for one is told.
"""

from __future__ import annotations

import dataclasses

from heartbus.config.digest import differing_parts, part_digests
from heartbus.model import Cluster


def with_live_parts(running: Cluster, read: Cluster) -> Cluster:
    """Return what runs, with what of the configuration that was read is used at once."""
    membership = dataclasses.replace(
        running.membership, authentication=read.membership.authentication
    )
    return dataclasses.replace(
        running,
        membership=membership,
        virtual_services=read.virtual_services,
        ipvs=read.ipvs,
        checks=read.checks,
        reload=read.reload,
    )


def waits_for_restart(running: Cluster, read: Cluster) -> tuple[str, ...]:
    """Return in which parts, other than those, what was read differs from what runs."""
    theirs = part_digests(with_live_parts(read, running))
    return differing_parts(part_digests(running), theirs)
