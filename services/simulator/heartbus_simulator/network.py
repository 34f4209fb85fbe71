"""The heartbeat links between the hosts: they lose, delay, reorder, repeat and cut datagrams."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from heartbus_simulator.clock import Timeline
from heartbus_simulator.faults import Fault, Kind

HOP_S: Final = (0.0002, 0.001)
"""The least and the most that a datagram takes where nothing is wrong."""

REPLAY_S_MAX: Final = 5.0
"""A duplicate arrives up to so much later: a copy that a switch kept, or a recording."""

Direction = tuple[str, str]
Arrive = Callable[[str, str, str, bytes], None]


class Network:
    """Carries datagrams. ``arrive`` is called with receiver, link, sender and datagram."""

    def __init__(
        self, *, hosts: Sequence[str], links: Sequence[str], timeline: Timeline, seed: str
    ) -> None:
        self._hosts, self._links, self._timeline = hosts, links, timeline
        self._chance = random.Random(f"network {seed}")
        self.arrive: Arrive = lambda *_: None
        self._loss = 0.0
        self._repeats = 0.0
        self._delay_s: dict[Direction, float] = {}
        self._jitter_s: dict[Direction, float] = {}
        self._down: frozenset[str] = frozenset()
        self._cuts: set[Direction] = set()
        self._link_cuts: dict[Direction, set[str]] = {}
        self._clean = True
        self._stale_until_s: dict[Direction, float] = {}
        self.lost = self.repeated = self.delayed = 0

    def set_faults(self, active: Iterable[Fault]) -> None:
        """Take over which faults there are now."""
        self._loss = self._repeats = 0.0
        self._delay_s, self._jitter_s, self._cuts, self._link_cuts = {}, {}, set(), {}
        down: set[str] = set()
        for fault in active:
            match fault.kind:
                case Kind.LOSS:
                    self._loss = max(self._loss, fault.amount)
                case Kind.DUPLICATE:
                    self._repeats = max(self._repeats, fault.amount)
                case Kind.LINK:
                    down.add(self._link(fault))
                case Kind.LINK_ONE_WAY:
                    way = _direction(fault.target, ">")
                    self._link_cuts.setdefault(way, set()).add(self._link(fault))
                case Kind.DELAY:
                    way = _direction(fault.target, ">")
                    self._delay_s[way] = max(fault.amount, self._delay_s.get(way, 0.0))
                case Kind.REORDER:
                    way = _direction(fault.target, ">")
                    self._jitter_s[way] = max(fault.amount, self._jitter_s.get(way, 0.0))
                case Kind.ONE_WAY:
                    self._cuts.add(_direction(fault.target, ">"))
                case Kind.CUT:
                    one, other = _direction(fault.target, "-")
                    self._cuts |= {(one, other), (other, one)}
                case Kind.ISOLATE:
                    for other in self._hosts:
                        self._cuts |= {(fault.target, other), (other, fault.target)}
                case _:
                    pass
        self._down = frozenset(down)
        ways = self._cuts or self._link_cuts or self._delay_s or self._jitter_s
        self._clean = not (self._loss or self._repeats or down or ways)

    # --- what is so ------------------------------------------------------------------------------

    def is_cut(self, one: str, other: str) -> bool:
        """Whether nothing at all passes in this direction, heartbeats or bus."""
        return (one, other) in self._cuts

    def is_silent(self, one: str, other: str) -> bool:
        """Whether no heartbeat passes in this direction."""
        silent = self._down | self._link_cuts.get((one, other), set())
        return (one, other) in self._cuts or len(silent) == len(self._links)

    @property
    def loses(self) -> bool:
        """Whether datagrams are lost at random."""
        return self._loss > 0

    def latest_s(self, one: str, other: str) -> float:
        """How long a datagram may take in this direction, duplicates apart."""
        way = (one, other)
        return HOP_S[1] + self._delay_s.get(way, 0.0) + self._jitter_s.get(way, 0.0)

    def stale_until_s(self, one: str, other: str) -> float:
        """Until when something old is on its way in this direction."""
        return self._stale_until_s.get((one, other), 0.0)

    def _link(self, fault: Fault) -> str:
        return self._links[int(fault.amount) % len(self._links)]

    # --- what it does ----------------------------------------------------------------------------

    def send(self, sender: str, datagram: bytes) -> None:
        """Send one datagram to all others, on all links."""
        for link in self._links:
            for receiver in self._hosts:
                if receiver != sender:
                    self._carry(sender, receiver, link, datagram)

    def _carry(self, sender: str, receiver: str, link: str, datagram: bytes) -> None:
        low_s, high_s = HOP_S
        delay_s = low_s + (high_s - low_s) * self._chance.random()
        if not self._clean:
            way = (sender, receiver)
            lost = self._loss > 0 and self._chance.random() < self._loss
            cut = way in self._cuts or link in self._link_cuts.get(way, ())
            if cut or link in self._down or lost:
                self.lost += 1
                return
            slow_s = self._delay_s.get(way, 0.0)
            slow_s += self._jitter_s.get(way, 0.0) * self._chance.random()
            self.delayed += slow_s > 0
            delay_s += slow_s
            if slow_s > 0:
                self._note_stale(way, slow_s)
            if self._repeats > 0 and self._chance.random() < self._repeats:
                self.repeated += 1
                again_s = delay_s + self._chance.choice(
                    (0.001, REPLAY_S_MAX * self._chance.random())
                )
                self._note_stale(way, again_s)
                self._deliver(again_s, sender, receiver, link, datagram)
        self._deliver(delay_s, sender, receiver, link, datagram)

    def _note_stale(self, way: Direction, delay_s: float) -> None:
        arrives_s = self._timeline.now_s + delay_s
        self._stale_until_s[way] = max(arrives_s, self._stale_until_s.get(way, 0.0))

    def _deliver(
        self, delay_s: float, sender: str, receiver: str, link: str, datagram: bytes
    ) -> None:
        self._timeline.after(delay_s, lambda: self.arrive(receiver, link, sender, datagram))


def _direction(target: str, sign: str) -> Direction:
    one, _, other = target.partition(sign)
    return one, other
