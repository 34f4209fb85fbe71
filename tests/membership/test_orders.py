"""standby, takeover and failback: refused before anything changes, or done and answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from heartbus.events import (
    CommandOutcome,
    DirectorStatus,
    FailBack,
    GroupGranted,
    GroupRevoked,
    GroupScope,
    HoldStatus,
    QuorumGained,
    QuorumLost,
    Rung,
    Standby,
    TakeOver,
)
from heartbus.model import Cluster, Director, Failback
from tests.membership.fakes import FAST, GROUP, Bench, RunningDirector, bench, cluster_of, until


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


def holder(director: RunningDirector) -> str | None:
    return director.service.snapshot().groups[0].holder


def obedient(director: RunningDirector) -> None:
    """Let the vip of a director follow its leases, as the real one does."""

    def follow() -> None:
        leases = director.service.snapshot().leases
        status = HoldStatus.HELD if leases else HoldStatus.RELEASED
        epoch = leases[0].epoch if leases else director.vip.state.groups[0].epoch
        if director.vip.state.groups[0].status is not status:
            director.vip.hold(status, epoch)

    async def forever() -> None:
        while not director.task.done():
            follow()
            await asyncio.sleep(0.002)

    director.task.add_done_callback(lambda _done: task.cancel())
    task = asyncio.get_running_loop().create_task(forever())


async def started(table: Bench, cluster: Cluster) -> list[RunningDirector]:
    directors = [table.start(d.name, cluster) for d in cluster.directors]
    for director in directors:
        obedient(director)
    await until(lambda: {holder(d) for d in directors} == {"a"})
    return directors


async def test_standby_moves_the_group_and_it_stays_there_with_failback(table: Bench) -> None:
    a, b = await started(table, cluster_of("a", "b", failback=Failback.ON))
    outcome = await a.bus.command(Standby(), timeout_s=5.0)
    assert outcome.done
    assert outcome.holders == {GROUP: "b"}
    assert outcome.message == "moved"
    assert 0 < outcome.took_s < 1.0
    await asyncio.sleep(1.5)  # longer than a failback settles; nothing may happen
    assert {holder(a), holder(b)} == {"b"}


async def test_takeover_brings_it_back_and_waits_until_vip_holds_it(table: Bench) -> None:
    a, b = await started(table, cluster_of("a", "b"))
    await a.bus.command(Standby(), timeout_s=5.0)
    outcome = await a.bus.command(TakeOver(), timeout_s=5.0)
    assert outcome.done, outcome.message
    assert outcome.holders == {GROUP: "a"}
    assert a.vip.state.groups[0].status is HoldStatus.HELD
    again = await a.bus.command(TakeOver(), timeout_s=5.0)
    assert again.done
    assert again.message == "a holds all of them already"
    assert holder(b) == "a"


async def test_a_standby_that_takes_the_other_one_too_long_is_tried_again(table: Bench) -> None:
    a, b = table.start("a", cluster_of("a", "b")), table.start("b", cluster_of("a", "b"))
    obedient(a)
    await until(lambda: {holder(a), holder(b)} == {"a"})
    order = asyncio.create_task(a.bus.command(Standby(), timeout_s=10.0))
    await until(lambda: any("kept" in e.reason for e in granted(a)))
    assert not order.done()
    obedient(b)  # its vip is slow no more
    outcome = await order
    assert (outcome.done, outcome.message) == (True, "moved")
    assert {holder(a), holder(b)} == {"b"}


async def test_a_standby_that_cannot_be_done_in_time_says_so_and_ends(table: Bench) -> None:
    a, b = table.start("a", cluster_of("a", "b")), table.start("b", cluster_of("a", "b"))
    obedient(a)
    await until(lambda: {holder(a), holder(b)} == {"a"})
    outcome = await a.bus.command(Standby(), timeout_s=2.0)
    assert not outcome.done
    assert outcome.message.startswith("not moved within ")
    assert outcome.message.endswith("s: the other director did not take it in time")
    assert outcome.holders == {GROUP: "a"}
    before = len(granted(a))
    await asyncio.sleep(1.5)  # longer than until another try; nothing may happen
    assert len(granted(a)) == before


def granted(director: RunningDirector) -> list[GroupGranted]:
    return [e for e in director.bus.published if isinstance(e, GroupGranted)]


async def test_a_standby_outlives_kill_9_of_membership_until_a_takeover(table: Bench) -> None:
    cluster = cluster_of("a", "b", failback=Failback.ON)
    a, b = await started(table, cluster)
    await a.bus.command(Standby(), timeout_s=5.0)
    await a.kill()
    again = table.start("a", cluster, vip=a.vip)
    obedient(again)
    await until(lambda: {holder(again), holder(b)} == {"b"})
    await asyncio.sleep(1.5)  # longer than a failback settles; nothing may happen
    assert {holder(again), holder(b)} == {"b"}
    outcome = await again.bus.command(TakeOver(), timeout_s=5.0)
    assert outcome.done, outcome.message
    assert holder(again) == "a"


async def test_failback_gives_groups_to_the_director_they_prefer(table: Bench) -> None:
    a, b = await started(table, cluster_of("a", "b"))
    await b.bus.command(TakeOver(), timeout_s=5.0)
    await until(lambda: holder(a) == "b")
    outcome = await b.bus.command(FailBack(), timeout_s=5.0)
    assert outcome.done, outcome.message
    assert outcome.holders == {GROUP: "a"}


async def test_scopes_are_seen_from_the_director_that_is_told(table: Bench) -> None:
    a, b = await started(table, cluster_of("a", "b"))
    outcome = await a.bus.command(Standby(scope=GroupScope.FOREIGN), timeout_s=5.0)
    assert (outcome.done, outcome.holders) == (True, {})
    assert holder(b) == "a"
    outcome = await a.bus.command(Standby(scope=GroupScope.LOCAL), timeout_s=5.0)
    assert outcome.holders == {GROUP: "b"}


async def test_standby_without_anybody_to_take_over_changes_nothing(table: Bench) -> None:
    a, b = await started(table, cluster_of("a", "b"))
    b.vip.bus.disconnect()
    await b.kill()
    await until(lambda: a.service.snapshot().directors[1].status is DirectorStatus.DEAD)
    before = list(a.bus.published)
    outcome = await a.bus.command(Standby(), timeout_s=5.0)
    assert not outcome.done
    assert outcome.message == f"refused: no other director is ready to take {GROUP}"
    await asyncio.sleep(5 * FAST.keepalive_s)
    assert holder(a) == "a"
    assert not [e for e in a.bus.published[len(before) :] if isinstance(e, GroupRevoked)]


async def test_after_standby_a_dead_peer_is_replaced_all_the_same(table: Bench) -> None:
    a, b = await started(table, cluster_of("a", "b"))
    await a.bus.command(Standby(), timeout_s=5.0)
    b.vip.bus.disconnect()
    await b.kill()
    await until(lambda: holder(a) == "a")


async def test_a_takeover_that_cannot_be_held_is_refused(table: Bench) -> None:
    _, b = await started(table, cluster_of("a", "b"))
    b.vip.hold(HoldStatus.RELEASED, 0, stopping=True)
    await until(lambda: not b.service.snapshot().directors[0].ready)
    outcome = await b.bus.command(TakeOver(), timeout_s=5.0)
    assert not outcome.done
    assert outcome.message == f"refused: b cannot hold {GROUP}: vip is stopping"


async def test_a_takeover_that_nobody_answers_ends_with_its_deadline(table: Bench) -> None:
    a, b = await started(table, cluster_of("a", "b"))
    a.links.plugged = False
    outcome = await b.bus.command(TakeOver(), timeout_s=FAST.deadtime_s / 4)
    assert not outcome.done
    assert "not taken over within" in outcome.message
    a.links.plugged = True
    await asyncio.sleep(10 * FAST.keepalive_s)
    assert holder(b) == "a", "what was given up must not happen later"


async def test_two_takeovers_at_once_end_with_one_holder(table: Bench) -> None:
    a, b = await started(table, cluster_of("a", "b"))

    async def move(director: RunningDirector) -> CommandOutcome:
        return await director.bus.command(TakeOver(), timeout_s=2.0)

    await asyncio.gather(move(b), move(a), move(b))
    await until(lambda: holder(a) == holder(b) and holder(a) is not None)
    granted = [e.epoch for d in (a, b) for e in d.bus.published if isinstance(e, GroupGranted)]
    assert len(granted) == len(set(granted))


def with_witness(*, lease_s: float = 0.2) -> Cluster:
    cluster = cluster_of("a", "b", lease_s=lease_s)
    return replace(cluster, witnesses=(Director(name="w"),))


async def test_with_a_witness_the_majority_lives_and_its_loss_is_told(table: Bench) -> None:
    cluster = with_witness()
    witness = table.start("w", cluster)
    a, b = await started(table, cluster)
    assert any(isinstance(e, QuorumGained) for e in a.bus.published)
    views = {d.name: d.witness for d in a.service.snapshot().directors}
    assert views == {"a": False, "b": False, "w": True}
    assert witness.service.snapshot().leases == ()

    a.links.plugged = False
    await until(lambda: holder(b) == "b")
    await until(lambda: any(isinstance(e, QuorumLost) for e in a.bus.published))
    lost = [e for e in a.bus.published if isinstance(e, QuorumLost)]
    assert lost == [QuorumLost(heard=1, voters=3)]
    assert a.service.snapshot().leases == ()
    assert a.service.snapshot().rung is Rung.MINORITY
    assert b.service.snapshot().quorum is True

    a.links.plugged = True
    await until(lambda: a.service.snapshot().quorum is True)
    await until(lambda: holder(a) == "b")
    outcome = await a.bus.command(TakeOver(), timeout_s=5.0)
    assert outcome.done, outcome.message


async def test_votes_survive_a_restart_of_the_witness(table: Bench) -> None:
    cluster = with_witness(lease_s=0.5)
    witness = table.start("w", cluster)
    a, b = await started(table, cluster)
    await witness.kill()
    b.links.plugged = False  # from now on a needs the witness
    table.start("w", cluster)
    await asyncio.sleep(3 * cluster.membership.lease_s)
    assert a.service.snapshot().leases
    assert len([e for e in a.bus.published if isinstance(e, GroupGranted)]) == 1


async def test_what_cannot_be_written_is_not_promised(
    table: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = with_witness()
    witness = table.start("w", cluster)
    full = OSError(28, "No space left on device")

    def fail(*_arguments: object) -> None:
        raise full

    monkeypatch.setattr(witness.service._keeping._vote_file, "remember", fail)
    a, b = table.start("a", cluster), table.start("b", cluster)
    obedient(a)
    obedient(b)
    await until(lambda: {holder(a), holder(b)} == {"a"})
    b.links.plugged = False
    await until(lambda: not a.service.snapshot().leases)  # the witness is silent about its vote
    monkeypatch.undo()
    await until(lambda: bool(a.service.snapshot().leases), within_s=4.0)
