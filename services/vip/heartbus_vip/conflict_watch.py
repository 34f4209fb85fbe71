"""Keep watch for other machines that answer for our addresses: joins ``conflicts`` and the wire.

Without a bus it goes on; only the hardware addresses of the other directors are not learnt then.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, Protocol, assert_never

import structlog

from heartbus import subjects
from heartbus.bus import Bus
from heartbus.events import ConflictView, VipConflict, VipMoved, VipState
from heartbus.log import RateLimit
from heartbus.model import AddressResource, Cluster, OnConflict, ResourceGroup
from heartbus_vip.actions import Action, AskNetwork
from heartbus_vip.address import AddressError
from heartbus_vip.conflicts import Alone, Ask, Asked, Conflicts, Defend, GiveUp, Outcome
from heartbus_vip.holder import Holder
from heartbus_vip.moves import Moves
from heartbus_vip.network import Network
from heartbus_vip.wire_tap import AskError, Heard, WireTap

OWN_MACS_S: Final = 10.0
STRANGER_LOOK_S: Final = 1.0
"""Our own hardware addresses are looked up so often, and on hearing an unknown one so often."""

SIMILAR_LINES_S: Final = 60.0
MACS_MAX: Final = 64
STALL_S: Final = 1.0
"""vip looks four times a second. After a longer pause what waits in the sockets is old: a peer that
still answered in a takeover would seem to answer now."""

"""Of ours that the others are told; a host with more interfaces tells of the first."""


class Tap(Protocol):
    """What is needed of the wire; ``WireTap`` is the real one."""

    @property
    def unread(self) -> Mapping[str, int]:
        """Count packets that said nothing, by reason."""
        ...

    def listen(self, readable: Callable[[], None] | None) -> None:
        """Call this when something was said."""
        ...

    def use_addresses(self, addresses: Collection[str]) -> None:
        """Hear what is said about these."""
        ...

    def drain(self) -> list[Heard]:
        """Return what was said."""
        ...

    def ask(self, resource: AddressResource) -> None:
        """Ask who has an address."""
        ...

    def own_macs(self) -> tuple[str, ...]:
        """Return the hardware addresses of this host."""
        ...


class SilentTap:
    """Hears nothing and asks nobody: where conflicts are ignored."""

    unread: Mapping[str, int] = {}

    def listen(self, readable: Callable[[], None] | None) -> None:
        """Do nothing."""

    def use_addresses(self, addresses: Collection[str]) -> None:
        """Do nothing."""

    def drain(self) -> list[Heard]:
        """Return nothing."""
        return []

    def ask(self, resource: AddressResource) -> None:
        """Do nothing."""

    def own_macs(self) -> tuple[str, ...]:
        """Return nothing."""
        return ()


def open_tap(
    cluster: Cluster,
    *,
    interface: Callable[[AddressResource], str],
    log: structlog.typing.FilteringBoundLogger,
) -> Tap | None:
    """Open the sockets where conflicts are looked for; None where they are not, or cannot be."""
    addresses = {a.address for group in cluster.groups for a in group.addresses}
    if cluster.vip.conflicts.policy is OnConflict.IGNORE:
        return None
    try:
        return WireTap(addresses, interface=interface)
    except OSError as error:
        log.warning("conflicts.unwatched", reason=error.strerror)
        return None


class ConflictWatch:
    """Acts on what ``Conflicts`` decides, by the network, the bus and the holder."""

    def __init__(
        self,
        *,
        node: str,
        cluster: Cluster,
        bus: Bus,
        network: Network,
        holder: Holder,
        tap: Tap | None,
        log: structlog.typing.FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus, self._network, self._holder = bus, network, holder
        self._tap: Tap = tap or SilentTap()
        self._log, self._clock = log, clock
        self._peers = tuple(d.name for d in cluster.directors if d.name != node)
        self._conflicts = Conflicts(
            groups=cluster.groups,
            peers=self._peers,
            settings=cluster.vip.conflicts,
            lifetime_s=cluster.vip.lifetime_s,
            watching=tap is not None,
            now_s=clock(),
        )
        self._moves = Moves(node, cluster.groups)
        self._lines = RateLimit(period_s=SIMILAR_LINES_S)
        self._macs: tuple[str, ...] = ()
        self._looked_s = float("-inf")
        self._turned_s = clock()
        self._outcomes: list[Outcome] = []

    @contextlib.contextmanager
    def listening(self, readable: Callable[[], None]) -> Iterator[None]:
        """Call ``readable`` when ``turn`` has something to do."""
        self._tap.listen(readable)
        try:
            yield
        finally:
            self._tap.listen(None)

    def use_groups(self, groups: Sequence[ResourceGroup]) -> None:
        """Keep watch for the addresses of these groups from now on."""
        self._moves.use_groups(groups)
        self._outcomes += self._conflicts.use_groups(groups, now_s=self._clock())
        try:
            self._tap.use_addresses({a.address for group in groups for a in group.addresses})
        except OSError as error:
            self._log.warning("conflicts.unwatched", reason=error.strerror)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Where the other directors tell their hardware addresses."""
        return tuple(subjects.state(peer, "vip") for peer in self._peers)

    def peer_heard(self, peer: str, state: VipState) -> None:
        """Take in the snapshot of another director's vip."""
        self._conflicts.peer_heard(peer, state)

    def handed_over(self, group: str, epoch: int) -> None:
        """Note that membership withdrew a group for another director to take it."""
        self._publish(self._moves.handed_over(group, epoch, now_s=self._clock()))

    def removed(self, address: AddressResource) -> None:
        """Note that our kernel has an address no more."""
        self._publish(self._moves.removed(address.address, now_s=self._clock()))

    def announced(self, address: AddressResource) -> None:
        """Note that an address was announced; who else still answers for it is asked for."""
        self._moves.taken(address.address)
        self._conflicts.announced(address, now_s=self._clock())

    def ask_first(self, action: AskNetwork) -> None:
        """Ask before a group is taken; one of the next turns answers the action."""
        self._outcomes += self._conflicts.ask_first(
            action.group, action.step, action.addresses, now_s=self._clock()
        )

    def turn(self) -> list[Action]:
        """Hear what was said, ask what is due; return what follows for the groups."""
        now_s = self._clock()
        before_s, self._turned_s = self._turned_s, now_s
        if now_s - before_s > STALL_S:
            for heard in self._tap.drain():
                self._measure(heard)
            self._conflicts.did_not_listen()
        outcomes, self._outcomes = self._outcomes, []
        outcomes += self._conflicts.held(self._holder.state().groups, now_s=now_s)
        outcomes += self._look_at_ourselves(OWN_MACS_S, now_s=now_s)
        for heard in self._tap.drain():
            if self._conflicts.is_strange(heard.said.mac):
                outcomes += self._look_at_ourselves(STRANGER_LOOK_S, now_s=now_s)
            self._measure(heard)
            outcomes += self._conflicts.heard(heard.said, interface=heard.interface, now_s=now_s)
        outcomes += self._conflicts.deadline_passed(now_s=now_s)
        return [action for outcome in outcomes for action in self._carry_out(outcome)]

    @property
    def next_deadline_s(self) -> float:
        """When ``turn`` has something to do if nothing is heard before; infinity: never."""
        return float("-inf") if self._outcomes else self._conflicts.next_deadline_s

    @property
    def macs(self) -> tuple[str, ...]:
        """Hardware addresses of this host, for the other directors."""
        return self._macs[:MACS_MAX]

    @property
    def views(self) -> tuple[ConflictView, ...]:
        """The conflicts that stand."""
        return self._conflicts.views()

    @property
    def barred(self) -> Mapping[str, str]:
        """Groups that must not be taken here, and why."""
        return self._conflicts.barred()

    @property
    def unread(self) -> dict[str, int]:
        """Packets about our addresses that were not looked at, or said nothing, by reason."""
        crowded = {"crowded": self._conflicts.crowded} if self._conflicts.crowded else {}
        return {**self._tap.unread, **crowded}

    def _look_at_ourselves(self, period_s: float, *, now_s: float) -> list[Outcome]:
        if now_s - self._looked_s < period_s:
            return []
        self._looked_s = now_s
        self._macs = self._tap.own_macs()
        return self._conflicts.own_macs(self._macs)

    def _carry_out(self, outcome: Outcome) -> list[Action]:
        holder, now_s = self._holder, self._clock()
        match outcome:
            case Ask():
                self._ask(outcome.address)
            case Alone():
                self._log.info("address.alone", address=outcome.address.name)
            case Defend():
                self._log.info("address.defended", address=outcome.address.name)
                self._network.announce(outcome.address)
            case VipConflict():
                self._bus.publish(outcome)
            case Asked():
                return holder.network_asked(
                    outcome.group,
                    outcome.step,
                    address=outcome.address,
                    problem=outcome.problem,
                    now_s=now_s,
                )
            case GiveUp():
                return holder.yielded(
                    outcome.group, address=outcome.address, problem=outcome.reason, now_s=now_s
                )
            case _:
                assert_never(outcome)
        return []

    def _measure(self, heard: Heard) -> None:
        """Note when another director had an address: the arrival counts, not when we read it."""
        if (director := self._conflicts.director(heard.said.mac)) is not None:
            self._publish(self._moves.seen(heard.said.address, director, now_s=heard.at_s))

    def _publish(self, move: VipMoved | None) -> None:
        if move is not None:
            self._bus.publish(move)

    def _ask(self, address: AddressResource) -> None:
        try:
            self._tap.ask(address)
        except (AddressError, AskError) as error:
            held_back = self._lines.passes(address.name, now_s=self._clock())
            if held_back is not None:
                self._log.warning("address.unasked", reason=str(error), similar=held_back)
