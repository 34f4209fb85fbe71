"""Ownership of one group: every phase against every input, and the rules one by one."""

from __future__ import annotations

import pytest

from heartbus.events import DirectorStatus, HeldGroup, HoldStatus, VipState
from heartbus.model import Timers
from heartbus_membership.attention import BLINK_S, QUIET_BEATS
from heartbus_membership.claims import (
    Claim,
    Effect,
    Grant,
    GroupRule,
    PeerReport,
    PersistEpoch,
    PersistStandby,
    Phase,
    Revoke,
    SendHeartbeat,
    StandingLease,
)
from heartbus_membership.ownership import Ownership
from heartbus_membership.readiness import HOLD_DOWN_S, VIP_SILENCE_MARGIN_S
from heartbus_membership.rules import PREFERRED_WAIT_S

TIMERS = Timers(keepalive_s=0.5, warntime_s=1.0, deadtime_s=2.0, initdead_s=10.0)
LEASE_S = 5.0
LIFETIME_S = 3.0
VIP_SILENCE_S = LIFETIME_S + VIP_SILENCE_MARGIN_S
T = 100.0
G = "vip"
NONE, HELD, RELEASING, WANTING = Phase.NONE, Phase.HELD, Phase.RELEASING, Phase.WANTING


class Bench:
    """One director's ownership of group ``vip``, which prefers a; ``effects`` of all inputs."""

    def __init__(
        self,
        node: str = "a",
        *,
        failback: bool = False,
        epoch: int = 0,
        directors: str = "ab",
        standing: tuple[StandingLease, ...] = (),
        vip: bool = True,
        stop_s: float = 0.0,
        lifetime_s: float = LIFETIME_S,
        tail_s: float = 0.0,
        may_overlap: bool = False,
    ) -> None:
        self.now_s = T
        self.effects: list[Effect] = []
        self.core = Ownership(
            node=node,
            directors=tuple(directors),
            groups=[GroupRule(name=G, preferred="a", stop_s=stop_s, may_overlap=may_overlap)],
            failback=failback,
            timers=TIMERS,
            lease_s=LEASE_S,
            lifetime_s=lifetime_s,
            tail_s=tail_s,
            started_s=T,
            epochs={G: epoch},
            standing=standing,
            votes={},
        )
        self.bus(connected=True)
        if vip:
            self.vip()

    def take(self, effects: list[Effect]) -> None:
        self.effects += effects

    def decide(self) -> None:
        self.take(self.core.tick(now_s=self.now_s))

    def bus(self, *, connected: bool) -> None:
        self.core.bus_changed(connected=connected, now_s=self.now_s)
        self.decide()

    def vip(
        self, status: HoldStatus = HoldStatus.RELEASED, epoch: int = 0, *, stopping: bool = False
    ) -> None:
        held = HeldGroup(name=G, status=status, epoch=epoch, addresses=())
        state = VipState(groups=(held,), stopping=stopping)
        self.core.vip_reported(state, now_s=self.now_s)
        self.decide()

    def hear(
        self,
        phase: Phase = NONE,
        epoch: int = 0,
        *,
        peer: str = "b",
        candidate: bool = True,
        incarnation: int = 1,
        echoed: int | None = None,
        votes: bool = False,
    ) -> None:
        report = PeerReport(
            incarnation=incarnation,
            settled=True,
            claims={G: Claim(epoch=epoch, phase=phase, candidate=candidate)},
            supports=frozenset({G} if votes else ()),
            echoed=echoed,
        )
        self.take(self.core.peer_heard(peer, report, now_s=self.now_s))
        self.decide()

    def silent(self, status: DirectorStatus, *, peer: str = "b", cause: str = "id") -> None:
        self.core.peer_silent(peer, status, cause=cause, now_s=self.now_s)
        self.decide()

    def wait(self, seconds: float, *, vip: HoldStatus | None = None) -> None:
        """Let time pass in steps of a keepalive; the vip goes on reporting if told."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + TIMERS.keepalive_s)
            if vip is not None:
                self.vip(vip, self.claim.epoch)
            self.take(self.core.tick(now_s=self.now_s))

    @property
    def claim(self) -> Claim:
        return self.core.claims(now_s=self.now_s)[G]

    def told(self, kind: type[Effect]) -> list[Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]


def brought_to(phase: Phase) -> Bench:
    """Return director a beside a ready b. Held: epoch 1."""
    bench = Bench(failback=phase is WANTING)
    if phase in (NONE, WANTING):
        bench.hear(HELD, 1)
        bench.wait(1.0 if phase is WANTING else 0.0, vip=HoldStatus.RELEASED)
    else:
        bench.hear()
    if phase is RELEASING:
        bench.take(bench.core.stop(now_s=bench.now_s))
    assert bench.claim.phase is phase
    bench.effects.clear()
    return bench


INPUTS = {
    "peer free": lambda x: x.hear(NONE, 1),
    "peer held lower": lambda x: x.hear(HELD, 0),
    "peer held equal": lambda x: x.hear(HELD, 1),
    "peer held higher": lambda x: x.hear(HELD, 7),
    "peer releasing": lambda x: x.hear(RELEASING, 1),
    "peer wanting": lambda x: x.hear(WANTING, 1),
    "peer asking": lambda x: x.hear(Phase.ASKING, 2),
    "peer handing": lambda x: x.hear(Phase.HANDING, 1),
    "peer taking": lambda x: x.hear(Phase.TAKING, 2),
    "peer late": lambda x: x.silent(DirectorStatus.LATE),
    "peer dead": lambda x: x.silent(DirectorStatus.DEAD),
    "peer left": lambda x: x.silent(DirectorStatus.LEFT),
    "vip released": lambda x: x.vip(HoldStatus.RELEASED, 1),
    "vip held": lambda x: x.vip(HoldStatus.HELD, 1),
    "vip failed": lambda x: x.vip(HoldStatus.FAILED, 1),
    "vip stopping": lambda x: x.vip(HoldStatus.HELD, 1, stopping=True),
    "bus lost": lambda x: x.bus(connected=False),
    "stop": lambda x: x.take(x.core.stop(now_s=x.now_s)),
    "tick": lambda x: x.wait(0.5),
}

STAYS = "stays"
TABLE = {
    # The peer holds with epoch 1 before; we are ready.
    NONE: {
        "peer free": HELD,
        "peer dead": HELD,
        "peer left": HELD,
        "peer wanting": HELD,
        "peer asking": HELD,
    },
    # We hold with epoch 1; the peer is ready and claims nothing.
    HELD: {
        "peer held higher": RELEASING,
        "vip failed": RELEASING,
        "vip stopping": RELEASING,
        "stop": RELEASING,
        "peer wanting": RELEASING,
    },
    # We stop; vip was told to release and has not yet.
    RELEASING: {"vip released": NONE},
    # As none, with failback.
    WANTING: {
        "peer free": HELD,
        "peer dead": HELD,
        "peer left": HELD,
        "peer wanting": HELD,
        "peer asking": HELD,
        "vip failed": NONE,
        "vip stopping": NONE,
        "stop": NONE,
    },
}


OUTBID = {"peer held lower", "peer held equal", "peer releasing", "peer handing", "peer taking"}
"""What a holder answers with a higher epoch: the other one may have announced itself."""


@pytest.mark.parametrize("what", INPUTS)
@pytest.mark.parametrize("before", TABLE)
def test_transition(before: Phase, what: str) -> None:
    bench = brought_to(before)
    INPUTS[what](bench)
    after = TABLE[before].get(what, before)
    assert bench.claim.phase is after
    granted, revoked = bench.told(Grant), bench.told(Revoke)
    outbids = before is HELD and what in OUTBID
    assert bool(granted) == ((after is HELD and before is not HELD) or outbids)
    assert bool(revoked) == (before is HELD and after is not HELD)
    assert bool(bench.core.leases) == (after is HELD)
    assert bool(bench.told(SendHeartbeat)) == (
        (after is not before and {after, before} != {NONE, WANTING})
        or outbids
        or what == "peer asking"  # it waits for our answer
    )


def test_nothing_is_claimed_before_every_director_was_heard_or_declared_dead() -> None:
    bench = Bench()
    bench.wait(9, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is NONE
    bench.silent(DirectorStatus.DEAD)
    assert bench.claim.phase is HELD


def test_a_claim_is_above_every_epoch_known_and_persisted_first() -> None:
    bench = Bench(epoch=4)
    bench.hear(NONE, 9)
    assert bench.effects[-3:] == [
        PersistEpoch(group=G, epoch=10),
        Grant(group=G, epoch=10, reason=bench.told(Grant)[0].reason),  # type: ignore[union-attr]  # only Grants
        SendHeartbeat(),
    ]


def test_takeover_names_the_death_that_caused_it() -> None:
    bench = Bench("b")
    bench.hear(HELD, 3, peer="a")
    bench.silent(DirectorStatus.DEAD, peer="a", cause="the death")
    assert bench.told(Grant) == [Grant(group=G, epoch=4, reason="a is dead", cause="the death")]


def test_the_second_director_leaves_a_free_group_to_the_ready_preferred_one() -> None:
    bench = Bench("b")
    bench.hear(peer="a")
    bench.wait(60, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is NONE


def test_at_boot_the_second_director_waits_initdead_for_a_preferred_one_that_is_not_ready() -> None:
    # And two keepalives: without a bus the preferred one is ready after initdead, and says so.
    bench = Bench("b")
    bench.hear(peer="a", candidate=False)
    bench.wait(10.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is NONE
    bench.wait(0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is HELD


def test_at_boot_the_second_director_waits_from_when_the_preferred_one_came_up() -> None:
    bench = Bench("b")
    bench.wait(6, vip=HoldStatus.RELEASED)
    bench.hear(peer="a", candidate=False)
    bench.wait(10.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is NONE
    bench.wait(0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is HELD


def test_later_the_second_director_waits_only_a_little() -> None:
    bench = Bench("b")
    bench.hear(HELD, 1, peer="a")
    bench.hear(NONE, 1, peer="a", candidate=False, incarnation=2)
    bench.wait(PREFERRED_WAIT_S - 0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is NONE
    bench.wait(0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is HELD


def test_a_preferred_director_that_hands_over_is_not_waited_for() -> None:
    bench = Bench("b")
    bench.hear(HELD, 1, peer="a")
    bench.hear(RELEASING, 1, peer="a", candidate=False)
    assert bench.claim.phase is NONE
    bench.hear(NONE, 1, peer="a", candidate=False)
    assert bench.claim.phase is HELD


def test_of_equal_epochs_the_preferred_director_wins_and_outbids_once() -> None:
    winner, loser = Bench("a"), Bench("b")
    winner.hear()
    loser.silent(DirectorStatus.DEAD, peer="a")
    winner.effects.clear()
    winner.hear(HELD, 1)
    winner.hear(HELD, 1, candidate=False)
    assert [effect.epoch for effect in winner.told(Grant)] == [2]  # type: ignore[union-attr]
    loser.hear(HELD, 1, peer="a")
    assert loser.core.leases == ()


def test_the_loser_of_a_conflict_says_so_until_its_vip_has_let_go() -> None:
    # Who hears only the loser must not take what is still there.
    loser = brought_to(HELD)
    loser.vip(HoldStatus.HELD, 1)
    loser.hear(HELD, 2)
    loser.vip(HoldStatus.STOPPING, 1)
    assert loser.claim == Claim(epoch=1, phase=RELEASING, candidate=True)
    loser.vip(HoldStatus.RELEASED, 1)
    assert loser.claim.phase is NONE


def test_failback_waits_until_vip_has_released() -> None:
    holder = Bench("b", failback=True)
    holder.silent(DirectorStatus.DEAD, peer="a")
    holder.vip(HoldStatus.HELD, 1)
    holder.hear(WANTING, 1, peer="a")
    assert holder.claim.phase is RELEASING
    holder.vip(HoldStatus.HELD, 1)
    assert holder.claim.phase is RELEASING
    holder.vip(HoldStatus.RELEASED, 1)
    assert holder.claim.phase is NONE
    holder.wait(1, vip=HoldStatus.RELEASED)
    assert holder.claim.phase is NONE, "it belongs to the preferred director now"


def test_a_release_that_is_never_reported_ends_with_the_lease() -> None:
    bench = brought_to(RELEASING)
    bench.wait(LEASE_S - 0.5)
    assert bench.claim.phase is RELEASING
    bench.wait(0.5)
    assert bench.claim.phase is NONE


@pytest.mark.parametrize("status", [HoldStatus.STARTING, HoldStatus.HELD, HoldStatus.STOPPING])
def test_a_release_lasts_beyond_the_lease_while_vip_says_that_it_is_at_it(
    status: HoldStatus,
) -> None:
    bench = Bench("b", failback=True, stop_s=120.0)
    bench.silent(DirectorStatus.DEAD, peer="a")
    bench.hear(WANTING, 1, peer="a")
    bench.wait(LEASE_S + 120.0 - 0.5, vip=status)
    assert bench.claim.phase is RELEASING
    bench.wait(0.5, vip=status)
    assert bench.claim.phase is NONE, "it may take the time of its scripts and no more"


def test_a_release_ends_as_soon_as_vip_says_so_after_the_lease() -> None:
    bench = Bench("b", failback=True, stop_s=120.0)
    bench.silent(DirectorStatus.DEAD, peer="a")
    bench.hear(WANTING, 1, peer="a")
    bench.wait(LEASE_S + 20.0, vip=HoldStatus.STOPPING)
    bench.vip(HoldStatus.RELEASED, 1)
    assert bench.claim.phase is NONE


@pytest.mark.parametrize("lost", ["vip", "bus"])
def test_a_release_ends_with_the_lease_where_vip_is_not_heard(lost: str) -> None:
    bench = Bench("b", failback=True, stop_s=120.0)
    bench.silent(DirectorStatus.DEAD, peer="a")
    bench.hear(WANTING, 1, peer="a")
    bench.wait(2.0, vip=HoldStatus.STOPPING)
    if lost == "bus":
        bench.bus(connected=False)
        bench.wait(LEASE_S - 2.5)
        assert bench.claim.phase is RELEASING
        bench.wait(0.5)
    else:
        bench.wait(VIP_SILENCE_S)
        assert bench.claim.phase is RELEASING
        bench.wait(0.5)
    assert bench.claim.phase is NONE


def test_a_stale_report_of_released_does_not_end_a_release() -> None:
    bench = brought_to(RELEASING)
    bench.vip(HoldStatus.RELEASED, 0)
    assert bench.claim.phase is RELEASING


def test_without_a_ready_peer_a_failed_group_is_kept() -> None:
    bench = Bench()
    bench.hear(candidate=False)
    bench.vip(HoldStatus.FAILED, 1)
    assert bench.claim == Claim(epoch=1, phase=HELD, candidate=False)


def test_after_a_failed_start_we_are_no_candidate_for_the_hold_down() -> None:
    bench = Bench()
    bench.hear()
    bench.vip(HoldStatus.FAILED, 1)
    bench.vip(HoldStatus.RELEASED, 1)
    bench.hear(HELD, 2)
    bench.wait(HOLD_DOWN_S - 0.5, vip=HoldStatus.RELEASED)
    assert not bench.claim.candidate
    bench.wait(0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.candidate


def test_a_silent_vip_is_handed_over_only_while_the_bus_is_there() -> None:
    bench = Bench()
    bench.hear()
    bench.bus(connected=False)
    bench.wait(60)
    assert bench.claim.phase is HELD
    bench.bus(connected=True)
    bench.wait(VIP_SILENCE_S)
    assert bench.claim.phase is HELD
    bench.wait(0.5)
    assert bench.claim.phase is RELEASING


@pytest.mark.parametrize("lifetime_s", [1.0, 3.0, 15.0])
def test_a_silent_vip_keeps_its_groups_while_its_addresses_stand(lifetime_s: float) -> None:
    bench = Bench(lifetime_s=lifetime_s)
    bench.hear()
    bench.wait(lifetime_s + VIP_SILENCE_MARGIN_S)
    assert bench.claim.phase is HELD
    bench.wait(0.5)
    assert bench.claim.phase is RELEASING


def test_leases_are_renewed_at_every_tick() -> None:
    bench = Bench()
    bench.hear()
    bench.wait(2, vip=HoldStatus.HELD)
    assert bench.core.leases[0].deadline_s == bench.now_s + LEASE_S


def test_a_standing_lease_is_resumed_with_its_epoch_before_anybody_is_heard() -> None:
    lease = StandingLease(group=G, epoch=6, deadline_s=T + 2)
    bench = Bench(standing=(lease,), vip=False)
    assert bench.claim.phase is HELD
    assert bench.core.leases == (StandingLease(group=G, epoch=6, deadline_s=T + LEASE_S),)
    assert bench.effects == []
    bench.hear(HELD, 7)
    assert not bench.core.leases


def test_a_release_goes_on_across_a_restart() -> None:
    earlier = brought_to(RELEASING)
    (going,) = earlier.core.releasing
    assert going.deadline_s == T + LEASE_S
    bench = Bench(standing=(going,), vip=False)
    assert bench.claim.phase is RELEASING
    assert not bench.core.leases
    bench.wait(LEASE_S - 0.5, vip=HoldStatus.STOPPING)
    bench.hear()
    assert bench.claim.phase is RELEASING
    bench.vip(HoldStatus.RELEASED, 1)
    assert bench.claim.phase is not RELEASING


def test_a_release_tells_the_next_process_how_long_its_scripts_may_take() -> None:
    bench = Bench(stop_s=20.0)
    bench.hear()
    bench.wait(1, vip=HoldStatus.HELD)
    bench.take(bench.core.stop(now_s=bench.now_s))
    (going,) = bench.core.releasing
    assert going.deadline_s == bench.now_s + LEASE_S + 20.0


def test_an_ended_lease_is_not_resumed() -> None:
    lease = StandingLease(group=G, epoch=6, deadline_s=T)
    assert Bench(standing=(lease,)).claim.phase is NONE


def stalled(seconds: float = 2 * LEASE_S, *, dead: bool = False) -> Bench:
    """Return director a, which held the group and did not run; its vip has let go by now."""
    bench = Bench()
    bench.hear()
    if dead:
        bench.silent(DirectorStatus.DEAD)
    bench.now_s += seconds
    bench.take(bench.core.tick(now_s=bench.now_s))
    bench.vip(HoldStatus.RELEASED, bench.claim.epoch)
    return bench


def test_a_lease_that_ended_unwatched_is_withdrawn_and_not_renewed() -> None:
    bench = Bench()
    bench.hear()
    bench.vip(HoldStatus.HELD, 1)
    bench.now_s += LEASE_S + 0.1
    bench.take(bench.core.tick(now_s=bench.now_s))
    assert bench.claim.phase is RELEASING
    assert not bench.core.leases
    bench.hear(HELD, 1)  # of lower rank: the other one has it all the same
    assert bench.claim.phase is RELEASING
    bench.vip(HoldStatus.RELEASED, 1)
    bench.wait(2, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is NONE


def test_after_a_long_stall_nothing_is_claimed_before_the_peers_are_heard_afresh() -> None:
    bench = stalled()
    bench.hear(NONE, 1)  # waited in the socket while we slept
    assert bench.claim.phase is NONE
    bench.now_s += 0.1
    bench.hear(NONE, 1)
    bench.take(bench.core.tick(now_s=bench.now_s))
    assert bench.claim == Claim(epoch=2, phase=HELD, candidate=True)


def test_after_a_long_stall_silence_for_deadtime_is_enough() -> None:
    bench = stalled()
    bench.wait(TIMERS.deadtime_s - 0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is NONE
    bench.wait(0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is HELD


def test_after_a_long_stall_who_was_dead_before_is_waited_for_a_few_keepalives() -> None:
    bench = stalled(dead=True)
    bench.wait(QUIET_BEATS * TIMERS.keepalive_s - 0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is NONE
    bench.wait(0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is HELD


def test_after_a_long_stall_a_death_found_only_then_does_not_shorten_the_wait() -> None:
    bench = stalled()
    bench.silent(DirectorStatus.DEAD)
    bench.wait(TIMERS.deadtime_s - 0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is NONE


def free_beside_a_silent_holder() -> Bench:
    """Return director a; b held the group and then let go, which we have not heard yet."""
    bench = Bench()
    bench.hear(HELD, 1)
    bench.wait(0.5, vip=HoldStatus.RELEASED)
    return bench


def test_after_a_blink_nothing_is_claimed_on_what_waited_in_the_socket() -> None:
    bench = free_beside_a_silent_holder()
    bench.now_s += BLINK_S[1] + 0.1
    bench.hear(NONE, 1)
    assert bench.claim.phase is NONE
    bench.now_s += 0.1
    bench.hear(HELD, 2)  # it had claimed again meanwhile
    assert bench.claim.phase is NONE


def test_a_turn_in_time_claims_at_once() -> None:
    bench = free_beside_a_silent_holder()
    bench.now_s += BLINK_S[1]
    bench.hear(NONE, 1)
    assert bench.claim.phase is HELD


def test_blinking_again_and_again_counts_only_the_time_between() -> None:
    bench = free_beside_a_silent_holder()
    bench.silent(DirectorStatus.LATE)
    watched_s, spell_s = 0.0, QUIET_BEATS * TIMERS.keepalive_s
    bench.now_s += 1.0
    bench.take(bench.core.tick(now_s=bench.now_s))
    bench.silent(DirectorStatus.DEAD)
    while watched_s + spell_s < TIMERS.deadtime_s:
        bench.wait(spell_s, vip=HoldStatus.RELEASED)
        watched_s += spell_s
        assert bench.claim.phase is NONE
        bench.now_s += 1.0
        bench.take(bench.core.tick(now_s=bench.now_s))
    bench.wait(spell_s - 0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is NONE
    bench.wait(0.5, vip=HoldStatus.RELEASED)
    assert bench.claim.phase is HELD


def test_after_a_long_stall_a_dead_peer_that_took_over_meanwhile_is_heard_first() -> None:
    bench = Bench()
    bench.hear()
    bench.silent(DirectorStatus.DEAD)
    bench.now_s += 2 * LEASE_S
    bench.take(bench.core.tick(now_s=bench.now_s))
    bench.now_s += TIMERS.keepalive_s
    bench.hear(HELD, 2, incarnation=2)
    assert not bench.core.leases


def test_without_any_bus_since_the_start_the_group_is_claimed_blindly_after_initdead() -> None:
    bench = Bench(vip=False)
    bench.bus(connected=False)
    bench.silent(DirectorStatus.DEAD)
    bench.wait(TIMERS.initdead_s)
    assert bench.claim.phase is NONE
    bench.wait(0.5)
    assert bench.claim.phase is HELD


def test_who_took_over_announces_anew_when_the_dead_one_is_heard_again() -> None:
    bench = Bench("b")
    bench.hear(HELD, 1, peer="a")
    bench.silent(DirectorStatus.DEAD, peer="a")
    bench.wait(1.0, vip=HoldStatus.HELD)
    assert bench.claim.phase is HELD
    epoch = bench.claim.epoch
    bench.effects.clear()
    bench.hear(NONE, epoch - 1, peer="a")  # its lease has ended by itself: it claims nothing
    [granted] = bench.told(Grant)
    assert isinstance(granted, Grant)
    assert (granted.epoch, granted.reason) == (epoch + 1, "a is heard again")
    bench.hear(NONE, epoch - 1, peer="a")
    bench.wait(3.0, vip=HoldStatus.HELD)
    assert len(bench.told(Grant)) == 1, "once"


def test_a_director_that_held_nothing_when_it_died_is_no_reason_to_announce_anew() -> None:
    bench = brought_to(HELD)
    bench.silent(DirectorStatus.DEAD)
    bench.wait(1.0, vip=HoldStatus.HELD)
    bench.hear()
    assert bench.told(Grant) == []


def test_a_standby_is_written_down_and_forgotten_once_the_group_is_taken_here_again() -> None:
    bench = brought_to(HELD)
    bench.take(bench.core.standby([G], now_s=bench.now_s))
    assert bench.told(PersistStandby) == [PersistStandby(groups=frozenset({G}))]
    bench.take(bench.core.takeover([G], now_s=bench.now_s))
    assert bench.told(PersistStandby)[1:] == [PersistStandby(groups=frozenset())]
