"""Decides whether the vip of this host can take a resource group.

Sans-I/O. ``yes``: it may be given groups. ``no``: groups should move to a director that is ready.
``unknown``: neither; nothing is claimed and nothing is handed over. Losing the bus freezes the
verdict, because then we know nothing new.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from heartbus.events import HeldGroup, HoldStatus, IpvsState, VipState

VIP_SILENCE_MARGIN_S: Final = 2.0
"""A vip that is silent for its kernel lifetime and this much longer has lost its addresses. Moving
them earlier would gain no client anything: they are there until then, and a vip that restarts is
back before."""

COLD_SILENCE_S: Final = 5.0
"""What an ipvs-agent said of other directors that is older does not count."""

AT_IT: Final = frozenset({HoldStatus.STARTING, HoldStatus.HELD, HoldStatus.STOPPING})
"""In these the addresses or the scripts of a group are at work."""

HOLD_DOWN_S: Final = 30.0
HOLD_DOWN_DOUBLINGS_MAX: Final = 6
"""A group whose start failed here is not ours to take for HOLD_DOWN_S, twice as long after each
further failure (at most 32 minutes), so that a group that starts nowhere does not swing. Where
nobody else can take it either, it is tried again after the same times."""


class Ready(enum.Enum):
    """A verdict on the local vip."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class _Failure:
    epoch: int
    until_s: float
    retry_s: float
    count: int
    reason: str


