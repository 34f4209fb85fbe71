"""A membership with real sockets and a bus in memory; prints each event. Run in a namespace.

Usage: python -m tests.membership.netns_director NAME DIRECTORY LINKS
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from heartbus import log, runner
from heartbus.codec import field_names
from heartbus.events import DirectorStatus, Event
from heartbus.model import BroadcastLink, HeartbeatLink, MulticastLink, Timers, UnicastLink
from heartbus.runner import MachineError
from heartbus.testing import MemoryBus, MemoryHub
from heartbus_membership import leases as files
from heartbus_membership.media import links_of
from heartbus_membership.service import MembershipService
from tests.membership.fakes import FakeVip, cluster_of

TIMERS = Timers(keepalive_s=0.05, warntime_s=0.2, deadtime_s=0.4, initdead_s=5.0)
PAIR = (
    BroadcastLink(interface="eth1"),
    UnicastLink(interface="eth2", peer="10.93.2.1"),
    UnicastLink(interface="eth2", peer="10.93.2.2"),
)
PEERS = ("10.93.1.1", "10.93.1.2", "fe80::1", "fe80::2", "fd93:1::1", "fd93:1::2")
EVERY_KIND: tuple[HeartbeatLink, ...] = (
    BroadcastLink(interface="eth1"),
    MulticastLink(interface="eth1", group="239.0.0.1", loop=True),
    MulticastLink(interface="eth1", group="ff02::4:1"),
    *(UnicastLink(interface="eth1", peer=peer) for peer in PEERS),
)
LINKS = {"pair": PAIR, "every-kind": EVERY_KIND}


def say(line: dict[str, object]) -> None:
    """Print a line for the test to read."""
    sys.stdout.write(json.dumps(line, default=dataclasses.asdict) + "\n")
    sys.stdout.flush()


class PrintingBus(MemoryBus):
    """Prints what is published."""

    def publish(self, event: Event, *, cause: str | None = None) -> str:
        fields = {name: getattr(event, name) for name in field_names(type(event))}
        say({"kind": event.kind, **fields})
        return super().publish(event, cause=cause)


async def main(name: str, directory: Path, links: Sequence[HeartbeatLink]) -> None:
    """Run until SIGTERM."""
    hub, cluster = MemoryHub(), cluster_of("a", "b", timers=TIMERS)
    membership = dataclasses.replace(cluster.membership, links=tuple(links))
    cluster = dataclasses.replace(cluster, membership=membership)
    bus = PrintingBus(hub, node=name, service="membership", clock=time.monotonic)
    hub.buses.append(bus)
    vip = FakeVip(hub.bus(node=name, service="vip", clock=time.monotonic))
    state_file = files.StateFile(directory)
    service = MembershipService(
        node=name,
        cluster=cluster,
        incarnation=state_file.next_incarnation(wall_ms=time.time_ns() // 1_000_000),
        boot_id=files.read_boot_id(),
        bus=bus,
        links=links_of(cluster),
        lease_file=files.LeaseFile(directory, boot_id=files.read_boot_id()),
        state_file=state_file,
        vote_file=files.VoteFile(directory, boot_id=files.read_boot_id()),
        log=log.logger(node=name),
    )
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)

    def ready() -> None:
        say({"kind": "ready"})

    async def report() -> None:
        while True:
            vip.bus.publish_state()
            state = service.snapshot()
            peer = state.directors[1]
            if peer.status is DirectorStatus.ALIVE:
                heard = [link.name for link in state.links if link.heard]
                problems = {link.name: link.problem for link in state.links}
                say(
                    {
                        "kind": "links",
                        "heard": heard,
                        "problems": problems,
                        "dropped": state.dropped,
                    }
                )
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        reporting = tasks.create_task(report())
        await service.run(stopping, on_ready=ready)
        reporting.cancel()


if __name__ == "__main__":
    log.configure(level="info")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        try:
            loop.run(main(sys.argv[1], Path(sys.argv[2]), LINKS[sys.argv[3]]))
        except ExceptionGroup as group:  # not except*: Python 3.11.2 would wrap the SystemExit
            ours, others = group.split(MachineError)
            if ours is None or others is not None:
                raise
            sys.exit(runner.fail("netns_director", ours.exceptions[0], runner.EXIT_MACHINE))
