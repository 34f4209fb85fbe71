"""Decides which resource groups this director may hold: the part that must never be wrong.

Sans-I/O; times are seconds on our monotonic clock. Each group goes its own way:

      ┌────────── conflict lost ───────────┐
      ▼                                    │
    none ──nobody claims, our turn──────► held ──hand over: vip cannot, failback, stop──┐
      ▲   epoch = highest known + 1        │ ▲  conflict won: epoch + 1                 ▼
      │                                    └─┘                                      releasing
      └─────────────── vip released it, or is silent and the lease has ended ◄──────────┘

The claims of a dead or departed director are void (fast takeover), their epochs still count. A
claim of equal or higher rank wins: the higher epoch, then the preferred director, then the order
of the configuration. Epochs only grow. A lease is renewed only while the claim is sure: after a
stall longer than a lease the peers must be heard afresh first. Losing the bus changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from heartbus.events import DirectorStatus, GroupView, HoldStatus, VipState
from heartbus.model import Timers
from heartbus_membership.claims import (
    CLAIMING,
    Claim,
    Effect,
    Grant,
    GroupRule,
    PeerReport,
    PersistEpoch,
    Phase,
    Revoke,
    SendHeartbeat,
    StandingLease,
)
from heartbus_membership.readiness import Readiness, Ready
from heartbus_membership.view import GONE, LIVE, KnownGroup, KnownPeer, beats, ranks

PREFERRED_WAIT_S: Final = 3.0
"""How long a free group waits for a preferred director that is alive but not ready."""

HANDED_OVER_S: Final = 3.0
"""After a hand-over we leave the group to others for so long, while one of them could take it."""

FAILBACK_SETTLE_S: Final = 1.0
"""A returning preferred director is ready for at least so long before it asks for its groups."""

RELEASE_REPORT_S: Final = 0.5
"""A report of ``released`` that names another epoch counts once it is this much younger than the
withdrawal: an older one may come from before vip had seen the grant."""


STALL_S: Final = 1.0
"""We were not running for so long: vip's silence meanwhile is ours, and counts anew."""

QUIET_BEATS: Final = 3
"""After our own stall, a director that was dead before it is silent for so many keepalives: had it
come back meanwhile, we would have heard it. Any other one must be silent for a whole deadtime."""


class InvariantError(AssertionError):
    """Ownership contradicts itself; a restart from the lease file is safer than going on."""


