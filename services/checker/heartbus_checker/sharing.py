"""Carries out what ``shares`` decides: begins and ends probes, shows what the others say.

Shell of the checker, for clusters where not every director checks everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from heartbus.events import Verdict, VirtualServiceDown, VirtualServiceUp
from heartbus.log import logger

from .peers import Key as AnyKey
from .schedule import ProbeSchedule
from .shares import Shares, shared
from .targets import CheckPlan
from .verdicts import Verdicts

PERIOD_S: Final = 0.5


class Sharing:
    """The share of one director."""

    def __init__(
        self,
        plan: CheckPlan,
        *,
        node: str,
        probers: int,
        verdicts: Verdicts,
        schedule: ProbeSchedule,
    ) -> None:
        self._plan = plan
        self._verdicts = verdicts
        self._schedule = schedule
        self._shares = Shares(
            [shared(target, plan.listeners[target]) for target in plan.targets],
            node=node,
            probers=probers,
        )

    @property
    def probed(self) -> int:
        """How many targets are ours."""
        return len(self._shares.ours)

    def turn(
        self, peers: Mapping[str, Mapping[AnyKey, Verdict]], *, now_s: float, time_s: float
    ) -> list[tuple[VirtualServiceUp | VirtualServiceDown, str | None]]:
        """Take and let go, and look at what the others say; return what it means, with causes."""
        moves = self._shares.settled(peers, self._verdicts.health, now_s=now_s)
        for number in moves.taken:
            self._verdicts.taken_from_others(self._plan.targets[number], time_s=time_s)
        for number in moves.let_go:
            self._verdicts.left_to_others(self._plan.targets[number])
        if moves.taken:
            self._schedule.take(moves.taken, now_s=now_s)
        if moves.let_go:
            self._schedule.leave(moves.let_go)
        if moves.taken or moves.let_go:
            logger().info(
                "checks.shared",
                taken=len(moves.taken),
                let_go=len(moves.let_go),
                ours=self.probed,
                of=len(self._plan.targets),
                checkers=len(peers) + 1,
            )
        news = []
        for key in self._verdicts.left_out():
            for node, verdicts in peers.items():
                said = verdicts.get(key)
                if said is not None:
                    service = self._verdicts.heard_elsewhere(key, said, node=node, time_s=time_s)
                    if service is not None:
                        news.append((service, said.cause))
                    break
        return news
