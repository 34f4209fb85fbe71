"""Decides which resource groups this director may hold: the part that must never be wrong.

Sans-I/O; times are seconds on our monotonic clock. Each group goes its own way:

      ┌────────────────── the majority is gone ────────────────────┐
      ▼                                                            │
    none ──nobody claims, our turn──► (asking) ──────────────────► held ──withdrawn──┐
      ▲                                  │  epoch = highest + 1    │ ▲               ▼
      │◄── withdrawn, or no majority ────┘                         └─┘          releasing
      └──────────── vip released it, or is silent and the lease has ended ◄──────────┘

Two directors decide by themselves: the claims of a dead or departed director are void, their epochs
still count. Where takeover is strict, a director that hears the other one is *asking* until that
one has heard of it. With three or more voters a claim is *asking* until a majority supports it, and
the lease is the time for which that majority has promised to support nobody else (``votes``).

A claim of equal or higher rank wins: the higher epoch, then the preferred director, then the order
of the configuration. Epochs only grow. Whoever loses a conflict, hands over or wakes after the end
of its lease withdraws: its claim stands until its vip has let go. After a stall the peers must be
heard afresh before anything is claimed. Losing the bus changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from heartbus.events import DirectorStatus, GroupView, HoldStatus, Rung, VipState
from heartbus.model import Timers
from heartbus_membership.attention import Attention
from heartbus_membership.ballot import Ballot
from heartbus_membership.claims import (
    CLAIMING,
    HOLDING,
    LEASED,
    SUPPORTED,
    Claim,
    Effect,
    GroupRule,
    PeerReport,
    PersistEpoch,
    PersistStandby,
    Phase,
    SendHeartbeat,
    StandingLease,
    Vote,
)
from heartbus_membership.readiness import Readiness
from heartbus_membership.regrouping import forget_retired, regroup
from heartbus_membership.rules import decide_group, is_candidate, note_yield
from heartbus_membership.view import GONE, LIVE, KnownGroup, KnownPeer, View, ranks

RELEASE_REPORT_S: Final = 0.5
"""A report of ``released`` that names another epoch counts once it is this much younger than the
withdrawal: an older one may come from before vip had seen the grant."""

ORDER_S: Final = 30.0
"""A group that an operator wants here is asked for at most for so long."""

MAJORITY_VOTERS_MIN: Final = 3


class InvariantError(AssertionError):
    """Ownership contradicts itself; a restart from the lease file is safer than going on."""


class Ownership:
    """The view of one director or witness, and what it may hold.

    ``directors`` in the order of the configuration. ``witnesses``: voters that hold nothing; with
    three or more voters in all a majority must support every lease. ``lifetime_s``: of addresses in
    the kernel. ``tail_s``: how long one may outlive its lease where nothing may overlap (strict
    takeover), 0 where takeover is fast. ``epochs``: the highest epochs known before our start.
    ``standing``: leases of an earlier process of ours that still stand. ``votes``: what we had
    promised, None if nobody knows. ``fences``: directors that can be fenced.
    ``standby``: groups that an operator moved away from here before our start.
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
        witnesses: Sequence[str] = (),
        tail_s: float = 0.0,
        incarnation: int = 0,
        votes: Mapping[str, Vote] | None = None,
        fences: Collection[str] = (),
        standby: Collection[str] = (),
    ) -> None:
        self._directors = tuple(directors)
        voters = (*directors, *witnesses)
        others = {
            name: KnownPeer(name, witness=name in witnesses) for name in voters if name != node
        }
        ballot = None
        if len(voters) >= MAJORITY_VOTERS_MIN:
            ballot = Ballot(
                node=node,
                incarnation=incarnation,
                others=len(others),
                lease_s=lease_s,
                tail_s=tail_s,
                started_s=started_s,
                remembered=votes,
            )
        self._view = View(
            node=node,
            timers=timers,
            lease_s=lease_s,
            tail_s=tail_s,
            failback=failback,
            started_s=started_s,
            peers=others,
            groups={
                rule.name: KnownGroup(rule, ranks(rule, directors), epochs.get(rule.name, 0))
                for rule in groups
            },
            readiness=Readiness(
                initdead_s=timers.initdead_s, lifetime_s=lifetime_s, started_s=started_s
            ),
            ballot=ballot,
            fences=frozenset(fences),
        )
        self._attention = Attention(self._view)
        self._standby = frozenset(standby) & self._view.groups.keys()
        for name in self._standby:
            self._view.groups[name].standby = True
        for lease in standing:
            self._adopt(lease)

    def _adopt(self, lease: StandingLease) -> None:
        view = self._view
        group = view.groups.get(lease.group)
        if group is None or view.node not in group.rank or lease.deadline_s <= view.started_s:
            return
        group.phase = Phase.RELEASING if lease.releasing else Phase.HELD
        group.revoked_s = view.started_s
        group.epoch = lease.epoch
        group.highest = max(group.highest, lease.epoch)
        group.lease_until_s = lease.deadline_s
        group.stale_s = lease.stale_s
        group.was_claimed = True
        group.reason = "kept across a restart"
        if view.ballot is not None:
            # Our vote is written: it was ours before.
            view.ballot.claim_stands(lease.group, lease.epoch)

    # --- what was heard: take in all that waits, then decide once with ``tick`` ------------------

    def peer_heard(self, peer: str, report: PeerReport, *, now_s: float) -> list[Effect]:
        """Take in news from a peer, which is thereby alive; return what to write down of it."""
        view = self._view
        self._attention.turned(now_s=now_s)
        known = view.peers[peer]
        nothing_new = known.status is DirectorStatus.ALIVE and known.report == report
        known.heard_s = now_s
        effects: list[Effect] = []
        if view.ballot is not None:
            effects = view.ballot.peer_heard(peer, report, view.groups, now_s=now_s)
        if nothing_new:
            known.report = report  # what it echoes is new
            return effects  # this is nearly every heartbeat
        effects += self._note_claims(report)
        for name, group in view.groups.items():
            note_yield(group, known, report.claims.get(name, Claim()))
            group.unsafe.discard(peer)
        view.fenced.discard(peer)
        if known.status not in LIVE:
            known.up_since_s = now_s
        known.status = DirectorStatus.ALIVE
        known.gone_since_s = float("inf")
        known.report, known.last_words = report, None
        if view.ballot is None and any(c.phase is Phase.ASKING for c in report.claims.values()):
            effects.append(SendHeartbeat())  # that we have heard it, and what we claim
        return effects

    def _note_claims(self, report: PeerReport) -> list[Effect]:
        """Keep what must outlive the report: a later one may void it before anything is decided."""
        effects: list[Effect] = []
        for name, group in self._view.groups.items():
            claim = report.claims.get(name, Claim())
            group.was_claimed |= claim.phase in CLAIMING
            if claim.epoch > group.highest:
                group.highest = claim.epoch
                effects.append(PersistEpoch(group=name, epoch=claim.epoch))
        return effects

    def peer_left(
        self, peer: str, report: PeerReport, *, cause: str | None, now_s: float
    ) -> list[Effect]:
        """Take in the last news of a peer that stops; ``cause`` is the id of that event."""
        effects = self._note_claims(report)
        if self._view.ballot is not None:
            effects += self._view.ballot.peer_heard(peer, report, self._view.groups, now_s=now_s)
        self._view.peers[peer].last_words = report
        self.peer_silent(peer, DirectorStatus.LEFT, cause=cause, now_s=now_s)
        return effects

    def peer_silent(
        self, peer: str, status: DirectorStatus, *, cause: str | None, now_s: float
    ) -> None:
        """Note that a peer is late, dead or has left; ``cause`` is the id of that event."""
        self._attention.turned(now_s=now_s)
        known = self._view.peers[peer]
        if status in GONE and known.status not in GONE:
            for group in self._view.groups.values():
                self._vacate(group, known, status, cause, now_s)
            known.report = known.last_words = None
            known.gone_since_s = now_s
        known.status = status
        known.cause = cause

    def _vacate(
        self,
        group: KnownGroup,
        peer: KnownPeer,
        status: DirectorStatus,
        cause: str | None,
        now_s: float,
    ) -> None:
        view = self._view
        died = status is DirectorStatus.DEAD
        claiming = peer.claim(group.rule.name).phase in CLAIMING
        may_hold = claiming or (died and peer.report is None)
        if claiming and died:
            group.told_by.add(peer.name)
        if claiming:
            group.vacated_by = f"{peer.name} {'is dead' if died else 'left'}"
            group.cause = cause
        released = (
            peer.last_words is not None
            and peer.last_words.claims.get(group.rule.name, Claim()).phase not in CLAIMING
        )
        # Not heard at all since our start: the cable may have been cut before it.
        unheard = died and view.ballot is None
        if (claiming or unheard) and view.strict and not released:
            # It renewed its lease, or claimed, for the last time before we found it gone.
            group.free_s = now_s + view.lease_s + view.tail_s
        if died and may_hold and peer.name in view.fences:
            group.unsafe.add(peer.name)

    def vip_reported(self, state: VipState, *, now_s: float) -> None:
        """Take in a snapshot of the local vip."""
        self._attention.turned(now_s=now_s)
        view = self._view
        view.readiness.vip_reported(state, known_groups=view.groups, now_s=now_s)
        for held in state.groups:
            group = view.groups.get(held.name)
            if group is None or group.phase is not Phase.RELEASING:
                continue
            seen = held.epoch == group.epoch or now_s - group.revoked_s >= RELEASE_REPORT_S
            if held.status is HoldStatus.RELEASED and seen:
                group.lease_until_s = min(group.lease_until_s, now_s - view.tail_s)  # all gone

    def bus_changed(self, *, connected: bool, now_s: float) -> None:
        """Note that the connection to the bus came or went."""
        # Before that, or losing the bus freezes a silence of vip that was ours.
        self._attention.turned(now_s=now_s)
        self._view.readiness.bus_changed(connected=connected, now_s=now_s)

    def beat_sent(self, sequence: int, *, now_s: float) -> None:
        """Note that a heartbeat with our claims was sent, at ``now_s`` or a little later."""
        self._view.sequence = sequence
        if self._view.ballot is not None:
            self._view.ballot.beat_sent(sequence, now_s=now_s)

    def votes_written(self, unwritten: Collection[str]) -> None:
        """Note for which groups a new vote of ours cannot be written."""
        if self._view.ballot is not None:
            self._view.ballot.votes_written(unwritten)

    # --- what happened; each returns what to do now ----------------------------------------------

    def fenced(self, peer: str, *, now_s: float) -> list[Effect]:
        """Note that a dead peer was fenced: it can hold nothing any more."""
        self._view.fenced.add(peer)
        for group in self._view.groups.values():
            if peer in group.unsafe:
                group.free_s = float("-inf")
        return self._decide(now_s)

    def doubts_changed(
        self, *, bar: str | None, yield_to: str | None, isolated: bool, now_s: float
    ) -> list[Effect]:
        """Take in what we think of ourselves, see ``View``."""
        view = self._view
        if (bar, yield_to, isolated) == (view.bar, view.yield_to, view.isolated):
            return []
        view.bar, view.yield_to, view.isolated = bar, yield_to, isolated
        return self._decide(now_s)

    def unlike(self, peers: Collection[str]) -> None:
        """Take in which directors have another configuration or table than we."""
        self._view.unlike = frozenset(peers)

    def use_groups(
        self, rules: Sequence[GroupRule], *, epochs: Mapping[str, int], now_s: float
    ) -> list[Effect]:
        """Go on with these groups; ``epochs`` as at a start. See ``regrouping``."""
        self._attention.turned(now_s=now_s)
        added = regroup(self._view, rules, directors=self._directors, epochs=epochs, now_s=now_s)
        if added:
            self._attention.look_afresh(now_s=now_s)
        return self._decide(now_s)

    def tick(self, *, now_s: float) -> list[Effect]:
        """Let time pass; call it at least every keepalive and every quarter of a lease."""
        return self._decide(now_s)

    def stop(self, *, now_s: float) -> list[Effect]:
        """Give everything up; claims end once the local vip has released."""
        self._view.stopping = True
        return self._decide(now_s)

    # --- what an operator asks for ---------------------------------------------------------------

    def standby(
        self, groups: Collection[str], *, now_s: float, cause: str | None = None
    ) -> list[Effect]:
        """Give groups to other directors, and leave them there while there are any.

        ``cause``: id of the event that told of the command.
        """
        for group in self._known(groups):
            group.standby = True
            group.ordered_by = cause
            group.kept_until_s = group.wanted_until_s = float("-inf")
        return self._decide(now_s)

    def takeover(
        self, groups: Collection[str], *, now_s: float, cause: str | None = None
    ) -> list[Effect]:
        """Ask the holders of groups to hand them over to us; ``cause`` as for standby."""
        for group in self._known(groups):
            group.ordered_by = cause
            group.standby = False
            group.handed_over_until_s = float("-inf")
            group.wanted_until_s = now_s + ORDER_S
        return self._decide(now_s)

    def order_ended(self, groups: Collection[str], *, now_s: float) -> list[Effect]:
        """Note that nobody waits for a takeover any more; a standby stays."""
        for group in self._known(groups):
            group.wanted_until_s = float("-inf")
        return self._decide(now_s)

    def _known(self, groups: Iterable[str]) -> list[KnownGroup]:
        """Leave out what a reload took away while the command waited."""
        return [self._view.groups[name] for name in groups if name in self._view.groups]

    def moves_away(self, group: str) -> bool:
        """Whether a standby of a group stands; it ends when the other one took too long."""
        return self._view.groups[group].standby

    def others_ready(self, group: str) -> list[str]:
        """Return the directors that would take a group, the next one first."""
        known = self._view.groups.get(group)
        if known is None:
            return []
        ready = [p.name for p, c in self._view.live_claims(known) if c.candidate]
        return sorted(ready, key=known.rank.__getitem__)

    def may_hold(self, group: str, *, now_s: float) -> bool:
        """Whether we are able to hold a group now, were it not for others."""
        known = self._view.groups.get(group)
        if known is None:
            return False
        standby, known.standby = known.standby, False
        able = is_candidate(self._view, known, now_s)
        known.standby = standby
        return able

    def why_not_ready(self, *, now_s: float) -> str:
        """Return why ``may_hold`` is false, as far as one reason serves all groups."""
        if self._view.stopping:
            return "it stops"
        if not self._view.settled:
            return "it does not know yet who else is alive"
        why = self._view.readiness.verdict(now_s=now_s)[1]
        return why or "a start failed here, a better connected director is there, or no majority"

    # --- what is so ------------------------------------------------------------------------------

    @property
    def failback(self) -> bool:
        """Whether a preferred director takes its groups back; it may be set while we run."""
        return self._view.failback

    @failback.setter
    def failback(self, value: bool) -> None:
        self._view.failback = value

    @property
    def settled(self) -> bool:
        """Whether every other director was heard, or declared dead or gone, once."""
        return self._view.settled

    @property
    def released(self) -> bool:
        """Whether nothing is held and nothing is being released."""
        return all(g.phase is Phase.NONE for g in self._view.groups.values())

    @property
    def leases(self) -> tuple[StandingLease, ...]:
        """What the local vip may hold, and until when."""
        return tuple(
            StandingLease(
                group=name,
                epoch=group.epoch,
                deadline_s=group.lease_until_s,
                ask_first=group.ask_first,
            )
            for name, group in self._view.groups.items()
            if group.phase in LEASED
        )

    @property
    def releasing(self) -> tuple[StandingLease, ...]:
        """What was withdrawn from the local vip, and until when it may take to let go."""
        view = self._view
        return tuple(
            StandingLease(
                group=name,
                epoch=group.epoch,
                deadline_s=max(
                    group.lease_until_s + view.tail_s,
                    group.revoked_s + view.lease_s + group.rule.stop_s,
                ),
                releasing=True,
            )
            for name, group in view.groups.items()
            if group.phase is Phase.RELEASING
        )

    @property
    def readiness(self) -> Readiness:
        """What is known of the local vip."""
        return self._view.readiness

    @property
    def quorum(self) -> bool | None:
        """Whether a majority of the voters is heard; None where there is none to be had."""
        ballot = self._view.ballot
        return None if ballot is None else self._view.voters_heard >= ballot.majority

    @property
    def voters_heard(self) -> int:
        """Voters that are alive as far as we know, ourselves included."""
        return self._view.voters_heard

    def rung(self, *, bus: bool) -> Rung:
        """Return what we have left; ``bus``: whether we are connected to it."""
        if self.quorum is False:
            return Rung.MINORITY
        if self._view.peers and self._view.alone:
            return Rung.ISOLATED if self._view.isolated else Rung.ALONE
        return Rung.BUS if bus else Rung.LINKS

    @property
    def fence_wanted(self) -> frozenset[str]:
        """Dead directors that must be fenced before we take what they may hold."""
        wanted: set[str] = set()
        for group in self._view.groups.values():
            if self._view.node in group.rank and group.phase is Phase.NONE:
                wanted |= group.unsafe
        return frozenset(wanted - self._view.fenced)

    def is_ready(self, *, now_s: float) -> bool:
        """Whether the local vip can take groups."""
        return self._view.is_ready(now_s=now_s)

    def claims(self, *, now_s: float) -> dict[str, Claim]:
        """Return what our heartbeat says of each group."""
        return {name: self._claim(group, now_s) for name, group in self._view.groups.items()}

    def votes(self, *, now_s: float) -> dict[str, str]:
        """Return whom we support, by group, for our heartbeat; empty without a majority rule."""
        ballot = self._view.ballot
        return {} if ballot is None else ballot.votes(self._view.groups, now_s=now_s)

    def views(self) -> tuple[GroupView, ...]:
        """Return who holds each group, as far as we know."""
        return tuple(self._group_view(group) for group in self._view.groups.values())

    def _claim(self, group: KnownGroup, now_s: float) -> Claim:
        candidate = is_candidate(self._view, group, now_s)
        score = self._view.readiness.score(group.rule.name)
        if group.phase in SUPPORTED:
            epoch = max(group.epoch, group.raise_to)
            return Claim(epoch=epoch, phase=group.phase, candidate=candidate, score=score)
        phase = Phase.WANTING if group.wants_back else Phase.NONE
        return Claim(epoch=group.highest, phase=phase, candidate=candidate, score=score)

    def _group_view(self, group: KnownGroup) -> GroupView:
        name, node = group.rule.name, self._view.node
        if group.phase in HOLDING:
            return GroupView(name=name, holder=node, epoch=group.epoch, reason=group.reason)
        for peer, claim in self._view.live_claims(group):
            if claim.phase in HOLDING:
                return GroupView(
                    name=name, holder=peer.name, epoch=claim.epoch, reason=f"{peer.name} says so"
                )
        return GroupView(name=name, holder=None, epoch=group.highest, reason=group.reason)

    # --- deciding --------------------------------------------------------------------------------

    def _decide(self, now_s: float) -> list[Effect]:
        view = self._view
        self._attention.turned(now_s=now_s)
        self._attention.trust_again(now_s=now_s)
        view.notice_majority(now_s=now_s)
        ready = view.settled and view.is_ready(now_s=now_s)
        if not ready:
            view.ready_since_s = None
        elif view.ready_since_s is None:
            view.ready_since_s = now_s
        effects: list[Effect] = []
        for group in view.groups.values():
            before = group.highest
            decided = list(decide_group(view, group, now_s))
            if group.highest > before:
                effects.append(PersistEpoch(group=group.rule.name, epoch=group.highest))
            effects += decided
            _check(group)
        forget_retired(view)
        moved_away = frozenset(name for name, group in view.groups.items() if group.standby)
        if moved_away != self._standby:
            self._standby = moved_away
            effects.append(PersistStandby(groups=moved_away))
        return effects


def _check(group: KnownGroup) -> None:
    if group.phase in SUPPORTED and not 0 < group.epoch <= group.highest:
        raise InvariantError(
            f"{group.rule.name}: claimed with epoch {group.epoch}, highest {group.highest}"
        )
