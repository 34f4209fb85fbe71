"""A director without a kernel: carries out what a holder wants, and keeps a list of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heartbus.events import HoldStatus, Lease
from heartbus.model import (
    AddressResource,
    CheckedServicesResource,
    ResourceGroup,
    ResourceSettings,
    SavedRulesResource,
    ScriptResource,
    VipSettings,
)
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
from heartbus_vip.resource import ScriptEnd, ScriptResult

VIP1 = AddressResource(address="192.168.7.110", prefix_len=24)
VIP2 = AddressResource(address="192.168.7.111", prefix_len=24)
LEFT = ScriptResource(script="left", arguments=("a",))
RIGHT = ScriptResource(script="right")
GROUP = ResourceGroup(
    name="www",
    preferred="a",
    resources=(
        LEFT,
        VIP1,
        SavedRulesResource(),
        CheckedServicesResource(file="www.cf"),
        VIP2,
        RIGHT,
    ),
)
PLAIN = ResourceGroup(name="plain", preferred="a", resources=(VIP1,))
UNWATCHED = ResourceSettings(monitor_interval_s=0, stop_retries=0)
SETTINGS = VipSettings(lifetime_s=3, script_timeout_s=60.0, resources=UNWATCHED)
OK = ScriptResult(end=ScriptEnd.EXITED)
RUNNING = ScriptResult(end=ScriptEnd.EXITED, output="running")
BROKEN = ScriptResult(end=ScriptEnd.EXITED, code=1, output="no disk")
STARTED = [
    ("left", "status"),
    ("left", "start"),
    ("put", VIP1.address),
    ("announce", VIP1.address),
    ("put", VIP2.address),
    ("announce", VIP2.address),
    ("right", "status"),
    ("right", "start"),
    "vip.acquired",
]
STOPPED = [
    ("right", "stop"),
    ("remove", VIP2.address),
    ("remove", VIP1.address),
    ("left", "stop"),
    "vip.released",
]


class Director:
    """Carries out what a holder wants, at once, and keeps a list of it.

    ``answers``: result of a script call by (script, verb); a missing one is success, None hangs.
    ``refused``: addresses that the kernel refuses. ``stalls_s``: how long we do not run before the
    next puts.
    """

    def __init__(
        self,
        *groups: ResourceGroup,
        present: Sequence[AddressResource] = (),
        settings: VipSettings = SETTINGS,
    ) -> None:
        self.now_s = 100.0
        self.holder = Holder(node="a", groups=groups, settings=settings, present=present)
        self.answers: dict[tuple[str, str], ScriptResult | None] = {}
        self.refused: dict[AddressResource, str] = {}
        self.kernel = set(present)
        self.stalls_s: list[float] = []
        self.hanging: CallScript | None = None
        self.fencing: FenceSelf | None = None
        self.asking: AskNetwork | None = None
        self.log: list[object] = []
        self.told: list[Tell] = []

    def lease(self, *leases: Lease) -> list[object]:
        return self.carry_out(
            self.holder.news_received(
                LeaseNews(written_s=self.now_s, leases=leases), now_s=self.now_s
            )
        )

    def grant(self, *, epoch: int = 1, for_s: float = 5.0, cause: str = "e1") -> list[object]:
        until_s = self.now_s + for_s
        names = [group.name for group in (GROUP, PLAIN)]
        return self.lease(
            *(
                Lease(group=name, epoch=epoch, deadline_monotonic_s=until_s, cause=cause)
                for name in names
            )
        )

    def advance(self, seconds: float) -> list[object]:
        self.now_s += seconds
        return self.carry_out(self.holder.deadline_passed(now_s=self.now_s))

    def refresh(self, problems: Mapping[AddressResource, str]) -> list[object]:
        return self.carry_out(self.holder.refreshed(problems, now_s=self.now_s))

    def asked(self, *, problem: str | None) -> list[object]:
        """The network was asked, and this came of it."""
        assert self.asking is not None
        action, self.asking = self.asking, None
        return self.carry_out(
            self.holder.network_asked(
                action.group,
                action.step,
                address=action.addresses[0],
                problem=problem,
                now_s=self.now_s,
            )
        )

    def stop(self) -> list[object]:
        return self.carry_out(self.holder.stop_asked(now_s=self.now_s))

    def finish(self, result: ScriptResult) -> list[object]:
        assert self.hanging is not None
        call, self.hanging = self.hanging, None
        return self.carry_out(
            self.holder.script_finished(call.group, call.step, result=result, now_s=self.now_s)
        )

    def carry_out(self, actions: list[Action]) -> list[object]:
        start = len(self.log)
        queue = list(actions)
        while queue:
            queue.extend(self.carry_out_one(queue.pop(0)))
        return self.log[start:]

    def carry_out_one(self, action: Action) -> list[Action]:
        match action:
            case PutAddress():
                self.log.append(("put", action.address.address))
                if self.stalls_s:
                    self.now_s += self.stalls_s.pop(0)
                    return self.holder.put_stalled(action.group, action.step, now_s=self.now_s)
                problem = self.refused.get(action.address)
                if problem is None:
                    self.kernel.add(action.address)
                return self.holder.address_put(
                    action.group, action.step, problem=problem, now_s=self.now_s
                )
            case AskNetwork():
                self.log.append(("ask", *(a.address for a in action.addresses)))
                self.asking = action
            case RemoveAddress():
                self.log.append(("remove", action.address.address))
                self.kernel.discard(action.address)
            case Announce():
                self.log.append(("announce", action.address.address))
            case AbortScript():
                self.log.append("abort")
                self.hanging = None
            case CallScript():
                self.log.append((action.script.script, str(action.verb)))
                answer = self.answers.get((action.script.script, str(action.verb)), OK)
                if answer is None:
                    self.hanging = action
                    return []
                return self.holder.script_finished(
                    action.group, action.step, result=answer, now_s=self.now_s
                )
            case FenceSelf():
                self.log.append("fence")
                self.fencing = action
            case Tell():
                self.log.append(action.event.kind)
                self.told.append(action)
        return []

    @property
    def status(self) -> HoldStatus:
        return self.holder.state().groups[0].status

    @property
    def wanted(self) -> list[str]:
        return [a.address for a, _ in self.holder.wanted(now_s=self.now_s)]


def held(*groups: ResourceGroup, settings: VipSettings = SETTINGS) -> Director:
    director = Director(*groups, settings=settings)
    director.grant()
    assert director.status is HoldStatus.HELD
    return director
