"""The checker as a whole: events in order, bus lost and found, hanging neighbours."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from heartbus.bus import Inbox
from heartbus.events import (
    CheckerState,
    Health,
    Message,
    OverrideAction,
    RealServerDown,
    RealServerOverridden,
    RealServerUp,
    RealServerWeight,
    Verdict,
    VirtualServiceDown,
    VirtualServiceUp,
)
from heartbus.model import (
    Check,
    CheckingSettings,
    CheckType,
    RealServerName,
    VirtualService,
    VirtualServiceName,
)
from heartbus.testing import MemoryBus, MemoryHub
from heartbus_checker.maintenance import Maintenance
from heartbus_checker.probes import Attempt, Finished, Probe, ProbeResult
from heartbus_checker.probes.deadline import Deadlines
from heartbus_checker.probes.factory import make_probes
from heartbus_checker.probes.stream import Streams
from heartbus_checker.schedule import HUNG_SHARE_MAX
from heartbus_checker.service import Checker
from heartbus_checker.targets import plan_checks

from .builders import connect_check, http_check, real_server, virtual_service

WAIT_MAX_S = 10.0


class Switch:
    """A probe that passes or fails as the test says; counts how often it was begun."""

    def __init__(self) -> None:
        self.passes = True
        self.conclusive = True
        self.weight: int | None = None
        self.begun = 0
        self.told = asyncio.Event()

    def begin(self, finished: Finished) -> Attempt:
        self.begun += 1
        asyncio.get_running_loop().call_soon(self.tell, finished)
        return self

    def tell(self, finished: Finished) -> None:
        finished(
            ProbeResult(
                passed=self.passes,
                reason="as the test says",
                took_s=0.0,
                conclusive=self.conclusive,
                weight=self.weight,
            )
        )
        self.told.set()

    def expire(self, within_s: float) -> ProbeResult:
        return ProbeResult(passed=False, reason="expired", took_s=within_s)


class Bench:
    """A checker on a memory bus, and an observer that hears everything it says."""

    def __init__(
        self,
        *services: VirtualService,
        probes: list[Probe] | None = None,
        settings: CheckingSettings | None = None,
        streams: Streams | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.plan = plan_checks(services)
        self.switches = [Switch() for _ in self.plan.targets]
        hub = self.hub = MemoryHub()
        self.bus: MemoryBus = hub.bus(node="linuxha1", service="checker", clock=time.monotonic)
        self.heard = Inbox()
        observer = hub.bus(node="linuxha1", service="observer", clock=time.monotonic)
        observer.subscribe([">"], self.heard)
        self.streams = streams or Streams(loop)
        self.checker = Checker(
            self.plan,
            probes or list(self.switches),
            node="linuxha1",
            bus=self.bus,
            deadlines=Deadlines(loop, drain=self.streams.drain),
            rng=random.Random(1),
            settings=settings,
        )

    async def until(self, wanted: Callable[[Message], bool]) -> Message:
        """Return the next message that is wanted."""
        async with asyncio.timeout(WAIT_MAX_S):
            while True:
                message = await self.heard.get()
                if wanted(message):
                    return message

    async def events(self, count: int) -> list[Message]:
        """Return the next events, snapshots left out."""
        return [
            await self.until(lambda m: not isinstance(m.body, CheckerState)) for _ in range(count)
        ]

    async def snapshot(self) -> CheckerState:
        """Return the next snapshot."""
        message = await self.until(lambda m: isinstance(m.body, CheckerState))
        assert isinstance(message.body, CheckerState)
        return message.body

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        self.checker.start()
        try:
            yield self
        finally:
            self.checker.close()
            self.streams.close()


def three(check: Check | None = None) -> VirtualService:
    servers = [real_server(f"192.0.2.1{n}") for n in (1, 2, 3)]
    return virtual_service(*servers, check=check or http_check(interval_s=0.02, timeout_s=0.02))


def kinds(messages: list[Message]) -> list[str]:
    return [message.envelope.kind for message in messages]


async def test_the_first_verdicts_are_events_each_before_its_consequence() -> None:
    async with Bench(three()).running() as bench:
        events = await bench.events(4)
    assert kinds(events).count("realserver.up") == 3
    assert kinds(events)[:2] == ["realserver.up", "virtualservice.up"]
    assert events[1].envelope.cause == events[0].envelope.id


async def test_all_three_down_and_one_back() -> None:
    async with Bench(three()).running() as bench:
        await bench.events(4)
        for switch in bench.switches:
            switch.passes = False
        down = await bench.events(4)
        bench.switches[1].passes = True
        back = await bench.events(2)
    assert kinds(down) == ["realserver.down"] * 3 + ["virtualservice.down"]
    assert down[3].envelope.cause == down[2].envelope.id
    assert isinstance(down[0].body, RealServerDown)
    assert down[0].body.reason == "as the test says"
    assert kinds(back) == ["realserver.up", "virtualservice.up"]
    assert isinstance(back[0].body, RealServerUp)
    assert back[0].body.real_server == "192.0.2.12:80"


async def test_a_dead_service_is_reported_after_a_start() -> None:
    bench = Bench(three())
    for switch in bench.switches:
        switch.passes = False
    async with bench.running():
        events = await bench.events(4)
    assert isinstance(events[3].body, VirtualServiceDown)


async def test_the_snapshot_comes_with_the_change_and_names_its_event() -> None:
    async with Bench(three()).running() as bench:
        assert [v.health for v in (await bench.snapshot()).verdicts] == [Health.UNKNOWN] * 3
        up = await bench.until(lambda m: isinstance(m.body, RealServerUp))
        state = await bench.snapshot()
    assert isinstance(up.body, RealServerUp)
    verdicts = {v.real_server: v for v in state.verdicts}
    assert verdicts[up.body.real_server].health is Health.UP
    assert verdicts[up.body.real_server].cause == up.envelope.id
    assert len(verdicts) == 3


async def test_checks_go_on_without_the_bus_and_the_snapshot_tells_it_later() -> None:
    async with Bench(three()).running() as bench:
        await bench.events(4)
        bench.bus.disconnect()
        bench.switches[0].passes = False
        async with asyncio.timeout(WAIT_MAX_S):
            for _ in range(2):
                bench.switches[0].told.clear()
                await bench.switches[0].told.wait()
        while bench.heard.get_nowait() is not None:
            pass
        bench.bus.reconnect()
        state = await bench.snapshot()
    healths = {v.real_server: v.health for v in state.verdicts}
    assert healths["192.0.2.11:80"] is Health.DOWN
    assert healths["192.0.2.12:80"] is Health.UP


async def test_on_is_up_and_off_is_unknown_without_a_probe() -> None:
    on, off = Check(type=CheckType.ON), Check(type=CheckType.OFF)
    bench = Bench(three(on), replace(three(off), endpoint=replace(three().endpoint, port=81)))
    async with bench.running():
        state = await bench.snapshot()
        await asyncio.sleep(0.05)
    assert bench.plan.targets == ()
    assert [v.health for v in state.verdicts] == [Health.UP] * 3 + [Health.UNKNOWN] * 3
    assert sum(isinstance(e, VirtualServiceUp) for e in bench.bus.published) == 1


async def test_what_this_machine_lacks_changes_no_verdict() -> None:
    async with Bench(three()).running() as bench:
        await bench.events(4)
        switch = bench.switches[0]
        switch.passes, switch.conclusive = False, False
        async with asyncio.timeout(WAIT_MAX_S):
            for _ in range(5):
                switch.told.clear()
                await switch.told.wait()
    assert not any(isinstance(event, RealServerDown) for event in bench.bus.published)


async def test_after_closing_nothing_is_probed_and_nothing_published() -> None:
    async with Bench(three()).running() as bench:
        await bench.events(4)
    begun, published = [s.begun for s in bench.switches], len(bench.bus.published)
    await asyncio.sleep(0.1)
    assert [s.begun for s in bench.switches] == begun
    assert len(bench.bus.published) == published


class Counted:
    """A probe that counts how often it was begun."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.begun = 0
        self.begun_again, self.begun_twice = asyncio.Event(), asyncio.Event()

    def begin(self, finished: Finished) -> Attempt:
        self.begun += 1
        self.begun_again.set()
        if self.begun == 2:
            self.begun_twice.set()
        return self._probe.begin(finished)


