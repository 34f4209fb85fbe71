"""Decides what trackers mean for the groups: who may hold them here, and how good a holder we are.

Sans-I/O. Words and weights are keepalived's. A first look counts at once; after it ``rise`` good or
``fall`` bad ones in a row make a change. Until something was looked at, nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heartbus.events import TrackStatus, TrackView
from heartbus.model import Tracker, TrackKind
from heartbus.model_resources import SCORE_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look found. ``number``: in a file; ``reason``: why it is not up, in words."""

    up: bool
    number: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What all trackers of a group say together; ``able`` None: not known yet."""

    able: bool | None = True
    barred: str = ""
    score: int = 0


@dataclass(slots=True)
class _Tracked:
    tracker: Tracker
    status: TrackStatus = TrackStatus.UNKNOWN
    streak: int = 0
    number: int = 0
    reason: str = ""

    @property
    def effect(self) -> int:
        weight = self.tracker.weight
        if self.tracker.kind is TrackKind.FILE:
            effect = weight * self.number if self.status is TrackStatus.UP else 0
        elif weight > 0:
            effect = weight if self.status is TrackStatus.UP else 0
        else:
            effect = weight if self.status is TrackStatus.DOWN else 0
        return _bounded(effect)


class Tracking:
    """All trackers of this director."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._tracked = {tracker.name: _Tracked(tracker) for tracker in trackers}

    def looked(self, name: str, look: Look) -> bool:
        """Take in what a tracker found; return whether that changed what is to be told."""
        tracked = self._tracked[name]
        before = _view(tracked)
        tracker, up = tracked.tracker, look.up
        if tracker.kind is TrackKind.FILE and tracker.weight == 0 and look.number != 0:
            look = Look(up=False, number=look.number, reason=f"it holds {look.number}")
            up = False
        tracked.number = look.number
        if up is (tracked.status is TrackStatus.UP) and tracked.status is not TrackStatus.UNKNOWN:
            tracked.streak = 0
            tracked.reason = "" if up else look.reason
        else:
            tracked.streak += 1
            needed = tracker.rise if up else tracker.fall
            if tracked.status is TrackStatus.UNKNOWN or tracked.streak >= needed:
                tracked.status = TrackStatus.UP if up else TrackStatus.DOWN
                tracked.reason = "" if up else look.reason
                tracked.streak = 0
        return _view(tracked) != before

    def standing(self, group: str) -> Standing:
        """Return what the trackers of a group mean for it here."""
        own = [
            t for t in self._tracked.values() if not t.tracker.groups or group in t.tracker.groups
        ]
        score = _bounded(sum(t.effect for t in own))
        bars = [t for t in own if t.tracker.weight == 0]
        for tracked in bars:
            if tracked.status is TrackStatus.DOWN:
                barred = f"{tracked.tracker.name} is down: {tracked.reason}"
                return Standing(able=False, barred=barred, score=score)
        known = all(t.status is not TrackStatus.UNKNOWN for t in bars)
        return Standing(able=True if known else None, score=score)

    def views(self) -> tuple[TrackView, ...]:
        """Return what the snapshot says of each tracker."""
        return tuple(_view(tracked) for tracked in self._tracked.values())


def _bounded(score: int) -> int:
    return max(-SCORE_MAX, min(SCORE_MAX, score))


def _view(tracked: _Tracked) -> TrackView:
    return TrackView(
        name=tracked.tracker.name,
        status=tracked.status,
        effect=tracked.effect,
        reason=tracked.reason,
    )
