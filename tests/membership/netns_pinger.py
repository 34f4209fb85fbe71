"""A pinger with real sockets and a bus in memory; prints what it says. Run in a namespace.

Usage: python -m tests.membership.netns_pinger CONFIGURATION

CONFIGURATION is JSON: ``nodes``: [[name, members, ipv6], …], ``unprivileged``: whether to drop
every privilege first, as a service that was given none.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import msgspec
import uvloop

from heartbus import log
from heartbus.codec import field_names
from heartbus.events import Event
from heartbus.model import Authentication, Membership, PingNode, Timers
from heartbus.testing import MemoryBus, MemoryHub
from heartbus_membership.pinging import Pinger

NOBODY = 65534
TIMERS = Timers(keepalive_s=0.1, deadtime_s=0.7)


def say(line: dict[str, object]) -> None:
    """Print a line for the test to read."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class PrintingBus(MemoryBus):
    """Prints what is published."""

    def publish(self, event: Event, *, cause: str | None = None) -> str:
        fields = {name: getattr(event, name) for name in field_names(type(event))}
        say({"kind": event.kind, **fields})
        return super().publish(event, cause=cause)


async def main(nodes: tuple[PingNode, ...]) -> None:
    """Run until killed."""
    bus = PrintingBus(MemoryHub(), node="a", service="membership", clock=time.monotonic)
    membership = Membership(
        timers=TIMERS,
        authentication=Authentication(signing_key=1, keys=()),
        ping_nodes=nodes,
        deadping_s=0.7,
    )
    pinger = Pinger(membership, bus=bus, log=log.logger(node="a"))

    async def report() -> None:
        while True:
            views = msgspec.to_builtins(pinger.views())
            say({"kind": "views", "views": views, "reach": msgspec.to_builtins(pinger.reach)})
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(report())
        tasks.create_task(pinger.run())


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    asked = tuple(PingNode(name=n, members=tuple(m), ipv6=six) for n, m, six in wanted["nodes"])
    if wanted.get("unprivileged"):
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    log.configure(level="info")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main(asked))
