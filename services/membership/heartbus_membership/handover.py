"""A handover on purpose: the other director has the group before this one lets go of it.

Sans-I/O; times are seconds on our monotonic clock. Between two directors, where addresses alone
move and takeover is fast::

    giver   held ──► handing ──the taker holds it──► releasing
              ▲         │  the taker is not ready, dead or too slow: a new epoch, and it stays here
              └─────────┘
    taker   none ──the other one is handing──► taking ──our vip holds it──► held
              ▲                                   │  our start failed, or it was called off
              └───────────────────────────────────┘

Both have the addresses from the moment when the taker announces them until the giver has heard of
it, which takes a few milliseconds. It is at most HANDOVER_S: then the giver calls it off with an
epoch above the taker's, which yields. Strict takeover, scripts and majorities go the other way: the
giver releases first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from heartbus.events import DirectorStatus
from heartbus_membership.claims import Claim, Effect, Grant, Phase
from heartbus_membership.readiness import Ready
from heartbus_membership.view import (
    LIVE,
    KnownGroup,
    KnownPeer,
    View,
    beats,
    granted,
    ordered_here,
    withdraw,
)

HANDOVER_S: Final = 1.0
"""A taker is ready to begin with; to add addresses and to say so takes it some milliseconds."""

KEEP_S: Final = 3.0
"""After a handover that was called off no other is tried for so long."""


def may_begin(view: View, group: KnownGroup, now_s: float) -> bool:
    """Whether a group that must go can be taken by the other director before we release it."""
    other = _other(view, group)
    if other is None or other[0].status is not DirectorStatus.ALIVE or not other[1].candidate:
        return False
    if other[0].name in view.unlike:
        return False  # an address may not be the same there
    if not group.rule.may_overlap or now_s < group.kept_until_s:
        return False
    return view.readiness.vip_can_be_heard and view.readiness.vip_holds(group.rule.name)


def begin(view: View, group: KnownGroup, reason: str, now_s: float) -> None:
    """Offer the group to the other director, and go on holding it."""
    group.phase = Phase.HANDING
    group.reason = reason
    group.handover_ends_s = now_s + _limit_s(view)
    if view.woke_s is None:
        group.lease_until_s = now_s + view.lease_s


def while_handing(view: View, group: KnownGroup, now_s: float) -> Iterator[Effect]:
    """Let go once the other director holds the group, or keep it."""
    other = _other(view, group)
    assert other is not None  # it was there when we began, and peers do not change
    peer, claim = other
    if claim.phase is Phase.HELD and beats(group, peer, claim, view.node):
        group.hands_over = True
        yield withdraw(group, f"{group.reason}: {peer.name} has it", now_s, group.cause)
        group.cause = None
        return
    if now_s > group.lease_until_s:
        yield withdraw(group, "we did not run until after the end of its lease", now_s)
        return
    able = claim.candidate or claim.phase is Phase.TAKING
    if peer.status is DirectorStatus.ALIVE and able and now_s < group.handover_ends_s:
        if view.woke_s is None:
            group.lease_until_s = now_s + view.lease_s
        return
    group.phase = Phase.HELD
    group.standby = False
    group.vacated_by = group.cause = None
    group.kept_until_s = now_s + KEEP_S
    if view.woke_s is None:
        group.lease_until_s = now_s + view.lease_s
    if peer.report is not None:
        group.outbid[peer.name] = (peer.report.incarnation, claim.epoch)  # our epoch is above its
    yield granted(group, f"kept: {peer.name} did not take it over", None)


def giver(view: View, group: KnownGroup) -> KnownPeer | None:
    """Return the director that offers the group to us, or None."""
    other = _other(view, group)
    if other is None or other[1].phase is not Phase.HANDING or not group.rule.may_overlap:
        return None
    if not view.readiness.vip_can_be_heard:
        return None  # we could not tell when it has the addresses
    return other[0]


def take(view: View, group: KnownGroup, peer: KnownPeer, now_s: float) -> Grant:
    """Let our vip take what is offered, for no longer than the handover may last."""
    group.phase = Phase.TAKING
    if peer.report is not None:
        # What it offers is no rival's claim: it needs no epoch above ours, and no other burst.
        group.outbid[peer.name] = (peer.report.incarnation, peer.claim(group.rule.name).epoch)
    group.standby = group.ask_first = False
    group.lease_until_s = now_s + view.lease_s
    group.handover_ends_s = now_s + _limit_s(view)
    return granted(group, f"{peer.name} hands it over", ordered_here(group, now_s))


def while_taking(view: View, group: KnownGroup, now_s: float) -> Iterator[Effect]:
    """Hold the group once our vip does, or leave it to the giver."""
    other = _other(view, group)
    assert other is not None
    peer, claim = other
    if view.woke_s is not None:
        reason = "it may have been called off while we did not run"
    elif view.stopping:
        reason = "this director stops"
    elif view.readiness.verdict(now_s=now_s)[0] is Ready.NO:
        reason = view.readiness.verdict(now_s=now_s)[1]
    elif failure := view.readiness.group_failure(group.rule.name, now_s=now_s):
        reason = f"start failed here: {failure}"
    elif claim.phase is Phase.HELD:
        reason = f"{peer.name} keeps it"
    elif view.readiness.vip_holds(group.rule.name, epoch=group.epoch) or peer.status not in LIVE:
        _hold(view, group, now_s)
        return
    elif claim.phase is not Phase.HANDING:
        _hold(view, group, now_s)  # it let go by another way
        return
    elif now_s >= group.handover_ends_s:
        reason = "our vip did not take it in time"
    else:
        return
    group.ask_again_s = now_s + _limit_s(view)
    yield withdraw(group, reason, now_s)


def _hold(view: View, group: KnownGroup, now_s: float) -> None:
    group.phase = Phase.HELD
    group.wanted_until_s = float("-inf")
    group.lease_until_s = now_s + view.lease_s


def _other(view: View, group: KnownGroup) -> tuple[KnownPeer, Claim] | None:
    """Return the other one of two directors that decide by themselves."""
    if view.ballot is not None or view.strict or len(view.peers) != 1:
        return None
    (peer,) = view.peers.values()
    return peer, peer.claim(group.rule.name)


def _limit_s(view: View) -> float:
    return min(HANDOVER_S, view.lease_s / 2)