class Ownership:
    """The view of one director, and what it may hold.

    ``directors`` in the order of the configuration, ours included. ``lifetime_s``: of addresses in
    the kernel. ``epochs``: the highest epochs known before our start. ``standing``: leases of an
    earlier process of ours that still stand.
    """

    def __init__(
        self,
        *,
        node: str,
        directors: Sequence[str],
        groups: Sequence[GroupRule],
        failback: bool,
        timers: Timers,
        lease_s: float,
        lifetime_s: float,
        started_s: float,
        epochs: Mapping[str, int],
        standing: Sequence[StandingLease] = (),
    ) -> None:
        self._node = node
        self._failback = failback
        self._timers = timers
        self._lease_s = lease_s
        self._started_s = started_s
        self._peers = {name: KnownPeer(name) for name in directors if name != node}
        self._groups = {
            rule.name: KnownGroup(rule, ranks(rule, directors), epochs.get(rule.name, 0))
            for rule in groups
        }
        self._readiness = Readiness(
            initdead_s=timers.initdead_s, lifetime_s=lifetime_s, started_s=started_s
        )
        self._ready_since_s: float | None = None
        self._stopping = False
        self._last_s = started_s
        self._woke_s: float | None = None
        self._gone_before: frozenset[str] = frozenset()
        for lease in standing:
            self._adopt(lease)

    def _adopt(self, lease: StandingLease) -> None:
        group = self._groups.get(lease.group)
        if group is None or lease.deadline_s <= self._started_s:
            return
        group.phase = Phase.HELD
        group.epoch = lease.epoch
        group.highest = max(group.highest, lease.epoch)
        group.lease_until_s = lease.deadline_s
        group.was_claimed = True
        group.reason = "kept across a restart"

    # --- what happened; each returns what to do now ----------------------------------------------

    def peer_heard(self, peer: str, report: PeerReport, *, now_s: float) -> list[Effect]:
        """Take in news from a peer, which is thereby alive."""
        known = self._peers[peer]
        nothing_new = known.status is DirectorStatus.ALIVE and known.report == report
        known.heard_s = now_s
        if nothing_new:
            return []  # the next tick renews; this is nearly every heartbeat
        self._note_yield(known, report)
        known.status = DirectorStatus.ALIVE
        known.gone_since_s = float("inf")
        known.report = report
        return self._decide(now_s)

    def peer_silent(
        self, peer: str, status: DirectorStatus, *, cause: str | None, now_s: float
    ) -> list[Effect]:
        """Note that a peer is late, dead or has left; ``cause`` is the id of that event."""
        known = self._peers[peer]
        if status in GONE:
            for group in self._groups.values():
                if known.claim(group.rule.name).phase in CLAIMING:
                    group.vacated_by = (
                        f"{peer} {'is dead' if status is DirectorStatus.DEAD else 'left'}"
                    )
                    group.cause = cause
            known.report = None
            known.gone_since_s = now_s
        known.status = status
        known.cause = cause
        return self._decide(now_s)

    def vip_reported(self, state: VipState, *, now_s: float) -> list[Effect]:
        """Take in a snapshot of the local vip."""
        self._readiness.vip_reported(state, known_groups=self._groups, now_s=now_s)
        for held in state.groups:
            group = self._groups.get(held.name)
            if group is None or group.phase is not Phase.RELEASING:
                continue
            seen = held.epoch == group.epoch or now_s - group.revoked_s >= RELEASE_REPORT_S
            if held.status is HoldStatus.RELEASED and seen:
                group.lease_until_s = now_s
        return self._decide(now_s)

    def bus_changed(self, *, connected: bool, now_s: float) -> list[Effect]:
        """Note that the connection to the bus came or went."""
        self._readiness.bus_changed(connected=connected, now_s=now_s)
        return self._decide(now_s)

    def tick(self, *, now_s: float) -> list[Effect]:
        """Let time pass; call it at least every keepalive and every quarter of a lease."""
        return self._decide(now_s)

    def stop(self, *, now_s: float) -> list[Effect]:
        """Give everything up; claims end once the local vip has released."""
        self._stopping = True
        return self._decide(now_s)

    # --- what is so ------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether every other director was heard, or declared dead or gone, once."""
        return all(p.status is not DirectorStatus.UNKNOWN for p in self._peers.values())

    @property
    def released(self) -> bool:
        """Whether nothing is held and nothing is being released."""
        return all(g.phase is Phase.NONE for g in self._groups.values())

    @property
    def leases(self) -> tuple[StandingLease, ...]:
        """What the local vip may hold, and until when."""
        return tuple(
            StandingLease(group=name, epoch=group.epoch, deadline_s=group.lease_until_s)
            for name, group in self._groups.items()
            if group.phase is Phase.HELD
        )

    @property
    def readiness(self) -> Readiness:
        """What is known of the local vip."""
        return self._readiness

    def is_ready(self, *, now_s: float) -> bool:
        """Whether the local vip can take groups."""
        return not self._stopping and self._readiness.verdict(now_s=now_s)[0] is Ready.YES

    def claims(self, *, now_s: float) -> dict[str, Claim]:
        """Return what our heartbeat says of each group."""
        return {name: self._claim(group, now_s) for name, group in self._groups.items()}

    def views(self) -> tuple[GroupView, ...]:
        """Return who holds each group, as far as we know."""
        return tuple(self._view(group) for group in self._groups.values())

    def _claim(self, group: KnownGroup, now_s: float) -> Claim:
        candidate = self._is_candidate(group, now_s)
        if group.phase in CLAIMING:
            return Claim(epoch=group.epoch, phase=group.phase, candidate=candidate)
        phase = Phase.WANTING if group.wants_back else Phase.NONE
        return Claim(epoch=group.highest, phase=phase, candidate=candidate)

    def _view(self, group: KnownGroup) -> GroupView:
        name = group.rule.name
        if group.phase is Phase.HELD:
            return GroupView(name=name, holder=self._node, epoch=group.epoch, reason=group.reason)
        for peer in self._peers.values():
            claim = peer.claim(name)
            if claim.phase is Phase.HELD:
                return GroupView(
                    name=name, holder=peer.name, epoch=claim.epoch, reason=f"{peer.name} says so"
                )
        return GroupView(name=name, holder=None, epoch=group.highest, reason=group.reason)

    # --- the rules -------------------------------------------------------------------------------

    def _decide(self, now_s: float) -> list[Effect]:
        self._notice_stall(now_s)
        ready = self.is_ready(now_s=now_s) and self.settled
        if not ready:
            self._ready_since_s = None
        elif self._ready_since_s is None:
            self._ready_since_s = now_s
        effects: list[Effect] = []
        for group in self._groups.values():
            before = group.highest
            decided = list(self._decide_group(group, now_s))
            if group.highest > before:
                effects.append(PersistEpoch(group=group.rule.name, epoch=group.highest))
            effects += decided
            _check(group)
        return effects

    def _notice_stall(self, now_s: float) -> None:
        lapsed = any(
            g.phase is Phase.HELD and now_s > g.lease_until_s for g in self._groups.values()
        )
        if self._woke_s is None and (lapsed or now_s - self._last_s > self._lease_s):
            self._woke_s = now_s
            self._gone_before = frozenset(
                p.name for p in self._peers.values() if p.gone_since_s <= self._last_s
            )
        if now_s - self._last_s > STALL_S:
            self._readiness.own_stall(now_s=now_s)
        self._last_s = now_s
        if self._woke_s is None:
            return
        # What was read in the turn in which we woke may have waited in the socket for as long as
        # we slept; only what comes later is a fresh look.
        if now_s > self._woke_s and all(self._is_sure(p, now_s) for p in self._peers.values()):
            self._woke_s = None

    def _is_sure(self, peer: KnownPeer, now_s: float) -> bool:
        """Whether we know of a peer what it did while we did not run."""
        assert self._woke_s is not None
        quiet_s = self._timers.deadtime_s
        if peer.name in self._gone_before:
            quiet_s = min(quiet_s, QUIET_BEATS * self._timers.keepalive_s)
        return peer.heard_s > self._woke_s or now_s >= self._woke_s + quiet_s

    def _decide_group(self, group: KnownGroup, now_s: float) -> Iterator[Effect]:
        for peer in self._peers.values():
            claim = peer.claim(group.rule.name)
            group.highest = max(group.highest, claim.epoch)
            group.was_claimed |= claim.phase in CLAIMING
        before = (group.phase, group.epoch)
        if group.phase is Phase.HELD:
            yield from self._while_held(group, now_s)
        if group.phase is Phase.RELEASING and self._is_let_go(group, now_s):
            group.phase = Phase.NONE
            group.handed_over_until_s = now_s + HANDED_OVER_S
        if group.phase is Phase.NONE:
            yield from self._while_vacant(group, now_s)
        if (group.phase, group.epoch) != before:
            yield SendHeartbeat()

    def _is_let_go(self, group: KnownGroup, now_s: float) -> bool:
        """Whether vip has released a withdrawn group, or would have if it could be heard.

        A vip that says it is still at it is waited for, as long as its scripts may take.
        """
        if now_s < group.lease_until_s:
            return False
        ends_s = group.revoked_s + self._lease_s + group.rule.stop_s
        return now_s >= ends_s or not self._readiness.vip_has(group.rule.name, now_s=now_s)

    def _while_held(self, group: KnownGroup, now_s: float) -> Iterator[Effect]:
        for peer, claim in self._live_claims(group):
            if claim.phase is Phase.HELD and beats(group, peer, claim, self._node):
                reason = f"{peer.name} holds it with epoch {claim.epoch}, ours was {group.epoch}"
                group.phase = Phase.NONE
                yield self._revoke(group, reason)
                return
        for peer, claim in self._live_claims(group):
            assert peer.report is not None
            rival = (peer.report.incarnation, claim.epoch)
            if claim.phase in CLAIMING and group.outbid.get(peer.name) != rival:
                # A new epoch makes our vip announce itself again, over what the other one said.
                group.outbid[peer.name] = rival
                yield self._grant(group, f"{peer.name} claimed it too and must yield", None, now_s)
        reason_to_go = self._reason_to_hand_over(group, now_s)
        if reason_to_go is not None:
            group.phase = Phase.RELEASING
            group.revoked_s = now_s
            yield self._revoke(group, reason_to_go)
        elif self._woke_s is None:
            name, group.lease_until_s = group.rule.name, now_s + self._lease_s
            if self._readiness.may_try_again(name, epoch=group.epoch, now_s=now_s):
                yield self._grant(group, "tried again: no other director can", None, now_s)

    def _reason_to_hand_over(self, group: KnownGroup, now_s: float) -> str | None:
        if self._stopping:
            return "this director stops"
        candidates = [p.name for p, claim in self._live_claims(group) if claim.candidate]
        if not candidates:
            return None
        verdict, why = self._readiness.verdict(now_s=now_s)
        if verdict is Ready.NO:
            return f"{why}; {candidates[0]} is ready"
        failure = self._readiness.group_failure(group.rule.name, now_s=now_s)
        if failure is not None:
            return f"start failed here: {failure}; {candidates[0]} is ready"
        preferred = group.rule.preferred
        if self._failback and preferred in candidates:
            claim = self._peers[preferred].claim(group.rule.name)
            if claim.phase is Phase.WANTING:
                return f"failback to {preferred}"
        return None

    def _while_vacant(self, group: KnownGroup, now_s: float) -> Iterator[Effect]:
        claimed = any(claim.phase in CLAIMING for _, claim in self._live_claims(group))
        candidate = self._is_candidate(group, now_s)
        group.wants_back = claimed and candidate and self._may_want_back(group, now_s)
        if claimed:
            group.vacated_by = group.cause = None
            group.preferred_yielded = False
            group.handed_over_until_s = float("-inf")
        if claimed or not candidate or self._woke_s is not None:
            group.waiting_since_s = None
            return
        if self._must_wait(group, now_s):
            return
        reason, cause = self._reason_to_claim(group), group.cause
        group.phase = Phase.HELD
        group.lease_until_s = now_s + self._lease_s
        group.vacated_by = group.cause = None
        yield self._grant(group, reason, cause, now_s)

    def _is_candidate(self, group: KnownGroup, now_s: float) -> bool:
        if not (self.settled and self.is_ready(now_s=now_s)):
            return False
        if self._readiness.group_failure(group.rule.name, now_s=now_s) is not None:
            return False
        others = any(claim.candidate for _, claim in self._live_claims(group))
        return now_s >= group.handed_over_until_s or not others

    def _may_want_back(self, group: KnownGroup, now_s: float) -> bool:
        if not self._failback or group.rule.preferred != self._node:
            return False
        assert self._ready_since_s is not None
        settle_s = max(FAILBACK_SETTLE_S, 2 * self._timers.keepalive_s)
        return now_s - self._ready_since_s >= settle_s

    def _must_wait(self, group: KnownGroup, now_s: float) -> bool:
        """Whether a director before us in the order should take the group."""
        ours = group.rank[self._node]
        if any(c.candidate and group.rank[p.name] < ours for p, c in self._live_claims(group)):
            group.waiting_since_s = None
            return True
        preferred = self._peers.get(group.rule.preferred)
        expected = preferred is not None and preferred.status in LIVE
        if not expected or group.preferred_yielded:
            return False
        if group.waiting_since_s is None:
            group.waiting_since_s = now_s
        if group.was_claimed:
            return now_s < group.waiting_since_s + PREFERRED_WAIT_S
        return now_s < self._started_s + self._timers.initdead_s

    def _note_yield(self, peer: KnownPeer, report: PeerReport) -> None:
        """Remember a preferred director that gave its group up on purpose: no waiting for it."""
        for name, group in self._groups.items():
            if group.rule.preferred != peer.name:
                continue
            before, now = peer.claim(name), report.claims.get(name, Claim())
            if before.phase is Phase.RELEASING and now.phase is Phase.NONE:
                group.preferred_yielded = True
            elif now.candidate or now.phase in CLAIMING:
                group.preferred_yielded = False

    def _reason_to_claim(self, group: KnownGroup) -> str:
        if group.vacated_by is not None:
            return group.vacated_by
        if group.rule.preferred == self._node:
            return "nobody holds it, this is its preferred director"
        return f"nobody holds it, and {group.rule.preferred} does not take it"

    def _live_claims(self, group: KnownGroup) -> Iterator[tuple[KnownPeer, Claim]]:
        for peer in self._peers.values():
            if peer.status in LIVE:
                yield peer, peer.claim(group.rule.name)

    def _grant(self, group: KnownGroup, reason: str, cause: str | None, now_s: float) -> Grant:
        group.highest += 1
        group.epoch = group.highest
        group.reason = reason
        group.was_claimed = True
        group.waiting_since_s = None
        return Grant(group=group.rule.name, epoch=group.epoch, reason=reason, cause=cause)

    def _revoke(self, group: KnownGroup, reason: str) -> Revoke:
        group.reason = reason
        group.outbid.clear()
        return Revoke(group=group.rule.name, epoch=group.epoch, reason=reason)


def _check(group: KnownGroup) -> None:
    if group.phase in CLAIMING and not 0 < group.epoch <= group.highest:
        raise InvariantError(
            f"{group.rule.name}: claimed with epoch {group.epoch}, highest {group.highest}"
        )
