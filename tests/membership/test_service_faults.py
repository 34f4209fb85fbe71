"""The shell where something is wrong: fences, replays over a restart, other files, a stuck loop."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from heartbus.events import (
    ConfigSkew,
    DirectorStatus,
    GroupGranted,
    HoldStatus,
    MembershipState,
    NodeFenced,
    NodeUnfenced,
)
from heartbus.guards import Fence
from heartbus.model import Cluster, Failback
from heartbus_membership import agreement, fence_policy, watchdog_policy
from heartbus_membership import service as shell
from heartbus_membership.guard import Guard
from heartbus_membership.signing import Keyring
from heartbus_membership.wire import decode
from tests.membership.fakes import (
    FAST,
    KEYS,
    Bench,
    RunningDirector,
    bench,
    cluster_of,
    until,
)


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


def state(director: RunningDirector) -> MembershipState:
    return director.service.snapshot()


def holds(director: RunningDirector) -> bool:
    return bool(state(director).leases)


def said(director: RunningDirector, *kinds: type) -> int:
    return sum(isinstance(event, kinds) for event in director.bus.published)


async def pair(
    table: Bench, cluster: Cluster, other: Cluster | None = None
) -> tuple[RunningDirector, RunningDirector]:
    """Two directors; the first one holds the group, the second one stands by."""
    first, second = table.start("a", cluster), table.start("b", other or cluster)
    await until(lambda: holds(first))
    first.vip.hold(HoldStatus.HELD, 1)
    await until(lambda: state(second).groups[0].holder == "a" and state(first).directors[1].ready)
    return first, second


def with_membership(cluster: Cluster, **settings: object) -> Cluster:
    return replace(cluster, membership=replace(cluster.membership, **settings))  # type: ignore[arg-type]


# --- fences --------------------------------------------------------------------------------------


@pytest.fixture
def fence(tmp_path: Path) -> Callable[[str], Fence]:
    """Make a fence of director a, a shell script that logs its calls to ``fenced``."""

    def make(script: str) -> Fence:
        path = tmp_path / "fence"
        path.write_text(f"#!/bin/sh\necho called >>{tmp_path}/fenced\n{script}\n")
        path.chmod(0o755)
        return Fence(director="a", command=str(path))

    return make


async def killed(table: Bench, fence: Fence) -> RunningDirector:
    """Return a standby whose active director has just been killed with its whole host."""
    first, second = await pair(table, with_membership(cluster_of("a", "b"), fences=(fence,)))
    first.vip.bus.disconnect()
    await first.kill()
    return second


@pytest.mark.real_time
async def test_a_dead_director_is_fenced_before_what_it_held_is_taken(
    table: Bench, tmp_path: Path, fence: Callable[[str], Fence]
) -> None:
    gate = tmp_path / "gate"
    second = await killed(table, fence(f"until test -e {gate}; do sleep 0.01; done"))
    await until((tmp_path / "fenced").exists)
    await asyncio.sleep(5 * FAST.deadtime_s)  # long enough to take over, were it allowed
    assert not holds(second)
    gate.touch()
    await until(lambda: holds(second))
    kinds = [type(e) for e in second.bus.published if isinstance(e, NodeFenced | GroupGranted)]
    assert kinds == [NodeFenced, GroupGranted]


@pytest.mark.real_time
async def test_a_fence_that_fails_forbids_the_takeover_until_one_succeeds(
    table: Bench,
    tmp_path: Path,
    fence: Callable[[str], Fence],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fence_policy, "RETRY_FIRST_S", 0.05)
    monkeypatch.setattr(fence_policy, "RETRY_MAX_S", 0.05)
    second = await killed(table, fence(f"test -e {tmp_path}/repaired"))
    calls = tmp_path / "fenced"
    await until(lambda: calls.exists() and len(calls.read_text().split()) >= 4)
    assert not holds(second)
    assert said(second, NodeUnfenced) >= 3
    assert said(second, GroupGranted) == 0
    (tmp_path / "repaired").touch()
    await until(lambda: holds(second))
    assert said(second, NodeFenced) == 1


# --- recordings ----------------------------------------------------------------------------------


async def test_what_was_heard_before_our_restart_is_a_replay_after_it(table: Bench) -> None:
    """The marks are on disk: a recording of a peer that is gone brings nobody back to life."""
    cluster = cluster_of("a", "b")
    first, second = await pair(table, cluster)
    assert said(second, GroupGranted) == 0
    recorded = list(first.links.sent)
    first.vip.bus.disconnect()
    await first.kill()
    recorded += first.links.sent[len(recorded) :]
    await second.kill()
    again = table.start("b", cluster, vip=second.vip)
    for datagram in recorded:
        again.links.arrive(datagram)
    await until(lambda: state(again).dropped.get("replayed", 0) == len(recorded))
    assert state(again).directors[1].status is not DirectorStatus.ALIVE
    await until(lambda: holds(again))  # initdead is over: the recording has not held it back


async def test_a_recording_of_the_living_keeps_nobody_alive(table: Bench) -> None:
    first, second = await pair(table, cluster_of("a", "b"))
    first.vip.bus.disconnect()
    await first.kill()
    recorded = list(first.links.sent)

    async def replay() -> None:
        while True:
            for datagram in recorded[-20:]:
                second.links.arrive(datagram)
            await asyncio.sleep(FAST.keepalive_s)

    replaying = asyncio.create_task(replay())
    await until(lambda: holds(second), within_s=5.0)  # never, if one of them were believed
    replaying.cancel()


# --- other files ---------------------------------------------------------------------------------


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference counts after 0.1 s."""
    monkeypatch.setattr(agreement, "SETTLE_S_MIN", 0.1)