async def test_a_dead_server_is_found_in_its_turn_however_many_others_hang(
    hanging: list[int],
) -> None:
    """Time is counted in checks of the others: a machine that is busy is slow for all of them.

    Many more hang than may run at once. Without a share of its own the mortal would wait until
    all that were due before it have run into their deadlines.
    """
    concurrent, interval_s = 16, 0.1
    hung = virtual_service(
        *(real_server("127.0.0.1", port) for port in hanging),
        check=http_check(interval_s=interval_s / 2, timeout_s=interval_s / 2),
        port=1,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        mortal = virtual_service(
            real_server("127.0.0.1", port),
            check=connect_check(interval_s=interval_s, timeout_s=interval_s),
            port=2,
        )
        streams = Streams(asyncio.get_running_loop())
        plan = plan_checks((hung, mortal))
        probes = [Counted(p) for p in make_probes(plan, streams=streams, node="linuxha1")]
        bench = Bench(
            hung,
            mortal,
            probes=list(probes),
            settings=CheckingSettings(concurrent=concurrent),
            streams=streams,
        )
        async with bench.running():
            await bench.until(lambda m: isinstance(m.body, RealServerUp))
            async with asyncio.timeout(WAIT_MAX_S):
                for probe in probes:  # by now the others are known to hang
                    await probe.begun_twice.wait()
            probes[-1].begun_again.clear()
            await asyncio.wait_for(probes[-1].begun_again.wait(), WAIT_MAX_S)
            listener.close()
            before = sum(probe.begun for probe in probes)
            down = await bench.until(lambda m: _is_down(m, f"127.0.0.1:{port}"))
            meanwhile = sum(probe.begun for probe in probes) - before
    assert isinstance(down.body, RealServerDown)
    assert "refused" in down.body.reason
    assert meanwhile <= 5 * int(concurrent * HUNG_SHARE_MAX) < len(hanging)


def _is_down(message: Message, real_server_name: str) -> bool:
    body = message.body
    return isinstance(body, RealServerDown) and body.real_server == real_server_name


async def test_a_recovered_server_starts_slowly_and_is_told_with_its_weight() -> None:
    check = replace(http_check(interval_s=0.05), slow_start_s=0.9)
    bench = Bench(virtual_service(replace(real_server(), weight=10), check=check))
    async with bench.running():
        up = (await bench.events(2))[0].body
        assert isinstance(up, RealServerUp)
        assert up.weight is None, "it was never down, for all that we know"
        bench.switches[0].passes = False
        await bench.events(2)
        bench.switches[0].passes = True
        up = (await bench.events(2))[0].body
        assert isinstance(up, RealServerUp)
        assert up.weight == 1
        weights: list[int | None] = [up.weight]
        while weights[-1] is not None:
            (step,) = await bench.events(1)
            assert isinstance(step.body, RealServerWeight)
            weights.append(step.body.weight)
        # A moment in which nobody ran us may leave out a step; the core's test has all of them.
        grown = [weight for weight in weights if weight is not None]
        assert grown == sorted(set(grown))
        assert grown[-1] < 10
        assert (await bench.snapshot()).verdicts[0].weight is None


async def test_the_server_may_ask_for_its_weight() -> None:
    bench = Bench(virtual_service(real_server(), check=http_check(interval_s=0.05)))
    bench.switches[0].weight = 4
    async with bench.running():
        up = (await bench.events(2))[0].body
        assert isinstance(up, RealServerUp)
        assert up.weight == 4
        bench.switches[0].weight = 0
        (weight,) = (m.body for m in await bench.events(1))
        assert isinstance(weight, RealServerWeight)
        assert (weight.weight, weight.reason) == (0, "the server asks for it")


async def test_doubt_is_settled_at_the_fast_interval() -> None:
    check = replace(http_check(interval_s=30.0, fall=3), fast_interval_s=0.05)
    bench = Bench(virtual_service(real_server(), check=check))
    bench.switches[0].passes = False
    async with bench.running():
        down = await bench.until(lambda m: isinstance(m.body, RealServerDown))
    assert isinstance(down.body, RealServerDown)
    assert down.body.reason == "as the test says (3 in a row)"


async def test_a_maintenance_file_takes_a_server_out_at_once(tmp_path: Path) -> None:
    check = replace(http_check(interval_s=0.05, fall=1000), maintenance_dir=str(tmp_path))
    bench = Bench(virtual_service(real_server(), check=check))
    maintenance = Maintenance(
        dict(bench.plan.maintenance),
        changed=bench.checker.maintenance_changed,
        clock=time.monotonic,
    )
    async with bench.running():
        await bench.events(2)
        for name in ("192.0.2.11:80", "192.0.2.11"):
            file = tmp_path / name
            file.touch()
            await maintenance.look()
            down = (await bench.events(2))[0].body
            assert isinstance(down, RealServerDown)
            assert down.reason == f"in maintenance: {file}"
            for _ in range(3):  # checks that pass
                bench.switches[0].told.clear()
                await bench.switches[0].told.wait()
            assert [v.health for v in bench.checker.state.verdicts] == [Health.DOWN]
            file.unlink()
            await maintenance.look()
            up = (await bench.events(2))[0].body
            assert isinstance(up, RealServerUp)


async def test_a_view_that_a_peer_contradicts_is_suspect_until_it_does_not() -> None:
    bench = Bench(three(http_check(interval_s=0.05)))
    for switch in bench.switches:
        switch.passes = False
    peer: MemoryBus = bench.hub.bus(node="linuxha2", service="checker", clock=time.monotonic)
    names = [v.real_server for v in bench.checker.state.verdicts]

    def seen(health: Health) -> CheckerState:
        return CheckerState(
            verdicts=tuple(
                Verdict(
                    virtual_service="tcp:192.0.2.110:80",
                    real_server=name,
                    health=health,
                    reason="",
                    since_s=0.0,
                )
                for name in names
            )
        )

    view = seen(Health.UP)
    peer.serve_state(lambda: view)
    async with bench.running():
        inbox = Inbox()
        bench.bus.subscribe(["state.*.checker"], inbox)
        listening = asyncio.ensure_future(bench.checker.listen(inbox))
        try:
            await bench.events(4)
            peer.publish_state()
            await bench.until(lambda m: isinstance(m.body, CheckerState) and bool(m.body.suspect))
            assert bench.checker.state.suspect == (
                "3 of 3 real servers are down from here, but linuxha2 sees 3 of them up"
            )
            view = seen(Health.DOWN)
            peer.publish_state()
            await bench.until(
                lambda m: (
                    isinstance(m.body, CheckerState)
                    and m.envelope.node == "linuxha1"
                    and m.body.suspect is None
                )
            )
        finally:
            listening.cancel()


async def test_an_unreadable_maintenance_directory_changes_nothing(tmp_path: Path) -> None:
    key = (VirtualServiceName("tcp:192.0.2.110:80"), RealServerName("192.0.2.11:80"))
    told: list[object] = []
    maintenance = Maintenance({key: str(tmp_path / "d")}, changed=told.append, clock=time.monotonic)
    await maintenance.look()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "192.0.2.11").touch()
    await maintenance.look()
    assert told == [{key: str(tmp_path / "d" / "192.0.2.11")}]
    (tmp_path / "d").rename(tmp_path / "gone")
    await maintenance.look()
    assert len(told) == 1


