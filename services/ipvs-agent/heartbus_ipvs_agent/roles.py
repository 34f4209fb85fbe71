"""Keeps the sync daemons as the role of this director wants them.

Shell: hears from the own vip which groups are held, and compares with the kernel on each look.
"""

from __future__ import annotations

from collections.abc import Iterable

from heartbus.bus import Bus
from heartbus.events import HoldStatus, IpvsChanged, IpvsFailed, VipState
from heartbus.model_ipvs import IpvsSettings
from heartbus_ipvs_agent.syncing import plan_daemons, wanted_roles
from heartbus_ipvs_agent.whole import Whole, WholeError


class Roles:
    """The sync daemons of one director. Until vip is heard they stay as they are."""

    def __init__(
        self, *, settings: IpvsSettings, groups: Iterable[str], whole: Whole, bus: Bus
    ) -> None:
        self._settings = settings
        self._groups = tuple(groups)
        self._whole = whole
        self._bus = bus
        self._held: frozenset[str] | None = None if self._groups else frozenset()
        self._settling: tuple[str, ...] = ()
        self._told: dict[str, str] = {}
        self.running: tuple[str, ...] = ()

    @property
    def held(self) -> frozenset[str]:
        """The groups that are held here; none while vip was not heard."""
        return self._held or frozenset()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not as configured, in words."""
        return (*self._settling, *(f"{what}: {why}" for what, why in self._told.items()))

    def start(self) -> None:
        """Set what is set once."""
        self._settling = self._whole.settle(self._settings)
        for problem in self._settling:
            self._bus.publish(IpvsFailed(action="settings", reason=problem))

    def use(self, settings: IpvsSettings, groups: Iterable[str]) -> None:
        """Go on with what was read anew."""
        if settings == self._settings and tuple(groups) == self._groups:
            return
        self._settings, self._groups = settings, tuple(groups)
        if not self._groups:
            self._held = frozenset()
        self.start()
        self.look()

    def heard(self, state: VipState) -> None:
        """Take in a snapshot of the own vip; act if the role changes."""
        held = frozenset(g.name for g in state.groups if g.status is HoldStatus.HELD)
        if held != self._held:
            self._held = held
            self.look()

    def look(self) -> None:
        """Compare with the kernel and put right what differs."""
        daemon = self._settings.sync
        if daemon is None or self._held is None:
            return
        try:
            roles = wanted_roles(groups=self._groups, held=self._held)
            actions = plan_daemons(daemon, roles, self._whole.daemons())
            outcomes = self._whole.carry_out(actions) if actions else ()
            if actions:
                self.running = tuple(role.word for role in sorted(self._whole.daemons()))
            elif not self.running:
                self.running = tuple(role.word for role in sorted(roles))
        except WholeError as error:
            self._tell({"sync daemon": str(error)})
            return
        failures = {}
        done = []
        for action, why in zip(actions, outcomes, strict=True):
            if why is None:
                done.append(str(action))
            else:
                failures[str(action)] = why
        if done:
            self._bus.publish(IpvsChanged(actions=tuple(done), took_s=0.0))
        self._tell(failures)

    def _tell(self, failures: dict[str, str]) -> None:
        for what, why in failures.items():
            if self._told.get(what) != why:
                self._bus.publish(IpvsFailed(action=what, reason=why))
        self._told = failures
