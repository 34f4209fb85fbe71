"""Reads haresources: one resource group a line, with the director that prefers it.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from heartbus.config.report import Place, Report, Setting, closest, shown, word
from heartbus.config.resources import parse_resource
from heartbus.config.values import BadValueError, unusable_text
from heartbus.model import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class HaresourcesGroup:
    """One line. ``name`` is the text of the first resource, ``preferred`` a full node name."""

    name: str
    preferred: str
    resources: tuple[Setting[Resource], ...]


def parse(
    text: str, file: str, nodes: Sequence[str], report: Report
) -> list[Setting[HaresourcesGroup]]:
    """Return the groups, in order; ``nodes`` are those of ha.cf."""
    groups: list[Setting[HaresourcesGroup]] = []
    for number, line in logical_lines(text):
        place = Place(file=file, line=number)
        if (why := unusable_text(line)) is not None:
            report.error(place, f"{why}; allowed is plain UTF-8 text")
            continue
        node, *resources = line.split()
        preferred = match_node(node, nodes, place.of(word(node)), report)
        if not resources:
            report.error(
                place.of(word(node)), "no resources; a line is a node and its resources, in order"
            )
            continue
        read = tuple(_resources(resources, place, report))
        # A group with an error is still read on, so that its files are looked at as well.
        group = HaresourcesGroup(name=resources[0], preferred=preferred or node, resources=read)
        groups.append(Setting(value=group, place=place.of(word(node))))
    return groups


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line: comments dropped, lines with a backslash joined."""
    start = 0
    parts: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.partition("#")[0].rstrip("\r")
        start = start or number
        if line.endswith("\\"):
            parts.append(line[:-1])
            continue
        parts.append(line)
        # No blank is put in at a join, as in Heartbeat.
        if joined := "".join(parts).strip():
            yield start, joined
        start, parts = 0, []
    if joined := "".join(parts).strip():
        yield start, joined


def match_node(name: str, nodes: Iterable[str], place: Place, report: Report) -> str | None:
    """Return the node of ha.cf that is meant, by its name or by its unique first part."""
    lowered = name.lower()
    known = list(nodes)
    if lowered in known:
        return lowered
    fitting = [node for node in known if node.partition(".")[0] == lowered]
    if len(fitting) == 1:
        report.warning(
            place, f"short for the node {fitting[0]} of ha.cf; Heartbeat refuses short names"
        )
        return fitting[0]
    if fitting:
        report.error(place, f"fits several nodes of ha.cf: {', '.join(fitting)}; write one of them")
        return None
    allowed = ", ".join(known[:10]) or "none, ha.cf names no node"
    suggestion = closest(lowered, known)
    report.error(place, f"{shown(name)} is no node of ha.cf; allowed is {allowed}{suggestion}")
    return None


def _resources(texts: Sequence[str], place: Place, report: Report) -> Iterator[Setting[Resource]]:
    for text in texts:
        at = place.of(word(text))
        try:
            resource = parse_resource(text, partial(report.warning, at))
        except BadValueError as error:
            report.error(at, str(error))
            continue
        yield Setting(value=resource, place=at)
