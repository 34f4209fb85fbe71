"""Finds and reads the files that resource groups name: saved rules, ldirectord files, scripts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from heartbus.config import ipvsadm_rules, ldirectord, ldirectord_services, source
from heartbus.config.hosts import HOSTS_FILE, Hosts
from heartbus.config.reload_settings import WrittenReload
from heartbus.config.report import Path, Place, Places, Report, Setting
from heartbus.model import (
    CheckedServicesResource,
    Cluster,
    Resource,
    ResourceGroup,
    SavedRulesResource,
    ScriptResource,
    VirtualService,
)
from heartbus.resource_programs import NotFound, ProgramKind, below, find_program

RULES_FILE: Final = "ipvsadm.rules"
SYSTEM_RULES: Final = ("/etc/ipvsadm.rules", "/etc/sysconfig/ipvsadm")
LDIRECTORD_SUFFIX: Final = ".cf"
SYSTEM_RESOURCE_PATH: Final = ("/etc/ha.d/resource.d", "/etc/init.d", "/etc/rc.d/init.d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Where files are looked for: ``directories`` in order; ``/etc`` files below ``root``."""

    directories: tuple[str, ...]
    root: str = "/"

    def system(self, path: str) -> str:
        """Return the path of a system file below ``root``."""
        return below(self.root, path)


class GroupFiles:
    """Reads the files of one group after the other; none is loaded twice."""

    def __init__(self, search: Search, report: Report) -> None:
        self._search = search
        self._report = report
        self._loaded: dict[str, str] = {}
        self._hosts_read: Hosts | None = None
        self.reload = WrittenReload()

    @property
    def loaded(self) -> frozenset[str]:
        """The paths of all files that a group named."""
        return frozenset(self._loaded)

    def expand(
        self,
        name: str,
        resources: Sequence[Setting[Resource]],
        stand_for_themselves: frozenset[int] = frozenset(),
    ) -> tuple[tuple[Resource, ...], list[Setting[VirtualService]]]:
        """Return the resources, with the files that were found, and their virtual services.

        A service that stands both in the saved rules and in an ldirectord file of the group is that
        of the ldirectord file: ldirectord takes over what ipvsadm restored. The resources numbered
        ``stand_for_themselves`` name services that are written elsewhere: no file is read.
        """
        found: list[Resource] = []
        saved: list[Setting[VirtualService]] = []
        checked: list[Setting[VirtualService]] = []
        for index, setting in enumerate(resources):
            resource = setting.value
            if index in stand_for_themselves:
                pass
            elif isinstance(resource, SavedRulesResource):
                resource, services = self._saved_rules(name, setting.place)
                saved += services
            elif isinstance(resource, CheckedServicesResource):
                resource, services = self._ldirectord(resource, name, setting.place)
                checked += services
            found.append(resource)
        checked_at = {service.value.name: service.place for service in checked}
        kept = []
        for service in saved:
            other = checked_at.get(service.value.name)
            if other is None:
                kept.append(service)
                continue
            self._report.note(
                service.place,
                f"{service.value.name} is taken from {other.file}:{other.line}, which checks it",
            )
        return tuple(found), [*kept, *checked]

    def _saved_rules(
        self, group: str, place: Place
    ) -> tuple[SavedRulesResource, list[Setting[VirtualService]]]:
        paths = [os.path.join(directory, RULES_FILE) for directory in self._search.directories]
        paths += [self._search.system(path) for path in SYSTEM_RULES]
        path = next(filter(source.is_file, paths), None)
        if path is None:
            self._report.note(
                place, f"no saved rules, so nothing to restore; looked for {', '.join(paths)}"
            )
            return SavedRulesResource(), []
        resource = SavedRulesResource(file=path)
        if not self._first_use(path, group, place):
            return resource, []
        file = source.read(path, self._report)
        if file is None:
            return resource, []
        return resource, ipvsadm_rules.parse(file.text, path, group, self._report)

    def _ldirectord(
        self, resource: CheckedServicesResource, group: str, place: Place
    ) -> tuple[CheckedServicesResource, list[Setting[VirtualService]]]:
        names = [resource.file]
        if not resource.file.endswith(LDIRECTORD_SUFFIX):
            names.append(resource.file + LDIRECTORD_SUFFIX)
        # os.path.join leaves an absolute name alone: ldirectord takes those too.
        candidates = [
            (name, os.path.join(directory, name))
            for name in names
            for directory in self._search.directories
        ]
        hit = next((entry for entry in candidates if source.is_file(entry[1])), None)
        if hit is None:
            self._report.files.update((path, "") for _, path in candidates)
            looked = ", ".join(dict.fromkeys(path for _, path in candidates))
            self._report.error(place, f"no such ldirectord file; looked for {looked}")
            return resource, []
        name, path = hit
        if name != resource.file:
            self._report.warning(
                place, f"found as {name}; ldirectord itself adds no {LDIRECTORD_SUFFIX}"
            )
        resource = CheckedServicesResource(file=name)
        if not self._first_use(path, group, place):
            return resource, []
        file = source.read(path, self._report)
        if file is None:
            return resource, []
        content = ldirectord.parse(file.text, path, self._report, self._hosts())
        self.reload.of_ldirectord(content.settings, self._report)
        services = ldirectord_services.services(content, group, self._report)
        for other in content.settings.executes:
            # ldirectord starts one more of itself with that file; it may name others in turn, and
            # as no file is loaded twice this ends.
            named = CheckedServicesResource(file=other.value)
            services += self._ldirectord(named, group, other.place)[1]
        return resource, services

    def _hosts(self) -> Hosts:
        """Return the hosts file of this machine, read once; without one there are no names."""
        if self._hosts_read is None:
            path = self._search.system(HOSTS_FILE)
            file = source.read(path, self._report) if source.is_file(path) else None
            self._hosts_read = Hosts(file.text if file is not None else "")
        return self._hosts_read

    def _first_use(self, path: str, group: str, place: Place) -> bool:
        if path not in self._loaded:
            self._loaded[path] = group
            return True
        self._report.warning(
            place, f"{path} belongs to the group {self._loaded[path]} already; not loaded twice"
        )
        return False


