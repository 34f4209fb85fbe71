"""False takeovers while the machine has far more to do than it can."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.takeover.lanes import say
from tests.lab.network import Host
from tests.lab.pairs import Pair

LOOPS: Final = 16
LOOP: Final = ("sh", "-c", "while :; do :; done")
TELL_S: Final = 30.0
ECHO_PERIOD_S: Final = 0.05
"""The pair's client only shows here that the VIP answers at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How often the VIP came to a host, and for how many seconds it was on two."""

    takeovers: int
    on_two_s: float


def busy(pairs: Sequence[Pair], room: Host, *, seconds: float) -> dict[str, Moved]:
    """Run the pairs beside LOOPS busy loops on the same processors; nothing is broken."""
    with contextlib.ExitStack() as stack:
        for pair in pairs:
            stack.enter_context(pair)
        for pair in pairs:
            pair.settle()
        begin_s = time.monotonic()
        loops = [room.start(LOOP) for _ in range(LOOPS)]
        try:
            while (left_s := begin_s + seconds - time.monotonic()) > 0:
                time.sleep(min(TELL_S, left_s))
                counts = {p.label: len(p.witness.holds(since_s=begin_s)) for p in pairs}
                so_far_s, load = time.monotonic() - begin_s, os.getloadavg()[0]
                say(f"busy for {so_far_s:.0f} s, load {load:.1f}: {counts}")
        finally:
            for loop in loops:
                loop.kill()
        end_s = time.monotonic()
        found = {
            pair.label: Moved(
                takeovers=len(pair.witness.holds(since_s=begin_s)),
                on_two_s=pair.witness.on_two_s(since_s=begin_s, until_s=end_s),
            )
            for pair in pairs
        }
        for pair in pairs:
            pair.stop()
    return found
