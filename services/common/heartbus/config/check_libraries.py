"""Looks for what checks need on this machine: libraries of their own, programs, files.

A library that is missing is an error: its check could never pass. Programs and files may be there
on another director, so that one that is missing is a warning; one that cannot be run is an error.
"""

from __future__ import annotations

import importlib.util
import os
import stat

from heartbus.config.group_files import Search
from heartbus.config.report import Place, Places, Report, shown
from heartbus.model import Check, CheckType, Cluster
from heartbus.model_checks import LIBRARIES

_NEGOTIATED = (CheckType.NEGOTIATE, CheckType.COMBINED)
_EXTERNAL = (CheckType.EXTERNAL, CheckType.EXTERNAL_PERL)


def check_libraries(cluster: Cluster, search: Search, places: Places, report: Report) -> None:
    """Report what the checks need and this machine has not."""
    for index, service in enumerate(cluster.virtual_services):
        check = service.check
        library = LIBRARIES.get(check.service)
        if check.type in _NEGOTIATED and library is not None and not _installed(library.module):
            report.error(
                places.at("virtual_services", index, "check", "service"),
                f"{check.service} checks need a library that is not installed; allowed after"
                f" pip install 'heartbus[{library.extra}]'",
            )
        if check.type in _EXTERNAL and check.command:
            place = places.at("virtual_services", index, "check", "command")
            _program(check, search, place, report)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _program(check: Check, search: Search, place: Place, report: Report) -> None:
    path = check.command[0]
    try:
        mode = os.stat(search.system(path)).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        report.warning(
            place, f"no program {shown(path)} here; on a director without it no verdict changes"
        )
        return
    except OSError:
        return  # not for us to see; the check will say it
    runs = check.type is CheckType.EXTERNAL_PERL or mode & 0o111
    if not stat.S_ISREG(mode) or not runs:
        report.error(place, f"{shown(path)} cannot be run; allowed is an executable file")