@dataclass(slots=True, kw_only=True)
class Draft:
    """Groups and virtual services while they are put together, each with its place."""

    groups: list[Setting[ResourceGroup]]
    services: list[Setting[VirtualService]]

    def service_places(self, *, first: int = 0) -> dict[Path, Place]:
        """Return where the services from number ``first`` on, and their parts, were written."""
        places: dict[Path, Place] = {}
        for index, service in enumerate(self.services[first:], first):
            places["virtual_services", index] = service.place
            for path, place in service.parts.items():
                places[("virtual_services", index, *path)] = place
        return places

    def add_group(
        self,
        group: ResourceGroup,
        resources: Sequence[Setting[Resource]],
        place: Place,
        files: GroupFiles,
        stand_for_themselves: frozenset[int] = frozenset(),
    ) -> None:
        """Add a group and the virtual services of the files it names."""
        found, services = files.expand(group.name, resources, stand_for_themselves)
        self.groups.append(Setting(value=replace(group, resources=found), place=place))
        self.services += services

    def add_resources(
        self,
        at: int,
        resources: Sequence[Setting[Resource]],
        files: GroupFiles,
        stand_for_themselves: frozenset[int] = frozenset(),
    ) -> dict[Path, Place]:
        """Add to the group number ``at``; return the places of what was added."""
        setting = self.groups[at]
        before = setting.value.resources
        found, services = files.expand(setting.value.name, resources, stand_for_themselves)
        group = replace(setting.value, resources=(*before, *found))
        self.groups[at] = replace(setting, value=group)
        self.services += services
        return {
            ("groups", at, "resources", len(before) + index): resource.place
            for index, resource in enumerate(resources)
        }


def check_scripts(cluster: Cluster, search: Search, places: Places, report: Report) -> None:
    """Warn of resources without a program here; starting the group goes on without them.

    One configuration serves all directors, and others may have the program.
    """
    directories = [
        search.system(directory) if directory in SYSTEM_RESOURCE_PATH else directory
        for directory in cluster.resource_path
    ]
    for index, group in enumerate(cluster.groups):
        for position, resource in enumerate(group.resources):
            if not isinstance(resource, ScriptResource):
                continue
            place = places.at("groups", index, "resources", position)
            program = find_program(resource.script, directories, root=search.root)
            if isinstance(program, NotFound):
                report.warning(
                    place,
                    f"no program of this name here; tried {program.tried}; a director without it"
                    " goes on with the rest of the group, as Heartbeat 1.0 did",
                    here=True,
                )
            elif program.kind is ProgramKind.BUILT_IN:
                _note_unused_script(resource.script, directories, place, report)


def _note_unused_script(
    name: str, directories: Sequence[str], place: Place, report: Report
) -> None:
    """Say that a script of the name of something built in is not called."""
    paths = [os.path.join(directory, name) for directory in directories]
    path = next(filter(source.is_file, paths), None)
    if path is not None:
        report.note(
            place,
            f"built into heartbus; {path} is not called; lsb:{name} would call it",
        )
