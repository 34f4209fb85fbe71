"""Two directors, strict takeover: no lease before the other one knows, or can hold nothing."""

from __future__ import annotations

from heartbus.events import DirectorStatus, HeldGroup, HoldStatus, VipState
from heartbus.model import EXPIRY_TAIL_S, Timers
from heartbus_membership.claims import Claim, GroupRule, PeerReport, Phase, SendHeartbeat
from heartbus_membership.ownership import Ownership

TIMERS = Timers(keepalive_s=0.5, warntime_s=1.0, deadtime_s=2.0, initdead_s=10.0)
LEASE_S = 3.0
FREE_S = LEASE_S + EXPIRY_TAIL_S
G = "vip"
NONE, HELD, RELEASING, ASKING = Phase.NONE, Phase.HELD, Phase.RELEASING, Phase.ASKING


class Bench:
    """One of two directors, settled; group ``vip`` prefers a."""

    def __init__(self, node: str) -> None:
        self.now_s = 100.0
        self.peer = "b" if node == "a" else "a"
        self.sequence = 0
        self.core = Ownership(
            node=node,
            directors=("a", "b"),
            groups=[GroupRule(name=G, preferred="a")],
            failback=False,
            timers=TIMERS,
            lease_s=LEASE_S,
            lifetime_s=3.0,
            tail_s=EXPIRY_TAIL_S,
            started_s=self.now_s,
            epochs={},
        )
        self.core.bus_changed(connected=True, now_s=self.now_s)
        self.vip()

    def vip(self) -> None:
        held = HeldGroup(name=G, status=HoldStatus.RELEASED, epoch=0, addresses=())
        self.core.vip_reported(VipState(groups=(held,), stopping=False), now_s=self.now_s)
        self.core.tick(now_s=self.now_s)

    def hear(self, phase: Phase = NONE, epoch: int = 0, *, echoed: int | None = None) -> bool:
        """Take in a heartbeat; return whether it is answered at once."""
        claim = Claim(epoch=epoch, phase=phase, candidate=True)
        report = PeerReport(incarnation=1, settled=True, claims={G: claim}, echoed=echoed)
        effects = self.core.peer_heard(self.peer, report, now_s=self.now_s)
        effects += self.core.tick(now_s=self.now_s)
        return SendHeartbeat() in effects

    def send(self) -> int:
        self.sequence += 1
        self.core.beat_sent(self.sequence, now_s=self.now_s)
        return self.sequence

    def silent(self, status: DirectorStatus) -> None:
        self.core.peer_silent(self.peer, status, cause=None, now_s=self.now_s)
        self.core.tick(now_s=self.now_s)

    def wait(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + TIMERS.keepalive_s)
            self.vip()
            self.core.tick(now_s=self.now_s)

    @property
    def phase(self) -> Phase:
        return self.core.claims(now_s=self.now_s)[G].phase


def test_a_free_group_is_announced_and_held_once_the_other_one_knows() -> None:
    bench = Bench("a")
    bench.send()
    assert bench.hear(echoed=1)
    assert bench.phase is ASKING
    assert not bench.core.leases
    said = bench.send()
    bench.hear(echoed=said - 1)  # it had not heard that one yet
    assert bench.phase is ASKING
    bench.hear(echoed=said)
    assert bench.phase is HELD
    assert bench.core.leases[0].deadline_s == bench.now_s + LEASE_S


def test_a_director_that_comes_back_yields_to_a_claim_in_the_same_moment() -> None:
    """The other one thought it dead for long enough, and claims just as it comes back."""
    back = Bench("a")
    back.hear(NONE)
    back.send()
    assert back.phase is ASKING
    back.hear(HELD, 2)
    assert back.phase is NONE
    assert not back.core.leases


def test_who_falls_silent_before_it_answers_may_have_claimed() -> None:
    bench = Bench("a")
    bench.hear(NONE)
    bench.send()
    bench.silent(DirectorStatus.DEAD)
    assert bench.phase is NONE
    bench.wait(FREE_S - 0.1)
    assert bench.phase is NONE
    bench.wait(0.1)
    assert bench.phase is HELD  # there is nobody to ask


def test_who_leaves_cleanly_has_let_go() -> None:
    bench = Bench("a")
    bench.hear(NONE)
    report = PeerReport(incarnation=1, settled=True, claims={G: Claim()})
    bench.core.peer_left("b", report, cause=None, now_s=bench.now_s)
    bench.core.tick(now_s=bench.now_s)
    assert bench.phase is HELD


def test_of_two_that_ask_the_preferred_one_goes_on_and_is_answered_at_once() -> None:
    first, second = Bench("a"), Bench("b")
    first.hear()
    said = first.send()
    second.hear(HELD, 1)
    assert second.hear(ASKING, 2)
    assert second.phase is NONE
    first.hear(ASKING, 1)
    assert first.phase is ASKING
    first.hear(NONE, 2, echoed=said)
    assert first.phase is HELD


def test_the_last_words_of_an_earlier_stop_do_not_shorten_the_wait() -> None:
    """Who stops says so several times; back again, it may die with the address."""
    bench = Bench("b")
    bench.hear(HELD, 1)
    leaving = PeerReport(incarnation=1, settled=True, claims={G: Claim(epoch=1)})
    for _ in range(2):
        bench.core.peer_left("a", leaving, cause=None, now_s=bench.now_s)
    bench.hear(HELD, 2)
    bench.silent(DirectorStatus.DEAD)
    assert bench.phase is NONE
    bench.wait(FREE_S)
    assert bench.phase is HELD
