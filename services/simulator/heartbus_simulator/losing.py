"""Plays the loss of real servers: checks that fail, verdicts, and the tables of all directors.

Sans-I/O. The schedule, the dampers, whose word counts, the governor, quorum and the plan of the
kernel's table are the real ones. A lost server either refuses at once or does not answer at all.
Only the services that have such a server are played.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from heartbus.events import CheckerState, Health, IpvsState, RealServerDown, RealServerUp
from heartbus.model import Cluster, RealServerName, VirtualService, VirtualServiceName
from heartbus.overrides import Override, OverrideAction
from heartbus_checker.backoff import Backoff
from heartbus_checker.schedule import ProbeSchedule
from heartbus_checker.targets import CheckPlan, Target, plan_checks
from heartbus_checker.verdicts import Change, Verdicts
from heartbus_ipvs_agent.desired import (
    Server,
    live_weights,
    real_server_names,
    service_key,
    sorry_server_key,
    wanted_service,
)
from heartbus_ipvs_agent.entries import ServiceEntry, ServiceKey, Table, carried_out
from heartbus_ipvs_agent.plan import plan_service
from heartbus_ipvs_agent.quorum import QuorumBook
from heartbus_ipvs_agent.verdicts import VerdictBook, VerdictChange
from heartbus_simulator.clock import Timeline
from heartbus_simulator.play import Happening

ANSWER_S: Final = 0.002
REMOTE_S: Final = 0.002
STATE_PERIOD_S: Final = 1.0
ROUNDS_BEFORE: Final = 2
"""So many intervals are played before anything happens, so that the first quick round is over."""

WINDOW_S: Final = 65.0
"""What was withheld may leave after a minute (governor)."""

LOSE_S_MAX: Final = 3600.0


class Loss(enum.StrEnum):
    """How a real server is lost."""

    REFUSES = "refuses"
    SILENT = "does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of one director now; None: nothing, so everything is up."""

    checker: CheckerState | None = None
    table: IpvsState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """One play of a loss; times count from it."""

    happenings: tuple[Happening, ...]
    unchecked: tuple[str, ...]
    left: Mapping[str, tuple[str, ...]]
    """Virtual service -> what is given new connections at the end, on the first director."""


def lose(
    cluster: Cluster,
    seen: Mapping[str, Seen],
    servers: Collection[str],
    *,
    loss: Loss,
    seed: int,
    for_s: float = float("inf"),
) -> Lost:
    """Play the loss of real servers, by address or ``address:port``, on the directors ``seen``."""
    services = tuple(s for s in cluster.virtual_services if _lost_of(s, servers))
    field = _Field(services, servers, loss=loss, for_s=for_s)
    directors = [_Director(field, name, found, cluster, seed) for name, found in seen.items()]
    field.directors = directors
    return field.play()


def _lost_of(service: VirtualService, servers: Collection[str]) -> list[RealServerName]:
    return [
        real.name
        for real in service.real_servers
        if real.name in servers or real.endpoint.address in servers
    ]


class _Field:
    """The real servers, and the time that all directors share."""

    def __init__(
        self,
        services: Sequence[VirtualService],
        servers: Collection[str],
        *,
        loss: Loss,
        for_s: float,
    ) -> None:
        self.services, self.loss, self._for_s = tuple(services), loss, for_s
        self.plan = plan_checks(self.services)
        self._lost = {(s.name, name) for s in services for name in _lost_of(s, servers)}
        self._lost_targets = {
            target
            for target, listeners in self.plan.listeners.items()
            if any((li.virtual_service, li.real_server) in self._lost for li in listeners)
        }
        self.timeline = Timeline()
        self.directors: Sequence[_Director] = ()
        self.happenings: list[Happening] = []
        longest_s = max((t.interval_s + t.timeout_s for t in self.plan.targets), default=1.0)
        self.lost_s = ROUNDS_BEFORE * longest_s
        self._longest_s = longest_s
        self.changed_s = self.lost_s

    def play(self) -> Lost:
        """Let time pass until the last verdict has come."""
        timeline = self.timeline
        for director in self.directors:
            director.begin()
        falls = [li.fall + li.rise for found in self.plan.listeners.values() for li in found]
        quiet_s = (max(falls, default=1) + 1) * self._longest_s + STATE_PERIOD_S
        back_s = 0.0 if self._for_s == float("inf") else self._for_s
        timeline.run_until(self.lost_s + back_s + quiet_s)
        end_s = self.lost_s + LOSE_S_MAX
        while timeline.now_s < min(self.changed_s + self._quiet_s(quiet_s), end_s):
            timeline.run_until(timeline.now_s + STATE_PERIOD_S)
        unchecked = {u.real_server for u in self.plan.unchecked}
        return Lost(
            happenings=tuple(self.happenings),
            unchecked=tuple(sorted(name for _service, name in self._lost if name in unchecked)),
            left=self.directors[0].serving() if self.directors else {},
        )

    def _quiet_s(self, quiet_s: float) -> float:
        withheld = any(director.withholds for director in self.directors)
        return max(quiet_s, WINDOW_S) if withheld else quiet_s

    def ask(self, target: Target) -> tuple[float, bool, bool, str]:
        """Return how a probe goes that begins now: after what time, passed, hung, why."""
        away_s = self.timeline.now_s - self.lost_s
        if target in self._lost_targets and 0 <= away_s < self._for_s:
            if self.loss is Loss.REFUSES:
                return ANSWER_S, False, False, "connection refused"
            return target.timeout_s, False, True, f"no answer within {target.timeout_s:g} s"
        return ANSWER_S, True, False, "answers"

    def tell(self, director: str, text: str) -> None:
        """Note what a director does."""
        at_s = self.timeline.now_s - self.lost_s
        if at_s < 0:
            return
        self.changed_s = self.timeline.now_s
        self.happenings.append(Happening(at_s=round(at_s, 3), director=director, text=text))


