"""The shell: heartbeats, leases, the lease file, the bus and its loss, clean stop and kill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import structlog

from heartbus.events import (
    DirectorStatus,
    GroupGranted,
    GroupRevoked,
    HoldStatus,
    LinkDown,
    MembershipState,
    NodeAlive,
    NodeDead,
    NodeLate,
    NodeLeft,
    PingNodeUp,
    PingStatus,
)
from heartbus.icmp import Address
from heartbus.model import PingNode, ScriptResource
from heartbus_membership import leases as files
from heartbus_membership import pinging
from heartbus_membership import service as shell
from heartbus_membership.signing import Keyring
from heartbus_membership.wire import decode
from tests.membership.fakes import (
    FAST,
    GROUP,
    KEYS,
    Bench,
    FakeIcmp,
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


def written(director: RunningDirector) -> files.LeaseDocument:
    raw = (director.directory / "leases.json").read_bytes()
    return msgspec.json.decode(raw, type=files.LeaseDocument)


async def pair(table: Bench) -> tuple[RunningDirector, RunningDirector]:
    cluster = cluster_of("a", "b")
    first, second = table.start("a", cluster), table.start("b", cluster)
    await until(lambda: holds(first))
    first.vip.hold(HoldStatus.HELD, 1)
    await until(lambda: state(second).groups[0].holder == "a")
    return first, second


async def test_two_directors_hear_each_other_and_the_preferred_one_is_granted(
    table: Bench,
) -> None:
    first, second = await pair(table)
    assert [d.status for d in state(second).directors] == [DirectorStatus.ALIVE] * 2
    assert state(first).leases[0].epoch == 1
    assert written(first).leases[0].group == GROUP
    assert written(second).leases == ()
    assert not holds(second)


async def test_heartbeats_leave_on_every_keepalive_and_none_is_passed_over(table: Bench) -> None:
    timers = replace(FAST, keepalive_s=0.05, deadtime_s=0.5)
    alone = table.start("a", cluster_of("a", "b", timers=timers))
    await until(lambda: bool(alone.links.sent))
    alone.links.plugged = False  # not even its own broadcast wakes it up
    before = len(alone.links.sent)
    await asyncio.sleep(20 * timers.keepalive_s)
    assert 20 <= len(alone.links.sent) - before <= 21


async def test_death_is_taken_over_and_the_grant_names_its_cause(table: Bench) -> None:
    first, second = await pair(table)
    first.vip.bus.disconnect()  # the whole host is gone
    await first.kill()
    took_s = await until(lambda: holds(second))
    assert FAST.deadtime_s - FAST.keepalive_s < took_s < FAST.deadtime_s + FAST.keepalive_s
    dead = next(m for m in table.hub.messages if isinstance(m.body, NodeDead))
    granted = [m for m in table.hub.messages if isinstance(m.body, GroupGranted)][-1]
    assert granted.envelope.cause == dead.envelope.id
    assert state(second).leases[0].cause == granted.envelope.id
    kinds = [type(e) for e in second.bus.published if isinstance(e, NodeLate | NodeDead | LinkDown)]
    assert kinds == [NodeLate, NodeDead, LinkDown]


async def test_killed_membership_resumes_with_the_same_epoch_and_nothing_moves(
    table: Bench,
) -> None:
    first, second = await pair(table)
    await first.kill()
    await until(lambda: state(second).directors[1].status is DirectorStatus.LATE)
    await asyncio.sleep(FAST.deadtime_s)
    again = table.start("a", cluster_of("a", "b"), vip=first.vip)
    await until(lambda: state(second).directors[1].status is DirectorStatus.ALIVE)
    assert state(again).leases[0].epoch == 1
    assert not any(isinstance(e, NodeDead | GroupGranted) for e in second.bus.published)
    assert not any(isinstance(e, GroupGranted | GroupRevoked) for e in again.bus.published)


async def test_clean_stop_waits_for_vip_and_is_taken_over_at_once(table: Bench) -> None:
    first, second = await pair(table)
    first.stopping.set()
    await until(lambda: not holds(first))
    await asyncio.sleep(0.05)
    assert not holds(second), "taken before the address was gone"
    first.vip.hold(HoldStatus.RELEASED, 1)
    took_s = await until(lambda: holds(second))
    assert took_s < FAST.deadtime_s / 2
    await first.task
    assert written(first).leases == ()
    assert any(isinstance(e, NodeLeft) for e in second.bus.published)


async def test_a_stop_of_vip_alone_is_taken_over_while_membership_stays(table: Bench) -> None:
    first, second = await pair(table)
    await until(lambda: state(first).directors[1].ready)
    first.vip.hold(HoldStatus.RELEASED, 1, stopping=True)  # one report says both, and is the last
    took_s = await until(lambda: holds(second))
    assert took_s < FAST.deadtime_s / 2
    assert not first.task.done()
    assert not any(isinstance(e, NodeLeft) for e in second.bus.published)


async def scripted_pair(table: Bench) -> tuple[RunningDirector, RunningDirector]:
    cluster = cluster_of("a", "b", lease_s=0.2)
    (group,) = cluster.groups
    group = replace(group, resources=(*group.resources, ScriptResource(script="slow")))
    cluster = replace(cluster, groups=(group,))
    first, second = table.start("a", cluster), table.start("b", cluster)
    await until(lambda: holds(first))
    first.vip.hold(HoldStatus.HELD, 1)
    await until(lambda: state(second).groups[0].holder == "a")
    return first, second


@pytest.mark.parametrize("vip_stops_too", [False, True])
async def test_clean_stop_does_not_leave_while_vip_still_stops(
    table: Bench, monkeypatch: pytest.MonkeyPatch, vip_stops_too: bool
) -> None:
    monkeypatch.setattr(shell, "STOP_WAIT_S", 0.05)
    first, second = await scripted_pair(table)
    first.vip.hold(HoldStatus.STOPPING, 1, stopping=vip_stops_too)
    first.stopping.set()
    await until(lambda: not holds(first))
    await asyncio.sleep(0.2 + 2 * FAST.deadtime_s)  # much longer than the lease
    assert not holds(second)
    assert not first.task.done()
    first.vip.hold(HoldStatus.RELEASED, 1, stopping=vip_stops_too)
    await until(lambda: holds(second))
    await first.task
    assert any(isinstance(e, NodeLeft) for e in second.bus.published)


async def test_clean_stop_ends_without_a_word_if_vip_does_not_get_done(
    table: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "STOP_WAIT_S", 0.05)
    monkeypatch.setattr(shell, "STOP_BUSY_WAIT_S", 0.2)
    first, second = await scripted_pair(table)
    first.vip.hold(HoldStatus.STOPPING, 1)
    await first.stop()
    await until(lambda: any(isinstance(e, NodeDead) for e in second.bus.published))
    assert not any(isinstance(e, NodeLeft) for e in second.bus.published)


async def test_losing_the_bus_changes_nothing(table: Bench) -> None:
    first, second = await pair(table)
    first.bus.disconnect()
    second.bus.disconnect()
    await asyncio.sleep(2 * FAST.deadtime_s)
    assert holds(first)
    assert not holds(second)
    deadline_s = written(first).leases[0].deadline_monotonic_s
    await until(lambda: written(first).leases[0].deadline_monotonic_s > deadline_s)


async def test_garbage_and_replays_are_counted_and_change_nothing(table: Bench) -> None:
    first, second = await pair(table)
    old = first.links.sent[0]
    for datagram in (b"", b"garbage", old, old[:-1], bytes(2000)):
        second.links.arrive(datagram)
    await until(lambda: sum(state(second).dropped.values()) == 5)
    assert state(second).dropped == {"alien": 3, "replayed": 1, "forged": 1}
    assert state(second).directors[1].status is DirectorStatus.ALIVE


async def test_a_problem_of_a_link_is_told_once_and_its_end_too(
    table: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "REPAIR_PERIOD_S", 0.005)
    with structlog.testing.capture_logs() as lines:
        a = table.start("a", cluster_of("a", "b"))
        for a.links.problem in ("interface eth1: No such device", None):
            wanted = a.links.repairs + 5
            await until(lambda: a.links.repairs >= wanted)  # noqa: B023  # awaited here
            assert state(a).links[0].problem == a.links.problem
    assert [
        (line["event"], line["link"], line["problem"])
        for line in lines
        if line["event"].startswith("link.")
    ] == [
        ("link.unusable", "bcast:eth1", "interface eth1: No such device"),
        ("link.usable", "bcast:eth1", None),
    ]


async def test_what_links_lost_is_told_with_what_was_not_believed(table: Bench) -> None:
    a = table.start("a", cluster_of("a", "b"))
    a.links.lost["line-noise"] = 3
    a.links.arrive(b"noise")
    await until(lambda: state(a).dropped == {"alien": 1, "line-noise": 3})


async def test_what_came_over_a_line_goes_on_once_and_what_is_not_believed_never(
    table: Bench,
) -> None:
    c = table.start("c", cluster_of("a", "b", "c"))
    await until(lambda: len(c.links.sent) > 3)
    await c.kill()
    a = table.start("a", cluster_of("a", "b", "c"))
    first, second, third = c.links.sent[:3]
    for datagram, hops in ((first, 4), (first, 4), (second[:-1], 4), (second, 0), (third, 1)):
        a.links.arrive(datagram, hops=hops)
    await until(lambda: state(a).dropped == {"forged": 1, "replayed": 1})
    assert a.links.relayed == [(first, "bcast:eth1", 3)]


async def test_own_broadcast_is_passed_over_in_silence(table: Bench) -> None:
    director = table.start("a", cluster_of("a", "b"))
    await until(lambda: len(director.links.sent) > 3)
    assert state(director).dropped == {}


async def test_a_failed_start_is_handed_to_the_other_director(table: Bench) -> None:
    first, second = await pair(table)
    first.vip.hold(HoldStatus.FAILED, 1)
    await until(lambda: not holds(first))
    first.vip.hold(HoldStatus.RELEASED, 1)
    await until(lambda: holds(second))
    assert "start failed" in next(
        e.reason for e in first.bus.published if isinstance(e, GroupRevoked)
    )


async def test_one_heartbeat_a_keepalive_in_steady_state(table: Bench) -> None:
    first, _ = await pair(table)
    before = len(first.links.sent)
    await asyncio.sleep(20 * FAST.keepalive_s)
    assert 20 <= len(first.links.sent) - before <= 21


async def test_leaving_is_said_three_times_and_claims_nothing(table: Bench) -> None:
    director = table.start("a", cluster_of("a", "b"))
    await until(lambda: len(director.links.sent) > 1)
    await director.stop()
    last = [decode(d, Keyring(KEYS)) for d in director.links.sent[-3:]]
    assert all(beat.leaving for beat in last)
    assert len({beat.sequence for beat in last}) == 3


async def test_a_restarted_peer_is_announced_alive_with_its_new_incarnation(
    table: Bench,
) -> None:
    first, second = await pair(table)
    await first.kill()
    table.start("a", cluster_of("a", "b"), vip=first.vip)

    def seen() -> list[int]:
        alive = [e for e in second.bus.published if isinstance(e, NodeAlive)]
        return [e.incarnation for e in alive]

    await until(lambda: 2 in seen())


async def test_unwritable_lease_file_does_not_end_the_service(table: Bench) -> None:
    first, _ = await pair(table)
    (first.directory / "leases.json").unlink()
    (first.directory / "leases.json").mkdir()
    await asyncio.sleep(0.3)
    assert holds(first)


async def test_ping_nodes_are_asked_beside_the_heartbeats_and_shown(
    table: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = Address("192.0.2.254")
    icmp = FakeIcmp(answering={router})
    monkeypatch.setattr(pinging, "IcmpSockets", lambda: icmp)
    cluster = cluster_of("a")
    nodes = (PingNode(name="router", members=(router.text,)),)
    membership = replace(cluster.membership, ping_nodes=nodes, deadping_s=0.5)
    a = table.start("a", replace(cluster, membership=membership))
    await until(lambda: PingNodeUp in [type(event) for event in a.bus.published])
    (view,) = state(a).ping_nodes
    assert (view.name, view.status) == ("router", PingStatus.UP)
    assert view.members_heard == (router.text,)
    await a.stop()
    assert icmp.closed
