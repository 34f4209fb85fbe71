"""The shell around ping nodes: asks them, reads the answers, tells the bus.

Names are looked up beside the asking, one at a time, again every LOOK_UP_AGAIN_S; an address that
was found once is asked until another one is found. Without privilege nothing is asked: one line
says so, the nodes stay unknown, and nothing is concluded from them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from heartbus.bus import Bus
from heartbus.events import PingNodeView
from heartbus.icmp import Address, Icmp, IcmpSockets, resolve
from heartbus.model import Membership
from heartbus_membership.pingnodes import PingNodeEvent, PingNodes, Reach, stall_s

LOOK_UP_TIMEOUT_S: Final = 5.0
LOOK_UP_RETRY_S: Final = 5.0
LOOK_UP_AGAIN_S: Final = 300.0
FIRST_LOOK_UPS_S: Final = 10.0
"""After this a name without address counts as silent, however slow the resolver is."""
REPAIR_PERIOD_S: Final = 1.0


@dataclass(slots=True)
class _Member:
    node: str
    host: str
    ipv6: bool
    address: Address | None = None
    look_up_s: float = float("-inf")
    was_looked_up: bool = False
    problem: str | None = None

    @property
    def wants_ipv6(self) -> bool:
        """Whether it is, or as far as we know will be, asked over IPv6."""
        return self.ipv6 if self.address is None else self.address.is_ipv6

    @property
    def is_literal(self) -> bool:
        """Whether it is an address and not a name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


class Pinger:
    """Asks the ping nodes of one director. ``run`` is its whole life; it ends at once without any.

    ``reach`` is always there to be read.
    """

    def __init__(
        self,
        membership: Membership,
        *,
        bus: Bus,
        log: structlog.typing.FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
        icmp: Icmp | None = None,
    ) -> None:
        self._bus = bus
        self._log = log
        self._clock = clock
        self._icmp = icmp or IcmpSockets()
        self._started_s = clock()
        self._stall_s = stall_s(membership.timers.keepalive_s)
        self._core = PingNodes(
            nodes=membership.ping_nodes,
            interval_s=membership.ping_interval_s,
            deadping_s=membership.ping_silence_s,
            started_s=self._started_s,
        )
        self._members = {
            node.name: [_Member(node.name, host, node.ipv6) for host in dict.fromkeys(node.members)]
            for node in membership.ping_nodes
        }
        self._problem: str | None = None
        self._woken = asyncio.Event()

    @property
    def reach(self) -> Reach:
        """How far our network reaches."""
        return self._core.reach()

    def views(self) -> tuple[PingNodeView, ...]:
        """Return what is known of each ping node."""
        problems: dict[str, str] = {}
        for node, members in self._members.items():
            said = dict.fromkeys(m.problem for m in members if m.problem is not None)
            if said:
                problems[node] = "; ".join(said)
        return self._core.views(now_s=self._clock(), problems=problems)

    # --- life ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask until cancelled."""
        if not self._members:
            return
        try:
            await self._look_up(m for m in self._all() if m.is_literal)
            self._open()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._repair())
                tasks.create_task(self._ask_and_listen())
        finally:
            self._icmp.close()

    def _all(self) -> list[_Member]:
        return [member for members in self._members.values() for member in members]

    async def _ask_and_listen(self) -> None:
        while True:
            due_s = max(self._core.next_deadline_s, self._clock())
            await self._sleep_until(due_s)
            self._turn(due_s)

    async def _sleep_until(self, due_s: float) -> None:
        # uvloop counts whole milliseconds: round up, or the last one is spent spinning.
        delay_s = math.ceil(max(due_s - self._clock(), 0.0) * 1000) / 1000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._woken.wait()
        self._woken.clear()

    async def _repair(self) -> None:
        while True:
            now_s = self._clock()
            await self._look_up(m for m in self._all() if now_s >= m.look_up_s)
            self._open()
            await asyncio.sleep(REPAIR_PERIOD_S)

    # --- one turn --------------------------------------------------------------------------------

    def _turn(self, due_s: float) -> None:
        now_s = self._clock()
        if now_s - due_s > self._stall_s:
            self._core.own_stall(now_s=now_s)
        for address in self._icmp.drain():
            for member in self._all():
                if member.address == address:
                    self._tell(self._core.reply_received(member.node, member.host, now_s=now_s))
        self._tell(self._core.deadline_passed(now_s=now_s))
        for node in self._core.questions_due(now_s=now_s):
            self._ask(node, now_s)

    def _ask(self, node: str, now_s: float) -> None:
        asked = False
        for member in self._members[node]:
            if member.address is None:
                continue
            if not self._icmp.can_ask(member.address):
                member.problem = f"cannot be asked: {self._problem}"
                continue
            asked = True
            member.problem = self._icmp.ask(member.address)
            if member.problem is not None and member.address.scope:
                member.look_up_s = now_s  # its interface may have been made anew
        if asked or self._nothing_to_ask(node, now_s):
            self._core.started(node, now_s=now_s)

    def _nothing_to_ask(self, node: str, now_s: float) -> bool:
        """Whether a node is silent because its names have no address, and for no fault of ours."""
        late = now_s - self._started_s >= FIRST_LOOK_UPS_S
        return self._problem is None and all(
            member.address is None and (member.was_looked_up or late)
            for member in self._members[node]
        )

    def _tell(self, events: Iterable[PingNodeEvent]) -> None:
        for event in events:
            self._bus.publish(event)
            self._bus.publish_state()

    # --- sockets and names -----------------------------------------------------------------------

    def _open(self) -> None:
        members = self._all()
        problem = self._icmp.open(
            ipv4=any(not member.wants_ipv6 for member in members),
            ipv6=any(member.wants_ipv6 for member in members),
            readable=self._woken.set,
        )
        if problem == self._problem:
            return
        self._problem = problem
        if problem is None:
            self._log.info("pingnodes.asked")
        else:
            self._log.warning("pingnodes.unasked", problem=problem)

    async def _look_up(self, members: Iterable[_Member]) -> None:
        for member in members:
            found: Address | None = None
            try:
                async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
                    found = await resolve(member.host, ipv6=member.ipv6)
            except TimeoutError:
                member.problem = f"{member.host}: no answer from the resolver"
            except (OSError, UnicodeError) as error:
                words = getattr(error, "strerror", None) or error
                member.problem = f"{member.host}: no address: {words}"
            member.was_looked_up = True
            if found is None:
                member.look_up_s = self._clock() + LOOK_UP_RETRY_S
            else:
                again_s = float("inf") if member.is_literal else LOOK_UP_AGAIN_S
                member.look_up_s = self._clock() + again_s
                self._found(member, found)

    def _found(self, member: _Member, address: Address) -> None:
        before, member.address, member.problem = member.address, address, None
        if before not in (None, *(m.address for m in self._all())):
            assert before is not None
            self._icmp.forget(before)