class _Director:
    """Checker and ipvs-agent of one director."""

    def __init__(self, field: _Field, name: str, seen: Seen, cluster: Cluster, seed: int) -> None:
        self.name, self._field = name, field
        plan: CheckPlan = field.plan
        now_s = field.timeline.now_s
        self._rng = random.Random(f"{name} {seed}")
        settings = cluster.checks
        self._targets = plan.targets
        self._verdicts = Verdicts(plan, time_s=0.0)
        self._schedule = ProbeSchedule(
            [t.interval_s for t in plan.targets],
            now_s=now_s,
            rng=self._rng,
            concurrent_max=settings.concurrent,
            rate_max=settings.rate,
        )
        self._backoff = Backoff(after_s=settings.backoff_after_s, intervals_max=settings.backoff)
        self._book = VerdictBook(
            field.services,
            node=name,
            now_s=now_s,
            loss_percent=cluster.ipvs.loss_percent,
            decided_by=settings.decided_by,
        )
        self._services = {s.name: s for s in field.services}
        self._quorum = QuorumBook(field.services)
        self._overrides = _overrides(seen.table)
        self._table = _observed(field.services, seen.table)
        self._before(seen.checker)

    def _before(self, checker: CheckerState | None) -> None:
        """Come to the verdicts of now without asking anybody."""
        known: dict[tuple[str, str], Health] = {
            (v.virtual_service, v.real_server): v.health
            for v in (checker.verdicts if checker is not None else ())
        }
        self._verdicts.started(time_s=0.0)
        for target, listeners in self._field.plan.listeners.items():
            healths = {
                known.get((li.virtual_service, li.real_server), Health.UP) for li in listeners
            }
            passed = Health.UP in healths
            for _ in range(1 if passed else max(li.fall for li in listeners)):
                self._verdicts.probe_finished(target, passed=passed, reason="as now", time_s=0.0)

    @property
    def withholds(self) -> bool:
        """Whether a loss waits for a peer or for a minute."""
        return bool(self._book.withheld)

    def begin(self) -> None:
        """Check, and say each second what is so."""
        self._publish()
        for name in self._services:
            self._settle(name, quiet=True)
        self._begin_due()

    def serving(self) -> dict[str, tuple[str, ...]]:
        """Return what of each service is given new connections."""
        found = {}
        for name, service in self._services.items():
            entry = self._table.services.get(service_key(service))
            names = real_server_names(service)
            sorry = sorry_server_key(service)
            there = entry.destinations if entry is not None else {}
            found[str(name)] = tuple(
                "the sorry server" if key == sorry and key not in names else str(names.get(key))
                for key, settings in there.items()
                if settings.answers
            )
        return found

    # --- checker ---------------------------------------------------------------------------------

    def _begin_due(self) -> None:
        timeline = self._field.timeline
        for number in self._schedule.take_due(now_s=timeline.now_s):
            takes_s, passed, hung, why = self._field.ask(self._targets[number])
            timeline.after(takes_s, self._finisher(number, passed=passed, hung=hung, why=why))
        due_s = self._schedule.next_due_s
        if due_s is not None:
            timeline.at(due_s, self._begin_due)

    def _finisher(self, number: int, *, passed: bool, hung: bool, why: str) -> Callable[[], None]:
        return lambda: self._finished(number, passed=passed, hung=hung, why=why)

    def _finished(self, number: int, *, passed: bool, hung: bool, why: str) -> None:
        target, now_s = self._targets[number], self._field.timeline.now_s
        changes = self._verdicts.probe_finished(target, passed=passed, reason=why, time_s=now_s)
        for change in changes:
            self._announce(change)
        soon_s = target.fast_interval_s if self._verdicts.undecided(target) else None
        self._schedule.probe_finished(
            number,
            now_s=now_s,
            hung=hung,
            soon_s=soon_s,
            intervals=self._backoff.probe_finished(number, passed=passed, now_s=now_s),
        )
        self._field.timeline.at(now_s, self._begin_due)

    def _announce(self, change: Change) -> None:
        event = change.real_server
        word = "down" if isinstance(event, RealServerDown) else "up"
        text = f"{event.real_server} of {event.virtual_service} is {word}: {event.reason}"
        self._field.tell(self.name, text)
        for director in self._field.directors:
            delay_s = 0.0005 if director is self else REMOTE_S
            self._field.timeline.after(delay_s, director.hearer(self.name, event))

    def _publish(self) -> None:
        state = self._verdicts.snapshot
        for director in self._field.directors:
            director.snapshot_heard(self.name, state)
        self._field.timeline.after(STATE_PERIOD_S, self._publish)

    # --- ipvs-agent ------------------------------------------------------------------------------

    def hearer(self, node: str, event: RealServerUp | RealServerDown) -> Callable[[], None]:
        """Return what takes in an event of a checker."""
        return lambda: self._changed(
            self._book.event_received(
                event, node=node, event_id="", now_s=self._field.timeline.now_s
            )
        )

    def snapshot_heard(self, node: str, state: CheckerState) -> None:
        """Take in a snapshot of a checker."""
        now_s = self._field.timeline.now_s
        self._changed(self._book.snapshot_received(state, node=node, now_s=now_s))
        self._changed(self._book.reconsidered(now_s=now_s))

    def _changed(self, changes: Iterable[VerdictChange]) -> None:
        for name in dict.fromkeys(change.virtual_service for change in changes):
            self._settle(name)
        for server in self._book.withheld:
            text = f"{server[1]} of {server[0]} stays for now: a peer says that it is up"
            if not any(h.text == text and h.director == self.name for h in self._field.happenings):
                self._field.tell(self.name, text)

    def _settle(self, name: VirtualServiceName, *, quiet: bool = False) -> None:
        service = self._services[name]
        key = service_key(service)
        observed = self._table.services.get(key)
        if name in self._quorum.watched:
            weights = live_weights(
                service,
                verdicts=self._book.decided,
                observed=observed,
                weights=self._book.weights,
                overrides=self._overrides,
            )
            news = self._quorum.weighed(name, weights)
            if news is not None and not quiet:
                word = "gained" if news.gained else "lost"
                self._field.tell(self.name, f"{name} {word} its quorum: weight {news.weight}")
        wanted = wanted_service(
            service,
            verdicts=self._book.decided,
            observed=observed,
            weights=self._book.weights,
            overrides=self._overrides,
            short=self._quorum.short,
        )
        actions = plan_service(key, wanted=wanted, observed=observed)
        self._table = carried_out(self._table, actions)
        if not quiet:
            for action in actions:
                self._field.tell(self.name, str(action))


