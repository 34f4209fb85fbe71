"""The shell of vip takes other groups up while it runs: what it holds, announces and tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from heartbus.events import HoldStatus, VipAcquired, VipReleased, VipRepaired, VipState
from heartbus.model import AddressResource, ResourceGroup
from heartbus_vip.regrouping import FORGET_S
from tests.vip.test_service import CLUSTER, GROUP, VIP, Stage

MORE = AddressResource(address="192.168.7.111", prefix_len=24)
BOTH = replace(CLUSTER, groups=(replace(GROUP, resources=(VIP, MORE)),))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10.0):
        while not condition():  # noqa: ASYNC110  # any condition, of any code under test
            await asyncio.sleep(0.005)


class Played:
    """A vip that holds its group, from enter to leave."""

    def __init__(self, tmp_path: Path) -> None:
        self.stage = Stage(tmp_path)

    async def __aenter__(self) -> Stage:
        stage = self.stage
        run = stage.service.run(stopping=stage.stopping, ready=stage.ready.set)
        self._task = asyncio.create_task(run)
        await stage.ready.wait()
        stage.say()
        await until(lambda: stage.kernel.held == {VIP})
        stage.bus.published.clear()
        return stage

    async def __aexit__(self, *_: object) -> None:
        self.stage.stopping.set()
        await self._task


def statuses(stage: Stage) -> list[dict[str, HoldStatus]]:
    states = [m.body for m in stage.hub.messages if isinstance(m.body, VipState)]
    return [{group.name: group.status for group in state.groups} for state in states]


async def test_an_address_comes_and_goes_and_the_other_one_is_never_taken_away(
    tmp_path: Path,
) -> None:
    async with Played(tmp_path) as stage:
        frames = len(stage.kernel.frames)
        stage.service.take_up(BOTH)
        await until(lambda: stage.kernel.held == {VIP, MORE})
        (acquired,) = [e for e in stage.bus.published if isinstance(e, VipAcquired)]
        assert acquired.addresses == (VIP.address, MORE.address)
        assert {address for address, _ in stage.kernel.frames[frames:]} == {MORE.address}
        stage.kernel.held.discard(MORE)  # somebody takes it away, and is told of
        await until(lambda: any(isinstance(e, VipRepaired) for e in stage.bus.published))
        assert stage.kernel.held == {VIP, MORE}
        stage.service.take_up(CLUSTER)
        await until(lambda: stage.kernel.held == {VIP})
        assert not [e for e in stage.bus.published if isinstance(e, VipReleased)]


async def test_the_same_groups_change_nothing(tmp_path: Path) -> None:
    async with Played(tmp_path) as stage:
        stage.service.take_up(replace(CLUSTER, source="elsewhere"))
        await stage.turned()
        assert stage.bus.published == []


async def test_a_group_that_goes_is_told_as_released_before_it_is_forgotten(
    tmp_path: Path,
) -> None:
    async with Played(tmp_path) as stage:
        other = ResourceGroup(name="other", preferred="b", resources=(MORE,))
        assert stage.service.planned(replace(CLUSTER, groups=(other,))) == (
            f"group other comes with {MORE.name}, prefers b",
            "group www goes, held here",
        )
        stage.service.take_up(replace(CLUSTER, groups=(other,)))
        await stage.turned()
        assert stage.kernel.held == {VIP}, "the lease stands"
        stage.say(epoch=None)
        await until(lambda: stage.kernel.held == set())
        await until(lambda: statuses(stage)[-1].get("www") is HoldStatus.RELEASED)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await until(lambda: statuses(stage)[-1] == {"other": HoldStatus.RELEASED})
        assert loop.time() - began_s > FORGET_S / 2
