"""heartbus-ipvs-agent: keeps the kernel's IPVS table as configuration and verdicts want it.

When the bus is gone the table stays as it is and is still repaired; the last verdicts stand. A
stop leaves the table as it is, so that connections go on while nobody looks after it; the next
start adopts it. Nothing here ever flushes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, assert_never

import structlog

from heartbus import subjects
from heartbus.bus import Bus, Inbox
from heartbus.events import (
    CheckerState,
    IpvsChanged,
    IpvsDigests,
    IpvsFailed,
    IpvsOverrides,
    IpvsRepaired,
    IpvsState,
    IpvsWithheld,
    Message,
    RealServerDown,
    RealServerUp,
    RealServerWeight,
    VipState,
)
from heartbus.model import Cluster, RealServerName, VirtualServiceName
from heartbus.runner import Context
from heartbus_ipvs_agent.agreement import Agreement
from heartbus_ipvs_agent.desired import service_key, wanted_service, wanted_table
from heartbus_ipvs_agent.entries import Action, ServiceKey, Table, carried_out
from heartbus_ipvs_agent.failures import Failure, FailureBook
from heartbus_ipvs_agent.managed import ManagedError, ManagedServices
from heartbus_ipvs_agent.operators import TELL_PERIOD_S, Operators
from heartbus_ipvs_agent.override_file import OverrideFile
from heartbus_ipvs_agent.plan import plan, plan_service
from heartbus_ipvs_agent.roles import Roles
from heartbus_ipvs_agent.snapshot import service_digests, table_state
from heartbus_ipvs_agent.table import IpvsTable, TableError, open_kernel_table
from heartbus_ipvs_agent.verdicts import VerdictBook, VerdictChange
from heartbus_ipvs_agent.whole import KernelWhole, Whole

SERVICE: Final = "ipvs-agent"
CHECKER: Final = "checker"
VIP: Final = "vip"

LOOK_PERIOD_S: Final = 1.0
LARGE_LOOK_PERIOD_S: Final = 5.0
SMALL_TABLE_DESTINATIONS: Final = 500
"""Up to this size the table, and with it the connection counters, is read every second."""

WITHHELD: Final = "down for us alone, and too much left within a minute: it stays"

EVENT_ACTIONS_MAX: Final = 200
"""Actions listed in one event; of more, the first ones and how many there were."""

Inbound = CheckerState | RealServerUp | RealServerDown | RealServerWeight


class IpvsAgent:
    """The agent's state between two looks at the kernel; ``clock`` is monotonic seconds.

    ``_known`` is the table as we last saw or changed it. A verdict is acted upon with it alone,
    without reading the kernel first, because that is what takes time; each look puts it right.
    None: the next action begins with a look.
    """

    def __init__(
        self,
        *,
        node: str,
        cluster: Cluster,
        bus: Bus,
        table: IpvsTable,
        managed: ManagedServices,
        overrides: OverrideFile,
        whole: Whole,
        clock: Callable[[], float],
        wall: Callable[[], float],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._bus = bus
        self._table = table
        self._managed_file = managed
        self._clock = clock
        self._log = log
        self._services = {s.name: s for s in cluster.virtual_services}
        self._keys = [service_key(s) for s in cluster.virtual_services]
        self._verdicts = VerdictBook(
            cluster.virtual_services,
            node=node,
            now_s=clock(),
            loss_percent=cluster.ipvs.loss_percent,
        )
        self._withheld: frozenset[tuple[VirtualServiceName, RealServerName]] = frozenset()
        self._node = node
        self._operators = Operators(
            node=node,
            services=cluster.virtual_services,
            bus=bus,
            file=overrides,
            wall=wall,
            changed=self._services_changed,
            log=log,
        )
        self._roles = Roles(
            settings=cluster.ipvs, groups=[g.name for g in cluster.groups], whole=whole, bus=bus
        )
        self._agreement = Agreement()
        self._failures = FailureBook()
        self._obsolete: frozenset[ServiceKey] = frozenset()
        self._known: Table | None = None
        self._seen = Table()
        self._repairs = 0
        self._trouble: str | None = None
        self._state: IpvsState | None = None
        self.inbox = Inbox()

    def start(self) -> None:
        """Join the bus, remember what is ours, and bring the table to what is wanted."""
        self._bus.subscribe(
            [
                subjects.states_of_service(CHECKER),
                RealServerUp.kind,
                RealServerDown.kind,
                RealServerWeight.kind,
                IpvsOverrides.kind,
                IpvsDigests.kind,
                subjects.state(self._node, VIP),
            ],
            self.inbox,
        )
        self._bus.on_connection(self._bus_changed)
        self._bus.serve_state(self.state)
        try:
            self._obsolete = self._managed_file.read().difference(self._keys)
        except ManagedError as error:
            self._log.warning("managed.unreadable", error=str(error))
        self._write_managed()
        self._operators.start()
        self._roles.start()
        self.look()
        self._operators.tell()

    def take_up(self, read: Cluster) -> None:
        """Go on with the virtual services of a configuration that was read anew.

        Verdicts and what operators asked for stand. A new real server is unknown, so it gets no
        traffic before its first check; what is configured no more leaves the table.
        """
        self._roles.use(read.ipvs, [g.name for g in read.groups])
        self._verdicts.limit(read.ipvs.loss_percent)
        services = {s.name: s for s in read.virtual_services}
        if services == self._services:
            return
        ours = self._obsolete.union(self._keys)
        self._services = services
        self._keys = [service_key(s) for s in read.virtual_services]
        self._obsolete = ours.difference(self._keys)
        self._verdicts.use(read.virtual_services)
        self._operators.use(read.virtual_services)
        self._write_managed()
        self.look()
        self._bus.publish_state()

    # --- what makes us act -----------------------------------------------------------------------

    def messages_received(self, messages: Sequence[Message]) -> None:
        """Take in messages of checkers, then bring the services they change to what is wanted."""
        changes: list[VerdictChange] = []
        for message in messages:
            if isinstance(message.body, Inbound) and message.envelope.service == CHECKER:
                changes += self._take_in(message, message.body)
            elif isinstance(message.body, IpvsOverrides) and self._from_a_peer(message):
                self._operators.heard(message.body.overrides)
            elif isinstance(message.body, IpvsDigests) and self._from_a_peer(message):
                self._compare(message.envelope.node, message.body.digests)
            elif isinstance(message.body, VipState) and message.envelope.node == self._node:
                self._roles.heard(message.body)
        if changes:
            self._verdicts_changed(changes)
        self._tell_withheld()

    def look(self, *, cause: str | None = None) -> None:
        """Read the whole table and repair what is not as wanted."""
        try:
            observed = self._table.dump()
        except TableError as error:
            self._failed("ipvs.unreadable", error)
            return
        # Losses that were withheld may be due by now; what follows acts on them.
        self._verdicts.reconsidered(now_s=self._clock())
        self._tell_withheld()
        known, self._known, self._seen = self._known, observed, observed
        wanted = wanted_table(
            self._services.values(),
            verdicts=self._verdicts.decided,
            observed=observed,
            weights=self._verdicts.weights,
            overrides=self._operators.book.effective,
            cut=self._operators.cut,
        )
        actions = plan(wanted=wanted, observed=observed, obsolete=self._obsolete)
        due = self._failures.due(actions, now_s=self._clock())
        drifted = frozenset[ServiceKey]()
        if known is not None:
            entries = known.services
            drifted = frozenset(
                a.service for a in due if entries.get(a.service) != observed.services.get(a.service)
            )
        failures = self._carry_out(due, cause=cause, drifted=drifted)
        if failures is not None:
            self._trouble = None
            self._tell(failures)
        self._cross_out_obsolete(observed)
        self._state = None
        self._operators.looked(observed)
        self._roles.look()
        if due:
            self._bus.publish_state()

    @property
    def look_period_s(self) -> float:
        """How long until the next look."""
        small = self._seen.destination_count <= SMALL_TABLE_DESTINATIONS
        return LOOK_PERIOD_S if small else LARGE_LOOK_PERIOD_S

    def state(self) -> IpvsState:
        """Return the snapshot of the services that we manage."""
        if self._state is None:
            troubles = () if self._trouble is None else (self._trouble,)
            withheld = [f"{service} {real}: {WITHHELD}" for service, real in sorted(self._withheld)]
            self._state = table_state(
                self._services.values(),
                self._seen,
                repairs=self._repairs,
                failures=(
                    *troubles,
                    *self._failures.standing,
                    *self._roles.problems,
                    *withheld,
                    *self._agreement.standing,
                ),
                sync=self._roles.running,
                overrides=self._operators.book.effective,
                drained=self._operators.book.drained,
            )
        return self._state

    def _take_in(self, message: Message, body: Inbound) -> list[VerdictChange]:
        node, now_s = message.envelope.node, self._clock()
        match body:
            case CheckerState():
                return self._verdicts.snapshot_received(body, node=node, now_s=now_s)
            case RealServerUp() | RealServerDown() | RealServerWeight():
                return self._verdicts.event_received(
                    body, node=node, event_id=message.envelope.id, now_s=now_s
                )
            case _:
                assert_never(body)

    def _verdicts_changed(self, changes: Sequence[VerdictChange]) -> None:
        cause = next((c.cause for c in reversed(changes) if c.cause is not None), None)
        self._services_changed([c.virtual_service for c in changes], cause=cause)

    def _services_changed(
        self, names: Iterable[VirtualServiceName], *, cause: str | None = None
    ) -> None:
        """Bring these services to what is wanted, without reading the kernel first."""
        if self._known is None:
            self.look(cause=cause)
            return
        actions: list[Action] = []
        for name in dict.fromkeys(names):
            service = self._services[name]
            key = service_key(service)
            observed = self._known.services.get(key)
            wanted = wanted_service(
                service,
                verdicts=self._verdicts.decided,
                observed=observed,
                weights=self._verdicts.weights,
                overrides=self._operators.book.effective,
                cut=self._operators.cut,
            )
            actions += plan_service(key, wanted=wanted, observed=observed)
        due = self._failures.due_of_part(actions, now_s=self._clock())
        if self._carry_out(due, cause=cause, drifted=frozenset()):
            # The kernel's table is not what we thought: look before saying that anything failed.
            self.look(cause=cause)
            return
        self._state = None
        if due:
            self._bus.publish_state()

    def _tell_withheld(self) -> None:
        now = frozenset(self._verdicts.withheld)
        for service, real in sorted(now - self._withheld):
            self._bus.publish(
                IpvsWithheld(virtual_service=service, real_server=real, reason=WITHHELD),
                cause=self._verdicts.withheld[service, real],
            )
        if now != self._withheld:
            self._state = None
        self._withheld = now

    def tell(self) -> None:
        """Tell peers what operators wanted, and what our table is like."""
        self._operators.tell()
        self._bus.publish(IpvsDigests(digests=self._digests()))

    def _digests(self) -> dict[str, str]:
        return service_digests(self._services.values(), self._seen)

    def _compare(self, node: str, theirs: dict[str, str]) -> None:
        for event in self._agreement.peer_told(node, theirs, self._digests()):
            self._bus.publish(event)
            self._state = None

    def _bus_changed(self, connected: bool) -> None:
        if connected:
            self._verdicts.bus_found(now_s=self._clock())
            self._operators.tell()

    def _from_a_peer(self, message: Message) -> bool:
        envelope = message.envelope
        return envelope.service == SERVICE and envelope.node != self._node

    # --- acting ----------------------------------------------------------------------------------

    def _carry_out(
        self, actions: Sequence[Action], *, cause: str | None, drifted: frozenset[ServiceKey]
    ) -> list[Failure] | None:
        """Return the failures; None: the table cannot be changed at all."""
        assert self._known is not None
        if not actions:
            return []
        started_s = self._clock()
        try:
            outcomes = self._table.apply(actions)
        except TableError as error:
            self._known = None
            self._failed("ipvs.unwritable", error)
            return None
        took_s = self._clock() - started_s
        done = [o.action for o in outcomes if o.failure is None]
        self._known = self._seen = carried_out(self._known, done)
        self._failures.carried_out(done)
        repaired = _listed([a for a in done if a.service in drifted])
        changed = _listed([a for a in done if a.service not in drifted])
        if repaired:
            self._repairs += 1
            self._bus.publish(IpvsRepaired(actions=repaired, took_s=took_s), cause=cause)
        if changed:
            self._bus.publish(IpvsChanged(actions=changed, took_s=took_s), cause=cause)
        return [
            Failure(action=o.action, reason=o.failure) for o in outcomes if o.failure is not None
        ]

    def _tell(self, failures: Sequence[Failure]) -> None:
        for failure in self._failures.failed(failures, now_s=self._clock()):
            self._bus.publish(IpvsFailed(action=str(failure.action), reason=failure.reason))

    def _failed(self, what: str, error: TableError) -> None:
        if self._trouble != str(error):
            self._log.error(what, error=str(error), action="tried again every few seconds")
            self._bus.publish(IpvsFailed(action=what, reason=str(error)))
        self._trouble = str(error)
        self._state = None

    def _cross_out_obsolete(self, observed: Table) -> None:
        still_there = self._obsolete.intersection(observed.services)
        if still_there != self._obsolete:
            self._obsolete = still_there
            self._write_managed()

    def _write_managed(self) -> None:
        try:
            self._managed_file.write(self._obsolete.union(self._keys))
        except ManagedError as error:
            self._log.warning("managed.unwritable", error=str(error))

    # --- the tasks -------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Act on messages as they come, as many at once as there are."""
        while True:
            messages = [await self.inbox.get()]
            while (message := self.inbox.get_nowait()) is not None:
                messages.append(message)
            self.messages_received(messages)

    async def look_on(self) -> None:
        """Look at the kernel on a period."""
        while True:
            await asyncio.sleep(self.look_period_s)
            self.look()

    async def tell_on(self) -> None:
        """Tell peers on a period, for those that were away."""
        while True:
            await asyncio.sleep(TELL_PERIOD_S)
            self.tell()


async def serve(context: Context) -> None:
    """Run the agent until the context is stopping.

    Raises:
        MachineError: the kernel has no IPVS, or we may not use it.

    """
    agent = IpvsAgent(
        node=context.node,
        cluster=context.cluster,
        bus=context.bus,
        table=open_kernel_table(),
        managed=ManagedServices(context.state_dir),
        overrides=OverrideFile(context.state_dir),
        whole=KernelWhole(),
        clock=asyncio.get_running_loop().time,
        wall=time.time,
        log=context.log,
    )
    agent.start()
    context.take_up = agent.take_up
    context.ready()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(t) for t in (agent.listen(), agent.look_on(), agent.tell_on())]
        await context.stopping.wait()
        for task in running:
            task.cancel()


def _listed(actions: Sequence[Action]) -> tuple[str, ...]:
    listed = [str(a) for a in actions[:EVENT_ACTIONS_MAX]]
    if len(actions) > EVENT_ACTIONS_MAX:
        listed.append(f"... {len(actions)} in all")
    return tuple(listed)