def _overrides(table: IpvsState | None) -> dict[Server, Override]:
    """Return what operators want, as the snapshot shows it."""
    return {
        (VirtualServiceName(service.virtual_service), RealServerName(real.real_server)): Override(
            server=real.real_server,
            action=OverrideAction(real.override),
            revision=0,
            node="",
            weight=real.weight,
        )
        for service in (table.services if table is not None else ())
        for real in service.real_servers
        if real.override
    }


def _observed(services: Iterable[VirtualService], table: IpvsState | None) -> Table:
    """Return the kernel's table as the snapshot shows it: entries as configured, weights as now."""
    if table is None:
        return Table(services={})
    shown = {
        service.virtual_service: {r.real_server: r for r in service.real_servers}
        for service in table.services
    }
    found: dict[ServiceKey, ServiceEntry] = {}
    for service in services:
        there = shown.get(service.name)
        if there is None:
            continue
        up: dict[tuple[VirtualServiceName, RealServerName], Health] = {
            (service.name, real.name): Health.UP for real in service.real_servers
        }
        weights = {
            (service.name, real.name): there[real.name].weight
            for real in service.real_servers
            if real.name in there
        }
        entry = wanted_service(service, verdicts=up, observed=None, weights=weights)
        names = real_server_names(service)
        kept = {
            key: settings
            for key, settings in entry.destinations.items()
            if str(names.get(key, "")) in there or key not in names
        }
        found[service_key(service)] = ServiceEntry(settings=entry.settings, destinations=kept)
    return Table(services=found)