@pytest.mark.parametrize("ends", ["file", "operator"])
async def test_the_end_of_a_maintenance_ends_the_back_off_at_once(
    tmp_path: Path, ends: str
) -> None:
    check = replace(http_check(interval_s=0.05, fall=1), maintenance_dir=str(tmp_path))
    settings = CheckingSettings(backoff=1000, backoff_after_s=0.004)
    bench = Bench(virtual_service(real_server(), check=check), settings=settings)
    (switch,) = bench.switches
    switch.passes = False
    inbox = Inbox()
    agent: MemoryBus = bench.hub.bus(node="linuxha2", service="ipvs-agent", clock=time.monotonic)
    bench.bus.subscribe([RealServerOverridden.kind], inbox)
    maintenance = Maintenance(
        dict(bench.plan.maintenance),
        changed=bench.checker.maintenance_changed,
        clock=time.monotonic,
    )
    async with bench.running():
        listening = asyncio.ensure_future(bench.checker.listen(inbox))
        (tmp_path / "192.0.2.11").touch()
        await maintenance.look()
        while (bench.checker._schedule.next_due_s or 0.0) < time.monotonic() + 2 * WAIT_MAX_S:
            switch.told.clear()
            await switch.told.wait()
        switch.passes = True
        (tmp_path / "192.0.2.11").unlink()
        switch.told.clear()
        if ends == "file":
            await maintenance.look()
        else:
            agent.publish(
                RealServerOverridden(
                    server="192.0.2.11", service="", action=OverrideAction.ENABLE, weight=0
                )
            )
        await asyncio.wait_for(switch.told.wait(), WAIT_MAX_S)
        listening.cancel()
