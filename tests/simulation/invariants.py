"""What must be so after every step, whatever went wrong before.

1. Two hosts answer for one address only as long as docs/decisions/0004 allows (``_check_dual``).
2. No host answers longer than its lease, or than the kernel lifetime without vip (``_check_lone``).
3. Nobody takes a group whose holder it could hear, nobody gives one up without a cause
   (``granted``, ``revoked``).
4. Epochs of one host only grow, unless its disk forgot.
5. Where a director can hold a group, somebody does, in time (``_check_free``).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from heartbus_membership.claims import Grant, Revoke
from heartbus_membership.readiness import VIP_SILENCE_MARGIN_S
from tests.simulation import bounds
from tests.simulation.conditions import Conditions, Spell
from tests.simulation.faults import Kind
from tests.simulation.host import Host
from tests.simulation.setup import GROUPS, SCRIPTED, Mode

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

INFINITY: Final = float("inf")
TICK_S: Final = 0.25
"""The longest time between two turns of membership."""

RACE_S: Final = 0.001
"""Clocks of processes tick in whole milliseconds."""


class ViolationError(AssertionError):
    """An invariant does not hold; the message says which and where."""


class Invariants:
    """Watches one cluster; ``after_step`` looks at everything that time alone can break."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._setup = cluster, cluster.setup
        self._groups = GROUPS[: cluster.setup.groups]
        self.conditions = Conditions(cluster)
        self._hosts = tuple(cluster.hosts.values())
        self._highest: dict[tuple[str, str], int] = {}
        self._epochs: dict[tuple[str, str], int] = {}
        self._granted_s: dict[tuple[str, str], float] = {}
        self._revoked_s: dict[tuple[str, str], float] = {}
        self._left_s: dict[str, float] = {}
        self._failed: set[str] = set()
        self._stopped: set[str] = set()
        self._suspended: set[str] = set()
        self._free_since_s = dict.fromkeys(self._groups, 0.0)
        self._dual_since_s: dict[str, float] = {}
        self.changed_s = 0.0
        self.longest_dual_s = 0.0
        cluster.watcher = self
        cluster.timeline.after_step = self.after_step

    def fail(self, what: str) -> None:
        """Stop the scenario here.

        Raises:
            ViolationError: always.

        """
        raise ViolationError(f"at {self._cluster.timeline.now_s:.3f}: {what}")

    # --- what happened ---------------------------------------------------------------------------

    def conditions_changed(self) -> None:
        """Look at the conditions again, and at what the new fault excuses."""
        self.conditions.update()
        for fault in self._cluster.active:
            if fault.kind is Kind.START_FAILS:
                self._failed.add(fault.target)
            elif fault.kind is Kind.VIP_STOP:
                self._stopped.add(fault.target)
            elif fault.kind is Kind.SUSPEND:
                self._suspended.add(fault.target)

    def forgot(self, host: Host) -> None:
        """Expect no more of the epochs of a host than its disk can know."""
        for group in self._groups:
            self._highest.pop((host.name, group), None)

    def left(self, host: Host) -> None:
        """Note that others may take the groups of a membership, because it says so."""
        self._left_s[host.name] = self._cluster.timeline.now_s

    def granted(self, host: Host, effect: Grant) -> None:
        """Look at a grant: its epoch, and whether another one still has the group."""
        self.changed_s = now_s = self._cluster.timeline.now_s
        key = (host.name, effect.group)
        if effect.epoch <= self._highest.get(key, 0):
            self.fail(f"{host.name} grants {effect.group} with epoch {effect.epoch} again")
        if not host.disk.full:
            self._highest[key] = effect.epoch
        self._epochs[key], self._granted_s[key] = effect.epoch, now_s
        if effect.reason.endswith("must yield"):
            return  # it claims the group already, and has looked at the other claim
        for other in self._hosts:
            if other is not host and self._claims(other, effect.group):
                until_s = self._dual_until_s(host, other, effect.group)
                heard = not self._is_given_up(host, other, effect.group)
                if now_s > until_s or heard:
                    self.fail(
                        f"{host.name} takes {effect.group} ({effect.reason}) from {other.name},"
                        f" without cause{'' if heard else f' since {until_s:.3f}'}"
                    )

    def revoked(self, host: Host, effect: Revoke) -> None:
        """Look at a revocation: there must be a cause that others would understand."""
        self.changed_s = self._cluster.timeline.now_s
        self._revoked_s[host.name, effect.group] = self.changed_s
        if not self._may_give_up(host, effect.group, effect.epoch):
            self.fail(f"{host.name} gives up {effect.group} without cause: {effect.reason}")

    # --- why a group may be taken ----------------------------------------------------------------

    def _is_given_up(self, taker: Host, holder: Host, group: str) -> bool:
        """Whether the taker had reason to think that the holder is gone, or never heard of it.

        It was silent for deadtime while the taker listened: our own stall kills nobody.
        """
        timers, now_s = self._setup.times.timers, self._cluster.timeline.now_s
        if self._left_s.get(holder.name, -INFINITY) >= self._started_s(holder):
            return True
        healed_s = bounds.healed_s(self._setup)
        if (
            max(self._raced_s(taker, holder, group), self._misled_s(holder, taker))
            >= now_s - healed_s
        ):
            return True
        if self._has_just_woken(taker):
            return True
        conditions, margin_s = self.conditions, 2 * timers.keepalive_s
        silences = (
            conditions.links[holder.name, taker.name],
            conditions.host[holder.name],
            conditions.membership[holder.name],
        )
        deaf = (conditions.links[holder.name, taker.name], conditions.host[taker.name])
        claimed_s = self._granted_s.get((holder.name, group), INFINITY)
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
            if taker.name in self._suspended:
                asleep_s = min(asleep_s, own.bad_to_s - heard_s)
                heard_s += max(0.0, asleep_s)  # its clock stood
                break
            if margin_s + TICK_S < asleep_s < INFINITY:
                heard_s = max(heard_s, own.bad_to_s)
        busy = any(f.kind is Kind.BUSY and f.target == taker.name for f in self._cluster.active)
        return busy or now_s - heard_s >= timers.deadtime_s - margin_s - bounds.SLACK_S

    def _has_just_woken(self, host: Host) -> bool:
        """Whether membership reads now what waited while it was paused.

        It decides after each heartbeat, the oldest first, and by how long vip has been silent then.
        """
        paused = self.conditions.membership[host.name]
        return self._cluster.timeline.now_s - paused.bad_to_s < bounds.SLACK_S

    def _started_s(self, host: Host) -> float:
        return self.conditions.membership[host.name].bad_from_s

    # --- why a group may go ----------------------------------------------------------------------

    @staticmethod
    def _claims(host: Host, group: str) -> bool:
        if host.membership is None or not host.on:
            return False
        leases = host.membership.ownership.leases
        now_s = host.clock.now_s
        return any(x.group == group and x.deadline_s > now_s for x in leases)

    def _may_give_up(self, host: Host, group: str, epoch: int) -> bool:
        stops = bool(host.membership_down)
        others = [other for other in self._hosts if other is not host]
        rivals = any(self._epochs.get((other.name, group), 0) >= epoch for other in others)
        preferred = next(g.preferred for g in self._setup.resource_groups if g.name == group)
        fails_back = self._setup.failback and preferred != host.name
        if stops or rivals or fails_back or host.name in self._failed:
            return True
        vip, now_s = self.conditions.vip[host.name], self._cluster.timeline.now_s
        if host.vip is not None and host.vip.asked_to_stop:
            return True
        unread = vip.bad_to_s + bounds.SLACK_S >= self.conditions.membership[host.name].bad_from_s
        stopped_before = unread and host.name in self._stopped
        bus_gone = not self.conditions.server[host.name].good
        if self._has_just_woken(host) and (stopped_before or bus_gone):
            return True
        away_s = min(vip.bad_to_s, now_s) - vip.bad_from_s
        silent_s = self._setup.times.lifetime_s + VIP_SILENCE_MARGIN_S - bounds.VIP_REPORT_S
        lately = now_s - vip.bad_to_s < bounds.VIP_REPORT_S + bounds.SLACK_S
        stopped = any(f.kind is Kind.VIP_STOP for f in host.vip_down if hasattr(f, "kind"))
        return stopped or ((not vip.good or lately) and away_s > silent_s - bounds.SLACK_S)

    # --- two holders -----------------------------------------------------------------------------

    def _dual_until_s(self, one: Host, other: Host, group: str) -> float:
        """Return until when both may answer, for all that went wrong between them."""
        if self._setup.mode is Mode.PAIR_STRICT:
            return -INFINITY
        restored_s = max(self._restored_s(one, other), self._raced_s(one, other, group))
        if restored_s == INFINITY:
            return INFINITY
        withdrawn_s = self._withdrawn_s(one, other, group)
        healed_s = self._healed_s(one, other, restored_s) + withdrawn_s
        until_s = restored_s + healed_s
        for mute, observer in ((one, other), (other, one)):
            until_s = max(until_s, self._mute_until_s(mute, observer, restored_s, healed_s))
            until_s = max(until_s, self._misled_s(mute, observer) + healed_s)
            until_s = max(until_s, self._forgotten_until_s(mute, group))
        for host in (one, other):
            until_s = max(until_s, self._stays_until_s(host, until_s, withdrawn_s))
        return until_s

    def _restored_s(self, one: Host, other: Host) -> float:
        """Since when they hear each other; and a third one, who may be told of only one of them."""
        restored_s = self.conditions.restored_s(one, other)
        for third in self._hosts:
            if third not in (one, other) and third.runs:
                for host in (one, other):
                    restored_s = max(restored_s, self.conditions.restored_s(host, third))
        return restored_s

    def _raced_s(self, one: Host, other: Host, group: str) -> float:
        """When both took a free group in the same moment, before either could hear the other."""
        there = self._granted_s.get((one.name, group), -INFINITY)
        back = self._granted_s.get((other.name, group), -INFINITY)
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
            if not self._well_since(self.conditions.server[host.name], restored_s)
        ]
        if blind:
            healed_s += self._setup.vip.refresh_s  # vip reads the lease file
        if any(not self._well_since(self.conditions.disk[h.name], restored_s) for h in blind):
            healed_s += self._setup.times.lease_s  # it cannot read that either
        return healed_s

    def _withdrawn_s(self, one: Host, other: Host, group: str) -> float:
        stops, since_s = self.conditions.stops, self._dual_since_s.get(group, INFINITY)
        hanging = not all(self._well_since(stops[host.name], since_s) for host in (one, other))
        return bounds.withdrawn_s(self._setup, scripts=group == SCRIPTED, hanging=hanging)

    @staticmethod
    def _well_since(spell: Spell, since_s: float) -> bool:
        return spell.good and spell.since_s <= since_s

    def _mute_until_s(
        self, mute: Host, observer: Host, restored_s: float, healed_s: float
    ) -> float:
        """Rows "membership killed", "hung", and "while the bus shows nothing of that host"."""
        membership = self.conditions.membership[mute.name]
        begin_s, end_s = membership.bad_from_s, membership.bad_to_s
        shown = self.conditions.shown[mute.name, observer.name]
        heard_s = max(restored_s, membership.well_from_s)
        heard_s = max(heard_s, self.conditions.membership[observer.name].bad_to_s)
        if shown.good and max(shown.since_s, heard_s + healed_s) <= begin_s:
            return self._left_s.get(mute.name, -INFINITY)
        ran_s = max(begin_s, min(end_s, self.conditions.host[mute.name].since_s))
        lease_ends_s = ran_s + bounds.address_without_membership_s(self._setup)
        return min(lease_ends_s, end_s + healed_s)

    def _misled_s(self, speaker: Host, starter: Host) -> float:
        """docs/wire.md, "What is not protected": who just started believes what is old."""
        started_s = self.conditions.membership[starter.name].bad_to_s
        stale_s = self._cluster.network.stale_until_s(speaker.name, starter.name)
        if started_s == INFINITY or stale_s < started_s:
            return -INFINITY
        return started_s + self._setup.times.timers.keepalive_s

    def _forgotten_until_s(self, host: Host, group: str) -> float:
        """A membership that ends while its vip still lets go of a group does not know it later.

        The address is refreshed no more, so that this is over within a lifetime.
        """
        revoked_s = self._revoked_s.get((host.name, group), -INFINITY)
        ended_s = self.conditions.membership[host.name].bad_from_s
        if group != SCRIPTED or ended_s < revoked_s:
            return -INFINITY
        return revoked_s + bounds.address_without_vip_s(self._setup)

    def _stays_until_s(self, host: Host, until_s: float, withdrawn_s: float) -> float:
        """Row "both hung": without vip an address stays, if vip was gone when it had to go."""
        vip, membership = self.conditions.vip[host.name], self.conditions.membership[host.name]
        if membership.bad_to_s >= vip.bad_from_s:  # both were gone: it had the rest of its lease
            lease_s = bounds.address_without_membership_s(self._setup)
            until_s = max(until_s, membership.bad_from_s + lease_s)
        if vip.bad_from_s > until_s:
            return -INFINITY
        ran_s = max(vip.bad_from_s, min(vip.bad_to_s, self.conditions.host[host.name].since_s))
        ends_s = ran_s + bounds.address_without_vip_s(self._setup)
        if self._well_since(self.conditions.disk[host.name], vip.bad_from_s):
            return min(ends_s, vip.bad_to_s + bounds.SLACK_S + withdrawn_s)
        return ends_s

    # --- after every step ------------------------------------------------------------------------

    def after_step(self) -> None:
        """Look at who answers for each group now."""
        for group in self._groups:
            holders = [host for host in self._hosts if host.has_address(group)]
            if not holders:
                self._check_free(group)
                continue
            self._free_since_s[group] = INFINITY
            for host in holders:
                self._check_lone(host, group)
            if len(holders) > 1:
                self._check_dual(group, holders)
            else:
                self._dual_since_s.pop(group, None)

    def _check_dual(self, group: str, holders: list[Host]) -> None:
        now_s = self._cluster.timeline.now_s
        if group not in self._dual_since_s:
            self._cluster.counts["two holders"] += 1
        since_s = self._dual_since_s.setdefault(group, now_s)
        self.longest_dual_s = max(self.longest_dual_s, now_s - since_s)
        for one, other in itertools.combinations(holders, 2):
            until_s = self._dual_until_s(one, other, group)
            if now_s > until_s:
                self.fail(
                    f"{one.name} and {other.name} both answer for {group} since {since_s:.3f},"
                    f" allowed until {until_s:.3f}"
                )

    def _check_lone(self, host: Host, group: str) -> None:
        membership, vip = self.conditions.membership[host.name], self.conditions.vip[host.name]
        if membership.good and vip.good:
            return
        now_s = host.clock.now_s
        alone_s = bounds.address_without_vip_s(self._setup)
        if not vip.good and now_s > vip.bad_host_s + alone_s:
            self.fail(f"{host.name} answers for {group} for {alone_s:.2f} s without vip")
        lease_s = bounds.address_without_membership_s(self._setup)
        ends_s = membership.bad_host_s + lease_s
        if not vip.good:
            ends_s = max(ends_s, vip.bad_host_s + alone_s)
        if not membership.good and now_s > ends_s and host.membership_down != set():
            self.fail(f"{host.name} answers for {group} for {lease_s:.2f} s without membership")

    # --- nobody ----------------------------------------------------------------------------------

    def _check_free(self, group: str) -> None:
        now_s = self._cluster.timeline.now_s
        since_s = self._free_since_s[group]
        if since_s == INFINITY:
            since_s = self._free_since_s[group] = now_s
        reach_s = bounds.somebody_s(self._setup)
        if now_s <= max(since_s, self.conditions.changed_s) + reach_s:
            return
        able = [host.name for host in self._hosts if self._is_able(host)]
        if able and self._is_clear():
            self.fail(f"nobody answers for {group} since {since_s:.3f}, {', '.join(able)} could")

    def _is_able(self, host: Host) -> bool:
        conditions, name = self.conditions, host.name
        return (
            name in self._setup.directors
            and name not in self._failed
            and conditions.membership[name].good
            and conditions.vip[name].good
            and conditions.disk[name].good
            and (conditions.server[name].good or not self._setup.bus)
        )

    def _is_clear(self) -> bool:
        """Whether each two running hosts hear one another, or neither hears the other."""
        for one, other in itertools.combinations(self._hosts, 2):
            network = self._cluster.network
            there, back = (one.name, other.name), (other.name, one.name)
            silent = network.is_silent(*there) and network.is_silent(*back)
            well = self.conditions.links[there].good and self.conditions.links[back].good
            if not (silent or well or not one.on or not other.on):
                return False
        return not any(self._is_blind(host) for host in self._hosts)

    def _is_blind(self, host: Host) -> bool:
        """Whether membership holds on to groups because it cannot hear that its vip is not well."""
        conditions, name = self.conditions, host.name
        well = name not in self._failed and conditions.vip[name].good
        return conditions.membership[name].good and not (well or conditions.server[name].good)

    @property
    def all_hear_all(self) -> bool:
        """Whether each host is heard and believed by each other."""
        self.conditions.update()
        return all(spell.good for spell in self.conditions.links.values())

    @property
    def failed(self) -> frozenset[str]:
        """Hosts on which a start has failed, or could have."""
        return frozenset(self._failed)
