"""Runs the checks of one configuration, and of the next one when it is taken up.

Shell of the checker: makes probes, and what beside them watches files and listens to peers.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time

from heartbus import subjects
from heartbus.bus import Inbox
from heartbus.config import ConfigError
from heartbus.events import RealServerOverridden, ServiceStopped
from heartbus.model import CheckingSettings, Cluster
from heartbus.runner import Context

from .maintenance import Maintenance
from .memory import MEMORY_FILE, Memory
from .probes.deadline import Deadlines
from .probes.factory import ProbeError, make_probes
from .probes.ping import Pings
from .probes.stream import Streams
from .service import CHECKER, Checker
from .targets import CheckPlan, TargetError, plan_checks, plan_differences


async def check_real_servers(context: Context) -> None:
    """Check all real servers of the cluster until told to stop.

    Raises:
        ConfigError: a check cannot be carried out as configured.

    """
    loop = asyncio.get_running_loop()
    streams, pings = Streams(loop), Pings()

    def drain() -> None:
        streams.drain()
        pings.drain()

    memory = Memory(context.state_dir / MEMORY_FILE, clock=time.time)
    peers = Inbox()
    context.bus.subscribe(
        [subjects.states_of_service(CHECKER), ServiceStopped.kind, RealServerOverridden.kind], peers
    )

    def begun(cluster: Cluster, before: _Running | None) -> _Running:
        """Return what runs for this configuration; the same if the checks are the same."""
        try:
            plan = plan_checks(cluster.virtual_services)
            if before is not None and (plan, cluster.checks) == (before.plan, before.settings):
                return before
            probes = make_probes(
                plan,
                streams=streams,
                node=context.node,
                pings=pings,
                runtime_dir=context.runtime_dir,
            )
        except (TargetError, ProbeError) as error:
            raise ConfigError.plain(f"{cluster.source}: {error}") from error
        if before is not None:
            before.close()
        checker = Checker(
            plan,
            probes,
            node=context.node,
            bus=context.bus,
            deadlines=Deadlines(loop, drain=drain),
            rng=random.Random(),
            settings=cluster.checks,
            memory=memory,
            before=before.checker if before is not None else None,
        )
        checker.start()
        context.log.info(
            "checker.started", targets=len(plan.targets), unchecked=len(plan.unchecked)
        )
        maintenance = Maintenance(
            dict(plan.maintenance), changed=checker.maintenance_changed, clock=time.monotonic
        )
        beside = (
            asyncio.create_task(maintenance.run()),
            asyncio.create_task(checker.listen(peers)),
        )
        return _Running(plan=plan, settings=cluster.checks, checker=checker, beside=beside)

    try:
        running = begun(context.cluster, None)

        def take_up(read: Cluster) -> None:
            nonlocal running
            running = begun(read, running)

        def dry_run(read: Cluster) -> tuple[str, ...]:
            try:
                plan = plan_checks(read.virtual_services)
                make_probes(plan, streams=streams, node=context.node, pings=pings)
            except (TargetError, ProbeError) as error:
                raise ConfigError.plain(f"{read.source}: {error}") from error
            return plan_differences(running.plan, plan)

        context.take_up = take_up
        context.dry_run = dry_run
        context.ready()
        try:
            await context.stopping.wait()
        finally:
            running.close()
    finally:
        streams.close()
        pings.close()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """The checker of one configuration, and what looks for maintenance and listens to peers."""

    plan: CheckPlan
    settings: CheckingSettings
    checker: Checker
    beside: tuple[asyncio.Task[None], ...]

    def close(self) -> None:
        """End them."""
        for task in self.beside:
            task.cancel()
        self.checker.close()
