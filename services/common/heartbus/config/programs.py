"""Looks for the programs and users that membership will need, and for what checks need.

One file serves all directors, so what is missing here may be right elsewhere: a warning. What is
here and cannot be started is an error.
"""

from __future__ import annotations

import os
import pwd
import stat

from heartbus.config.check_libraries import check_libraries
from heartbus.config.group_files import Search
from heartbus.config.report import Place, Places, Report, shown
from heartbus.model import Cluster


def check_programs(cluster: Cluster, search: Search, places: Places, report: Report) -> None:
    """Report programs that are missing or cannot be started, and users that are unknown."""
    check_libraries(cluster, search, places, report)
    callback = cluster.reload.callback
    if callback is not None and not _can_be_run(search.system(callback)):
        report.warning(
            places.at("cluster", "callback"),
            f"no executable file {shown(callback)} here; a director without it goes on alone",
        )
    for index, client in enumerate(cluster.membership.clients):
        place = places.at("membership", "clients", index, "command")
        if client.built_in:
            name = client.program.rpartition("/")[2]
            report.note(place, f"{name} is built into heartbus; it is not started")
            continue
        _program(client.program, "a director without it goes on alone", search, place, report)
        if not _is_user(client.user):
            report.warning(
                places.at("membership", "clients", index, "user"),
                f"no user {shown(client.user)} here; where there is none it is not started",
            )
    for index, fence in enumerate(cluster.membership.fences):
        place = places.at("membership", "fences", index, "command")
        _program(
            fence.command, "a director without it cannot fence this way", search, place, report
        )


def _program(path: str, what_follows: str, search: Search, place: Place, report: Report) -> None:
    try:
        mode = os.stat(search.system(path)).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        report.warning(place, f"no program {shown(path)} here; {what_follows}")
        return
    except OSError:
        return  # not for us to see; whoever starts it will know
    if not stat.S_ISREG(mode) or not mode & 0o111:
        report.error(place, f"{shown(path)} cannot be run; allowed is an executable file")


def _can_be_run(path: str) -> bool:
    try:
        return os.path.isfile(path) and os.access(path, os.X_OK)
    except ValueError:
        return False


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True
