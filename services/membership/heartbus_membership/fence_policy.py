"""Decides which fence command runs when, for each dead director.

Sans-I/O. All fences of a director are tried in their order; when the last one failed the first is
tried again, after a time that doubles up to RETRY_MAX_S, for as long as the director is wanted
fenced. One command at a time runs for a director.

    idle ──wanted──► running ──ok──────────────► fenced
      ▲                 │ ▲ └─failed─► next fence, or
      │                 │ └──retry──── waiting (told as failed)
      └─ heard again ───┴── from every state; a command that runs is ended first
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from heartbus.events import FenceStatus, FenceView, NodeFenced, NodeUnfenced
from heartbus.guards import Fence

RETRY_FIRST_S: Final = 2.0
RETRY_MAX_S: Final = 60.0
REASON_CHARS_MAX: Final = 300
REASONS_CHARS_MAX: Final = 1000
"""Of a whole round, in one event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFence:
    """Run a fence command and say how it ended; no other one runs for this director."""

    fence: Fence


@dataclass(frozen=True, slots=True, kw_only=True)
class EndFence:
    """End the command that runs for this director: it was heard again."""

    director: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TellFence:
    """Publish what became of it; ``cause`` is the id of the event that made it wanted."""

    event: NodeFenced | NodeUnfenced
    cause: str | None


FenceEffect = RunFence | EndFence | TellFence


class _Stage(enum.Enum):
    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    FENCED = "fenced"


@dataclass(slots=True, kw_only=True)
class _Peer:
    fences: list[Fence]
    stage: _Stage = _Stage.IDLE
    at: int = 0
    rounds: int = 0
    failures: int = 0
    reason: str = ""
    round_reasons: list[str]
    cause: str | None = None
    retry_s: float = float("inf")
    started_s: float = 0.0
    ending: bool = False
    """A command still runs that nobody wants any more; nothing is started before its end."""


class FencePolicy:
    """All directors. Times are monotonic seconds."""

    def __init__(self, fences: Sequence[Fence]) -> None:
        self._peers: dict[str, _Peer] = {}
        for fence in fences:
            peer = self._peers.setdefault(fence.director, _Peer(fences=[], round_reasons=[]))
            peer.fences.append(fence)

    # --- questions -------------------------------------------------------------------------------

    def needed(self, peer: str) -> bool:
        """Return whether a fence is configured for this director."""
        return peer in self._peers

    def is_fenced(self, peer: str) -> bool:
        """Return whether a command ended well since this director was last heard."""
        return peer in self._peers and self._peers[peer].stage is _Stage.FENCED

    @property
    def next_deadline_s(self) -> float | None:
        """When to call ``deadline_passed``; None: there is nothing to wait for."""
        waiting = [p.retry_s for p in self._peers.values() if p.stage is _Stage.WAITING]
        return min(waiting, default=None)

    def views(self) -> tuple[FenceView, ...]:
        """Return where fencing of each director stands."""
        return tuple(
            FenceView(
                director=name,
                status=_status(peer),
                failures=peer.failures,
                reason=peer.reason,
            )
            for name, peer in self._peers.items()
        )

    # --- what happened ---------------------------------------------------------------------------

    def wanted(self, peer: str, *, cause: str | None, now_s: float) -> list[FenceEffect]:
        """Fence this director: it is dead and may hold something. Asking again changes nothing.

        Without a fence for it nothing happens.
        """
        state = self._peers.get(peer)
        if state is None or state.stage is not _Stage.IDLE:
            return []
        state.stage = _Stage.RUNNING
        state.cause = cause
        state.at, state.rounds, state.failures, state.reason = 0, 0, 0, ""
        state.round_reasons.clear()
        state.started_s = now_s
        return self._run(state)

    def finished(self, peer: str, *, ok: bool, output: str, now_s: float) -> list[FenceEffect]:
        """Note how the command for this director ended; ``output`` says why, if it failed."""
        state = self._peers[peer]
        if state.ending:
            # Even an end in success is not believed: the director was heard after its start.
            state.ending = False
            return self._run(state) if state.stage is _Stage.RUNNING else []
        assert state.stage is _Stage.RUNNING, f"no command runs for {peer}"
        fence = state.fences[state.at]
        if ok:
            state.stage = _Stage.FENCED
            state.failures, state.reason = 0, ""
            fenced = NodeFenced(
                director=peer, command=fence.command, took_s=now_s - state.started_s
            )
            return [TellFence(event=fenced, cause=state.cause)]
        state.failures += 1
        state.reason = f"{fence.command}: {output}"[:REASON_CHARS_MAX]
        state.round_reasons.append(state.reason)
        state.at += 1
        if state.at < len(state.fences):
            return self._run(state)
        unfenced = NodeUnfenced(
            director=peer, reason="; ".join(state.round_reasons)[:REASONS_CHARS_MAX]
        )
        state.stage = _Stage.WAITING
        state.retry_s = now_s + min(RETRY_FIRST_S * 2.0 ** min(state.rounds, 16), RETRY_MAX_S)
        state.rounds += 1
        state.at = 0
        state.round_reasons.clear()
        return [TellFence(event=unfenced, cause=state.cause)]

    def deadline_passed(self, *, now_s: float) -> list[FenceEffect]:
        """Try again what failed and has waited long enough."""
        effects: list[FenceEffect] = []
        for state in self._peers.values():
            if state.stage is _Stage.WAITING and now_s >= state.retry_s:
                state.stage = _Stage.RUNNING
                effects += self._run(state)
        return effects

    def peer_returned(self, peer: str) -> list[FenceEffect]:
        """Stop wanting it: this director is heard, or it left cleanly."""
        state = self._peers.get(peer)
        if state is None:
            return []
        runs = state.stage is _Stage.RUNNING and not state.ending
        state.stage = _Stage.IDLE
        state.failures, state.reason = 0, ""
        if not runs:
            return []
        state.ending = True
        return [EndFence(director=peer)]

    def _run(self, state: _Peer) -> list[FenceEffect]:
        return [] if state.ending else [RunFence(fence=state.fences[state.at])]


def _status(peer: _Peer) -> FenceStatus:
    match peer.stage:
        case _Stage.IDLE:
            return FenceStatus.IDLE
        case _Stage.RUNNING:
            return FenceStatus.RUNNING
        case _Stage.WAITING:
            return FenceStatus.FAILED
        case _Stage.FENCED:
            return FenceStatus.FENCED
