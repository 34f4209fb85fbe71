"""Finds which director of a configuration this one is, and says where they are named if none is.

Sans-I/O.
"""

from __future__ import annotations

import dataclasses

from heartbus.config.diagnostics import ConfigError, Diagnostic, Level
from heartbus.config.report import Places, closest, shown
from heartbus.model import Cluster


def named_at(cluster: Cluster, places: Places) -> Cluster:
    """Return the cluster with the place of its first director noted."""
    place = places.at("directors", 0)
    where = place.file if place.line is None else f"{place.file}:{place.line}"
    return dataclasses.replace(cluster, directors_at=f"{where}: {place.directive or 'directors'}")


def known_node(cluster: Cluster, node: str) -> str:
    """Return the configured name of this node; a unique short name will do.

    Raises:
        ConfigError: the configuration has no such director; it says where they are named.

    """
    names = [voter.name for voter in cluster.voters]
    if node in names:
        return node
    short = [name for name in names if name.split(".")[0] == node.split(".")[0]]
    if len(short) == 1:
        return short[0]
    told = f"may be {' or '.join(short)}" if short else "is none of the directors"
    message = (
        f"{shown(node)} {told}; allowed is {', '.join(names)}: say which one this is with "
        f"--node NAME, or add this host here{closest(node, names)}"
    )
    where = cluster.directors_at or cluster.source
    diagnostic = Diagnostic(
        level=Level.ERROR, file=where, line=None, directive=None, message=message
    )
    raise ConfigError((diagnostic,))
