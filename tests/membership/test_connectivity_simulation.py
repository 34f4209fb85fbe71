"""Two directors with the production cores, two ping nodes, one clock: what all share moves nothing.

Each seed is one story of some minutes. The written bound is checked on what only one director has.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from heartbus.model import PingNode
from heartbus_membership.connectivity import Connectivity
from heartbus_membership.pingnodes import PingNodes, Reach, stall_s

K, I, P = 0.4, 0.4, 1.5  # noqa: E741  # the letters of the written formula
STEP_S = 0.02
NODES = ("r1", "r2")
SEEDS = range(60)
ALWAYS: Callable[[str, str, float], bool] = lambda _director, _node, _now_s: True  # noqa: E731


class Director:
    """One director: asks in its own phase, beats in its own phase, may be stalled."""

    def __init__(self, name: str, peer: str, phase: random.Random) -> None:
        self.name = name
        started_s = phase.uniform(0, I)
        self.pings = PingNodes(
            nodes=[PingNode(name=node, members=(node,)) for node in NODES],
            interval_s=I,
            deadping_s=P,
            started_s=started_s,
        )
        self.core = Connectivity(peers=[peer], keepalive_s=K, interval_s=I, deadping_s=P)
        self.beat_s = phase.uniform(0, K)
        self.due_s = started_s
        self.stalled_until_s = 0.0
        self.inbox: list[Reach] = []
        self.answers: list[str] = []
        self.lost_last = False
        self.yielded_s: list[float] = []

    def turn(self, now_s: float, answers: Callable[[str, str, float], bool]) -> Reach | None:
        """Do what the shell does in one turn; return the heartbeat that it sends, if any."""
        if now_s - self.due_s > stall_s(K):
            self.pings.own_stall(now_s=now_s)
        for node in self.answers:
            self.pings.reply_received(node, node, now_s=now_s)
        self.pings.deadline_passed(now_s=now_s)
        self.answers = []
        for node in self.pings.questions_due(now_s=now_s):
            self.pings.started(node, now_s=now_s)
            if answers(self.name, node, now_s):
                self.answers.append(node)
        self.due_s = max(self.pings.next_deadline_s, now_s)
        self.core.own_reach(self.pings.reach(), now_s)
        for reach in self.inbox:
            self.core.peer_reach("b" if self.name == "a" else "a", reach, now_s)
        self.inbox = []
        if self.core.yield_to(now_s) is not None:
            self.yielded_s.append(now_s)
        if now_s < self.beat_s:
            return None
        self.beat_s = now_s + K
        return self.pings.reach()


class Story:
    """Both directors, from 0 s on."""

    def __init__(self, seed: int, *, loss: float = 0.0, stalls: bool = False) -> None:
        self.chance = random.Random(seed)
        self.a = Director("a", "b", self.chance)
        self.b = Director("b", "a", self.chance)
        self.loss = loss
        self.stalls = stalls
        self.now_s = 0.0

    def run(self, until_s: float, answers: Callable[[str, str, float], bool]) -> None:
        while self.now_s < until_s:
            self.now_s += STEP_S
            for one, other in ((self.a, self.b), (self.b, self.a)):
                if self.stalls and self.chance.random() < 0.0004:
                    one.stalled_until_s = self.now_s + self.chance.uniform(0, 4 * P)
                if self.now_s < one.stalled_until_s:
                    continue
                beat = one.turn(self.now_s, answers)
                if beat is not None:
                    one.lost_last = not one.lost_last and self.chance.random() < self.loss
                    if not one.lost_last:
                        other.inbox.append(beat)

    @property
    def nobody_yielded(self) -> bool:
        return not self.a.yielded_s and not self.b.yielded_s


@pytest.mark.parametrize("seed", SEEDS)
def test_deaths_and_returns_that_all_share_move_nothing(seed: int) -> None:
    story = Story(seed, loss=0.3, stalls=True)
    times = {
        node: [story.chance.uniform(5, 115) for _ in range(story.chance.randrange(6))]
        for node in NODES
    }

    def answers(_director: str, node: str, now_s: float) -> bool:
        return sum(time_s < now_s for time_s in times[node]) % 2 == 0

    story.run(120, answers)
    assert story.nobody_yielded, (seed, times, story.a.yielded_s[:1], story.b.yielded_s[:1])


@pytest.mark.parametrize("seed", SEEDS)
def test_one_flicker_that_only_one_sees_moves_nothing(seed: int) -> None:
    story = Story(seed, loss=0.3)
    dead_s = 10 + story.chance.uniform(0, I)
    back_s = dead_s + story.chance.uniform(0, P + I)

    def answers(_director: str, node: str, now_s: float) -> bool:
        flickers = back_s <= now_s < back_s + I / 2
        return node != "r1" or now_s < dead_s or flickers

    story.run(30, answers)
    assert story.nobody_yielded, (seed, dead_s, back_s)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_alone_loses_a_ping_node_yields_within_the_bound_and_nobody_else(seed: int) -> None:
    story = Story(seed, loss=0.3)
    cut_s, healed_s = 10 + story.chance.uniform(0, I), 30.0

    def answers(director: str, node: str, now_s: float) -> bool:
        return not (director == "a" and node == "r1" and cut_s <= now_s < healed_s)

    story.run(40, answers)
    assert story.b.yielded_s == []
    settle_s = story.a.core.settle_s
    first_s, last_s = story.a.yielded_s[0], story.a.yielded_s[-1]
    assert P - I + settle_s <= first_s - cut_s + STEP_S
    assert first_s - cut_s <= P + I + settle_s + 2 * K + 3 * STEP_S
    assert last_s <= healed_s + I + 2 * STEP_S, "equal again is enough"


def test_ten_quiet_minutes_move_nothing() -> None:
    story = Story(0, loss=0.1)
    story.run(600, ALWAYS)
    assert story.nobody_yielded
