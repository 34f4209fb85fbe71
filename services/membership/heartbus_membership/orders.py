"""Carries out what operators ask of membership: standby, takeover, failback, with an outcome.

Shell: it asks ownership, and answers once the groups are where they should be, or when the time is
over. Nothing is half done: what cannot be begun is refused before anything changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from heartbus.bus import Bus
from heartbus.commands import refused
from heartbus.events import (
    Command,
    CommandOutcome,
    FailBack,
    GroupScope,
    Standby,
    TakeOver,
    VipMoved,
)
from heartbus.model import ResourceGroup
from heartbus_membership.claims import Effect
from heartbus_membership.ownership import Ownership

READY_WAIT_S: Final = 1.0
"""Who has just handed over, or just started, is ready a heartbeat or two later."""

AGAIN_S: Final = 1.0
"""A busy director may not take a group within the second that it has. An order is tried again, so
long after, until the time of the command is over."""

MEASURED_S: Final = 0.3
"""The giver tells the gap within some milliseconds; over a bus that is lost it never does."""


class Orders:
    """The commands of one director. ``carry_out``: what the shell does with effects.

    ``unlike``: in what another director differs from us, None for nothing.
    """

    def __init__(
        self,
        *,
        node: str,
        groups: Sequence[ResourceGroup],
        ownership: Ownership,
        carry_out: Callable[[Iterable[Effect]], None],
        unlike: Callable[[str], str | None],
        clock: Callable[[], float],
    ) -> None:
        self._node = node
        self.use_groups(groups)
        self._ownership = ownership
        self._carry_out = carry_out
        self._unlike = unlike
        self._clock = clock
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._moves: dict[str, VipMoved] = {}

    def use_groups(self, groups: Sequence[ResourceGroup]) -> None:
        """Take commands about these groups from now on."""
        self._preferred = {group.name: group.preferred for group in groups}

    def moved(self, move: VipMoved) -> None:
        """Take in how long a handover took; call ``turned`` some time after it."""
        if move.group in self._preferred:
            self._moves[move.group] = move

    def serve(self, bus: Bus) -> None:
        """Take commands over the bus."""
        for command_class in (Standby, TakeOver, FailBack):
            bus.serve_command(command_class, self._obey)

    def turned(self) -> None:
        """Look again at what is waited for; call it after each turn."""
        for is_so, done in self._waiting:
            if not done.done() and is_so():
                done.set_result(None)

    async def _obey(self, command: Command, within_s: float, cause: str) -> CommandOutcome:
        match command:
            case Standby():
                groups = self._in_scope(command.scope)
                return await self._standby(groups, within_s, cause, force=command.force)
            case TakeOver():
                groups = self._in_scope(command.scope)
                return await self._takeover(groups, within_s, cause, force=command.force)
            case FailBack():
                groups = self._in_scope(GroupScope.FOREIGN)
                return await self._failback(groups, within_s, cause, force=command.force)
            case _:
                return refused(f"{command.kind} is no command of membership")

    def _in_scope(self, scope: GroupScope) -> list[str]:
        if scope is GroupScope.ALL:
            return list(self._preferred)
        local = scope is GroupScope.LOCAL
        return [name for name, who in self._preferred.items() if (who == self._node) == local]

    async def _standby(
        self, groups: list[str], within_s: float, cause: str, *, force: bool
    ) -> CommandOutcome:
        held = [g for g in groups if self._holder(g) == self._node]
        stuck = await self._without(held, self._ownership.others_ready, within_s)
        if stuck:
            return refused(f"no other director is ready to take {', '.join(stuck)}")
        takers = {g: self._ownership.others_ready(g)[0] for g in held}
        if not force and (unlike := self._unlike_others(takers)) is not None:
            return refused(unlike)
        return await self._move_away(groups, held, within_s, cause)

    async def _failback(
        self, foreign: list[str], within_s: float, cause: str, *, force: bool
    ) -> CommandOutcome:
        held = [g for g in foreign if self._holder(g) == self._node]
        stuck = await self._without(
            held, lambda g: self._preferred[g] in self._ownership.others_ready(g), within_s
        )
        if stuck:
            owners = ", ".join(sorted({self._preferred[g] for g in stuck}))
            return refused(f"{owners} is not ready to take {', '.join(stuck)}")
        takers = {g: self._preferred[g] for g in held}
        if not force and (unlike := self._unlike_others(takers)) is not None:
            return refused(unlike)
        return await self._move_away(held, held, within_s, cause)

    def _unlike_others(self, others: Mapping[str, str]) -> str | None:
        """Return why groups should not move between us and others, by group; None: no reason."""
        for group, other in others.items():
            if (reason := self._unlike(other)) is not None:
                return f"{group} is not moved, {other} is not alike: {reason}; --force moves it"
        return None

    async def _without(
        self, groups: list[str], ready: Callable[[str], object], within_s: float
    ) -> list[str]:
        """Return the groups for which nobody gets ready in a moment."""
        await self._wait(lambda: all(map(ready, groups)), min(within_s, READY_WAIT_S))
        return [g for g in groups if not ready(g)]

    async def _move_away(
        self, groups: Collection[str], held: Collection[str], within_s: float, cause: str
    ) -> CommandOutcome:
        self._moves.clear()
        begun_s = self._clock()
        self._carry_out(self._ownership.standby(groups, cause=cause, now_s=begun_s))
        if not held:
            return self._outcome(groups, done=True, message=f"{self._node} holds none of them")
        while not await self._ended(held, begun_s + within_s):
            if await self._wait(lambda: self._gone(held), AGAIN_S):
                break
            if self._clock() + AGAIN_S > begun_s + within_s:
                break  # no time for another try
            self._carry_out(self._ownership.standby(groups, cause=cause, now_s=self._clock()))
        done = self._gone(held)
        if done:
            told = "moved"
        elif self._called_off(held):
            told = f"not moved within {within_s:g} s: the other director did not take it in time"
        else:
            told = f"not moved within {within_s:g} s; it goes on{self._cold(held)}"
        took_s = self._clock() - begun_s
        measured = await self._measured(held) if done else ()
        return self._outcome(held, done=done, message=told, took_s=took_s, details=measured)

    async def _ended(self, held: Collection[str], until_s: float) -> bool:
        """Wait for a move; return False if it was called off before the time was over."""
        await self._wait(
            lambda: self._gone(held) or self._called_off(held), until_s - self._clock()
        )
        return not self._called_off(held)

    def _gone(self, held: Collection[str]) -> bool:
        return all(self._holder(g) not in (None, self._node) for g in held)

    def _called_off(self, held: Collection[str]) -> bool:
        return any(
            self._holder(g) == self._node and not self._ownership.moves_away(g) for g in held
        )

    def _cold(self, groups: Iterable[str]) -> str:
        """Return whom these groups wait for, in words."""
        readiness, now_s = self._ownership.readiness, self._clock()
        names = {name for group in groups for name in self._ownership.others_ready(group)}
        reasons = {name: readiness.cold(name, now_s=now_s) for name in sorted(names)}
        return "".join(f"; {name} is cold: {why}" for name, why in reasons.items() if why)

    async def _takeover(
        self, groups: list[str], within_s: float, cause: str, *, force: bool
    ) -> CommandOutcome:
        wanted = [g for g in groups if self._holder(g) != self._node]
        unable = await self._without(
            wanted, lambda g: self._ownership.may_hold(g, now_s=self._clock()), within_s
        )
        now_s = self._clock()
        if unable:
            why = self._ownership.why_not_ready(now_s=now_s)
            return refused(f"{self._node} cannot hold {', '.join(unable)}: {why}")
        givers = {g: now for g in wanted if (now := self._holder(g)) is not None}
        if not force and (unlike := self._unlike_others(givers)) is not None:
            return refused(unlike)
        self._moves.clear()
        self._carry_out(self._ownership.takeover(wanted, cause=cause, now_s=now_s))
        done = await self._wait(lambda: all(map(self._holds, wanted)), within_s)
        self._carry_out(self._ownership.order_ended(wanted, now_s=self._clock()))
        took_s = self._clock() - now_s
        measured = await self._measured(list(givers)) if done else ()
        told = "taken over" if done else f"not taken over within {within_s:g} s"
        if not wanted:
            told = f"{self._node} holds all of them already"
        return self._outcome(groups, done=done, message=told, took_s=took_s, details=measured)

    async def _wait(self, is_so: Callable[[], bool], within_s: float) -> bool:
        if is_so():
            return True
        entry = (is_so, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(within_s):
                await entry[1]
        except TimeoutError:
            return is_so()
        finally:
            self._waiting.remove(entry)
        return True

    def _holder(self, group: str) -> str | None:
        return next((v.holder for v in self._ownership.views() if v.name == group), None)

    def _holds(self, group: str) -> bool:
        return self._holder(group) == self._node and self._ownership.readiness.vip_holds(group)

    async def _measured(self, groups: Collection[str]) -> tuple[str, ...]:
        """Return how long nobody had each group, or both, as far as the givers tell it at once."""
        await self._wait(lambda: all(g in self._moves for g in groups), MEASURED_S)
        return tuple(_words(self._moves[g]) for g in groups if g in self._moves)

    def _outcome(
        self,
        groups: Iterable[str],
        *,
        done: bool,
        message: str,
        took_s: float = 0.0,
        details: tuple[str, ...] = (),
    ) -> CommandOutcome:
        holders = {group: self._holder(group) or "" for group in groups}
        return CommandOutcome(
            done=done, message=message, holders=holders, took_s=took_s, details=details
        )


def _words(move: VipMoved) -> str:
    """Return a measured handover in words, with how exact they are."""
    if move.overlap_s > 0:
        what = f"both had it for {move.overlap_s * 1000:.1f} ms"
    else:
        what = f"nobody had it for {move.gap_s * 1000:.1f} ms"
    return f"{move.group}: {what} (on the clock of {move.director}, give or take a few)"
