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
from heartbus_simulator.faults import Kind
from heartbus_simulator.host import Host
from tests.simulation import bounds
from tests.simulation.conditions import Conditions
from tests.simulation.excuses import Excuses
from tests.simulation.setup import GROUPS, setup_of

if TYPE_CHECKING:
    from heartbus_simulator.cluster import Cluster

INFINITY: Final = float("inf")


class ViolationError(AssertionError):
    """An invariant does not hold; the message says which and where."""


class Invariants:
    """Watches one cluster; ``after_step`` looks at everything that time alone can break."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._setup = cluster, setup_of(cluster)
        self._groups = GROUPS[: self._setup.groups]
        self.conditions = Conditions(cluster)
        self._excuses = Excuses(cluster, self.conditions)
        self._hosts = tuple(cluster.hosts.values())
        self._highest: dict[tuple[str, str], int] = {}
        self._free_since_s = dict.fromkeys(self._groups, 0.0)
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
                self._excuses.failed.add(fault.target)
            elif fault.kind is Kind.VIP_STOP:
                self._excuses.stopped.add(fault.target)
            elif fault.kind is Kind.SUSPEND:
                self._excuses.suspended.add(fault.target)

    def forgot(self, host: Host) -> None:
        """Expect no more of the epochs of a host than its disk can know."""
        for group in self._groups:
            self._highest.pop((host.name, group), None)

    def left(self, host: Host) -> None:
        """Note that others may take the groups of a membership, because it says so."""
        self._excuses.left_s[host.name] = self._cluster.timeline.now_s

    def granted(self, host: Host, effect: Grant) -> None:
        """Look at a grant: its epoch, and whether another one still has the group."""
        self.changed_s = now_s = self._cluster.timeline.now_s
        key = (host.name, effect.group)
        if effect.epoch <= self._highest.get(key, 0):
            self.fail(f"{host.name} grants {effect.group} with epoch {effect.epoch} again")
        if not host.disk.full:
            self._highest[key] = effect.epoch
        self._excuses.epochs[key], self._excuses.granted_s[key] = effect.epoch, now_s
        if effect.reason.endswith("must yield"):
            return  # it claims the group already, and has looked at the other claim
        if effect.reason.startswith("kept:"):
            self._excuses.kept_s[key] = now_s
            return  # it never let go of it
        for other in self._hosts:
            if other is not host and self._excuses.claims(other, effect.group):
                if self._excuses.hands_over(host, other, effect.group):
                    self._excuses.handed_s[effect.group] = now_s
                    continue
                until_s = self._excuses.dual_until_s(host, other, effect.group)
                heard = not self._excuses.is_given_up(host, other, effect.group)
                if now_s > until_s or heard:
                    self.fail(
                        f"{host.name} takes {effect.group} ({effect.reason}) from {other.name},"
                        f" without cause{'' if heard else f' since {until_s:.3f}'}"
                    )

    def revoked(self, host: Host, effect: Revoke) -> None:
        """Look at a revocation: there must be a cause that others would understand."""
        self.changed_s = self._cluster.timeline.now_s
        self._excuses.revoked_s[host.name, effect.group] = self.changed_s
        if not self._excuses.may_give_up(host, effect.group, effect.epoch):
            self.fail(f"{host.name} gives up {effect.group} without cause: {effect.reason}")

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
                self._excuses.dual_since_s.pop(group, None)

    def _check_dual(self, group: str, holders: list[Host]) -> None:
        now_s = self._cluster.timeline.now_s
        if group not in self._excuses.dual_since_s:
            self._cluster.counts["two holders"] += 1
        since_s = self._excuses.dual_since_s.setdefault(group, now_s)
        self.longest_dual_s = max(self.longest_dual_s, now_s - since_s)
        for one, other in itertools.combinations(holders, 2):
            until_s = self._excuses.dual_until_s(one, other, group)
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
            and name not in self._excuses.failed
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
        if name not in self._setup.directors:
            return False
        well = name not in self._excuses.failed and conditions.vip[name].good
        return conditions.membership[name].good and not (well or conditions.server[name].good)

    @property
    def all_hear_all(self) -> bool:
        """Whether each host is heard and believed by each other."""
        self.conditions.update()
        return all(spell.good for spell in self.conditions.links.values())

    @property
    def failed(self) -> frozenset[str]:
        """Hosts on which a start has failed, or could have."""
        return frozenset(self._excuses.failed)
