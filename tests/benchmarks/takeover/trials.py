"""One trial each: a fault on a settled pair, what was seen from outside, and the pair whole again.

Every trial begins at a random instant of the period between two signs of life, and is bounded.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tests.lab.classic import HEARTBUS
from tests.lab.network import wait_until
from tests.lab.pairs import NAMES, Pair

CALM_S: Final = 0.2
"""Answers before a fault, so that the gap has a beginning."""

AFTER_S: Final = 0.3
"""How long the client is followed once all is done."""

BEYOND_S: Final = 5.0
"""How much longer than its detection time a takeover is waited for."""

HEAL_MAX_S: Final = 30.0
PAUSE_S: Final = 5.0
LIFETIME_S: Final = 3.0
"""Of an address in the kernel, by default (heartbus)."""

WATCHED_S: Final = 6.0
"""After a kill, how long it is looked whether the VIP stays on two hosts."""

MEMBERSHIP: Final = "heartbus-member"  # as ps shows it: 15 characters
VIP_SERVICE: Final = "heartbus-vip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one fault; seconds. ``healed_*``: after the cable was whole again.

    ``own_late_s``: the worst lateness of the client itself, which every gap contains.
    """

    gap_s: float
    unanswered: int
    own_late_s: float
    on_two_s: float
    arp_on_two_s: float
    takeovers: int
    healed_gap_s: float = 0.0
    healed_unanswered: int = 0


Trial = Callable[[Pair, random.Random], Seen]


def node_death(pair: Pair, rng: random.Random) -> Seen:
    """The bridge port of the active director goes down."""
    seen, active, _healed_s = _node_death(pair, rng)
    wait_until(
        lambda: pair.holder() is not None,
        timeout_s=pair.detection_s + BEYOND_S,
        what=f"{active} or the other gives up",
    )
    pair.forget_neighbour()  # how long a client takes to find the survivor is not asked here
    return seen


def partition(pair: Pair, rng: random.Random) -> Seen:
    """The bridge port of the active director goes down, and is whole again: what that costs."""
    seen, _active, healed_s = _node_death(pair, rng)
    wait_until(
        lambda: pair.holder() is not None,
        timeout_s=pair.detection_s + BEYOND_S,
        what="one of the two gives up",
        period_s=0.005,
    )
    # The client may ask the one that gave up until its neighbour table forgets: a gap too.
    pair.client.wait_for_answer(after_s=time.monotonic() + AFTER_S, timeout_s=HEAL_MAX_S)
    end_s = time.monotonic()
    healed = pair.client.silence(from_s=healed_s, until_s=end_s)
    return replace(
        seen,
        on_two_s=pair.witness.on_two_s(since_s=healed_s, until_s=end_s),
        arp_on_two_s=pair.witness.answered_by_two_s(since_s=healed_s, until_s=end_s),
        healed_gap_s=healed.longest_s,
        healed_unanswered=healed.unanswered,
    )


def _node_death(pair: Pair, rng: random.Random) -> tuple[Seen, str, float]:
    """Cut the active director off, and heal the cable; return also which, and when healed."""
    active = _begin(pair, rng)
    standby = pair.other(active)
    fault_s = time.monotonic()
    pair.links[active].cut()
    wait_until(
        lambda: pair.hosts[standby].name in pair.witness.holders(),
        timeout_s=pair.detection_s + BEYOND_S,
        what=f"{standby} has taken over",
        period_s=0.005,
    )
    pair.client.wait_for_answer(after_s=fault_s, timeout_s=BEYOND_S)
    time.sleep(AFTER_S)
    healed_s = time.monotonic()
    death = pair.client.silence(from_s=fault_s, until_s=healed_s)
    pair.links[active].heal()
    seen = Seen(
        gap_s=death.longest_s,
        unanswered=death.unanswered,
        own_late_s=death.own_late_s,
        on_two_s=0.0,
        arp_on_two_s=0.0,
        takeovers=_takeovers(pair, fault_s, standby),
    )
    return seen, active, healed_s


def clean_stop(pair: Pair, rng: random.Random) -> Seen:
    """SIGTERM to the active director as a whole; then it is started again."""
    active = _begin(pair, rng)
    fault_s = time.monotonic()
    pair.terminate(active)
    pair.witness.wait_for(
        [pair.hosts[pair.other(active)].name], timeout_s=pair.detection_s + BEYOND_S
    )
    pair.client.wait_for_answer(after_s=time.monotonic(), timeout_s=BEYOND_S)
    time.sleep(AFTER_S)
    seen = _seen(pair, fault_s, active)
    pair.processes[active].wait(timeout_s=30.0)
    pair.start(active)
    return seen


def standby_command(pair: Pair, rng: random.Random) -> Seen:
    """``heartbus standby`` on the first director, ``heartbus takeover`` when it does not hold.

    The second one is not told to stand by: the first one, which was, would take it unasked only
    if nobody else could.
    """
    active = _begin(pair, rng)
    command = "standby" if active == NAMES[0] else "takeover"
    fault_s = time.monotonic()
    pair.hosts[NAMES[0]].run([HEARTBUS, command, "--node", NAMES[0]])
    pair.witness.wait_for(
        [pair.hosts[pair.other(active)].name], timeout_s=pair.detection_s + BEYOND_S
    )
    pair.client.wait_for_answer(after_s=time.monotonic(), timeout_s=BEYOND_S)
    time.sleep(AFTER_S)
    return _seen(pair, fault_s, active)


