"""Draws what goes wrong in a scenario from a seed."""

from __future__ import annotations

import random
from typing import Final

from heartbus_simulator.faults import STEPS, Fault, Kind
from tests.simulation.setup import Setup

_DIRECTED: Final = frozenset({Kind.ONE_WAY, Kind.DELAY, Kind.REORDER})
_PAIRS: Final = frozenset({Kind.CUT, Kind.ROUTE_CUT})
_ALL: Final = frozenset({Kind.BUS_OUT, Kind.LOSS, Kind.LINK, Kind.DUPLICATE})
_OF_DIRECTORS: Final = frozenset(
    {
        Kind.VIP_KILL,
        Kind.VIP_STOP,
        Kind.VIP_PAUSE,
        Kind.HANG,
        Kind.START_FAILS,
        Kind.STOP_HANGS,
    }
)
_NETWORK: Final = frozenset(
    {
        Kind.LOSS,
        Kind.DELAY,
        Kind.REORDER,
        Kind.DUPLICATE,
        Kind.LINK,
        Kind.ONE_WAY,
        Kind.CUT,
        Kind.ISOLATE,
    }
)
OF_OPERATORS: Final = frozenset({Kind.LINK_ONE_WAY})
"""Kinds that seeds leave out: what ONE_WAY and LINK do is worse."""

_BUS: Final = frozenset({Kind.BUS_DOWN, Kind.BUS_OUT, Kind.ROUTE_CUT})


def draw_faults(setup: Setup, chance: random.Random) -> tuple[Fault, ...]:
    """Return at least five faults, in the order in which they begin; many overlap."""
    kinds = [k for k in Kind if k not in OF_OPERATORS and (setup.bus or k not in _BUS)]
    kinds += [k for k in kinds if k in _NETWORK]  # twice as often: most of what is bad is there
    faults: list[Fault] = []
    begin_s = round(chance.uniform(0.2, 5.0), 2)
    for _ in range(chance.choice((5, 6, 7, 8, 10))):
        duration_s = chance.choice((0.15, 0.5, 1.0, 1.0, 2.0, 3.5, 5.0))
        fault = _draw(chance.choice(kinds), setup, chance, begin_s, round(begin_s + duration_s, 2))
        faults.append(fault)
        overlap = chance.random() < 0.6
        step_s = duration_s * chance.random() if overlap else duration_s + chance.uniform(0.05, 2.5)
        begin_s = round(begin_s + step_s, 2)
    return tuple(faults)


def _draw(kind: Kind, setup: Setup, chance: random.Random, begin_s: float, end_s: float) -> Fault:
    hosts = setup.directors + setup.witness_names
    one = chance.choice(setup.directors if kind in _OF_DIRECTORS else hosts)
    other = chance.choice([name for name in hosts if name != one])
    target = one
    if kind in _DIRECTED:
        target = f"{one}>{other}"
    elif kind in _PAIRS:
        target = f"{one}-{other}"
    elif kind in _ALL:
        target = "*"
    return Fault(kind, target, begin_s, end_s, _amount(kind, setup, chance))


def _amount(kind: Kind, setup: Setup, chance: random.Random) -> float:
    deadtime_s = setup.times.timers.deadtime_s
    match kind:
        case Kind.LOSS:
            return chance.choice((0.05, 0.2, 0.5))
        case Kind.DELAY | Kind.REORDER:
            return round(deadtime_s * chance.choice((0.2, 0.6, 1.5)), 3)
        case Kind.DUPLICATE:
            return chance.choice((0.2, 0.6))
        case Kind.LINK:
            return float(chance.randrange(setup.links))
        case Kind.BUSY:
            return chance.choice((0.1, 0.3, 1.0))
        case Kind.CLOCK_STEP:
            return chance.choice((-3600.0, -5.0, 5.0, 3600.0))
        case Kind.CRASH_AT | Kind.DIE_AT:
            return float(chance.randrange(len(STEPS)))
        case _:
            return 0.0
