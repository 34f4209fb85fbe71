"""Sync daemons in memory that behave as the kernel's."""

from __future__ import annotations

from collections.abc import Sequence

from heartbus.model_ipvs import IpvsSettings
from heartbus_ipvs_agent.syncing import DaemonAction, Running, StartDaemon


class FakeWhole:
    """``refuse``: what starting a daemon fails with."""

    def __init__(self) -> None:
        self.running: Running = {}
        self.refuse: str | None = None
        self.unsettled: tuple[str, ...] = ()
        self.done: list[str] = []

    def settle(self, settings: IpvsSettings) -> tuple[str, ...]:
        return self.unsettled

    def accept_local(self, *, wanted: bool) -> str | None:
        self.done.append(f"accept_local {wanted}")
        return None

    def daemons(self) -> Running:
        return dict(self.running)

    def carry_out(self, actions: Sequence[DaemonAction]) -> tuple[str | None, ...]:
        return tuple(map(self._carry_out, actions))

    def _carry_out(self, action: DaemonAction) -> str | None:
        if isinstance(action, StartDaemon):
            if self.refuse is not None:
                return self.refuse
            self.running[action.role] = action.daemon
        else:
            del self.running[action.role]
        self.done.append(str(action))
        return None
