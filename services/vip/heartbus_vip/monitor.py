"""Decides when each script of a held group is asked for its state, and when it is lost.

Sans-I/O. One call at a time per group. A resource that says it does not run, or does not answer in
time, is asked again after a second; ``monitor_fall`` such answers in a row lose it. An answer that
means neither (many old scripts know no ``status``) counts neither way: the resource is shown as
unwatched, and asked on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from heartbus.events import ResourceStatus
from heartbus.model import Resource, ResourceSettings, ScriptResource
from heartbus_vip.resource import TELLS_NO_STATUS, Said, ScriptEnd, ScriptResult

CONFIRM_S: Final = 1.0
"""After a start, and after a bad answer, is asked this soon: a daemon may die just after a start
that went well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What an answer means. ``lost``: why the group cannot be held any more, None while it can."""

    status: ResourceStatus
    reason: str = ""
    lost: str | None = None


class Monitor:
    """The scripts of one group while it is held."""

    def __init__(self, resources: Sequence[Resource], settings: ResourceSettings) -> None:
        self._interval_s, self._fall = settings.monitor_interval_s, settings.monitor_fall
        self._scripts = [
            resource
            for resource in resources
            if isinstance(resource, ScriptResource) and resource.script not in TELLS_NO_STATUS
        ]
        self._due_s: dict[ScriptResource, float] = {}
        self._misses: dict[ScriptResource, int] = {}

    def begin(self, *, now_s: float) -> None:
        """Note that all resources are started."""
        self._misses = {}
        watched = self._scripts if self._interval_s > 0 else ()
        self._due_s = {s: now_s + min(self._interval_s, CONFIRM_S) for s in watched}

    def end(self) -> None:
        """Note that the group is let go."""
        self._due_s = {}

    def due(self, *, now_s: float) -> ScriptResource | None:
        """Return the script to ask now: the one that has waited longest."""
        if not self._due_s:
            return None
        script = min(self._due_s, key=self._due_s.__getitem__)
        return script if self._due_s[script] <= now_s else None

    def answered(self, script: ScriptResource, result: ScriptResult, *, now_s: float) -> Watched:
        """Take in the answer of a script to ``status``."""
        trouble = result.trouble
        misses = self._misses[script] = self._misses.get(script, 0) + 1 if trouble else 0
        self._due_s[script] = now_s + (
            min(self._interval_s, CONFIRM_S) if trouble else self._interval_s
        )
        if trouble is None:
            if result.end is ScriptEnd.MISSING:
                reason = f"no program: {result.detail}"
                return Watched(status=ResourceStatus.UNWATCHED, reason=reason)
            if result.said is Said.UNCLEAR:
                reason = "its answer to status says neither running nor stopped"
                return Watched(status=ResourceStatus.UNWATCHED, reason=reason)
            return Watched(status=ResourceStatus.RUNNING)
        reason = f"status: {trouble}"
        if misses < self._fall:
            return Watched(status=ResourceStatus.RUNNING, reason=reason)
        return Watched(status=ResourceStatus.FAILED, reason=reason, lost=reason)

    @property
    def next_deadline_s(self) -> float | None:
        """When ``due`` has something to say."""
        return min(self._due_s.values(), default=None)
