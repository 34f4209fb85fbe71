"""The rules that tie hooks, trackers and fences to groups and directors.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.report import Places, Report, closest, shown
from heartbus.model import Cluster, Hook, StopFailure, Tracker

HOOKS_MAX: Final = 16
TRACKERS_MAX: Final = 64
"""Each has a place in every snapshot."""


def resource_rules(cluster: Cluster, places: Places, report: Report) -> None:
    """Report groups that are not there, names given twice, and a fence that nobody has."""
    resources = cluster.vip.resources
    names = [group.name for group in cluster.groups]
    lists: tuple[tuple[str, tuple[Hook | Tracker, ...], int], ...] = (
        ("hooks", resources.hooks, HOOKS_MAX),
        ("trackers", resources.trackers, TRACKERS_MAX),
    )
    for key, things, most in lists:
        if len(things) > most:
            place = places.at("vip", "resources", key, most)
            report.error(place, f"{len(things)} are too many; allowed is {most}")
        for index, thing in enumerate(things):
            for name in thing.groups:
                if name not in names:
                    report.error(
                        places.at("vip", "resources", key, index, "groups"),
                        f"{shown(name)} is no group; allowed is"
                        f" {', '.join(names[:10]) or 'none, there is no group'}"
                        f"{closest(name, names)}",
                    )
    seen: set[str] = set()
    for index, tracker in enumerate(resources.trackers):
        place = places.at("vip", "resources", "trackers", index)
        if tracker.name in seen:
            report.error(place, f"{shown(tracker.name)} is there twice; name one of them otherwise")
        seen.add(tracker.name)
    if resources.on_stop_failure is StopFailure.FENCE:
        fenced = {fence.director for fence in cluster.membership.fences}
        without = [d.name for d in cluster.directors if d.name not in fenced]
        if without:
            report.error(
                places.at("vip", "resources", "on_stop_failure"),
                f"no fence for {', '.join(without[:10])}; allowed is fence where each director has"
                " one of [[membership.fences]], else tell",
            )
