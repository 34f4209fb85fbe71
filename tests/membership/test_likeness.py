"""In what another director differs, and what an operator is told who moves a group to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heartbus.events import (
    Command,
    ConfigDifference,
    FailBack,
    IpvsDiffers,
    Standby,
    TakeOver,
)
from heartbus.testing import MemoryBus
from heartbus_membership.claims import Phase
from heartbus_membership.likeness import SERVICES_MAX, Likeness
from tests.membership.fakes import GROUP, Bench, bench, cluster_of, until
from tests.membership.test_handover import Bench as Pair
from tests.membership.test_orders import holder, started

WEB, MAIL = "192.168.7.110:80 tcp", "192.168.7.110:25 tcp"


def differs(service: str, *, director: str = "b", agreed: bool = False) -> IpvsDiffers:
    return IpvsDiffers(director=director, virtual_service=service, agreed=agreed)


def test_a_table_that_differs_is_a_reason_until_it_agrees() -> None:
    likeness = Likeness("a", ["b", "c"])
    assert likeness.why_not("b", ()) is None
    likeness.table_told(differs(WEB))
    assert likeness.why_not("b", ()) == f"its IPVS table differs from that of a: {WEB}"
    likeness.table_told(differs(MAIL))
    assert likeness.why_not("b", ()) == f"its IPVS table differs from that of a: {MAIL} and 1 more"
    assert likeness.why_not("c", ()) is None
    likeness.table_told(differs(WEB, agreed=True))
    likeness.table_told(differs(MAIL, agreed=True))
    assert likeness.why_not("b", ()) is None


def test_both_reasons_are_said_and_only_of_the_director_that_is_meant() -> None:
    likeness = Likeness("a", ["b"])
    likeness.table_told(differs(WEB))
    told = [
        ConfigDifference(director="b", theirs="x", differs=("timers", "resource groups")),
        ConfigDifference(director="c", theirs="y"),
    ]
    assert likeness.why_not("b", told) == (
        "its configuration differs from that of a (timers, resource groups) and"
        f" its IPVS table differs from that of a: {WEB}"
    )
    assert likeness.why_not("c", told) == "its configuration differs from that of a"


def test_what_is_remembered_is_bounded_and_forgotten_with_its_director() -> None:
    likeness = Likeness("a", ["b"])
    for number in range(SERVICES_MAX + 10):
        likeness.table_told(differs(str(number)))
        likeness.table_told(differs(WEB, director=f"stranger-{number}"))
    assert f"and {SERVICES_MAX - 1} more" in (likeness.why_not("b", ()) or "")
    likeness.gone("b")
    likeness.gone("stranger-1")
    assert likeness.why_not("b", ()) is None
    assert likeness.why_not("stranger-1", ()) is None


# --- the operator --------------------------------------------------------------------------------


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


def agent_of(table: Bench, node: str) -> MemoryBus:
    clock = asyncio.get_running_loop().time
    return table.hub.bus(node=node, service="ipvs-agent", clock=clock)


@pytest.mark.parametrize(("told", "command"), [("a", Standby), ("b", TakeOver)])
async def test_a_group_is_not_moved_to_an_unlike_director_unless_forced(
    table: Bench, told: str, command: type[Standby | TakeOver]
) -> None:
    directors = dict(zip("ab", await started(table, cluster_of("a", "b")), strict=True))
    other = "b" if told == "a" else "a"
    agent_of(table, told).publish(differs(WEB, director=other))
    await until(lambda: directors[told].service.unlike(other) is not None)
    asked: Command = command()
    bus = directors[told].bus
    outcome = await bus.command(asked, timeout_s=5.0)
    assert not outcome.done
    assert outcome.message == (
        f"refused: {GROUP} is not moved, {other} is not alike: its IPVS table differs from that of"
        f" {told}: {WEB}; --force moves it"
    )
    assert {holder(d) for d in directors.values()} == {"a"}
    assert (await bus.command(command(force=True), timeout_s=5.0)).done
    await until(lambda: {holder(d) for d in directors.values()} == {"b"})


async def test_what_the_agent_of_another_host_says_of_us_is_not_our_view(table: Bench) -> None:
    a, _ = await started(table, cluster_of("a", "b"))
    agent_of(table, "b").publish(differs(WEB, director="b"))
    agent_of(table, "a").publish(differs(MAIL, director="b"))
    await until(lambda: a.service.unlike("b") is not None)
    assert WEB not in (a.service.unlike("b") or "")
    agent_of(table, "a").publish(differs(MAIL, director="b", agreed=True))
    await until(lambda: a.service.unlike("b") is None)
    assert (await a.bus.command(Standby(), timeout_s=5.0)).done


async def test_failback_is_refused_too(table: Bench) -> None:
    _, b = await started(table, cluster_of("a", "b"))
    assert (await b.bus.command(TakeOver(), timeout_s=5.0)).done
    agent_of(table, "b").publish(differs(WEB, director="a"))
    await until(lambda: b.service.unlike("a") is not None)
    outcome = await b.bus.command(FailBack(), timeout_s=5.0)
    assert not outcome.done
    assert "a is not alike" in outcome.message


def test_to_an_unlike_director_a_group_is_released_first() -> None:
    pair = Pair()
    pair.cores["a"].unlike(["b"])
    pair.standby()
    seen = set()
    pair.run(3.0, lambda: seen.add(pair.phases))
    assert pair.phases == (Phase.NONE, Phase.HELD)
    assert not any(Phase.HANDING in phases or Phase.TAKING in phases for phases in seen)
