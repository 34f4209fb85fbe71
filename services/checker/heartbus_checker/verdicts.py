"""What is true of every real server and virtual service now, and what is news.

Sans-I/O. Feeds the result of one probe to the damper of each real server that listens to it.
A virtual service comes up with its first real server that is up, and goes down with the last;
after a start it is down as soon as all its real servers are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from heartbus.events import (
    CheckerState,
    Health,
    RealServerDown,
    RealServerUp,
    Verdict,
    VirtualServiceDown,
    VirtualServiceUp,
)
from heartbus.model import RealServerName, VirtualServiceName

from .damper import Damper
from .peers import Key as AnyKey
from .targets import CheckPlan, Listener, Target, Unchecked

Key = tuple[VirtualServiceName, RealServerName]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """News of one real server, and what it means for its virtual service, if anything.

    Publish ``real_server`` first, with its id as the cause of ``virtual_service``, then call
    ``Verdicts.announced``. ``recovered``: it is up, and was down before.
    """

    key: Key
    real_server: RealServerUp | RealServerDown
    virtual_service: VirtualServiceUp | VirtualServiceDown | None
    recovered: bool = False


class Verdicts:
    """All verdicts of this checker; ``time_s`` is the wall clock, for people only.

    ``remembered``: the verdicts before our start; they are published by nobody.
    """

    def __init__(
        self, plan: CheckPlan, *, time_s: float, remembered: Mapping[Key, Health] | None = None
    ) -> None:
        self._listeners = plan.listeners
        self._dampers: dict[Key, Damper] = {}
        self._verdicts: dict[Key, Verdict] = {}
        self._members: dict[VirtualServiceName, int] = {}
        self._up: dict[VirtualServiceName, int] = {}
        self._down: dict[VirtualServiceName, int] = {}
        self._service_health: dict[VirtualServiceName, Health] = {}
        self._unchecked = plan.unchecked
        self._taken_out: Mapping[Key, str] = {}
        self._elsewhere: set[Key] = set()
        self._suspect: str | None = None
        self._snapshot: CheckerState | None = None
        self._settled: set[Target] = set()  # a pass of these changes nothing
        for found in plan.listeners.values():
            for listener in found:
                key = self._add(listener, "not checked yet", time_s)
                self._dampers[key] = Damper(
                    rise=listener.rise,
                    fall=listener.fall,
                    remembered=(remembered or {}).get(key, Health.UNKNOWN),
                )
        for unchecked in plan.unchecked:
            self._add(unchecked, unchecked.reason, time_s)

    @property
    def snapshot(self) -> CheckerState:
        """Every verdict, the unknown ones too."""
        if self._snapshot is None:
            self._snapshot = CheckerState(
                verdicts=tuple(self._verdicts.values()), suspect=self._suspect
            )
        return self._snapshot

    def started(self, *, time_s: float) -> list[Change]:
        """Return the verdicts that need no probe."""
        return [
            self._change((u.virtual_service, u.real_server), u.health, u.reason, time_s)
            for u in self._unchecked
            if u.health is not Health.UNKNOWN
        ]

    def probe_finished(
        self, target: Target, *, passed: bool, reason: str, time_s: float
    ) -> list[Change]:
        """Return the verdicts that this result changes, in the order of the configuration."""
        changes: list[Change] = []
        if passed and target in self._settled:
            return changes  # as nearly always
        settled = passed
        for listener in self._listeners[target]:
            key = (listener.virtual_service, listener.real_server)
            if key in self._taken_out or key in self._elsewhere:
                settled = False
                continue  # whatever its check says
            damper = self._dampers[key]
            health = damper.probe_finished(passed=passed)
            if health is not None:
                words = _in_a_row(reason, passed, listener)
                changes.append(self._change(key, health, words, time_s))
            settled = settled and damper.health is Health.UP
        if settled:
            self._settled.add(target)
        else:
            self._settled.discard(target)
        return changes

    def maintenance_changed(self, taken_out: Mapping[Key, str], *, time_s: float) -> list[Change]:
        """Take real servers out at once; the file of each says so. Those that leave are checked.

        They come back by their next checks, as after any failure.
        """
        changes: list[Change] = []
        self._settled.clear()
        for key, file in taken_out.items():
            if key in self._taken_out or key not in self._dampers:
                continue
            self._dampers[key].taken_out()
            verdict = self._verdicts[key]
            if verdict.health is not Health.DOWN or verdict.elsewhere:
                changes.append(self._change(key, Health.DOWN, f"in maintenance: {file}", time_s))
        for key in self._taken_out.keys() - taken_out.keys():
            if key in self._elsewhere:
                self._verdicts[key] = replace(self._verdicts[key], elsewhere=True)
        self._taken_out = dict(taken_out)
        self._snapshot = None
        return changes

    def left_to_others(self, target: Target) -> None:
        """Leave the real servers of a target to other directors; what was decided stays shown."""
        self._settled.discard(target)
        for listener in self._listeners[target]:
            key = (listener.virtual_service, listener.real_server)
            self._elsewhere.add(key)
            self._damp_anew(listener)
            if key not in self._taken_out:
                self._verdicts[key] = replace(self._verdicts[key], elsewhere=True, weight=None)
        self._snapshot = None

    def taken_from_others(self, target: Target, *, time_s: float) -> None:
        """Decide about the real servers of a target again: unknown until we have looked."""
        self._settled.discard(target)
        for listener in self._listeners[target]:
            key = (listener.virtual_service, listener.real_server)
            self._elsewhere.discard(key)
            if key not in self._taken_out:
                self._damp_anew(listener)
                self._set(key, Health.UNKNOWN, "not checked yet", time_s)

    def heard_elsewhere(
        self, key: Key, said: Verdict, *, node: str, time_s: float
    ) -> VirtualServiceUp | VirtualServiceDown | None:
        """Take over what another director decided; return what it means for the service."""
        before = self._verdicts[key]
        if not before.elsewhere or said.health is Health.UNKNOWN:
            return None
        reason = f"{node}: {said.reason}"
        if (before.health, before.reason) == (said.health, reason):
            return None
        self._set(key, said.health, reason, time_s)
        self._verdicts[key] = replace(self._verdicts[key], elsewhere=True, cause=said.cause)
        return self._service_news(key[0])

    def left_out(self) -> frozenset[Key]:
        """Return the real servers that other directors check."""
        return frozenset(key for key in self._elsewhere if key not in self._taken_out)

    def announced(self, change: Change, event_id: str) -> None:
        """Remember the id of the event that told a change; it is the cause of what follows."""
        self._verdicts[change.key] = replace(self._verdicts[change.key], cause=event_id)
        self._snapshot = None

    def weighed(self, key: Key, weight: int | None) -> None:
        """Take note of the weight that a real server is to have."""
        self._verdicts[key] = replace(self._verdicts[key], weight=weight)
        self._snapshot = None

    def suspected(self, why: str | None) -> bool:
        """Take note that we are not to be believed, or are again; return whether that is news."""
        news = (why is None) is not (self._suspect is None)
        if why != self._suspect:
            self._suspect, self._snapshot = why, None
        return news

    def is_up(self, key: Key) -> bool:
        """Return whether this real server is up, and we are the ones who say so."""
        verdict = self._verdicts[key]
        return verdict.health is Health.UP and not verdict.elsewhere

    def undecided(self, target: Target) -> bool:
        """Return whether a verdict is about to change: it is looked at more often."""
        for listener in self._listeners[target]:
            damper = self._dampers[listener.virtual_service, listener.real_server]
            if damper.undecided:
                return True
        return False

    def health(self, key: AnyKey) -> Health:
        """Return what is known of one real server."""
        service, real_server = key
        return self._verdicts[VirtualServiceName(service), RealServerName(real_server)].health

    def healths(self) -> Iterable[tuple[Key, Health]]:
        """Return what is known of each real server."""
        return ((key, verdict.health) for key, verdict in self._verdicts.items())

    def own_healths(self) -> Iterable[tuple[Key, Health]]:
        """Return what we found out ourselves of each real server that we check."""
        return (
            (key, verdict.health)
            for key, verdict in self._verdicts.items()
            if not verdict.elsewhere
        )

    def _add(self, member: Listener | Unchecked, reason: str, time_s: float) -> Key:
        service = member.virtual_service
        key = (service, member.real_server)
        if key in self._verdicts:
            raise ValueError(f"{service} lists real server {member.real_server} twice")
        self._verdicts[key] = Verdict(
            virtual_service=service,
            real_server=member.real_server,
            health=Health.UNKNOWN,
            reason=reason,
            since_s=time_s,
        )
        self._members[service] = self._members.get(service, 0) + 1
        self._service_health.setdefault(service, Health.UNKNOWN)
        return key

    def _change(self, key: Key, health: Health, reason: str, time_s: float) -> Change:
        service, real_server = key
        before = self._verdicts[key]
        self._set(key, health, reason, time_s)
        event = (RealServerUp if health is Health.UP else RealServerDown)(
            virtual_service=service, real_server=real_server, reason=reason
        )
        return Change(
            key=key,
            real_server=event,
            virtual_service=self._service_news(service),
            recovered=health is Health.UP and self._was_down(key, before.health),
        )

    def _set(self, key: Key, health: Health, reason: str, time_s: float) -> None:
        service = key[0]
        before = self._verdicts[key]
        self._verdicts[key] = replace(
            before, health=health, reason=reason, since_s=time_s, cause=None, elsewhere=False
        )
        self._snapshot = None
        up, down = self._up.get(service, 0), self._down.get(service, 0)
        self._up[service] = up + (health is Health.UP) - (before.health is Health.UP)
        self._down[service] = down + (health is Health.DOWN) - (before.health is Health.DOWN)

    def _damp_anew(self, listener: Listener) -> None:
        """Count from nothing; a server that was down must pass as often as ever."""
        key = (listener.virtual_service, listener.real_server)
        known = self._verdicts[key].health
        before = self._dampers[key]
        remembered = known if known is not Health.UNKNOWN or not before.was_down else Health.DOWN
        self._dampers[key] = Damper(rise=listener.rise, fall=listener.fall, remembered=remembered)

    def _was_down(self, key: Key, before: Health) -> bool:
        if before is not Health.UNKNOWN or key not in self._dampers:
            return before is Health.DOWN
        return self._dampers[key].was_down

    def _service_news(
        self, service: VirtualServiceName
    ) -> VirtualServiceUp | VirtualServiceDown | None:
        before = self._service_health[service]
        if self._up[service]:
            if before is Health.UP:
                return None
            self._service_health[service] = Health.UP
            return VirtualServiceUp(virtual_service=service)
        undecided = self._down[service] < self._members[service]
        if before is Health.DOWN or (before is Health.UNKNOWN and undecided):
            return None
        self._service_health[service] = Health.DOWN
        return VirtualServiceDown(virtual_service=service)


def _in_a_row(reason: str, passed: bool, listener: Listener) -> str:
    count = listener.rise if passed else listener.fall
    return reason if count == 1 else f"{reason} ({count} in a row)"
