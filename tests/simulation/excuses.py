"""Why two hosts may answer for one address for a while, and why a group may move.

Each is a row of docs/decisions/0004 or stands in docs/simulation.md; their times are in bounds.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from heartbus_membership.claims import Phase
from heartbus_membership.handover import HANDOVER_S
from heartbus_membership.readiness import VIP_SILENCE_MARGIN_S
from heartbus_simulator.faults import Kind
from heartbus_simulator.host import KERNEL_LATE_S, Host
from tests.simulation import bounds
from tests.simulation.conditions import Conditions, Spell
from tests.simulation.setup import SCRIPTED, Mode, setup_of

if TYPE_CHECKING:
    from heartbus_simulator.cluster import Cluster

INFINITY: Final = float("inf")
TICK_S: Final = 0.25
"""The longest time between two turns of membership."""

RACE_S: Final = 0.001
"""Clocks of processes tick in whole milliseconds."""

Claimed = tuple[str, str]
"""Names of a host and a group."""


class Excuses:
    """Judges by what is really so, and by what it is told of grants, revocations and departures.

    ``epochs``: of the last grants. ``failed``, ``stopped``, ``suspended``: hosts on which a start
    may have failed, vip was stopped, the clock stood. ``dual_since_s``: since when two answer.
    """

    def __init__(self, cluster: Cluster, conditions: Conditions) -> None:
        self._cluster, self._conditions = cluster, conditions
        self._setup = setup_of(cluster)
        self._hosts = tuple(cluster.hosts.values())
        self.epochs: dict[Claimed, int] = {}
        self.granted_s: dict[Claimed, float] = {}
        self.revoked_s: dict[Claimed, float] = {}
        self.handed_s: dict[str, float] = {}
        self.kept_s: dict[Claimed, float] = {}
        self.left_s: dict[str, float] = {}
        self.failed: set[str] = set()
        self.stopped: set[str] = set()
        self.suspended: set[str] = set()
        self.dual_since_s: dict[str, float] = {}

    # --- a handover, during which two answer on purpose ------------------------------------------

    def hands_over(self, taker: Host, holder: Host, group: str) -> bool:
        """Whether the holder offers the group, or did when it spoke last."""
        if holder.membership is None or self._setup.mode is not Mode.PAIR_FAST:
            return False
        claim = holder.membership.ownership.claims(now_s=holder.clock.now_s)[group]
        if claim.phase is Phase.HANDING:
            return True
        late_s = self._cluster.network.latest_s(holder.name, taker.name) + bounds.SLACK_S
        kept_s = self.kept_s.get((holder.name, group), -INFINITY)
        return self._cluster.timeline.now_s - kept_s <= late_s

    # --- why a group may be taken ----------------------------------------------------------------

    def is_given_up(self, taker: Host, holder: Host, group: str) -> bool:
        """Whether the taker had reason to think that the holder is gone, or never heard of it.

        It was silent for deadtime while the taker listened: our own stall kills nobody.
        """
        timers, now_s = self._setup.times.timers, self._cluster.timeline.now_s
        if self.left_s.get(holder.name, -INFINITY) >= self._started_s(holder):
            return True
        if self._setup.mode is Mode.MAJORITY:
            return self._may_lapse(holder) or self._was_unheard(taker, holder)
        healed_s = bounds.healed_s(self._setup)
        if (
            max(self._raced_s(taker, holder, group), self._misled_s(holder, taker))
            >= now_s - healed_s
        ):
            return True
        if self._has_just_woken(taker):
            return True
        conditions, margin_s = self._conditions, 2 * timers.keepalive_s
        silences = (
            conditions.links[holder.name, taker.name],
            conditions.host[holder.name],
            conditions.membership[holder.name],
        )
        deaf = (conditions.links[holder.name, taker.name], conditions.host[taker.name])
        claimed_s = self.granted_s.get((holder.name, group), INFINITY)
        if any(
            s.bad_from_s - margin_s <= claimed_s and now_s - margin_s <= s.bad_to_s for s in deaf
        ):
            return True  # the claim was never told
        heard_s = now_s  # from here back over spells that leave no time for a heartbeat between
        for _ in silences:
            near = (s.begun_s(margin_s) for s in silences if s.bad_to_s >= heard_s - margin_s)
            heard_s = min(heard_s, *near, heard_s)
        for own in (conditions.host[taker.name], conditions.membership[taker.name]):
            asleep_s = own.bad_to_s - own.bad_from_s
            if taker.name in self.suspended and now_s - own.bad_to_s < timers.deadtime_s:
                return True  # its clock stood: it goes on counting a silence from before
            if margin_s + TICK_S < asleep_s < INFINITY:
                heard_s = max(heard_s, own.bad_to_s)
        busy = any(f.kind is Kind.BUSY and f.target == taker.name for f in self._cluster.active)
        return busy or now_s - heard_s >= timers.deadtime_s - margin_s - bounds.SLACK_S

    def _has_just_woken(self, host: Host) -> bool:
        """Whether membership reads now what waited while it was paused.

        It decides after each heartbeat, the oldest first, and by how long vip has been silent then.
        """
        woke_s = self._conditions.membership[host.name].bad_to_s
        asleep, paused = self._conditions.host[host.name], self._conditions.membership[host.name]
        # Nothing comes to a host that is paused itself, but what had come before still waits.
        alone = asleep.bad_to_s < woke_s or paused.bad_from_s < asleep.bad_from_s
        return alone and self._cluster.timeline.now_s - woke_s < bounds.SLACK_S

    def _started_s(self, host: Host) -> float:
        return self._conditions.membership[host.name].bad_from_s

    # --- why a group may go ----------------------------------------------------------------------

    @staticmethod
    def claims(host: Host, group: str) -> bool:
        if host.membership is None or not host.on:
            return False
        leases = host.membership.ownership.leases
        now_s = host.clock.now_s
        return any(x.group == group and x.deadline_s > now_s for x in leases)

    def may_give_up(self, host: Host, group: str, epoch: int) -> bool:
        # A handover that nobody takes up is waited for before a stop goes on.
        stops = bool(host.membership_down)
        stops |= host.membership is not None and host.membership.stopping
        others = [other for other in self._hosts if other is not host]
        rivals = any(self.epochs.get((other.name, group), 0) >= epoch for other in others)
        preferred = next(g.preferred for g in self._setup.resource_groups if g.name == group)
        fails_back = self._setup.failback and preferred != host.name
        if stops or rivals or fails_back or host.name in self.failed or self._lapsed(host, group):
            return True
        if self._setup.mode is Mode.MAJORITY and self._may_lapse(host):
            return True
        vip, now_s = self._conditions.vip[host.name], self._cluster.timeline.now_s
        if host.vip is not None and host.vip.asked_to_stop:
            return True
        unread = vip.bad_to_s + bounds.SLACK_S >= self._conditions.membership[host.name].bad_from_s
        stopped_before = unread and host.name in self.stopped
        bus_gone = not self._conditions.server[host.name].good
        if self._has_just_woken(host) and (stopped_before or bus_gone):
            return True
        away_s = min(vip.bad_to_s, now_s) - vip.bad_from_s
        silent_s = self._setup.times.lifetime_s + VIP_SILENCE_MARGIN_S - bounds.VIP_REPORT_S
        lately = now_s - vip.bad_to_s < bounds.VIP_REPORT_S + bounds.SLACK_S
        limit_s = min(HANDOVER_S, self._setup.times.lease_s / 2)
        taking_s = now_s - self.handed_s.get(group, -INFINITY)
        if (not vip.good or lately) and abs(taking_s - limit_s) < bounds.SLACK_S:
            return True  # it was to take what the other one has yet
        stopped = any(f.kind is Kind.VIP_STOP for f in host.vip_down if hasattr(f, "kind"))
        return stopped or ((not vip.good or lately) and away_s > silent_s - bounds.SLACK_S)

    @staticmethod
    def _lapsed(host: Host, group: str) -> bool:
        """Whether the lease that vip may read has ended: membership did not run for so long.

        There is no file where the disk was full when it was to be written last.
        """
        news, now_s = host.leases.read(), host.clock.now_s
        return news is None or all(
            x.deadline_monotonic_s <= now_s for x in news.leases if x.group == group
        )

    def _may_lapse(self, host: Host) -> bool:
        """Majority: whether too few voters could renew a lease of this host lately."""
        conditions, now_s = self._conditions, self._cluster.timeline.now_s
        window_s = 2 * bounds.majority_s(self._setup) + self._setup.times.timers.deadtime_s

        def bad(*spells: Spell) -> bool:
            return any(not s.good or now_s - s.bad_to_s < window_s for s in spells)

        if bad(conditions.host[host.name], conditions.membership[host.name]):
            return True
        others = [other.name for other in self._hosts if other is not host]
        able = sum(
            not bad(
                conditions.host[other],
                conditions.membership[other],
                conditions.disk[other],
                conditions.links[host.name, other],
                conditions.links[other, host.name],
            )
            for other in others
        )
        return able < (len(others) + 1) // 2

    def _was_unheard(self, taker: Host, holder: Host) -> bool:
        """Majority: whether the taker had reason to ask, and the voters to let a promise run out.

        Both may be a while ago: asking takes as long as the promises to the old holder.
        """
        timers = self._setup.times.timers
        window_s = 3 * bounds.majority_s(self._setup) + timers.deadtime_s
        now_s, conditions = self._cluster.timeline.now_s, self._conditions
        silences = (
            conditions.links[holder.name, taker.name],
            conditions.host[holder.name],
            conditions.membership[holder.name],
        )
        return any(not s.good or now_s - s.bad_to_s < window_s for s in silences)

    def _majority_dual_until_s(self, one: Host, other: Host, group: str) -> float:
        """Majority: an address outlives its lease only where nobody removes it.

        Leases never overlap, so only a vip or a host that did not run leaves one behind; and a
        suspended host, whose clock stands, thinks that it has its lease until it wakes.
        """
        for host in (one, other):
            asleep = self._conditions.host[host.name]
            if host.name in self.suspended and not asleep.good:
                return INFINITY
        left_s = self._setup.times.lifetime_s + KERNEL_LATE_S + bounds.SLACK_S
        spells = [self._conditions.vip[h.name] for h in (one, other)]
        spells += [self._conditions.host[h.name] for h in (one, other)]
        ends = [
            max(s.bad_from_s + left_s, s.bad_to_s + bounds.SLACK_S if s.good else -INFINITY)
            for s in spells
        ]
        # Who was suspended learns from the first heartbeat of the other one that time has passed.
        ends += [
            self._conditions.host[h.name].bad_to_s
            + self._healed_s(one, other, self._conditions.host[h.name].bad_to_s)
            + self._setup.vip.refresh_s  # its vip may wake first, and looks again then
            for h in (one, other)
            if h.name in self.suspended
        ]
        # Where nobody is there to learn it, or it does not hear the other one, vip goes on to the
        # end of the lease as it knows it.
        for host, heard in ((one, other), (other, one)):
            learns = self._conditions.membership[host.name].good
            learns &= self._conditions.links[heard.name, host.name].good
            if host.name in self.suspended and not learns:
                ends.append(
                    self._conditions.host[host.name].bad_to_s
                    + bounds.address_without_membership_s(self._setup)
                )
        if any(h.name in self.suspended for h in (one, other)):
            # It withdraws with its scripts, which may hang.
            return max(ends) + self._withdrawn_s(one, other, group)
        return max(ends)

    # --- two holders -----------------------------------------------------------------------------

    def dual_until_s(self, one: Host, other: Host, group: str) -> float:
        """Return until when both may answer, for all that went wrong between them."""
        if self._setup.mode is Mode.PAIR_STRICT:
            return self._strict_dual_until_s(one, other, group)
        if self._setup.mode is Mode.MAJORITY:
            return self._majority_dual_until_s(one, other, group)
        restored_s = max(self._restored_s(one, other), self._raced_s(one, other, group))
        if restored_s == INFINITY:
            return INFINITY
        withdrawn_s = self._withdrawn_s(one, other, group)
        healed_s = self._healed_s(one, other, restored_s) + withdrawn_s
        until_s = restored_s + healed_s
        handed_s = self.handed_s.get(group, -INFINITY)  # called off after HANDOVER_S at the latest
        healed_s_then = self._healed_s(one, other, handed_s)
        until_s = max(until_s, handed_s + HANDOVER_S + healed_s_then + withdrawn_s)
        for host in (one, other):  # the giver may be gone in the midst of it, with a fresh lease
            spell = self._conditions.membership[host.name]
            if spell.bad_from_s <= handed_s + HANDOVER_S and spell.bad_to_s >= handed_s:
                last_s = max(handed_s, spell.bad_from_s)
                alone_s = last_s + bounds.address_without_membership_s(self._setup)
                until_s = max(until_s, min(alone_s, spell.bad_to_s + healed_s_then) + withdrawn_s)
        for mute, observer in ((one, other), (other, one)):
            until_s = max(until_s, self._mute_until_s(mute, observer, restored_s, healed_s))
            until_s = max(until_s, self._misled_s(mute, observer) + healed_s)
        for host in (one, other):
            until_s = max(until_s, self._stays_until_s(host, until_s, withdrawn_s))
        return until_s

    def _strict_dual_until_s(self, one: Host, other: Host, group: str) -> float:
        """Strict: only the links excuse, or a clock that stood; no pause, kill or crash does."""
        there, back = (one.name, other.name), (other.name, one.name)
        spells = [self._conditions.links[there], self._conditions.links[back]]
        if not all(spell.good for spell in spells):
            return INFINITY
        ends = [spell.since_s for spell in spells]
        for host in (one, other):
            if host.name in self.suspended:
                asleep = self._conditions.host[host.name]
                ends.append(asleep.since_s if asleep.good else INFINITY)
        restored_s = max(ends)
        healed_s = self._healed_s(one, other, restored_s) + self._withdrawn_s(one, other, group)
        until_s = restored_s + healed_s
        claims_s = (self.granted_s.get((h.name, group), INFINITY) for h in (one, other))
        if min(self.dual_since_s.get(group, INFINITY), *claims_s) > restored_s:
            return until_s
        # Claimed behind the cut: who must say so or withdraw is paused or gone. They sort it out
        # when all of it is back, and else each address ends with its lease.
        alone_s = self._setup.times.lease_s + self._setup.tail_s + bounds.SLACK_S
        of_both = (self._conditions.membership, self._conditions.vip)
        spells = [spell[host.name] for spell in of_both for host in (one, other)]
        back_s = max(spell.bad_to_s for spell in spells) + healed_s
        for spell in spells:
            if spell.bad_from_s <= until_s:
                until_s = max(until_s, min(spell.bad_from_s + alone_s, back_s))
        return until_s

    def _restored_s(self, one: Host, other: Host) -> float:
        """Since when they hear each other; and a third one, who may be told of only one of them."""
        restored_s = self._conditions.restored_s(one, other)
        for third in self._hosts:
            if third not in (one, other) and third.runs:
                for host in (one, other):
                    restored_s = max(restored_s, self._conditions.restored_s(host, third))
        return restored_s

    def _raced_s(self, one: Host, other: Host, group: str) -> float:
        """When both took a free group in the same moment, before either could hear the other."""
        there = self.granted_s.get((one.name, group), -INFINITY)
        back = self.granted_s.get((other.name, group), -INFINITY)
        network = self._cluster.network
        way = (one.name, other.name) if there < back else (other.name, one.name)
        raced = abs(there - back) <= network.latest_s(*way) + RACE_S
        return max(there, back) if raced else -INFINITY

    def _healed_s(self, one: Host, other: Host, restored_s: float) -> float:
        """Row "all heartbeat links cut": how long until the loser has withdrawn."""
        network = self._cluster.network
        healed_s = bounds.healed_s(self._setup)
        healed_s += network.latest_s(one.name, other.name) + network.latest_s(other.name, one.name)
        blind = [
            host
            for host in (one, other)
            if not self._well_since(self._conditions.server[host.name], restored_s)
        ]
        if blind:
            healed_s += self._setup.vip.refresh_s  # vip reads the lease file
        if any(not self._well_since(self._conditions.disk[h.name], restored_s) for h in blind):
            healed_s += self._setup.times.lease_s  # it cannot read that either
        return healed_s

    def _withdrawn_s(self, one: Host, other: Host, group: str) -> float:
        stops, since_s = self._conditions.stops, self.dual_since_s.get(group, INFINITY)
        hanging = not all(self._well_since(stops[host.name], since_s) for host in (one, other))
        return bounds.withdrawn_s(self._setup, scripts=group == SCRIPTED, hanging=hanging)

    @staticmethod
    def _well_since(spell: Spell, since_s: float) -> bool:
        return spell.good and spell.since_s <= since_s

    def _mute_until_s(
        self, mute: Host, observer: Host, restored_s: float, healed_s: float
    ) -> float:
        """Rows "membership killed", "hung", and "while the bus shows nothing of that host"."""
        membership = self._conditions.membership[mute.name]
        begin_s, end_s = membership.bad_from_s, membership.bad_to_s
        shown = self._conditions.shown[mute.name, observer.name]
        heard_s = max(restored_s, membership.well_from_s)
        heard_s = max(heard_s, self._conditions.membership[observer.name].bad_to_s)
        if shown.good and max(shown.since_s, heard_s + healed_s) <= begin_s:
            return self.left_s.get(mute.name, -INFINITY)
        ran_s = max(begin_s, min(end_s, self._conditions.host[mute.name].since_s))
        lease_ends_s = ran_s + bounds.address_without_membership_s(self._setup)
        return min(lease_ends_s, end_s + healed_s)

    def _misled_s(self, speaker: Host, starter: Host) -> float:
        """docs/wire.md, "What is not protected": who just started believes what is old."""
        started_s = self._conditions.membership[starter.name].bad_to_s
        stale_s = self._cluster.network.stale_until_s(speaker.name, starter.name)
        if started_s == INFINITY or stale_s < started_s:
            return -INFINITY
        return started_s + self._setup.times.timers.keepalive_s

    def _stays_until_s(self, host: Host, until_s: float, withdrawn_s: float) -> float:
        """Row "both hung": without vip an address stays, if vip was gone when it had to go."""
        vip, membership = self._conditions.vip[host.name], self._conditions.membership[host.name]
        if membership.bad_to_s >= vip.bad_from_s:  # both were gone: it had the rest of its lease
            lease_s = bounds.address_without_membership_s(self._setup)
            until_s = max(until_s, membership.bad_from_s + lease_s)
        if vip.bad_from_s > until_s:
            return -INFINITY
        ran_s = max(vip.bad_from_s, min(vip.bad_to_s, self._conditions.host[host.name].since_s))
        ends_s = ran_s + bounds.address_without_vip_s(self._setup)
        if self._well_since(self._conditions.disk[host.name], vip.bad_from_s):
            return min(ends_s, vip.bad_to_s + bounds.SLACK_S + withdrawn_s)
        return ends_s
