"""Groups that come and go while directors run: nothing is claimed blindly, nothing let go of."""

from __future__ import annotations

import random

import pytest

from heartbus.events import DirectorStatus, HeldGroup, HoldStatus, VipState
from heartbus_membership.claims import Claim, Grant, GroupRule, PeerReport, Phase, Revoke
from heartbus_membership.ownership import Ownership
from heartbus_membership.rules import READ_S
from tests.membership.test_ownership import LEASE_S, TIMERS, T

OLD, NEW = "old", "new"
LET_GO_S = LEASE_S - 1.0
"""A vip without scripts has let go before the end of the lease that it last heard of."""


class Side:
    """One director of two; ``claims`` is what its heartbeat says. Its vip does as it is told."""

    def __init__(
        self,
        node: str,
        *names: str,
        preferred: str = "a",
        failback: bool = False,
        tail_s: float = 0.0,
        directors: str = "ab",
        fences: tuple[str, ...] = (),
    ) -> None:
        self.node, self.now_s = node, T
        self.epochs: dict[str, int] = {}
        self.slow: set[str] = set()
        self.leased_s: dict[str, float] = {}
        self.knows = set(names)
        self.core = Ownership(
            node=node,
            directors=tuple(directors),
            groups=self.rules(*names, preferred=preferred),
            failback=failback,
            timers=TIMERS,
            lease_s=LEASE_S,
            lifetime_s=3.0,
            tail_s=tail_s,
            started_s=T,
            epochs={},
            votes={},
            fences=fences,
        )
        self.core.bus_changed(connected=True, now_s=T)
        self.vip_holds: dict[str, int] = {}
        self.effects: list[object] = []

    @staticmethod
    def rules(*names: str, preferred: str = "a") -> list[GroupRule]:
        return [GroupRule(name=n, preferred="b" if n == "y" else preferred) for n in names]

    def use(self, *names: str, preferred: str = "a") -> None:
        """Reload: from now on these groups are configured."""
        self.knows |= set(names)
        self.effects += self.core.use_groups(
            self.rules(*names, preferred=preferred), epochs=self.epochs, now_s=self.now_s
        )

    def turn(self) -> None:
        """Let the vip do and say what the leases allow, and decide."""
        leases = {lease.group: lease.epoch for lease in self.core.leases}
        self.leased_s.update(dict.fromkeys(leases, self.now_s))
        stays = {
            group: epoch
            for group, epoch in self.vip_holds.items()
            if group in self.slow and self.now_s - self.leased_s[group] < LET_GO_S
        }
        self.vip_holds = {**stays, **leases}
        groups = tuple(
            HeldGroup(
                name=name,
                status=HoldStatus.HELD if name in self.vip_holds else HoldStatus.RELEASED,
                epoch=self.vip_holds.get(name, 0),
                addresses=(),
            )
            for name in sorted(self.knows)
        )
        self.core.vip_reported(VipState(groups=groups), now_s=self.now_s)
        self.effects += self.core.tick(now_s=self.now_s)

    def hears(self, claims: dict[str, Claim], *, peer: str = "b") -> None:
        report = PeerReport(
            incarnation=1,
            settled=True,
            claims={name: claim for name, claim in claims.items() if name in self.knows},
        )
        self.effects += self.core.peer_heard(peer, report, now_s=self.now_s)

    def wait(self, seconds: float, *, peer: dict[str, Claim] | None = None) -> None:
        """Let keepalives pass; ``peer``: what the other director says with each."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += TIMERS.keepalive_s
            if peer is not None:
                self.hears(peer)
            self.turn()

    def phase(self, name: str) -> Phase | None:
        claim = self.core.claims(now_s=self.now_s).get(name)
        return None if claim is None else claim.phase


READY = Claim(candidate=True)


def holder(**options: object) -> Side:
    """Return director a, which holds the old group beside a ready b."""
    side = Side("a", OLD, **options)  # type: ignore[arg-type]
    side.hears({OLD: READY})
    side.turn()
    side.turn()
    assert side.phase(OLD) is Phase.HELD
    side.effects.clear()
    return side


def test_a_new_group_is_taken_by_its_preferred_director_and_the_old_one_not_touched() -> None:
    side = holder()
    side.use(OLD, NEW)
    assert side.phase(NEW) is Phase.NONE, "what the other one claims of it was never listened to"
    side.wait(1.0, peer={OLD: READY, NEW: READY})
    assert side.phase(NEW) is Phase.HELD
    grants = [e.group for e in side.effects if isinstance(e, Grant)]
    assert grants == [NEW]
    assert not [e for e in side.effects if isinstance(e, Revoke)]
    assert next(x for x in side.core.leases if x.group == NEW).ask_first


def test_a_new_group_that_the_other_one_has_already_is_left_to_it() -> None:
    """The other director has read the files first, waited and taken it."""
    side = holder()
    side.use(OLD, NEW)
    theirs = {OLD: READY, NEW: Claim(epoch=1, phase=Phase.HELD, candidate=True)}
    side.wait(3.0, peer=theirs)
    assert side.phase(NEW) is Phase.NONE
    assert not [e for e in side.effects if isinstance(e, Grant)]


def waiting(**options: object) -> Side:
    """Return director a, which runs for long and was just told of a new group that prefers b."""
    side = holder(**options)
    side.wait(2 * TIMERS.initdead_s, peer={OLD: READY})
    side.knows.add(NEW)
    side.effects += side.core.use_groups(
        [*side.rules(OLD), *side.rules(NEW, preferred="b")], epochs={}, now_s=side.now_s
    )
    return side


def test_a_new_group_waits_for_a_preferred_director_that_is_ready() -> None:
    side = waiting()
    side.wait(60.0, peer={OLD: READY, NEW: READY})
    assert side.phase(NEW) is Phase.NONE
    side.wait(1.0, peer={OLD: READY, NEW: Claim(epoch=1, phase=Phase.HELD, candidate=True)})
    assert side.phase(NEW) is Phase.NONE


def test_a_new_group_waits_a_minute_for_its_preferred_director_to_read_the_files() -> None:
    side = waiting()
    side.wait(READ_S - 1.0, peer={OLD: READY})
    assert side.phase(NEW) is Phase.NONE
    side.wait(2.0, peer={OLD: READY})
    assert side.phase(NEW) is Phase.HELD


def test_a_new_group_waits_for_initdead_for_a_preferred_director_that_cannot_take_it() -> None:
    side = waiting()
    unable = {OLD: READY, NEW: Claim()}
    side.wait(TIMERS.initdead_s - 1.0, peer=unable)
    assert side.phase(NEW) is Phase.NONE
    side.wait(2.0, peer=unable)
    assert side.phase(NEW) is Phase.HELD


def test_a_new_group_is_not_claimed_before_a_silent_director_counts_for_nothing() -> None:
    side = holder()
    side.use(OLD, NEW)
    side.wait(TIMERS.deadtime_s - TIMERS.keepalive_s)
    assert side.phase(NEW) is Phase.NONE
    side.core.peer_silent("b", DirectorStatus.DEAD, cause=None, now_s=side.now_s)
    side.wait(2.0)
    assert side.phase(NEW) is Phase.HELD


@pytest.mark.parametrize("tail_s", [0.0, 1.0])
def test_of_a_new_group_a_dead_director_may_have_the_address_where_nothing_may_overlap(
    tail_s: float,
) -> None:
    side = Side("a", OLD, tail_s=tail_s)
    side.hears({OLD: READY})
    side.turn()
    side.core.peer_silent("b", DirectorStatus.DEAD, cause=None, now_s=side.now_s)
    side.wait(LEASE_S + tail_s + 1.0)
    side.use(OLD, NEW)
    side.wait(LEASE_S)
    assert side.phase(NEW) is (Phase.HELD if tail_s == 0 else Phase.NONE)
    side.wait(tail_s + 1.0)
    assert side.phase(NEW) is Phase.HELD


def test_a_new_group_of_a_dead_director_that_can_be_fenced_waits_for_that() -> None:
    side = Side("a", OLD, fences=("b",))
    side.hears({OLD: READY})
    side.turn()
    side.core.peer_silent("b", DirectorStatus.DEAD, cause=None, now_s=side.now_s)
    side.wait(3.0)
    side.use(OLD, NEW)
    side.wait(3.0)
    assert side.phase(NEW) is Phase.NONE
    assert side.core.fence_wanted == {"b"}
    side.core.fenced("b", now_s=side.now_s)
    side.wait(1.0)
    assert side.phase(NEW) is Phase.HELD


def test_a_held_group_that_goes_is_released_first_and_forgotten_then() -> None:
    side = holder()
    side.slow.add(OLD)
    side.use(NEW)
    assert side.phase(OLD) is Phase.RELEASING, "its claim bars the others until vip has let go"
    assert [e.group for e in side.effects if isinstance(e, Revoke)] == [OLD]
    side.wait(2.0, peer={})
    assert side.phase(OLD) is Phase.RELEASING
    side.slow.clear()
    side.wait(1.0, peer={})
    assert side.phase(OLD) is None
    assert [v.name for v in side.core.views()] == [NEW]


def test_a_group_that_goes_is_not_taken_from_who_holds_it() -> None:
    side = Side("a", OLD)
    side.hears({OLD: Claim(epoch=3, phase=Phase.HELD, candidate=True)})
    side.turn()
    side.use()
    assert side.phase(OLD) is None
    side.wait(1.0, peer={})
    assert side.effects == [] or not [e for e in side.effects if isinstance(e, Grant)]


def test_a_group_that_comes_back_goes_on_above_its_epochs() -> None:
    side = holder()
    first = side.core.claims(now_s=side.now_s)[OLD].epoch
    side.epochs = {OLD: first}
    side.use()
    side.wait(1.0, peer={})
    side.use(OLD)
    side.wait(1.0, peer={OLD: READY})
    assert side.core.claims(now_s=side.now_s)[OLD].epoch > first


def test_a_group_that_comes_back_while_it_is_let_go_is_let_go_and_taken_again() -> None:
    side = holder()
    side.slow.add(OLD)
    side.use()
    side.use(OLD)
    assert side.phase(OLD) is Phase.RELEASING
    side.slow.clear()
    side.wait(5.0, peer={OLD: READY})
    assert side.phase(OLD) in (Phase.HELD, Phase.NONE)
    side.wait(5.0, peer={OLD: Claim()})
    assert side.phase(OLD) is Phase.HELD


def test_another_preferred_director_counts_from_then_on() -> None:
    side = holder()
    side.core.failback = True
    side.use(OLD, preferred="b")
    assert side.phase(OLD) is Phase.HELD
    side.wait(1.0, peer={OLD: Claim(epoch=1, phase=Phase.WANTING, candidate=True)})
    reasons = [e.reason for e in side.effects if isinstance(e, Revoke)]
    assert reasons == ["failback to b"]


def test_of_two_claims_with_one_epoch_the_new_preferred_director_has_the_better_one() -> None:
    side = holder()
    side.use(OLD, preferred="b")
    rival = Claim(epoch=side.core.claims(now_s=side.now_s)[OLD].epoch, phase=Phase.HELD)
    side.hears({OLD: rival})
    side.turn()
    assert side.phase(OLD) is not Phase.HELD


def test_commands_about_a_group_that_is_gone_are_about_nothing() -> None:
    side = holder()
    side.use(NEW)
    side.wait(1.0, peer={})
    assert side.core.others_ready(OLD) == []
    assert not side.core.may_hold(OLD, now_s=side.now_s)
    for order in (side.core.standby, side.core.takeover, side.core.order_ended):
        order([OLD], now_s=side.now_s)
    assert side.phase(OLD) is None


@pytest.mark.parametrize("seed", range(60))
def test_two_that_reload_at_any_time_never_hold_a_group_together(seed: int) -> None:
    """Heartbeats arrive in order, each within a keepalive; nobody is taken for dead."""
    rng = random.Random(seed)
    names = ["x", "y", "z"]
    sides = {node: Side(node, "x", "y", failback=rng.random() < 0.5) for node in "ab"}
    for _ in range(300):
        now_s = next(iter(sides.values())).now_s + TIMERS.keepalive_s / 4
        for side in sides.values():
            side.now_s = now_s
        for node, side in sides.items():
            if rng.random() < 0.03:
                side.slow = set(rng.sample(names, rng.randrange(3)))
            if rng.random() < 0.05:
                claimed = side.core.claims(now_s=now_s)
                for name, claim in claimed.items():
                    side.epochs[name] = max(side.epochs.get(name, 0), claim.epoch)
                side.use(*rng.sample(names, rng.randrange(4)))
            other = sides["b" if node == "a" else "a"]
            if rng.random() < 0.6:
                side.hears(other.core.claims(now_s=now_s), peer=other.node)
            side.turn()
        both = set(sides["a"].vip_holds) & set(sides["b"].vip_holds)
        assert not both, f"seed {seed}: both hold {both}"