@pytest.mark.usefixtures("soon")
async def test_each_director_says_that_and_in_what_the_other_differs_until_it_agrees(
    table: Bench,
) -> None:
    ours = cluster_of("a", "b")
    theirs = with_membership(ours, failback=Failback.ON)
    first, second = await pair(table, ours, theirs)
    for director, peer in ((first, "b"), (second, "a")):
        await until(lambda: bool(state(director).config_differences))  # noqa: B023
        (difference,) = state(director).config_differences
        assert (difference.director, difference.differs) == (peer, ("takeover rules",))
    assert [e.differs for e in first.bus.published if isinstance(e, ConfigSkew)] == [
        ("takeover rules",)
    ]
    assert holds(first)
    assert not holds(second)
    assert said(second, GroupGranted) == 0, "skew is no reason to take over"

    await second.kill()
    again = table.start("b", ours, vip=second.vip)
    await until(lambda: not state(first).config_differences)
    assert [e.agreed for e in first.bus.published if isinstance(e, ConfigSkew)] == [False, True]
    await until(lambda: state(again).directors[1].status is DirectorStatus.ALIVE)
    assert state(again).config_differences == ()
    last = decode(first.links.sent[-1], Keyring(KEYS))
    assert last.config_parts == b"", "agreement costs no bytes"


# --- watchdog ------------------------------------------------------------------------------------


class CountingDog:
    """Counts how often it is fed, and says how it was closed."""

    def __init__(self, _path: str) -> None:
        self.feeds = 0
        self.disarmed: bool | None = None

    def open(self, timeout_s: int) -> int:
        return timeout_s

    def feed(self) -> None:
        self.feeds += 1

    def close(self, *, disarm: bool) -> None:
        if self.disarmed is None:
            self.disarmed = disarm


@pytest.fixture
def dog(monkeypatch: pytest.MonkeyPatch) -> CountingDog:
    """A watchdog of one second, fed every quarter of it."""
    made = CountingDog("/dev/watchdog")
    monkeypatch.setattr(watchdog_policy, "TIMEOUT_MIN_S", 1)
    monkeypatch.setattr(shell, "Guard", functools.partial(Guard, device=lambda _path: made))
    return made


GUARDED = with_membership(cluster_of("a", "b"), watchdog="/dev/watchdog")


async def test_the_watchdog_starves_when_membership_is_stuck_though_its_process_turns(
    table: Bench, dog: CountingDog, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = table.start("a", GUARDED)
    await until(lambda: dog.feeds >= 2)

    stuck = asyncio.Event()

    async def never(_due_s: float) -> None:
        stuck.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(alone.service, "_sleep_until", never)
    await stuck.wait()
    fed = dog.feeds
    await asyncio.sleep(1.2)  # longer than the device waits
    assert dog.feeds == fed
    assert not alone.task.done()
    assert dog.disarmed is None


async def test_a_turn_that_fails_leaves_the_watchdog_counting(
    table: Bench, dog: CountingDog, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = table.start("a", GUARDED)
    await until(lambda: dog.feeds >= 1)

    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(alone.links, "drain", broken)
    with pytest.raises(ExceptionGroup):
        await alone.task
    table.directors.remove(alone)
    assert dog.disarmed is False


async def test_a_clean_stop_disarms_the_watchdog(table: Bench, dog: CountingDog) -> None:
    alone = table.start("a", GUARDED)
    await until(lambda: dog.feeds >= 1)
    await alone.stop()
    assert dog.disarmed is True
