"""Which events a result leads to."""

from __future__ import annotations

from dataclasses import replace

from heartbus.events import (
    Event,
    Health,
    RealServerDown,
    RealServerUp,
    VirtualServiceDown,
    VirtualServiceUp,
)
from heartbus.model import Check, CheckType, VirtualService
from heartbus_checker.targets import CheckPlan, plan_checks
from heartbus_checker.verdicts import Change, Verdicts

from .builders import http_check, real_server, virtual_service


class Cluster:
    """Verdicts of a few services, fed by the number of a target."""

    def __init__(self, *services: VirtualService) -> None:
        self.plan: CheckPlan = plan_checks(services)
        self.verdicts = Verdicts(self.plan, time_s=10.0)

    def result(self, number: int, *, passed: bool, time_s: float = 20.0) -> list[Change]:
        target = self.plan.targets[number]
        return self.verdicts.probe_finished(target, passed=passed, reason="why", time_s=time_s)

    def events(self, number: int, *, passed: bool) -> list[str]:
        return [_words(event) for event in _in_order(self.result(number, passed=passed))]

    @property
    def healths(self) -> list[Health]:
        return [health for _, health in self.verdicts.healths()]


def _in_order(changes: list[Change]) -> list[Event]:
    found: list[Event] = []
    for change in changes:
        found.append(change.real_server)
        found += [change.virtual_service] if change.virtual_service else []
    return found


def _words(event: Event) -> str:
    match event:
        case RealServerUp() | RealServerDown():
            return f"{event.kind} {event.virtual_service} {event.real_server}"
        case VirtualServiceUp() | VirtualServiceDown():
            return f"{event.kind} {event.virtual_service}"
        case _:
            raise AssertionError(event)


THREE = [real_server(f"192.0.2.1{n}") for n in (1, 2, 3)]
NAME = "tcp:192.0.2.110:80"


def test_the_first_server_up_brings_its_service_up_and_the_last_down_takes_it_down() -> None:
    cluster = Cluster(virtual_service(*THREE))
    assert cluster.events(0, passed=True) == [
        f"realserver.up {NAME} 192.0.2.11:80",
        f"virtualservice.up {NAME}",
    ]
    assert cluster.events(1, passed=True) == [f"realserver.up {NAME} 192.0.2.12:80"]
    assert cluster.events(0, passed=False) == [f"realserver.down {NAME} 192.0.2.11:80"]
    assert cluster.events(1, passed=False) == [
        f"realserver.down {NAME} 192.0.2.12:80",
        f"virtualservice.down {NAME}",
    ]
    assert cluster.events(2, passed=False) == [f"realserver.down {NAME} 192.0.2.13:80"]
    assert cluster.events(2, passed=True) == [
        f"realserver.up {NAME} 192.0.2.13:80",
        f"virtualservice.up {NAME}",
    ]


def test_after_a_start_a_service_is_down_once_all_its_servers_are() -> None:
    cluster = Cluster(virtual_service(*THREE))
    assert cluster.events(0, passed=False) == [f"realserver.down {NAME} 192.0.2.11:80"]
    assert cluster.events(1, passed=False) == [f"realserver.down {NAME} 192.0.2.12:80"]
    assert cluster.events(2, passed=False) == [
        f"realserver.down {NAME} 192.0.2.13:80",
        f"virtualservice.down {NAME}",
    ]


def test_a_shared_server_counts_failures_for_each_service_on_its_own() -> None:
    cluster = Cluster(
        virtual_service(THREE[0], check=http_check(fall=1), port=1),
        virtual_service(THREE[0], check=http_check(fall=3), port=2),
    )
    cluster.result(0, passed=True)
    assert len(cluster.plan.targets) == 1
    down: list[list[str]] = [cluster.events(0, passed=False) for _ in range(3)]
    assert [[w.split()[1] for w in words if w.startswith("real")] for words in down] == [
        ["tcp:192.0.2.110:1"],
        [],
        ["tcp:192.0.2.110:2"],
    ]


def test_an_unchanged_verdict_is_no_news() -> None:
    cluster = Cluster(virtual_service(*THREE))
    cluster.result(0, passed=True)
    before = cluster.verdicts.snapshot
    assert cluster.result(0, passed=True, time_s=99.0) == []
    assert cluster.verdicts.snapshot is before


def test_the_snapshot_names_every_server_and_the_event_that_told_of_it() -> None:
    cluster = Cluster(virtual_service(*THREE))
    (change,) = cluster.result(1, passed=False, time_s=33.0)
    cluster.verdicts.announced(change, "event-1")
    first, second, third = cluster.verdicts.snapshot.verdicts
    assert (first.health, first.reason, first.since_s, first.cause) == (
        Health.UNKNOWN,
        "not checked yet",
        10.0,
        None,
    )
    assert (second.health, second.reason, second.since_s, second.cause) == (
        Health.DOWN,
        "why",
        33.0,
        "event-1",
    )
    assert third.health is Health.UNKNOWN


def test_a_reason_says_how_many_times_in_a_row() -> None:
    cluster = Cluster(virtual_service(THREE[0], check=replace(http_check(), fall=2)))
    cluster.result(0, passed=False)
    (change,) = cluster.result(0, passed=False)
    assert change.real_server.reason == "why (2 in a row)"


def test_on_is_up_at_the_start_and_off_is_unknown_for_ever() -> None:
    cluster = Cluster(
        virtual_service(*THREE, check=Check(type=CheckType.ON), port=1),
        virtual_service(*THREE, check=Check(type=CheckType.OFF), port=2),
    )
    events = [_words(e).split()[:2] for e in _in_order(cluster.verdicts.started(time_s=1.0))]
    assert events == [
        ["realserver.up", "tcp:192.0.2.110:1"],
        ["virtualservice.up", "tcp:192.0.2.110:1"],
        ["realserver.up", "tcp:192.0.2.110:1"],
        ["realserver.up", "tcp:192.0.2.110:1"],
    ]
    assert cluster.healths == [Health.UP] * 3 + [Health.UNKNOWN] * 3
