"""Takes up another set of resource groups while a director runs.

Sans-I/O; times are seconds on our monotonic clock. A group that is new begins as all groups do when
a director starts: what the others claim of it was not listened to before, so nothing is claimed
before they were heard afresh, and a dead one may hold it. One that is configured no more is let go
of like one that an operator moves away, its claim standing until vip has released it; only then is
it forgotten. Its epochs and votes stay on disk and in the ballot: it may come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heartbus.events import DirectorStatus
from heartbus_membership.claims import GroupRule, Phase
from heartbus_membership.view import GONE, KnownGroup, View, ranks


def regroup(
    view: View,
    rules: Sequence[GroupRule],
    *,
    directors: Sequence[str],
    epochs: Mapping[str, int],
    now_s: float,
) -> bool:
    """Take up these groups, in this order; return whether one of them is new.

    ``directors`` in the order of the configuration; ``epochs``: the highest ever known, by group.
    """
    before = dict(view.groups)
    view.groups.clear()
    added = False
    for rule in rules:
        group = before.pop(rule.name, None)
        if group is None:
            group = _new(view, rule, directors, epochs.get(rule.name, 0), now_s)
            added = True
        elif group.rule.preferred != rule.preferred:
            group.rank = ranks(rule, directors)
            group.preferred_yielded, group.waiting_since_s = False, None
        group.rule, group.retired = rule, False
        view.groups[rule.name] = group
    for name, group in before.items():
        group.retired = True
        view.groups[name] = group
    return added


def forget_retired(view: View) -> None:
    """Forget what is configured no more and let go of; call it after deciding."""
    for name in [n for n, g in view.groups.items() if g.retired and g.phase is Phase.NONE]:
        del view.groups[name]


def _new(
    view: View, rule: GroupRule, directors: Sequence[str], highest: int, now_s: float
) -> KnownGroup:
    group = KnownGroup(rule, ranks(rule, directors), highest, since_s=now_s)
    gone = [peer for peer in view.peers.values() if peer.status in GONE and not peer.witness]
    if gone and view.strict and view.ballot is None:
        group.free_s = now_s + view.lease_s + view.tail_s
    group.unsafe = {
        peer.name
        for peer in gone
        if peer.status is DirectorStatus.DEAD
        and peer.name in view.fences
        and peer.name not in view.fenced
    }
    return group
