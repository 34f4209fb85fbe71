"""What trackers of the local vip do to a group: who may hold it, who holds it better."""

from __future__ import annotations

import pytest

from heartbus.events import HeldGroup, HoldStatus, VipState
from heartbus.model import AuthMethod
from heartbus_membership.claims import Claim, PeerReport, Phase
from heartbus_membership.wire import Heartbeat, WireError, decode, encode
from tests.membership.test_ownership import TIMERS, Bench, G
from tests.membership.test_wire import BEAT, keyring

KEYS = keyring(AuthMethod.SHA256)


def report(
    bench: Bench, *, able: bool | None = True, score: int = 0, status: HoldStatus | None = None
) -> None:
    held = HeldGroup(
        name=G,
        status=status or HoldStatus.HELD,
        epoch=bench.claim.epoch,
        addresses=(),
        able=able,
        barred="" if able else "interface:eth0 is down: it has no carrier",
        score=score,
    )
    bench.core.vip_reported(VipState(groups=(held,)), now_s=bench.now_s)
    bench.decide()


def hear(
    bench: Bench, *, score: int = 0, candidate: bool = True, phase: Phase = Phase.NONE
) -> None:
    claim = Claim(epoch=bench.claim.epoch, phase=phase, candidate=candidate, score=score)
    said = PeerReport(incarnation=1, settled=True, claims={G: claim})
    bench.take(bench.core.peer_heard("b", said, now_s=bench.now_s))
    bench.decide()


@pytest.fixture
def holder() -> Bench:
    """A director that holds the group, the other one being a candidate."""
    bench = Bench("a")
    hear(bench)
    bench.wait(TIMERS.keepalive_s, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is Phase.HELD
    report(bench)
    return bench


def test_what_is_barred_here_goes_to_a_candidate(holder: Bench) -> None:
    report(holder, able=False)
    assert holder.claim.phase is Phase.RELEASING
    assert not holder.claim.candidate


def test_what_is_barred_here_stays_while_nobody_else_can_hold_it(holder: Bench) -> None:
    hear(holder, candidate=False)
    report(holder, able=False)
    assert holder.claim.phase is Phase.HELD


def test_a_vip_that_does_not_know_yet_moves_nothing(holder: Bench) -> None:
    report(holder, able=None)
    assert holder.claim.phase is Phase.HELD
    report(holder, able=False)
    report(holder, able=None)
    assert not holder.claim.candidate


def test_nothing_is_claimed_before_what_is_tracked_was_looked_at() -> None:
    bench = Bench("a", vip=False)
    report(bench, able=None, status=HoldStatus.RELEASED)
    hear(bench, candidate=False)
    bench.wait(TIMERS.keepalive_s)
    assert (bench.claim.phase, bench.claim.candidate) == (Phase.NONE, False)
    report(bench, able=True, status=HoldStatus.RELEASED)
    assert bench.claim.phase is Phase.HELD


def test_the_director_with_the_higher_score_gets_it(holder: Bench) -> None:
    report(holder, score=-10)
    assert holder.claim.phase is Phase.RELEASING
    assert holder.claim.score == -10


@pytest.mark.parametrize("score", [0, 5])
def test_an_equal_or_a_lower_score_moves_nothing(holder: Bench, score: int) -> None:
    report(holder, score=5)
    hear(holder, score=score)
    assert holder.claim.phase is Phase.HELD


def test_a_vacant_group_is_left_to_a_better_candidate() -> None:
    for score, phase in ((2, Phase.NONE), (1, Phase.HELD)):
        bench = Bench("a", vip=False)
        hear(bench, score=score)
        report(bench, score=1, status=HoldStatus.RELEASED)
        bench.wait(TIMERS.keepalive_s)
        assert bench.claim.phase is phase


def test_a_preferred_director_with_a_lower_score_does_not_get_its_group_back() -> None:
    bench = Bench("b", failback=True)
    bench.hear(Phase.NONE, peer="a", candidate=False)
    bench.wait(20.0, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is Phase.HELD
    report(bench, score=10)
    claim = Claim(epoch=bench.claim.epoch, phase=Phase.WANTING, candidate=True, score=0)
    said = PeerReport(incarnation=1, settled=True, claims={G: claim})
    bench.take(bench.core.peer_heard("a", said, now_s=bench.now_s))
    bench.decide()
    assert bench.claim.phase is Phase.HELD


def beat_with(*scores: int) -> Heartbeat:
    claims = tuple((n, Claim(epoch=1, score=score)) for n, score in enumerate(scores))
    return Heartbeat(
        node=BEAT.node,
        incarnation=1,
        sequence=1,
        settled=True,
        ready=True,
        leaving=False,
        deadtime_ms=300,
        config_digest=bytes(8),
        claims=claims,
    )


@pytest.mark.parametrize("scores", [(0,), (1, 0, -1), (30000, -30000)])
def test_scores_travel_in_heartbeats(scores: tuple[int, ...]) -> None:
    beat = beat_with(*scores)
    assert decode(encode(beat, KEYS), KEYS) == beat


def test_scores_that_do_not_fit_the_groups_are_malformed() -> None:
    octets = encode(beat_with(7), KEYS)
    mac = KEYS.mac_bytes(KEYS.signing_id)
    assert mac is not None
    body = octets[:-mac]
    at = body.rindex(bytes((5, 0, 2)))
    short = body[: at - 2] + bytes((0, 4)) + bytes((5, 0, 1)) + body[at + 3 : at + 4]
    with pytest.raises(WireError, match="scores"):
        decode(KEYS.sign(short), KEYS)
