"""The phases that wait for an answer, each against every input: asking, handing, taking."""

from __future__ import annotations

from typing import Final

import pytest

from heartbus.events import HoldStatus
from heartbus_membership.claims import Grant, Phase, Revoke
from heartbus_membership.handover import HANDOVER_S
from heartbus_membership.view import QUORUM_BEATS
from tests.membership.test_ownership import INPUTS, TIMERS, Bench

NONE, HELD, RELEASING = Phase.NONE, Phase.HELD, Phase.RELEASING
ASKING, HANDING, TAKING = Phase.ASKING, Phase.HANDING, Phase.TAKING

VIP_SAYS: Final = {
    ASKING: HoldStatus.RELEASED,
    HANDING: HoldStatus.HELD,
    TAKING: HoldStatus.STARTING,
}
OTHERS: Final = {
    "vip holds it": lambda x: x.vip(HoldStatus.HELD, x.claim.epoch),
    "answered": lambda x: x.hear(echoed=1),
    "answered with a vote": lambda x: x.hear(echoed=1, votes=True),
    "a vote for an earlier claim": lambda x: x.hear(echoed=0, votes=True),
    "no answer in time": lambda x: x.wait(
        13.0 if x.claim.phase is ASKING else HANDOVER_S, vip=VIP_SAYS[x.claim.phase]
    ),
}


def asking_a_majority() -> Bench:
    """Return director a that asks b and c; both are ready."""
    bench = Bench(directors="abc")
    bench.hear()
    bench.hear(peer="c")
    bench.wait(QUORUM_BEATS * TIMERS.keepalive_s, vip=HoldStatus.RELEASED)
    bench.core.beat_sent(1, now_s=bench.now_s)
    return bench


def asking_strictly() -> Bench:
    """Return director a that announces to b what it is about to hold; b is ready."""
    bench = Bench(tail_s=1.0)
    bench.hear()
    bench.core.beat_sent(1, now_s=bench.now_s)
    return bench


def handing() -> Bench:
    """Return director a that offers its group to b with epoch 1."""
    bench = Bench(may_overlap=True)
    bench.hear()
    bench.vip(HoldStatus.HELD, 1)
    bench.take(bench.core.standby(["vip"], now_s=bench.now_s))
    bench.decide()
    return bench


def taking() -> Bench:
    """Return director a that takes with epoch 2 what b offers it with epoch 1."""
    bench = Bench(may_overlap=True)
    bench.hear(HELD, 1)
    bench.hear(HANDING, 1)
    return bench


BROUGHT: Final = {
    "asking a majority": asking_a_majority,
    "asking strictly": asking_strictly,
    "handing": handing,
    "taking": taking,
}
PHASES: Final = {
    "asking a majority": ASKING,
    "asking strictly": ASKING,
    "handing": HANDING,
    "taking": TAKING,
}

CLAIMED: Final = dict.fromkeys(
    (
        "peer held lower",
        "peer held equal",
        "peer held higher",
        "peer releasing",
        "peer handing",
        "peer taking",
    ),
    NONE,
)
"""Who asks gives way to whoever has the group, or may still have it."""

UNABLE: Final = dict.fromkeys(("vip failed", "vip stopping", "stop"), NONE)

TABLE: Final[dict[str, dict[str, Phase]]] = {
    "asking a majority": {
        **CLAIMED,
        **UNABLE,
        "answered with a vote": HELD,
        "no answer in time": NONE,
    },
    "asking strictly": {
        **CLAIMED,
        **UNABLE,
        "answered": HELD,
        "answered with a vote": HELD,
        "peer left": HELD,
        "peer dead": NONE,  # it may have claimed before it fell silent
    },
    "handing": {
        "peer held higher": RELEASING,
        "peer late": HELD,
        "peer dead": HELD,
        "peer left": HELD,
        "no answer in time": HELD,
    },
    "taking": {
        "vip holds it": HELD,
        "peer held lower": RELEASING,
        "peer held equal": RELEASING,
        "peer held higher": RELEASING,
        "vip failed": RELEASING,
        "vip stopping": RELEASING,
        "stop": RELEASING,
        "no answer in time": RELEASING,
        # The giver has let go, by whatever way.
        **dict.fromkeys(
            (
                "peer free",
                "peer releasing",
                "peer wanting",
                "peer asking",
                "peer taking",
                "peer dead",
                "peer left",
                "answered",
                "answered with a vote",
                "a vote for an earlier claim",
            ),
            HELD,
        ),
    },
}
"""What is not in it changes nothing."""

HAS_LEASE: Final = {HELD, HANDING, TAKING}


@pytest.mark.parametrize("what", INPUTS | OTHERS)
@pytest.mark.parametrize("before", TABLE)
def test_transition(before: str, what: str) -> None:
    bench = BROUGHT[before]()
    phase = bench.claim.phase
    assert phase is PHASES[before]
    bench.effects.clear()
    (INPUTS | OTHERS)[what](bench)
    after = TABLE[before].get(what, phase)
    assert bench.claim.phase is after
    assert bool(bench.core.leases) == (after in HAS_LEASE)
    assert bool(bench.told(Revoke)) == (phase in HAS_LEASE and after not in HAS_LEASE)
    # Who keeps what it offered, or had to ask for it, holds it with a new epoch; a taker had it.
    assert bool(bench.told(Grant)) == (after is HELD and phase is not TAKING)
