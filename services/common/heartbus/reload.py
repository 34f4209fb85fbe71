"""What of a configuration that was read anew a running director uses at once: its keys.

Sans-I/O. Everything else needs a restart, one director after the other; what waits for one is told
in words.
"""

from __future__ import annotations

import dataclasses

from heartbus.config.digest import differing_parts, part_digests
from heartbus.model import Cluster


def with_new_keys(running: Cluster, read: Cluster) -> Cluster:
    """Return what runs, with the keys of what was read."""
    membership = dataclasses.replace(
        running.membership, authentication=read.membership.authentication
    )
    return dataclasses.replace(running, membership=membership)


def waits_for_restart(running: Cluster, read: Cluster) -> tuple[str, ...]:
    """Return in which parts, other than the keys, what was read differs from what runs."""
    theirs = part_digests(with_new_keys(read, running))
    return differing_parts(part_digests(running), theirs)
