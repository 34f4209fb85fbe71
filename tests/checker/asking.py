"""Asks one server once, the way that the checker does: plan, probe, deadline."""

from __future__ import annotations

import asyncio
from typing import Any

from heartbus.model import (
    Check,
    CheckService,
    CheckType,
    Endpoint,
    ForwardingMethod,
    RealServer,
    TransportProtocol,
    VirtualService,
)
from heartbus_checker.probes import Probe, ProbeResult
from heartbus_checker.probes.deadline import Deadlines
from heartbus_checker.probes.factory import make_probes
from heartbus_checker.probes.ping import Pings
from heartbus_checker.probes.stream import Streams
from heartbus_checker.targets import Target, plan_checks


class Asker:
    """All that probes need, on the running event loop."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.streams, self.pings = Streams(loop), Pings()
        self.deadlines = Deadlines(loop, drain=self.drain)

    def drain(self) -> None:
        self.streams.drain()
        self.pings.drain()

    async def ask(
        self,
        service: CheckService,
        endpoint: Endpoint,
        *,
        timeout_s: float = 10.0,
        udp: bool = False,
        **fields: Any,
    ) -> ProbeResult:
        """Negotiate with this server; ``fields`` are of the check."""
        check = Check(service=service, negotiate_timeout_s=timeout_s, **fields)
        return await self.check(check, endpoint, udp=udp)

    async def check(self, check: Check, endpoint: Endpoint, *, udp: bool = False) -> ProbeResult:
        """Carry out one check."""
        target, probe = self.probe(check, endpoint, udp=udp)
        return await self.run(probe, timeout_s=target.timeout_s)

    def probe(self, check: Check, endpoint: Endpoint, *, udp: bool = False) -> tuple[Target, Probe]:
        """Return target and probe of a check."""
        virtual = VirtualService(
            protocol=TransportProtocol.UDP if udp else TransportProtocol.TCP,
            endpoint=Endpoint(address="192.0.2.110", port=80),
            real_servers=(RealServer(endpoint=endpoint, forwarding=ForwardingMethod.GATE),),
            check=check,
        )
        plan = plan_checks((virtual,))
        (probe,) = make_probes(plan, streams=self.streams, node="linuxha1", pings=self.pings)
        return plan.targets[0], probe

    async def run(self, probe: Probe, *, timeout_s: float) -> ProbeResult:
        """Run a probe once under its deadline."""
        result: asyncio.Future[ProbeResult] = asyncio.get_running_loop().create_future()
        self.deadlines.begin(
            probe,
            timeout_s=timeout_s,
            finished=lambda outcome, _hung: result.set_result(outcome),
        )
        return await result

    def close(self) -> None:
        self.deadlines.close()
        self.streams.close()
        self.pings.close()


def negotiate(service: CheckService, **fields: Any) -> Check:
    return Check(type=CheckType.NEGOTIATE, service=service, **fields)
