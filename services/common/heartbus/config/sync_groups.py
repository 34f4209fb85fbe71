"""Ties groups that name the same ``sync``: one group of all their resources, under that name.

Sans-I/O. One lease then covers them all, so they move together by construction: see decision 18.
"""

from __future__ import annotations

from dataclasses import replace

from heartbus.config.group_files import Draft
from heartbus.config.report import Place, Report, Setting, shown
from heartbus.model import ResourceGroup


class SyncGroups:
    """Adds groups to a draft, those of one name to one group."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._at: dict[str, int] = {}
        self._tied: dict[str, str] = {}

    def has(self, name: str) -> bool:
        """Whether a group of this name was tied before."""
        return name in self._at

    def add(self, group: ResourceGroup, member: str | None, place: Place, report: Report) -> int:
        """Add a group, or the ``member`` of a tied one; return its number in the draft."""
        groups = self._draft.groups
        if member is not None and group.name in self._at:
            at = self._at[group.name]
            first = groups[at].value
            if first.preferred != group.preferred:
                report.error(
                    place,
                    f"{shown(group.preferred)}, but the other groups of {shown(group.name)} prefer"
                    f" {first.preferred}; groups that move together prefer one director",
                )
            if first.announce != group.announce:
                report.error(
                    place,
                    f"announce is another than that of the other groups of {shown(group.name)};"
                    " groups that move together are announced in one way",
                )
        else:
            at = len(groups)
            groups.append(Setting(value=group, place=place))
        if member is not None:
            self._at.setdefault(group.name, at)
            if member in self._tied:
                report.error(place, f"the group {shown(member)} is there twice")
            self._tied[member] = group.name
        return at

    def rename_services(self) -> None:
        """Let virtual services of a tied group belong to the whole."""
        services = self._draft.services
        for index, service in enumerate(services):
            name = self._tied.get(service.value.group or "")
            if name is not None:
                services[index] = replace(service, value=replace(service.value, group=name))
