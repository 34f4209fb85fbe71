"""heartbus-ipvs-agent: keeps the kernel's IPVS table as configuration and verdicts want it.

When the bus is gone the table stays as it is and is still repaired; the last verdicts stand. A
stop leaves the table as it is, so that connections go on while nobody looks after it, but for
services with ``cleanstop``; the next start adopts it. Nothing here ever flushes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, assert_never

import structlog

from heartbus import subjects
from heartbus.bus import Bus, Inbox
from heartbus.events import (
    CheckerState,
    IpvsConnections,
    IpvsDigests,
    IpvsFailed,
    IpvsOverrides,
    IpvsState,
    IpvsWithheld,
    Message,
    RealServerDown,
    RealServerUp,
    RealServerWeight,
    VipState,
)
from heartbus.model import Cluster, RealServerName, VirtualService, VirtualServiceName
from heartbus.runner import Context
from heartbus_ipvs_agent.agreement import Agreement
from heartbus_ipvs_agent.applying import Applier
from heartbus_ipvs_agent.desired import (
    live_weights,
    service_key,
    wanted_service,
    wanted_table,
)
from heartbus_ipvs_agent.entries import Action, RemoveService, ServiceEntry, ServiceKey, Table
from heartbus_ipvs_agent.managed import ManagedBook, ManagedServices
from heartbus_ipvs_agent.operators import TELL_PERIOD_S, Operators
from heartbus_ipvs_agent.override_file import OverrideFile
from heartbus_ipvs_agent.paging import Pages
from heartbus_ipvs_agent.plan import plan, plan_service
from heartbus_ipvs_agent.probe_services import answered_by_vip, probe_services
from heartbus_ipvs_agent.roles import Roles
from heartbus_ipvs_agent.snapshot import Digests, Remarks, table_services, whole_digest
from heartbus_ipvs_agent.standing import Standings
from heartbus_ipvs_agent.table import IpvsTable, open_kernel_table
from heartbus_ipvs_agent.verdicts import VerdictBook, VerdictChange
from heartbus_ipvs_agent.warm import Warm
from heartbus_ipvs_agent.whole import KernelWhole, Whole

SERVICE: Final = "ipvs-agent"
CHECKER: Final = "checker"
VIP: Final = "vip"

LOOK_PERIOD_S: Final = 1.0
LARGE_LOOK_PERIOD_S: Final = 5.0
SMALL_TABLE_DESTINATIONS: Final = 500
"""Up to this size the table, and with it the connection counters, is read every second."""

PROBLEMS_MAX: Final = 100
"""Told in one snapshot; of more, the first ones and how many there are."""

WITHHELD: Final = "down for us alone, and too much left within a minute: it stays"

Inbound = CheckerState | RealServerUp | RealServerDown | RealServerWeight


class IpvsAgent:
    """The agent's state between two looks at the kernel; ``clock`` is monotonic seconds."""

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
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._services = {s.name: s for s in cluster.virtual_services}
        self._remove_foreign = cluster.ipvs.remove_foreign
        self._probe_services = probe_services(cluster.virtual_services)
        self._whole = whole
        self._probing: str | None = None
        self._applier = Applier(table=table, bus=bus, clock=clock, log=log)
        self._managed = ManagedBook(managed, log)
        self.standings = Standings(cluster.virtual_services, node=node, bus=bus, log=log)
        self._verdicts = VerdictBook(
            cluster.virtual_services,
            node=node,
            now_s=clock(),
            loss_percent=cluster.ipvs.loss_percent,
            decided_by=cluster.checks.decided_by,
        )
        self._withheld: frozenset[tuple[VirtualServiceName, RealServerName]] = frozenset()
        self._node = node
        self._operators = Operators(
            node=node,
            services=cluster.virtual_services,
            bus=bus,
            file=overrides,
            clock=clock,
            changed=self._services_changed,
            log=log,
        )
        self._roles = Roles(
            settings=cluster.ipvs, groups=[g.name for g in cluster.groups], whole=whole, bus=bus
        )
        self._agreement = Agreement()
        self._warm = Warm(
            node=node,
            directors=[d.name for d in cluster.directors],
            groups=cluster.groups,
            settings=cluster.ipvs,
            bus=bus,
            clock=clock,
        )
        self._pages = Pages(cluster.virtual_services)
        self._digest_book = Digests()
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
                IpvsConnections.kind,
                subjects.state(self._node, VIP),
            ],
            self.inbox,
        )
        self._bus.on_connection(self._bus_changed)
        self._bus.serve_state(self.states)
        self._managed.start(self._keys())
        self._operators.start()
        self._roles.start()
        self._let_probes_answer()
        self.look()
        self._operators.tell()

    def take_up(self, read: Cluster) -> None:
        """Go on with the virtual services of a configuration that was read anew.

        Verdicts and what operators asked for stand. A new real server is unknown, so it gets no
        traffic before its first check; what is configured no more leaves the table.
        """
        self._warm.use(read.ipvs, read.groups)
        self._roles.use(read.ipvs, [g.name for g in read.groups])
        self._remove_foreign = read.ipvs.remove_foreign
        self._verdicts.limit(read.ipvs.loss_percent)
        self._verdicts.decide_by(read.checks.decided_by)
        services = {s.name: s for s in read.virtual_services}
        if services == self._services:
            return
        self._services = services
        self._verdicts.use(read.virtual_services)
        self._operators.use(read.virtual_services)
        self.standings.use(read.virtual_services)
        self._pages = Pages(read.virtual_services)
        self._probe_services = probe_services(read.virtual_services)
        self._managed.use(self._keys())
        self._let_probes_answer()
        self.look()
        self._bus.publish_state()

    def dry_run(self, read: Cluster) -> tuple[str, ...]:
        """Return what ``take_up`` would do to the table that we know, in ipvsadm's words."""
        observed = self._applier.seen
        wanted = wanted_table(
            read.virtual_services,
            verdicts=self._verdicts.decided,
            observed=observed,
            weights=self._verdicts.weights,
            overrides=self._operators.book.effective,
            cut=self._operators.cut,
            short=self.standings.short,
        )
        wanted = Table(services={**wanted.services, **probe_services(read.virtual_services)})
        ours = self._managed.obsolete.union(self._keys())
        obsolete = ours.difference(wanted.services)
        if read.ipvs.remove_foreign:
            obsolete |= observed.services.keys() - wanted.services.keys()
        return tuple(map(str, plan(wanted=wanted, observed=observed, obsolete=obsolete)))

    def _let_probes_answer(self) -> None:
        wanted = answered_by_vip(self._services.values())
        self._probing = self._whole.accept_local(wanted=wanted)
        if self._probing is not None:
            self._bus.publish(IpvsFailed(action="checks through the VIP", reason=self._probing))

    def _keys(self) -> list[ServiceKey]:
        """Return what names all that is ours."""
        return [*map(service_key, self._services.values()), *self._probe_services]

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
            elif isinstance(message.body, IpvsConnections) and self._from_a_peer(message):
                self._warm.heard(message.envelope.node, message.body)
            elif isinstance(message.body, VipState) and message.envelope.node == self._node:
                self._roles.heard(message.body)
        if changes:
            self._verdicts_changed(changes)
        self._tell_withheld()

    def look(self, *, cause: str | None = None) -> None:
        """Read the whole table and repair what is not as wanted."""
        before = self._applier.known
        observed = self._applier.read()
        if observed is None:
            return
        # Losses that were withheld may be due by now; what follows acts on them.
        self._verdicts.reconsidered(now_s=self._clock())
        self._tell_withheld()
        wanted = Table(
            services={
                (key := service_key(s)): self._wanted(s, observed.services.get(key), cause=cause)
                for s in self._services.values()
            }
            | self._probe_services
        )
        obsolete = self._managed.obsolete
        if self._remove_foreign:
            obsolete |= observed.services.keys() - wanted.services.keys()
        actions = plan(wanted=wanted, observed=observed, obsolete=sorted(obsolete))
        changed = self._applier.settle(actions, before=before, cause=cause)
        touched = {action.service for action in actions}
        self._pages.changed(s.name for s in self._services.values() if service_key(s) in touched)
        self._managed.looked(observed)
        self._operators.looked(observed)
        self._roles.look()
        warmed = self._warm.looked(
            self._services.values(), self._applier.seen, held=self._roles.held
        )
        if changed or warmed:
            self._bus.publish_state()

    def stop(self) -> None:
        """Take the services out of the table that are to leave it at a stop.

        What was let in for checks is let in no more; their failures meanwhile decide nothing.
        """
        self._whole.accept_local(wanted=False)
        leaving = [s for s in self._services.values() if s.policy.cleanstop]
        observed = self._applier.read() if leaving else None
        if observed is None:
            return
        there = [s for s in leaving if service_key(s) in observed.services]
        self._applier.change([RemoveService(service=service_key(s)) for s in there], cause=None)
        for service in there:
            self.standings.stopped(service)

    @property
    def look_period_s(self) -> float:
        """How long until the next look."""
        small = self._applier.seen.destination_count <= SMALL_TABLE_DESTINATIONS
        return LOOK_PERIOD_S if small else LARGE_LOOK_PERIOD_S

    def state(self) -> IpvsState:
        """Return the snapshot with the first page of the table; of a small one that is all."""
        return self._page(0)

    def states(self) -> tuple[IpvsState, ...]:
        """Return the snapshot, with the pages of the table that are due now."""
        return tuple(map(self._page, self._pages.due(now_s=self._clock())))

    def _page(self, page: int) -> IpvsState:
        remarks = Remarks(
            overrides=self._operators.book.effective,
            drained=self._operators.book.drained,
            lost=self.standings.short,
        )
        return IpvsState(
            services=table_services(self._pages.slices(page), self._applier.seen, remarks),
            digest=whole_digest(self._digests()),
            repairs=self._applier.repairs,
            failures=_some(self._problems()),
            sync=self._roles.running,
            known=self._warm.known,
            cold=self._warm.cold,
            page=page,
            pages=self._pages.count,
            edition=self._pages.edition,
        )

    def _problems(self) -> tuple[str, ...]:
        return (
            *self._applier.standing,
            *self._roles.problems,
            *((self._probing,) if self._probing is not None else ()),
            *(f"{service} {real}: {WITHHELD}" for service, real in sorted(self._withheld)),
            *self._agreement.standing,
        )

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
        self._services_changed([c.virtual_service for c in changes], cause)

    def _services_changed(self, names: Iterable[VirtualServiceName], cause: str | None) -> None:
        """Bring these services to what is wanted, without reading the kernel first."""
        known = self._applier.known
        if known is None:
            self.look(cause=cause)
            return
        actions: list[Action] = []
        names = tuple(dict.fromkeys(names))
        self._pages.changed(names)
        for name in names:
            service = self._services[name]
            key = service_key(service)
            observed = known.services.get(key)
            wanted = self._wanted(service, observed, cause=cause)
            actions += plan_service(key, wanted=wanted, observed=observed)
        changed, surprised = self._applier.change(actions, cause=cause)
        if surprised:
            self.look(cause=cause)
            return
        if changed:
            self._bus.publish_state()

    def _wanted(
        self, service: VirtualService, observed: ServiceEntry | None, *, cause: str | None
    ) -> ServiceEntry:
        """Return the wanted entry of a service; tell if it is lost or gained by this."""
        verdicts, weights = self._verdicts.decided, self._verdicts.weights
        overrides, cut = self._operators.book.effective, self._operators.cut
        if self.standings.is_watched(service):
            live = live_weights(
                service,
                verdicts=verdicts,
                observed=observed,
                weights=weights,
                overrides=overrides,
                cut=cut,
            )
            self.standings.weigh(service, live, observed, cause=cause)
        return wanted_service(
            service,
            verdicts=verdicts,
            observed=observed,
            weights=weights,
            overrides=overrides,
            cut=cut,
            short=self.standings.short,
        )

    def _tell_withheld(self) -> None:
        now = frozenset(self._verdicts.withheld)
        for service, real in sorted(now - self._withheld):
            self._bus.publish(
                IpvsWithheld(virtual_service=service, real_server=real, reason=WITHHELD),
                cause=self._verdicts.withheld[service, real],
            )
        self._withheld = now

    def tell(self) -> None:
        """Tell peers what operators wanted, and what our table is like."""
        self._operators.tell()
        self._bus.publish(IpvsDigests(digests=self._digests()))

    def _digests(self) -> dict[str, str]:
        return self._digest_book.of(self._services.values(), self._applier.seen)

    def _compare(self, node: str, theirs: dict[str, str]) -> None:
        for event in self._agreement.peer_told(node, theirs, self._digests()):
            self._bus.publish(event)

    def _bus_changed(self, connected: bool) -> None:
        if connected:
            self._verdicts.bus_found(now_s=self._clock())
            self._operators.tell()

    def _from_a_peer(self, message: Message) -> bool:
        envelope = message.envelope
        return envelope.service == SERVICE and envelope.node != self._node

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
        whole=KernelWhole(context.runtime_dir),
        clock=asyncio.get_running_loop().time,
        log=context.log,
    )
    agent.start()
    context.take_up = agent.take_up
    context.dry_run = agent.dry_run
    context.ready()
    async with asyncio.TaskGroup() as tasks:
        commands = tasks.create_task(agent.standings.serve())
        running = [tasks.create_task(t) for t in (agent.listen(), agent.look_on(), agent.tell_on())]
        await context.stopping.wait()
        for task in running:
            task.cancel()
        agent.stop()
        await agent.standings.finish()
        commands.cancel()


def _some(problems: tuple[str, ...]) -> tuple[str, ...]:
    if len(problems) <= PROBLEMS_MAX:
        return problems
    return (*problems[:PROBLEMS_MAX], f"... {len(problems)} in all")
