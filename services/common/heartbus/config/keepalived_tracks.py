"""Makes trackers of keepalived's vrrp_script, vrrp_track_process, vrrp_track_file and track_*.

Sans-I/O. Words, weights and defaults are those of keepalived.conf(5). A script with arguments, one
with ``reverse`` and BFD have no counterpart and are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from heartbus.config.keepalived_blocks import Block
from heartbus.config.keepalived_services import left_out, seconds, value
from heartbus.config.native_resources import RESULTS_MAX, TARGETS, WEIGHT_MAX
from heartbus.config.report import Report, shown
from heartbus.config.values import bad
from heartbus.model import Tracker, TrackKind
from heartbus.model_resources import SCORE_MAX

DEFINITIONS: Final = {
    "vrrp_script": TrackKind.SCRIPT,
    "vrrp_track_process": TrackKind.PROCESS,
    "track_process": TrackKind.PROCESS,
    "vrrp_track_file": TrackKind.FILE,
    "track_file": TrackKind.FILE,
}
USES: Final = {
    "track_script": TrackKind.SCRIPT,
    "track_process": TrackKind.PROCESS,
    "track_file": TrackKind.FILE,
    "track_interface": TrackKind.INTERFACE,
}
_TARGET_WORDS: Final = {"script", "process", "file"}
_NO_ARGUMENTS: Final = (
    "has arguments, a tracker runs a program without any: put the words into a script of its own;"
    " left out"
)
_REVERSE: Final = "turns the result round, which no tracker does; left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    kind: TrackKind
    name: str
    weight: int | None
    owner: str
    line: Block


def tracked_files(blocks: Iterable[Block]) -> dict[str, str]:
    """Return the path of each vrrp_track_file, as it is written."""
    return {
        block.values[0]: line.values[0]
        for block in blocks
        if DEFINITIONS.get(block.name) is TrackKind.FILE and block.values
        for line in block.inner
        if line.name == "file" and line.values
    }


class Tracks:
    """Collects what is tracked and by whom, then makes trackers of it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._defined: dict[tuple[TrackKind, str], Tracker | None] = {}
        self._uses: list[_Use] = []

    def define(self, block: Block) -> None:
        """Take in a vrrp_script, vrrp_track_process or vrrp_track_file."""
        kind = DEFINITIONS[block.name]
        name = block.values[0] if block.values else ""
        tracker: Tracker | None = Tracker(name=name, kind=kind, target="")
        for line in block.inner:
            tracker = self._defining(tracker, line) if tracker is not None else None
        if tracker is not None and not tracker.target:
            self._report.error(block.place, f"{shown(name)}: nothing to look at is named")
            tracker = None
        self._defined[kind, name] = tracker

    def _defining(self, tracker: Tracker, line: Block) -> Tracker | None:
        report = self._report
        match line.name:
            case word if word in _TARGET_WORDS:
                words = " ".join(line.values).split()
                if len(words) > 1:
                    left_out(line, report, _NO_ARGUMENTS)
                    return None
                target = value(line, TARGETS[tracker.kind], report)
                return replace(tracker, target=target) if isinstance(target, str) else None
            case word if word in _SETTERS:
                read, set_to = _SETTERS[word]
                found = value(line, read, report)
                return set_to(tracker, found) if found is not None else tracker
            case "weight":
                if "reverse" in line.values:
                    left_out(line, report, _REVERSE)
                    return None
                found = value(line, _whole(-WEIGHT_MAX, WEIGHT_MAX), report)
                return replace(tracker, weight=found) if isinstance(found, int) else tracker
            case _:
                left_out(line, report)
                return tracker

    def use(self, block: Block, owner: str) -> None:
        """Take in a ``track_*`` of the instance or sync group ``owner``."""
        kind = USES[block.name]
        for line in block.inner:
            words = iter(line.words)
            uses = list(self._used(kind, words, owner, line))
            self._uses += uses

    def _used(
        self, kind: TrackKind, words: Iterator[str], owner: str, line: Block
    ) -> Iterator[_Use]:
        name = next(words, None)
        while name is not None:
            weight: int | None = None
            after = next(words, None)
            if after == "weight":
                text = next(words, "")
                found = value(
                    Block(words=["weight", text], place=line.place), _WEIGHT, self._report
                )
                weight = found if isinstance(found, int) else None
                after = next(words, None)
            if after in ("reverse", "noreverse"):
                if after == "reverse":
                    left_out(line, self._report, _REVERSE)
                    return
                after = next(words, None)
            yield _Use(kind=kind, name=name, weight=weight, owner=owner, line=line)
            name = after

    def trackers(self, group_of: Callable[[str], str | None]) -> tuple[Tracker, ...]:
        """Return what is tracked; ``group_of``: the resource group of an owner, None for none."""
        found: dict[str, Tracker] = {}
        for use in self._uses:
            group = group_of(use.owner)
            tracker = self._tracker(use)
            if group is None or tracker is None:
                continue
            if use.weight is not None:
                tracker = replace(tracker, weight=use.weight)
            name = _name(found, tracker, group)
            groups = found[name].groups if name in found else ()
            found[name] = replace(tracker, name=name, groups=tuple(dict.fromkeys((*groups, group))))
        return tuple(found.values())

    def _tracker(self, use: _Use) -> Tracker | None:
        if use.kind is TrackKind.INTERFACE:
            line = Block(words=["track_interface", use.name], place=use.line.place)
            target = value(line, TARGETS[use.kind], self._report)
            if not isinstance(target, str):
                return None
            return Tracker(name=f"interface:{target}", kind=use.kind, target=target)
        if (use.kind, use.name) not in self._defined:
            self._report.error(use.line.place, f"{shown(use.name)} is not defined")
            return None
        return self._defined[use.kind, use.name]


def _name(found: dict[str, Tracker], tracker: Tracker, group: str) -> str:
    """Return the name of a tracker: another weight makes another one."""
    for name in (tracker.name, f"{tracker.name}:{group}", f"{tracker.kind}:{tracker.name}:{group}"):
        there = found.get(name)
        if there is None or replace(there, groups=(), name=tracker.name) == tracker:
            return name
    return f"{tracker.kind}:{tracker.name}:{group}:{len(found)}"


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise bad(text, f"a whole number from {least} to {most}")
        return number

    return read


_WEIGHT: Final = _whole(-WEIGHT_MAX, WEIGHT_MAX)

_SETTERS: Final[dict[str, tuple[Callable[[str], object], Callable[[Tracker, Any], Tracker]]]] = {
    "interval": (seconds, lambda tracker, found: replace(tracker, interval_s=found)),
    "timeout": (seconds, lambda tracker, found: replace(tracker, timeout_s=found)),
    "rise": (_whole(1, RESULTS_MAX), lambda tracker, found: replace(tracker, rise=found)),
    "fall": (_whole(1, RESULTS_MAX), lambda tracker, found: replace(tracker, fall=found)),
    "quorum": (_whole(1, SCORE_MAX), lambda tracker, found: replace(tracker, quorum=found)),
}
