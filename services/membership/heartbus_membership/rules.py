"""The rules of one resource group: when to claim it, keep it, hand it over, give it up.

Sans-I/O; times are seconds on our monotonic clock. ``ownership`` tells what the states are; here is
what leads from one to the next. Every function leaves a group in a state that may stand for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from heartbus.events import DirectorStatus
from heartbus_membership import handover
from heartbus_membership.ballot import Candidate
from heartbus_membership.claims import (
    CLAIMING,
    Claim,
    Effect,
    Grant,
    Phase,
    SendHeartbeat,
)
from heartbus_membership.readiness import Ready
from heartbus_membership.view import (
    LIVE,
    KnownGroup,
    KnownPeer,
    RaiseStep,
    View,
    beats,
    granted,
    ordered_here,
    revoked,
    withdraw,
)

PREFERRED_WAIT_S: Final = 3.0
"""How long a free group waits for a preferred director that is alive but not ready."""

READ_S: Final = 60.0
"""A group that is new waits so long for its preferred director to read the files too."""

HANDED_OVER_S: Final = 3.0
"""After a hand-over we leave the group to others for so long, while one of them could take it."""

FAILBACK_SETTLE_S: Final = 1.0
"""A returning preferred director is ready for at least so long before it asks for its groups."""

STANDBY_ASKED: Final = "standby was asked for"

ASK_PROMISES: Final = 2
"""A majority is asked for so many leases, as votes may be promised elsewhere for one; who failed
leaves the group to the others for as long."""


def decide_group(view: View, group: KnownGroup, now_s: float) -> Iterator[Effect]:
    """Return what follows for one group from what is known now."""
    if view.ballot is not None:
        group.highest = max(group.highest, view.ballot.highest_epoch(group.rule.name))
    before = (group.phase, group.epoch)
    if group.phase is Phase.HELD:
        yield from _while_held(view, group, now_s)
    elif group.phase is Phase.HANDING:
        yield from handover.while_handing(view, group, now_s)
    elif group.phase is Phase.TAKING:
        yield from handover.while_taking(view, group, now_s)
    if group.phase is Phase.RELEASING and _is_let_go(view, group, now_s):
        _end_claim(view, group)
        if group.hands_over:
            group.handed_over_until_s = now_s + HANDED_OVER_S
    if group.phase is Phase.ASKING:
        yield from _while_asking(view, group, now_s)
    if group.phase is Phase.NONE:
        yield from _while_vacant(view, group, now_s)
    if (group.phase, group.epoch) != before:
        yield SendHeartbeat()


def is_candidate(view: View, group: KnownGroup, now_s: float) -> bool:
    """Whether we would claim the group if it were our turn."""
    if view.node not in group.rank or not (view.settled and view.is_ready(now_s=now_s)):
        return False
    if group.retired:
        return False
    if view.readiness.group_failure(group.rule.name, now_s=now_s) is not None:
        return False
    if not view.readiness.is_sure(group.rule.name):
        return False
    if not view.has_majority(now_s=now_s) or now_s < group.ask_again_s:
        return False
    others = [p.name for p, c in view.live_claims(group) if c.candidate or c.phase in CLAIMING]
    if view.yield_to in others or (group.standby and others):
        return False
    ready_others = any(claim.candidate for _, claim in view.live_claims(group))
    return now_s >= group.handed_over_until_s or not ready_others


# --- held ----------------------------------------------------------------------------------------


def _while_held(view: View, group: KnownGroup, now_s: float) -> Iterator[Effect]:
    for peer, claim in view.live_claims(group):
        if claim.phase is Phase.HELD and beats(group, peer, claim, view.node):
            reason = f"{peer.name} holds it with epoch {claim.epoch}, ours was {group.epoch}"
            yield withdraw(group, reason, now_s)
            return
    if view.ballot is None and now_s > group.lease_until_s:
        # The other one may have taken it meanwhile, with a lower epoch even: ours must not win.
        yield withdraw(group, "we did not run until after the end of its lease", now_s)
        return
    for peer, claim in view.live_claims(group):
        assert peer.report is not None
        rival = (peer.report.incarnation, claim.epoch)
        if claim.phase in CLAIMING and group.outbid.get(peer.name) != rival:
            # A new epoch makes our vip announce itself again, over what the other one said.
            group.outbid[peer.name] = rival
            reason = f"{peer.name} claimed it too and must yield"
            yield from _raised(view, group, reason, now_s)
    for peer, _ in view.live_claims(group):
        if peer.name in group.told_by:
            # It may have gone on for a while, cut off from us: clients may look for the VIP there.
            group.told_by.discard(peer.name)
            if peer.name not in group.outbid:
                yield from _raised(view, group, f"{peer.name} is heard again", now_s)
    reason_to_go = _reason_to_hand_over(view, group, now_s)
    if reason_to_go is not None and handover.may_begin(view, group, now_s):
        handover.begin(view, group, reason_to_go, now_s)
        group.cause = _order_behind(group, reason_to_go)
        return
    if reason_to_go is not None:
        group.hands_over = True
        yield withdraw(group, reason_to_go, now_s, _order_behind(group, reason_to_go))
        return
    if view.ballot is not None:
        renewed_s = view.ballot.lease_until_s(group.rule.name)
        if renewed_s >= group.lease_until_s + group.stale_s:
            group.stale_s = 0.0
        group.lease_until_s = max(group.lease_until_s, renewed_s)
        if now_s >= group.lease_until_s:
            if view.strict:  # our claim stands, and with it the votes, until the address is gone
                yield withdraw(group, _no_majority(view), now_s)
            else:
                _end_claim(view, group)
                yield revoked(group, _no_majority(view))
            return
        yield from _rising(view, group, now_s)
    else:
        group.lease_until_s = now_s + view.lease_s
    if view.woke_s is None:
        yield from _try_again(view, group, now_s)


def _try_again(view: View, group: KnownGroup, now_s: float) -> Iterator[Effect]:
    if view.readiness.may_try_again(group.rule.name, epoch=group.epoch, now_s=now_s):
        yield from _raised(view, group, "tried again: no other director can", now_s)


def _raised(view: View, group: KnownGroup, reason: str, now_s: float) -> Iterator[Effect]:
    """Hold on with a higher epoch, which a majority must support first where there is one."""
    if view.ballot is None:
        yield granted(group, reason, None)
        return
    group.raise_step, group.raise_reason, group.raised_s = RaiseStep.SURE, reason, now_s
    view.ballot.raise_begins(group.rule.name)
    yield SendHeartbeat()


def _rising(view: View, group: KnownGroup, now_s: float) -> Iterator[Effect]:
    """Keep our epoch the highest one: first be sure of our lease, then ask, then go on with it.

    A voter that asked for itself meanwhile, because it did not hear us, supports no lower epoch any
    more. It may ask again as long as it does not hear us: we follow twice a lease, not at once. A
    higher epoch that we announced without being sure could make the rightful holder yield: our host
    may have been suspended, with its clock, while another one took over.
    """
    assert view.ballot is not None
    behind = group.highest > max(group.epoch, group.raise_to)
    if behind and group.raise_step is not RaiseStep.SURE:
        if now_s >= group.raised_s + view.lease_s / 2:
            reason = group.raise_reason or "another director asked for it"
            yield from _raised(view, group, reason, now_s)
    elif group.raise_step is RaiseStep.NONE or not view.ballot.has_risen(group.rule.name):
        return
    elif group.raise_step is RaiseStep.SURE:
        group.highest += 1
        group.raise_step, group.raise_to = RaiseStep.ASKED, group.highest
        yield from view.ballot.claim_rises(group.rule.name, group.raise_to)
        yield SendHeartbeat()
    else:
        group.epoch, group.reason = group.raise_to, group.raise_reason
        _forget_raise(group)
        yield Grant(group=group.rule.name, epoch=group.epoch, reason=group.reason)


def _forget_raise(group: KnownGroup) -> None:
    group.raise_step, group.raise_to, group.raise_reason = RaiseStep.NONE, 0, ""


def _no_majority(view: View) -> str:
    assert view.ballot is not None
    voters = len(view.peers) + 1
    return (
        f"a majority did not renew it: {view.voters_heard} of {voters} voters are heard,"
        f" {view.ballot.majority} must support us"
    )


def _reason_to_hand_over(view: View, group: KnownGroup, now_s: float) -> str | None:
    if view.stopping:
        return "this director stops"
    if group.retired:
        return "it is configured no more"
    if view.strict and view.ballot is None and view.isolated and view.alone:
        return "isolated: neither another director nor a ping node is heard"
    candidates = [p.name for p, claim in view.live_claims(group) if claim.candidate]
    if not candidates:
        return None
    verdict, why = view.readiness.verdict(now_s=now_s)
    if verdict is Ready.NO:
        return f"{why}; {candidates[0]} is ready"
    failure = view.readiness.group_failure(group.rule.name, now_s=now_s)
    if failure is not None:
        return f"cannot be held here: {failure}; {candidates[0]} is ready"
    if view.yield_to in candidates:
        return f"{view.yield_to} reaches more ping nodes"
    if now_s < group.kept_until_s:
        return None
    warm = {name for name in candidates if view.readiness.cold(name, now_s=now_s) is None}
    if group.standby and warm:
        return STANDBY_ASKED
    ours = view.readiness.score(group.rule.name)
    for peer, claim in view.live_claims(group):
        if peer.name in warm and claim.score > ours:
            return f"{peer.name} has a score of {claim.score}, we have {ours}"
    for peer, claim in view.live_claims(group):
        if claim.phase is Phase.WANTING and peer.name in warm and claim.score >= ours:
            failback = peer.name == group.rule.preferred
            return f"failback to {peer.name}" if failback else f"{peer.name} asks for it"
    return None


def _order_behind(group: KnownGroup, reason: str) -> str | None:
    return group.ordered_by if reason == STANDBY_ASKED else None


# --- releasing -----------------------------------------------------------------------------------


def _is_let_go(view: View, group: KnownGroup, now_s: float) -> bool:
    """Whether vip has released a withdrawn group, or would have if it could be heard.

    A vip that says it is still at it is waited for, as long as its scripts may take.
    """
    if now_s < group.lease_until_s + view.tail_s:
        return False
    ends_s = group.revoked_s + view.lease_s + group.rule.stop_s
    return now_s >= ends_s or not view.readiness.vip_has(group.rule.name, now_s=now_s)


def _end_claim(view: View, group: KnownGroup) -> None:
    group.phase = Phase.NONE
    epoch = max(group.epoch, group.raise_to)
    _forget_raise(group)
    if view.ballot is not None:
        gone_s = group.lease_until_s + group.stale_s + view.tail_s
        view.ballot.claim_ends(group.rule.name, epoch, gone_s=gone_s)


# --- vacant --------------------------------------------------------------------------------------


def _while_vacant(view: View, group: KnownGroup, now_s: float) -> Iterator[Effect]:
    claims = list(view.live_claims(group))
    claimed = any(claim.phase in CLAIMING for _, claim in claims)
    candidate = is_candidate(view, group, now_s)
    wanted = now_s < group.wanted_until_s or _may_want_back(view, group, now_s)
    group.wants_back = claimed and candidate and wanted
    if claimed:
        group.vacated_by = group.cause = None
        group.preferred_yielded = False
        group.handed_over_until_s = float("-inf")
    if view.ballot is not None:
        asking = (
            Candidate(
                name=p.name,
                incarnation=p.report.incarnation,
                claim=claim,
                rank=group.rank[p.name],
            )
            for p, claim in claims
            if p.status is DirectorStatus.ALIVE and p.report is not None
        )
        yield from view.ballot.consider(group.rule.name, asking, now_s=now_s)
    if candidate and view.woke_s is None and view.bar is None:
        giver = handover.giver(view, group)
        if giver is not None:
            yield handover.take(view, group, giver, now_s)
            return
    if claimed or not candidate or view.woke_s is not None:
        group.waiting_since_s = None
        return
    if _must_wait(view, group, now_s) or _may_not_take(view, group, now_s) is not None:
        return
    yield from _claim(view, group, now_s)


def _claim(view: View, group: KnownGroup, now_s: float) -> Iterator[Effect]:
    reason, cause = _reason_to_claim(view, group), group.cause or ordered_here(group, now_s)
    group.ask_first = not group.was_claimed
    group.vacated_by = group.cause = None
    group.standby = False
    group.wanted_until_s = float("-inf")
    if view.ballot is None and (view.alone or not view.strict):
        group.phase = Phase.HELD
        group.lease_until_s = now_s + view.lease_s
        yield granted(group, reason, cause)
        return
    group.phase = Phase.ASKING
    group.ask_until_s = now_s + ASK_PROMISES * (view.lease_s + view.tail_s) + view.timers.deadtime_s
    group.reason, group.cause = reason, cause
    yield from _ask(view, group)


def _ask(view: View, group: KnownGroup) -> Iterator[Effect]:
    group.highest += 1
    group.epoch = group.highest
    group.stale_s = 0.0
    _forget_raise(group)
    if view.ballot is None:
        group.asked_after = view.sequence
        return
    yield from view.ballot.claim_begins(group.rule.name, group.epoch)


def _may_not_take(view: View, group: KnownGroup, now_s: float) -> str | None:
    """Return why nobody may take the group here yet, or None."""
    if now_s < group.free_s:
        return "the address of a dead director may still stand"
    unsafe = group.unsafe - view.fenced
    if unsafe:
        return f"{min(unsafe)} is not fenced yet"
    if view.bar is not None:
        return view.bar
    taking = (group.vacated_by is not None or view.strict) and now_s >= group.wanted_until_s
    if view.isolated and view.alone and taking and view.ballot is None:
        return "isolated: neither another director nor a ping node is heard"
    if view.ballot is not None and not view.ballot.may_ask(group.rule.name, now_s=now_s):
        return "our own vote is promised"
    return None


def _may_want_back(view: View, group: KnownGroup, now_s: float) -> bool:
    if not view.failback or group.standby or group.rule.preferred != view.node:
        return False
    if view.ready_since_s is None:
        return False
    settle_s = max(FAILBACK_SETTLE_S, 2 * view.timers.keepalive_s)
    return now_s - view.ready_since_s >= settle_s


def _must_wait(view: View, group: KnownGroup, now_s: float) -> bool:
    """Whether a director before us in the order should take the group."""
    ours = (-view.readiness.score(group.rule.name), group.rank[view.node])
    turns = ((-c.score, group.rank[p.name]) for p, c in view.live_claims(group) if c.candidate)
    if any(turn < ours for turn in turns):
        group.waiting_since_s = None
        return True
    preferred = view.peers.get(group.rule.preferred)
    if preferred is None or preferred.status not in LIVE or group.preferred_yielded:
        return False
    if group.waiting_since_s is None:
        group.waiting_since_s = now_s
    if group.was_claimed:
        return now_s < group.waiting_since_s + PREFERRED_WAIT_S
    if not preferred.knows(group.rule.name) and now_s < group.since_s + READ_S:
        return True
    # Without a bus both may become ready at the same age: it came up when we first heard it.
    heard_s = preferred.up_since_s + 2 * view.timers.keepalive_s
    return now_s < max(view.started_s, group.since_s, heard_s) + view.timers.initdead_s


def _reason_to_claim(view: View, group: KnownGroup) -> str:
    if group.vacated_by is not None:
        return group.vacated_by
    if group.rule.preferred == view.node:
        return "nobody holds it, this is its preferred director"
    return f"nobody holds it, and {group.rule.preferred} does not take it"


# --- asking a majority ---------------------------------------------------------------------------


def _while_asking(view: View, group: KnownGroup, now_s: float) -> Iterator[Effect]:
    if view.ballot is None:
        yield from _while_announcing(view, group, now_s)
        return
    until_s = view.ballot.lease_until_s(group.rule.name)
    if _must_withdraw(view, group, now_s):
        group.phase = Phase.NONE
        # There was never a lease.
        view.ballot.claim_ends(group.rule.name, group.epoch, gone_s=now_s)
    elif group.highest > group.epoch:
        # Who supported that higher one refuses ours; and what we are granted must be above it.
        yield from _ask(view, group)
    elif now_s < until_s and view.ballot.own_vote_counts(group.rule.name):
        group.phase = Phase.HELD
        group.lease_until_s = until_s
        reason, cause, group.cause = group.reason, group.cause, None
        yield Grant(group=group.rule.name, epoch=group.epoch, reason=reason, cause=cause)
        group.was_claimed = True
        group.hands_over = False
    elif now_s >= group.ask_until_s:
        group.phase = Phase.NONE
        group.reason = "asked for it, but no majority supported us"
        if not view.ballot.own_vote_counts(group.rule.name):
            group.reason = "asked for it, but our own vote cannot be written"
        group.ask_again_s = now_s + ASK_PROMISES * (view.lease_s + view.tail_s)
        view.ballot.claim_ends(group.rule.name, group.epoch, gone_s=now_s)


def _while_announcing(view: View, group: KnownGroup, now_s: float) -> Iterator[Effect]:
    """Two directors, strict: hold once the other one has heard of it and claims nothing itself.

    It may just be claiming because it has not heard us for a while. If it falls silent before it
    answers, it may have claimed.
    """
    if view.alone or _must_withdraw(view, group, now_s):
        group.phase = Phase.NONE
        return
    for peer, _ in view.live_claims(group):
        echoed = None if peer.report is None else peer.report.echoed
        if echoed is None or echoed <= group.asked_after:
            return
    group.phase = Phase.HELD
    group.lease_until_s = now_s + view.lease_s
    reason, cause, group.cause = group.reason, group.cause, None
    yield granted(group, reason, cause)


def _must_withdraw(view: View, group: KnownGroup, now_s: float) -> bool:
    if not is_candidate(view, group, now_s) or view.bar is not None or view.woke_s is not None:
        return True
    ours = group.rank[view.node]
    return any(
        claim.phase in CLAIMING or (claim.phase is Phase.ASKING and group.rank[peer.name] < ours)
        for peer, claim in view.live_claims(group)
    )


def note_yield(group: KnownGroup, peer: KnownPeer, now: Claim) -> None:
    """Remember a preferred director that gave its group up on purpose: no waiting for it."""
    if group.rule.preferred != peer.name:
        return
    before = peer.claim(group.rule.name)
    if before.phase is Phase.RELEASING and now.phase is Phase.NONE:
        group.preferred_yielded = True
    elif now.candidate or now.phase in CLAIMING:
        group.preferred_yielded = False
