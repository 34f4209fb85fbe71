"""One life of a vip process: the production holder over a played kernel and played scripts.

It stands for ``heartbus_vip/service.py``: ``turn`` for ``_turn``, ``news_received``,
``grant_hinted`` and ``group_revoked`` for ``_hear``, ``_carry_out``, ``_put``, ``_refresh``,
``_mark_started`` and ``_tell_changes``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, assert_never

from heartbus.events import HoldStatus, VipState
from heartbus.model import AddressResource
from heartbus_simulator.bus import STATE_PERIOD_S
from heartbus_simulator.host import Host
from heartbus_vip.actions import (
    AbortScript,
    Action,
    Announce,
    AskNetwork,
    CallScript,
    FenceSelf,
    PutAddress,
    RemoveAddress,
    Tell,
)
from heartbus_vip.holder import Holder
from heartbus_vip.news import LeaseNews
from heartbus_vip.resource import ScriptEnd, ScriptResult, Verb

if TYPE_CHECKING:
    from heartbus_simulator.cluster import Cluster

REFUSED: Final = "no such device"
SCRIPT_S: Final = 0.1
"""What a call of a resource script takes."""


class VipProcess:
    """Lives until ``host.vip`` is another one, or none."""

    def __init__(self, cluster: Cluster, host: Host) -> None:
        self._cluster, self._host = cluster, host
        self._setup = cluster.setup
        groups = self._setup.resource_groups
        self._group_of = {a: group.name for group in groups for a in group.addresses}
        self._with_scripts = frozenset(
            g.name for g in groups if len(g.resources) > len(g.addresses)
        )
        present = [a for a, name in self._group_of.items() if name in host.present]
        self._holder = Holder(
            node=host.name,
            groups=groups,
            settings=self._setup.vip,
            present=present,
            left_over=host.marks,
        )
        self._refresh_due_s = host.clock.now_s
        self._state_due_s = host.clock.now_s
        self._published: VipState | None = None
        cluster.counts["vip adopts an address"] += bool(present)
        self._timer = 0
        self.asked_to_stop = False

    @property
    def alive(self) -> bool:
        """Whether this life goes on."""
        return self._host.vip is self

    # --- when it runs ----------------------------------------------------------------------------

    def turn(self) -> None:
        """News first, then deadlines, then refreshes; then sleep until the next deadline."""
        host = self._host
        if not (self.alive and host.vip_runs):
            return
        now_s = host.clock.now_s
        refresh = now_s >= self._refresh_due_s
        if refresh:
            self._refresh_due_s = now_s + self._setup.vip.refresh_s
            self._read_lease_file()
        self._carry_out(self._holder.deadline_passed(now_s=now_s))
        if refresh:
            self._refresh()
        self._tell_changes()
        if self._holder.stopped:
            self._exit()
            return
        self._sleep()

    def _sleep(self) -> None:
        clock = self._host.clock
        due_s = min(self._refresh_due_s, self._holder.next_deadline_s or float("inf"))
        self._timer += 1
        number = self._timer
        real_s = max(clock.real_s(due_s), self._cluster.timeline.now_s + 1e-6)
        self._cluster.timeline.at(real_s, lambda: self._rings(number))

    def _rings(self, number: int) -> None:
        if number == self._timer:
            self.turn()

    def stop(self) -> None:
        """Let go of everything, then exit."""
        self.asked_to_stop = True
        self._carry_out(self._holder.stop_asked(now_s=self._host.clock.now_s))
        self.turn()

    def _exit(self) -> None:
        self._host.vip = None
        self._cluster.note(f"{self._host.name}: vip has stopped")
        self._cluster.exited(self._host)

    # --- news ------------------------------------------------------------------------------------

    def news_received(self, news: LeaseNews) -> None:
        """Take in a snapshot of membership."""
        self._carry_out(self._holder.news_received(news, now_s=self._host.clock.now_s))
        self.turn()

    def grant_hinted(self) -> None:
        """Look into the lease file: there is a new lease."""
        self._read_lease_file()
        self.turn()

    def group_revoked(self, group: str, *, epoch: int, said_s: float) -> None:
        """Take in the hint of a revocation."""
        now_s = self._host.clock.now_s
        self._carry_out(self._holder.group_revoked(group, epoch=epoch, said_s=said_s, now_s=now_s))
        self.turn()

    def _read_lease_file(self) -> None:
        news = self._host.leases.read()
        if news is not None:
            self._carry_out(self._holder.news_received(news, now_s=self._host.clock.now_s))

    # --- doing -----------------------------------------------------------------------------------

    def _carry_out(self, actions: Iterable[Action]) -> None:
        queue = deque(actions)
        self._mark_started()
        while queue:
            queue.extend(self._carry_out_one(queue.popleft()))

    def _carry_out_one(self, action: Action) -> list[Action]:
        match action:
            case PutAddress():
                return self._put(action)
            case AskNetwork():
                return self._holder.network_asked(
                    action.group,
                    action.step,
                    address=action.addresses[0],
                    problem=None,
                    now_s=self._host.clock.now_s,
                )
            case RemoveAddress():
                self._host.remove_address(action.group)
            case CallScript():
                self._call(action)
            case FenceSelf():
                raise AssertionError("nothing of the simulation asks for it")
            case AbortScript() | Announce() | Tell():
                pass  # its answer is ignored by its step; the others are for observers
            case _:
                assert_never(action)
        return []

    def _put(self, action: PutAddress) -> list[Action]:
        problem: str | None = REFUSED
        if not (self._host.starts_fail and action.group not in self._with_scripts):
            self._host.put_address(action.group, lifetime_s=action.lifetime_s)
            problem = None
        self._cluster.counts["start refused"] += problem is not None
        now_s = self._host.clock.now_s
        return self._holder.address_put(action.group, action.step, problem=problem, now_s=now_s)

    def _refresh(self) -> None:
        now_s = self._host.clock.now_s
        problems: dict[AddressResource, str] = {}
        present = self._host.present
        for address, lifetime_s in self._holder.wanted(now_s=now_s):
            group = self._group_of[address]
            if self._host.starts_fail and group not in present:
                problems[address] = REFUSED
            else:
                self._host.put_address(group, lifetime_s=lifetime_s)
        self._carry_out(self._holder.refreshed(problems, now_s=now_s))

    def _call(self, call: CallScript) -> None:
        result, takes_s = ScriptResult(end=ScriptEnd.EXITED), SCRIPT_S
        if call.verb is Verb.STATUS:
            held = any(
                g.name == call.group and g.status is HoldStatus.HELD
                for g in self._holder.state().groups
            )
            words = "running" if held else "stopped"
            result, takes_s = ScriptResult(end=ScriptEnd.EXITED, output=words), SCRIPT_S / 4
        elif call.verb is Verb.START and self._host.starts_fail:
            self._cluster.counts["start refused"] += 1
            result = ScriptResult(end=ScriptEnd.EXITED, code=1)
        elif call.verb is Verb.STOP and self._host.stops_hang:
            self._cluster.counts["stop hung"] += 1
            result, takes_s = (
                ScriptResult(end=ScriptEnd.TIMED_OUT),
                self._setup.vip.script_timeout_s,
            )

        def finished() -> None:
            if not self.alive:
                return
            if not self._host.vip_runs:
                self._cluster.timeline.after(SCRIPT_S, finished)
                return
            now_s = self._host.clock.now_s
            self._carry_out(
                self._holder.script_finished(call.group, call.step, result=result, now_s=now_s)
            )
            self.turn()

        self._cluster.timeline.after(takes_s, finished)

    def _mark_started(self) -> None:
        self._host.marks = self._holder.started_groups & self._with_scripts

    def _tell_changes(self) -> None:
        state, now_s = self._holder.state(), self._host.clock.now_s
        if state != self._published or now_s >= self._state_due_s:
            self._published, self._state_due_s = state, now_s + STATE_PERIOD_S
            self._cluster.bus.tell_state(self._host, state)