def no_fault(pair: Pair, rng: random.Random) -> Seen:
    """Nothing happens for a second: what the client itself adds to every gap."""
    active = _begin(pair, rng)
    begin_s = time.monotonic()
    time.sleep(1.0)
    return _seen(pair, begin_s, active)


def kill_all(pair: Pair, rng: random.Random) -> Seen:
    """SIGKILL to every process of the active director, whose cable stays whole."""
    active = _begin(pair, rng)
    fault_s = time.monotonic()
    pair.signal_all(active, signal.SIGKILL)
    _watch(pair, fault_s, pair.other(active), for_s=WATCHED_S)
    seen = _seen(pair, fault_s, active)
    pair.clear(active)
    pair.start(active)
    return seen


def pause_all(pair: Pair, rng: random.Random) -> Seen:
    """SIGSTOP to every process of the active director, for five seconds."""
    return _paused(pair, rng, command=None, pause_s=PAUSE_S)


def pause_membership(pair: Pair, rng: random.Random) -> Seen:
    """SIGSTOP to heartbus-membership alone, for longer than a lease."""
    return _paused(pair, rng, command=MEMBERSHIP, pause_s=PAUSE_S + 2.0)


def pause_vip(pair: Pair, rng: random.Random) -> Seen:
    """SIGSTOP to heartbus-vip alone, until membership has handed over."""
    return _paused(pair, rng, command=VIP_SERVICE, pause_s=PAUSE_S + 2.0)


def kill_membership(pair: Pair, rng: random.Random) -> Seen:
    """SIGKILL to heartbus-membership alone: it is started again, nothing moves."""
    return _killed(pair, rng, command=MEMBERSHIP)


def kill_vip(pair: Pair, rng: random.Random) -> Seen:
    """SIGKILL to heartbus-vip alone: it is started again, nothing moves."""
    return _killed(pair, rng, command=VIP_SERVICE)


def _paused(pair: Pair, rng: random.Random, *, command: str | None, pause_s: float) -> Seen:
    active = _begin(pair, rng)
    fault_s = time.monotonic()
    pids = pair.signal_all(active, signal.SIGSTOP, command)
    try:
        time.sleep(pause_s)
    finally:
        for pid in pids:
            _continue(pid)
    resumed_s = time.monotonic()
    _watch(pair, resumed_s, None, for_s=BEYOND_S)
    pair.client.wait_for_answer(after_s=time.monotonic(), timeout_s=BEYOND_S)
    time.sleep(AFTER_S)
    return _seen(pair, fault_s, active)


def _killed(pair: Pair, rng: random.Random, *, command: str) -> Seen:
    active = _begin(pair, rng)
    fault_s = time.monotonic()
    gone = pair.signal_all(active, signal.SIGKILL, command)
    wait_until(
        lambda: any(pid not in gone for pid in pair.pids(active, command)),
        timeout_s=BEYOND_S,
        what=f"{command} is back",
    )
    time.sleep(2.0)  # what a takeover would need
    seen = _seen(pair, fault_s, active)
    # Anew, or the supervisor takes the next kill for a process that keeps failing, and waits.
    pair.clear(active)
    pair.start(active)
    return seen


def _begin(pair: Pair, rng: random.Random) -> str:
    active = pair.settle()
    now_s = time.monotonic()
    pair.witness.forget(before_s=now_s)
    pair.client.forget(before_s=now_s)
    time.sleep(CALM_S + rng.uniform(0.0, pair.period_s))
    return active


def _watch(pair: Pair, since_s: float, alone: str | None, *, for_s: float) -> None:
    """Wait until one director has the VIP (``alone``: which), but no longer than ``for_s``."""
    wanted = pair.hosts[alone].name if alone is not None else None
    while time.monotonic() < since_s + for_s:
        found = pair.witness.holders()
        if len(found) == 1 and wanted in (None, found[0]):
            return
        time.sleep(0.005)


def _seen(pair: Pair, fault_s: float, active: str) -> Seen:
    end_s = time.monotonic()
    silence = pair.client.silence(from_s=fault_s, until_s=end_s)
    return Seen(
        gap_s=silence.longest_s,
        unanswered=silence.unanswered,
        own_late_s=silence.own_late_s,
        on_two_s=pair.witness.on_two_s(since_s=fault_s, until_s=end_s),
        arp_on_two_s=pair.witness.answered_by_two_s(since_s=fault_s, until_s=end_s),
        takeovers=_takeovers(pair, fault_s, pair.other(active)),
    )


def _takeovers(pair: Pair, since_s: float, by: str) -> int:
    name = pair.hosts[by].name
    return sum(hold.host == name for hold in pair.witness.holds(since_s=since_s))


def _continue(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
