"""One turn: all that waited is taken in before anything is decided; our own stall comes first."""

from __future__ import annotations

from collections.abc import Iterable

from heartbus.events import DirectorStatus, HeldGroup, HoldStatus, NodeLeft, VipState
from heartbus.model import Timers
from heartbus_membership.claims import Claim, Effect, Grant, GroupRule, PeerReport, Phase, Revoke
from heartbus_membership.detector import FailureDetector, NodeEvent
from heartbus_membership.hearing import Heard
from heartbus_membership.ownership import Ownership
from heartbus_membership.readiness import VIP_SILENCE_MARGIN_S
from heartbus_membership.turn import Turn

T = 100.0
G = "vip"
LEASE_S = 10.0
LIFETIME_S = 3.0
TIMERS = Timers(keepalive_s=0.5, warntime_s=1.0, deadtime_s=2.0, initdead_s=10.0)


class Bench:
    """Director a, which holds group ``vip`` with epoch 1 beside a ready b."""

    def __init__(self) -> None:
        self.now_s = T
        self.effects: list[Effect] = []
        self.events: list[NodeEvent] = []
        self.detector = FailureDetector(
            peers=["b"], timers=TIMERS, restart_grace_s=1.0, lease_s=LEASE_S, started_s=T
        )
        self.ownership = Ownership(
            node="a",
            directors=("a", "b"),
            groups=[GroupRule(name=G, preferred="a")],
            failback=False,
            timers=TIMERS,
            lease_s=LEASE_S,
            lifetime_s=LIFETIME_S,
            started_s=T,
            epochs={},
        )
        self.turn = Turn(
            detector=self.detector,
            ownership=self.ownership,
            announce=self._announce,
            carry_out=self._carry_out,
        )
        self.vip(HoldStatus.RELEASED)
        self.hear(Claim(candidate=True))
        self.decide()
        assert self.phase is Phase.HELD
        self.vip(HoldStatus.HELD)
        self.effects.clear()

    def _announce(self, event: NodeEvent) -> str:
        self.events.append(event)
        return event.kind

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        self.effects += effects

    @property
    def phase(self) -> Phase:
        return self.ownership.claims(now_s=self.now_s)[G].phase

    def vip(self, status: HoldStatus) -> None:
        held = HeldGroup(name=G, status=status, epoch=1, addresses=())
        self.turn.vip_reported(VipState(groups=(held,)), now_s=self.now_s)

    def hear(self, claim: Claim, *, incarnation: int = 1, leaving: bool = False) -> None:
        report = PeerReport(incarnation=incarnation, settled=True, claims={G: claim})
        heard = Heard(
            peer="b",
            link="eth1",
            incarnation=incarnation,
            sequence=1,
            leaving=leaving,
            report=report,
        )
        self.turn.heard(heard, now_s=self.now_s)

    def decide(self, *, bus: bool = True) -> None:
        self.turn.all_heard(bus_connected=bus, now_s=self.now_s)
        self.turn.decide(now_s=self.now_s)

    def told(self, kind: type[Effect]) -> list[Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]


def test_a_claim_in_an_old_datagram_that_has_ended_since_is_not_yielded_to() -> None:
    bench = Bench()
    bench.hear(Claim(epoch=2, phase=Phase.HELD, candidate=True))
    bench.hear(Claim(epoch=2, phase=Phase.RELEASING, candidate=True))
    bench.hear(Claim(epoch=2, candidate=True))
    bench.decide()
    assert bench.phase is Phase.HELD
    assert bench.told(Revoke) == []


def test_the_epochs_of_a_backlog_count_whatever_came_after_them() -> None:
    bench = Bench()
    bench.hear(Claim(epoch=7, phase=Phase.HELD, candidate=True))
    bench.hear(Claim(epoch=7), leaving=True)
    bench.decide()
    assert bench.detector.status("b") is DirectorStatus.LEFT
    assert [type(e) for e in bench.events if isinstance(e, NodeLeft)] == [NodeLeft]
    bench.hear(Claim(epoch=8, phase=Phase.RELEASING, candidate=True), incarnation=2)
    bench.decide()
    assert [effect.epoch for effect in bench.told(Grant) if isinstance(effect, Grant)] == [9]


def test_a_vip_that_failed_and_held_again_while_we_did_not_look_is_not_taken_away() -> None:
    bench = Bench()
    bench.vip(HoldStatus.FAILED)
    bench.vip(HoldStatus.HELD)
    bench.decide()
    assert bench.phase is Phase.HELD


def test_a_bus_lost_during_our_stall_does_not_freeze_the_silence_of_a_vip_we_did_not_hear() -> None:
    bench = Bench()
    bench.now_s += LIFETIME_S + VIP_SILENCE_MARGIN_S + 1.0  # we did not run, and so heard nothing
    assert bench.turn.woke(late_s=bench.now_s - T, now_s=bench.now_s)
    bench.decide(bus=False)
    for _ in range(20):
        bench.now_s += TIMERS.keepalive_s
        bench.hear(Claim(candidate=True))
        bench.decide(bus=False)
    assert bench.phase is Phase.HELD
    assert bench.told(Revoke) == []


def test_who_takes_over_from_one_that_left_names_that_as_the_cause_not_its_links() -> None:
    bench = Bench()
    bench.hear(Claim(epoch=7, phase=Phase.HELD, candidate=True))
    bench.decide()
    for _ in range(20):
        bench.now_s += 0.1
        bench.vip(HoldStatus.RELEASED)
        bench.hear(Claim(epoch=7, phase=Phase.HELD, candidate=True))
        bench.decide()
    assert bench.phase is Phase.NONE
    bench.hear(Claim(epoch=7), leaving=True)
    bench.decide()
    assert [e.kind for e in bench.events][-2:] == ["node.left", "link.down"]
    (grant,) = bench.told(Grant)
    assert isinstance(grant, Grant)
    assert (grant.reason, grant.cause) == ("b left", "node.left")
