"""The watchdog in the shell: fed by turns alone, disarmed by a clean stop alone."""

from __future__ import annotations

import asyncio
import getpass
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from heartbus.events import ClientStatus, WatchdogView
from heartbus.model import Cluster, Fence, SupervisedClient
from heartbus_membership import clients as adapter
from heartbus_membership import service as shell
from heartbus_membership.guard import Guard
from heartbus_membership.watchdog import WatchdogDevice, WatchdogError
from tests.common.virtual_time import VirtualLoop
from tests.membership.fakes import Bench, RunningDirector, bench, cluster_of, until

DEVICE = "/dev/watchdog"


def now_s() -> float:
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class FakeDevice:
    """Notes what is done to it. ``problem``: why it cannot be opened."""

    counts_s: int = 1
    problem: str | None = None
    opened: list[int] = field(default_factory=list)
    feeds: list[float] = field(default_factory=list)
    closed: list[bool] = field(default_factory=list)

    def open(self, timeout_s: int) -> int:
        if self.problem is not None:
            raise WatchdogError(self.problem)
        self.opened.append(timeout_s)
        return self.counts_s

    def feed(self) -> None:
        if self.problem is not None:
            raise WatchdogError(self.problem)
        self.feeds.append(now_s())

    def close(self, *, disarm: bool) -> None:
        self.closed.append(disarm)


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    made = FakeDevice()
    monkeypatch.setattr(shell, "Guard", partial(Guard, device=lambda _path: made))
    return made


def guarded(cluster: Cluster, **fields: object) -> Cluster:
    membership = replace(cluster.membership, watchdog=DEVICE)
    return replace(cluster, membership=replace(membership, **fields))  # type: ignore[arg-type]


def start(table: Bench, **fields: object) -> RunningDirector:
    return table.start("a", guarded(cluster_of("a", "b"), **fields))


def view(director: RunningDirector) -> WatchdogView | None:
    return director.service.snapshot().watchdog


async def test_it_is_opened_by_the_first_turn_and_fed_by_later_ones(
    table: Bench, device: FakeDevice
) -> None:
    director = start(table)
    await until(lambda: len(device.feeds) == 3)
    assert device.opened == [5]
    gaps = [b - a for a, b in itertools.pairwise(device.feeds)]
    assert min(gaps) > 0.24, "fed more often than a quarter of the timeout"
    assert view(director) == WatchdogView(
        device=DEVICE,
        armed=True,
        timeout_s=1,
        problem="the driver counts 1 s instead of 5 s",
    )


async def test_a_loop_that_hangs_does_not_feed(table: Bench, device: FakeDevice) -> None:
    start(table)
    await until(lambda: len(device.feeds) == 1)
    hung_s = now_s()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.hang(1.0)  # this is the defect under test
    await until(lambda: len(device.feeds) >= 2)
    assert not [at for at in device.feeds if hung_s < at < hung_s + 1.0]


async def test_a_turn_that_fails_ends_membership_and_leaves_the_watchdog_armed(
    table: Bench, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    director = start(table)
    await until(lambda: len(device.feeds) == 1)

    def fails(**_arguments: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(director.service._ownership, "tick", fails)
    failed_s = now_s()
    await asyncio.wait([director.task], timeout=2)
    assert isinstance(director.task.exception(), ExceptionGroup)
    table.directors.remove(director)
    assert not [at for at in device.feeds if at > failed_s]
    assert device.closed == [False]


async def test_a_clean_stop_disarms_it_and_feeds_no_more(table: Bench, device: FakeDevice) -> None:
    director = start(table)
    await until(lambda: len(device.feeds) == 1)
    await director.stop()
    assert device.closed == [True, False]
    shown = view(director)
    assert shown is not None
    assert not shown.armed
    fed = len(device.feeds)
    director.service._turn(due_s=now_s())
    assert (len(device.feeds), len(device.opened)) == (fed, 1)


async def test_a_kill_leaves_it_armed(table: Bench, device: FakeDevice) -> None:
    director = start(table)
    await until(lambda: len(device.feeds) == 1)
    await director.kill()
    assert device.closed == [False]


async def test_without_the_device_everything_else_works_and_the_snapshot_says_why(
    table: Bench, device: FakeDevice
) -> None:
    device.problem = "cannot open /dev/watchdog: No such file or directory"
    director = start(table)
    await until(lambda: bool(director.service.snapshot().leases))
    assert view(director) == WatchdogView(
        device=DEVICE, armed=False, timeout_s=5, problem=device.problem
    )
    await director.stop()
    assert device.closed == [False]


@pytest.mark.real_time
async def test_clients_start_with_membership_and_a_slow_end_of_theirs_resets_nobody(
    table: Bench, device: FakeDevice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deaf = tmp_path / "deaf"
    monkeypatch.setattr(adapter, "STOP_S", 0.3)
    client = SupervisedClient(
        user=getpass.getuser(),
        command=f"/bin/sh -c 'trap : TERM; >{deaf}; while :; do wait; sleep 1; done'",
    )
    director = start(table, clients=(client,))
    await until(
        lambda: director.service.snapshot().clients[0].status is ClientStatus.RUNNING,
    )
    await until(lambda: deaf.exists())
    director.stopping.set()
    await until(lambda: device.closed == [True])
    assert director.service.snapshot().clients[0].status is ClientStatus.RUNNING
    await director.task
    assert director.service.snapshot().clients[0].status is ClientStatus.STOPPED


@pytest.mark.real_time
async def test_a_director_that_is_heard_or_leaves_needs_no_fence_any_more(
    table: Bench, tmp_path: Path
) -> None:
    agent = tmp_path / "agent"
    agent.write_text("#!/bin/sh\n")
    agent.chmod(0o755)
    cluster = cluster_of("a", "b")
    fences = (Fence(director="b", command=str(agent)),)
    cluster = replace(cluster, membership=replace(cluster.membership, fences=fences))
    first, second = table.start("a", cluster), table.start("b", cluster)
    guard = first.service.guard
    await until(lambda: bool(first.service.snapshot().leases))
    await second.kill()
    await until(lambda: str(first.service.snapshot().directors[1].status) == "dead")
    guard.fence_wanted("b", cause=None)
    await until(lambda: guard.fences.is_fenced("b"))
    second = table.start("b", cluster)
    await until(lambda: not guard.fences.is_fenced("b"))
    guard.fence_wanted("b", cause=None)
    await until(lambda: guard.fences.is_fenced("b"))
    second.vip.hold(second.vip.state.groups[0].status, 0)
    await second.stop()
    await until(lambda: not guard.fences.is_fenced("b"))


# --- the adapter where there is no watchdog ------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/dev/no-such-watchdog", "cannot open /dev/no-such-watchdog: No such file or directory"),
        ("/etc/passwd", "/etc/passwd is no device"),
        ("/dev/null", "/dev/null is no watchdog: Inappropriate ioctl for device"),
    ],
)
def test_what_is_no_watchdog_is_refused_in_words(path: str, words: str) -> None:
    device = WatchdogDevice(path)
    with pytest.raises(WatchdogError) as caught:
        device.open(5)
    assert str(caught.value) == words
    device.close(disarm=True)
