"""Takes up what can be used at once of a configuration that was read anew, and tells its digest.

Shell. Keys: old and new ones are both accepted between the steps of a change, so no heartbeat is
lost (docs/decisions/0016-agreement-and-reload.md). Groups and failback: by ``Ownership``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from heartbus.config import ConfigError
from heartbus.model import AddressResource, Cluster, Failback, ResourceGroup
from heartbus_membership.agreement import Agreement
from heartbus_membership.claims import Effect, GroupRule
from heartbus_membership.hearing import Hearing
from heartbus_membership.leases import StateFile
from heartbus_membership.orders import Orders
from heartbus_membership.ownership import Ownership
from heartbus_membership.signing import MAC_BYTES_MAX, Keyring
from heartbus_membership.wire import DATAGRAM_BYTES_MAX, GROUPS_MAX, size_bytes


class TakingUp:
    """What membership runs with, in so far as it may change while it runs."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        keyring: Keyring,
        agreement: Agreement,
        ownership: Ownership,
        hearing: Hearing,
        orders: Orders,
        state_file: StateFile,
        carry_out: Callable[[Iterable[Effect]], None],
        clock: Callable[[], float],
    ) -> None:
        self._groups = cluster.groups
        self._keyring = keyring
        self._agreement = agreement
        self._ownership = ownership
        self._hearing = hearing
        self._orders = orders
        self._state_file = state_file
        self._carry_out = carry_out
        self._clock = clock

    def take_up(self, wanted: Cluster) -> None:
        """Sign with these keys, decide about these groups, and tell peers this digest.

        Raises:
            ConfigError: a heartbeat of these groups does not fit; nothing was changed.

        """
        if (problem := why_no_room(wanted)) is not None:
            raise ConfigError.plain(problem)
        self._keyring.use(wanted.membership.authentication)
        self._agreement.use(wanted)
        self._ownership.failback = wanted.membership.failback is Failback.ON
        if wanted.groups == self._groups:
            return
        self._groups = wanted.groups
        self._hearing.use_groups(group.name for group in wanted.groups)
        self._orders.use_groups(wanted.groups)
        self._carry_out(
            self._ownership.use_groups(
                group_rules(wanted), epochs=self._state_file.epochs, now_s=self._clock()
            )
        )


def group_rules(cluster: Cluster) -> list[GroupRule]:
    """Return the groups of a configuration as ownership sees them."""
    return [_rule(group, cluster.vip.script_timeout_s) for group in cluster.groups]


def _rule(group: ResourceGroup, script_timeout_s: float) -> GroupRule:
    return GroupRule(
        name=group.name,
        preferred=group.preferred,
        stop_s=group.stop_max_s(script_timeout_s),
        may_overlap=all(isinstance(resource, AddressResource) for resource in group.resources),
    )


def why_no_room(cluster: Cluster) -> str | None:
    """Return why a heartbeat of this cluster does not fit in a datagram, None if it does."""
    if len(cluster.groups) > GROUPS_MAX:
        return (
            f"{cluster.source}: {len(cluster.groups)} resource groups, heartbeats carry at most "
            f"{GROUPS_MAX}: join groups that move together"
        )
    needed = size_bytes(
        name_bytes=max(len(voter.name) for voter in cluster.voters),
        groups=len(cluster.groups),
        others=len(cluster.voters) - 1,
        mac_bytes=MAC_BYTES_MAX,
    )
    if needed <= DATAGRAM_BYTES_MAX:
        return None
    return (
        f"{cluster.source}: a heartbeat with {len(cluster.groups)} groups and "
        f"{len(cluster.voters)} voters has {needed} bytes, at most {DATAGRAM_BYTES_MAX} fit in "
        "a datagram: join groups that move together, or use shorter names"
    )
