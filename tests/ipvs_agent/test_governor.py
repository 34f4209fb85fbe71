"""What one checker alone may take from a service within a minute."""

from __future__ import annotations

import dataclasses

from heartbus.events import CheckerState, Health, RealServerDown, Verdict
from heartbus_ipvs_agent.governor import WINDOW_S
from heartbus_ipvs_agent.vantages import PEER_FRESH_S
from heartbus_ipvs_agent.verdicts import VerdictBook
from tests.ipvs_agent.builders import virtual_service

US, PEER = "linuxha1", "linuxha2"
UP, DOWN = Health.UP, Health.DOWN
SERVICE = virtual_service(1, 1, 1, 1)
NAMES: list[str] = [real.name for real in SERVICE.real_servers]


class Cluster:
    """A book that has seen all servers up, and a peer that is heard every second."""

    def __init__(self, *, loss_percent: int = 50, peer: bool = True) -> None:
        self.now_s = 0.0
        self.peer = dict.fromkeys(NAMES, UP) if peer else None
        self.book = VerdictBook([SERVICE], node=US, now_s=0.0, loss_percent=loss_percent)
        self.ours = dict.fromkeys(NAMES, UP)
        self.passes(1.0)

    def passes(self, seconds: float) -> None:
        while seconds > 0:
            step_s = min(1.0, seconds)
            self.now_s, seconds = self.now_s + step_s, seconds - step_s
            if self.peer is not None:
                self.book.snapshot_received(snapshot(self.peer), node=PEER, now_s=self.now_s)
            self.book.snapshot_received(snapshot(self.ours), node=US, now_s=self.now_s)
            self.book.reconsidered(now_s=self.now_s)

    def down(self) -> int:
        return sum(health is DOWN for health in self.book.decided.values())


def snapshot(healths: dict[str, Health]) -> CheckerState:
    return CheckerState(
        verdicts=tuple(
            Verdict(
                virtual_service=SERVICE.name, real_server=name, health=h, reason="", since_s=0.0
            )
            for name, h in healths.items()
        )
    )


def test_where_the_peer_disagrees_half_may_leave_at_once_and_the_rest_later() -> None:
    cluster = Cluster()
    cluster.ours = dict.fromkeys(NAMES, DOWN)
    cluster.passes(2)
    assert cluster.down() == 2
    assert len(cluster.book.withheld) == 2
    cluster.passes(WINDOW_S - 3)
    assert cluster.down() == 2
    cluster.passes(4)
    assert cluster.down() == 4


def test_where_the_peer_agrees_all_leave_at_once() -> None:
    cluster = Cluster()
    cluster.peer = dict.fromkeys(NAMES, DOWN)
    cluster.ours = dict.fromkeys(NAMES, DOWN)
    cluster.passes(1)
    assert cluster.down() == 4


def test_an_event_of_the_peer_is_agreement() -> None:
    cluster = Cluster()
    cluster.ours = dict.fromkeys(NAMES, DOWN)
    cluster.passes(1)
    (held, _other) = cluster.book.withheld
    event = RealServerDown(virtual_service=held[0], real_server=held[1], reason="")
    changes = cluster.book.event_received(event, node=PEER, event_id="e", now_s=cluster.now_s)
    assert [(c.real_server, c.health) for c in changes] == [(held[1], DOWN)]


def test_where_no_peer_is_heard_nobody_knows_better() -> None:
    cluster = Cluster(peer=False)
    cluster.ours = dict.fromkeys(NAMES, DOWN)
    cluster.passes(1)
    assert cluster.down() == 4


def test_a_peer_that_falls_silent_disagrees_no_more() -> None:
    cluster = Cluster()
    cluster.ours = dict.fromkeys(NAMES, DOWN)
    cluster.passes(1)
    assert cluster.down() == 2
    cluster.peer = None
    cluster.passes(PEER_FRESH_S + 1)
    assert cluster.down() == 4


def test_a_server_that_came_back_counts_as_no_loss() -> None:
    cluster = Cluster()
    for name in NAMES:
        cluster.ours = dict.fromkeys(NAMES, UP) | {name: DOWN}
        cluster.passes(1)
        assert cluster.down() == 1


def test_a_withheld_server_that_is_up_again_never_left() -> None:
    cluster = Cluster()
    cluster.ours = dict.fromkeys(NAMES, DOWN)
    cluster.passes(1)
    cluster.ours = dict.fromkeys(NAMES, UP)
    cluster.passes(1)
    assert cluster.down() == 0
    assert cluster.book.withheld == {}


def test_one_server_may_always_leave_and_the_limit_can_be_off() -> None:
    single = dataclasses.replace(SERVICE, real_servers=SERVICE.real_servers[:1])
    book = VerdictBook([single], node=US, now_s=0.0, loss_percent=0)
    book.snapshot_received(snapshot({NAMES[0]: UP}), node=PEER, now_s=0.0)
    book.snapshot_received(snapshot({NAMES[0]: UP}), node=US, now_s=0.0)
    assert book.snapshot_received(snapshot({NAMES[0]: DOWN}), node=US, now_s=1.0)
    cluster = Cluster(loss_percent=100)
    cluster.ours = dict.fromkeys(NAMES, DOWN)
    cluster.passes(1)
    assert cluster.down() == 4