class Readiness:
    """Follows the snapshots of the local vip and the connection to the bus.

    ``lifetime_s``: how long addresses stay in the kernel without a refresh.
    """

    def __init__(self, *, initdead_s: float, lifetime_s: float, started_s: float) -> None:
        self._initdead_s = initdead_s
        self._vip_silence_s = lifetime_s + VIP_SILENCE_MARGIN_S
        self._started_s = started_s
        self._connected = False
        self._listening_s = started_s
        self._frozen: tuple[Ready, str] | None = None
        self._vip: VipState | None = None
        self._vip_heard_s = started_s
        self._failures: dict[str, _Failure] = {}
        self._able: dict[str, bool | None] = {}
        self._barred: dict[str, str] = {}
        self._scores: dict[str, int] = {}
        self._cold: dict[str, str] = {}
        self._cold_heard_s = float("-inf")

    # --- what happened ---------------------------------------------------------------------------

    def bus_changed(self, *, connected: bool, now_s: float) -> None:
        """Note that the connection to the bus came or went."""
        if connected and not self._connected:
            self._listening_s = now_s
            self._frozen = None
        elif self._connected and not connected:
            self._frozen = self.verdict(now_s=now_s)
        self._connected = connected

    def own_stall(self, *, now_s: float) -> None:
        """Note that we did not listen until now."""
        self._listening_s = now_s

    def vip_reported(self, state: VipState, *, known_groups: Collection[str], now_s: float) -> None:
        """Take in a snapshot of the local vip; groups that we do not know are left out."""
        self._vip = state
        self._vip_heard_s = now_s
        for group in state.groups:
            self._scores[group.name] = group.score
            self._barred[group.name] = group.barred
            # A vip that has just started does not know yet: what it knew before stands.
            self._able[group.name] = (
                self._able.get(group.name) if group.able is None else group.able
            )
            if group.status is HoldStatus.HELD:
                self._failures.pop(group.name, None)
            elif group.status is HoldStatus.FAILED and group.name in known_groups:
                self._group_failed(group, now_s)

    def ipvs_reported(self, state: IpvsState, *, now_s: float) -> None:
        """Take in a snapshot of the local ipvs-agent."""
        self._cold, self._cold_heard_s = state.cold, now_s

    def _group_failed(self, group: HeldGroup, now_s: float) -> None:
        failure = self._failures.get(group.name)
        if failure is not None and failure.epoch == group.epoch:
            # Still the same failure: it stays barred for as long as it is reported.
            failure.until_s = max(failure.until_s, now_s + HOLD_DOWN_S)
            return
        count = 1 if failure is None else failure.count + 1
        hold_down_s = HOLD_DOWN_S * 2 ** min(count - 1, HOLD_DOWN_DOUBLINGS_MAX)
        self._failures[group.name] = _Failure(
            epoch=group.epoch,
            until_s=now_s + hold_down_s,
            retry_s=now_s + hold_down_s,
            count=count,
            reason=group.reason or "its start failed",
        )

    # --- what follows ----------------------------------------------------------------------------

    def verdict(self, *, now_s: float) -> tuple[Ready, str]:
        """Return whether the vip can take groups, and why not."""
        if self._vip is not None and self._vip.stopping:
            return Ready.NO, "vip is stopping"
        if not self._connected:
            return self._verdict_without_bus(now_s)
        silent_s = now_s - max(self._vip_heard_s, self._listening_s)
        if silent_s > self._vip_silence_s:
            return Ready.NO, f"vip is silent on the bus for {silent_s:.1f} s"
        if self._vip is None:
            return Ready.UNKNOWN, "vip was not heard yet"
        return Ready.YES, ""

    def _verdict_without_bus(self, now_s: float) -> tuple[Ready, str]:
        if self._vip is None and now_s - self._started_s > self._initdead_s:
            # No bus since our start: vip follows the lease file, so somebody must write one.
            return Ready.YES, ""
        if self._vip is None:
            return Ready.UNKNOWN, "the bus is not there yet"
        return self._frozen or (Ready.UNKNOWN, "the bus is not there yet")

    def group_failure(self, group: str, *, now_s: float) -> str | None:
        """Return why a group must not be held here for now, or None."""
        if self._able.get(group) is False:
            return self._barred[group] or "something tracked is down"
        failure = self._failures.get(group)
        return None if failure is None or now_s >= failure.until_s else failure.reason

    def is_sure(self, group: str) -> bool:
        """Whether what is tracked for a group was looked at; without trackers it is."""
        return self._able.get(group, True) is not None

    def cold(self, node: str, *, now_s: float) -> str | None:
        """Return why another director should not be handed a group yet that could stay, or None.

        It would not know the connections. The local ipvs-agent says so, and for a bounded time.
        """
        if not self._connected or now_s - self._cold_heard_s > COLD_SILENCE_S:
            return None
        return self._cold.get(node)

    def score(self, group: str) -> int:
        """Return what the trackers' weights add up to for a group here."""
        return self._scores.get(group, 0)

    def may_try_again(self, group: str, *, epoch: int, now_s: float) -> bool:
        """Whether what failed with this epoch may be started anew: HOLD_DOWN_S later, and so on."""
        failure = self._failures.get(group)
        if failure is None or failure.epoch != epoch or now_s < failure.retry_s:
            return False
        if self._able.get(group) is False:
            return False
        return self.verdict(now_s=now_s)[0] is Ready.YES

    def vip_holds(self, group: str, *, epoch: int = 0) -> bool:
        """Whether the local vip said last that it holds a group; so it is while we hear nothing.

        ``epoch``: with this one, or a higher one.
        """
        said = self._vip.groups if self._vip is not None else ()
        return any(
            held.name == group and held.status is HoldStatus.HELD and held.epoch >= epoch
            for held in said
        )

    @property
    def vip_is_stopping(self) -> bool:
        """Whether the local vip said that it stops."""
        return self._vip is not None and self._vip.stopping

    def vip_has(self, group: str | None = None, *, now_s: float) -> bool:
        """Whether the local vip is heard and says that it has a group, or any, or lets go of it.

        False where it is silent: then nobody knows.
        """
        if not self._connected or self._vip is None:
            return False
        if now_s - max(self._vip_heard_s, self._listening_s) > self._vip_silence_s:
            return False
        return any(
            held.status in AT_IT or held.addresses
            for held in self._vip.groups
            if group in (None, held.name)
        )

    @property
    def vip_can_be_heard(self) -> bool:
        """Whether waiting for a report of the local vip makes sense."""
        return self._connected and self._vip is not None and not self._vip.stopping
