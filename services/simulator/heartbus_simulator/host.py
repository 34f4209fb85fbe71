"""One host: clock, disk, kernel, and which of its processes run. What outlives a process is here.

Why something is down or paused is kept as a set of faults: it is back when the last one has ended.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from heartbus.events import Lease, VipState
from heartbus_membership.claims import StandingLease, Vote
from heartbus_membership.leases import as_standing
from heartbus_simulator.clock import HostClock, Timeline
from heartbus_vip.news import LeaseNews

if TYPE_CHECKING:
    from heartbus_simulator.process import MembershipProcess
    from heartbus_simulator.vip import VipProcess

SOCKET_DATAGRAMS_MAX: Final = 256
"""What waits in the socket of a process that does not read; the kernel drops what comes later."""

INBOX_MESSAGES_MAX: Final = 64
BUS_VALID_S: Final = 3.0
"""What waited longer on the bus is dropped as expired when it is read."""

KERNEL_LATE_S: Final = 0.3
"""The kernel looks at the lifetimes of addresses only so often."""

WALL_S: Final = 1_700_000_000.0


class DiskFullError(OSError):
    """The played disk takes nothing."""


class DiedError(Exception):
    """A process was ended in the middle of what it does."""


@dataclass(slots=True)
class Disk:
    """The state file: what membership keeps across boots. ``full``: nothing can be written."""

    incarnation: int = 0
    epochs: dict[str, int] = field(default_factory=dict)
    synced: dict[str, int] = field(default_factory=dict)
    full: bool = False
    votes: dict[str, Vote] | None = None

    def votes_of_this_boot(self) -> dict[str, Vote] | None:
        """As ``VoteFile.earlier``, for a process that starts."""
        return self.votes

    def remember_vote(self, group: str, vote: Vote) -> None:
        """As ``VoteFile.remember``."""
        self._may_write()
        self.votes = {**(self.votes or {}), group: vote}

    def next_incarnation(self, *, wall_ms: int) -> int:
        """As ``StateFile.next_incarnation``: that write alone is durable."""
        self._may_write()
        self.incarnation = max(self.incarnation + 1, wall_ms)
        self.synced = dict(self.epochs)
        return self.incarnation

    def remember_epoch(self, group: str, epoch: int) -> None:
        """As ``StateFile.remember_epoch``."""
        self._may_write()
        self.epochs = {**self.epochs, group: epoch}

    def lose_unsynced(self) -> None:
        """Forget the last writes: the power went before they reached the platter."""
        self.epochs = dict(self.synced)

    def lose_all(self) -> None:
        """Forget everything: the file is gone."""
        self.incarnation, self.epochs, self.synced = 0, {}, {}
        self.votes = None

    def _may_write(self) -> None:
        if self.full:
            raise DiskFullError("no space left on device")


class Leases:
    """The lease file in the runtime directory; both ``LeaseFile`` classes in one."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._content: LeaseNews | None = None
        self._releasing: tuple[StandingLease, ...] = ()

    def write(
        self, leases: tuple[Lease, ...], *, releasing: tuple[StandingLease, ...], now_s: float
    ) -> None:
        """Replace it; where that fails the old one is removed."""
        if self._disk.full:
            self._content, self._releasing = None, ()
            raise DiskFullError("no space left on device")
        self._content, self._releasing = LeaseNews(written_s=now_s, leases=leases), releasing

    def claims(self, *, now_s: float) -> tuple[StandingLease, ...]:
        """Return what was held or being released, and has not ended."""
        held = self._content.leases if self._content is not None else ()
        standing = (*map(as_standing, held), *self._releasing)
        return tuple(x for x in standing if x.deadline_s > now_s)

    def read(self) -> LeaseNews | None:
        """Return what vip reads."""
        return self._content

    def clear(self) -> None:
        """Empty the runtime directory, as a boot does."""
        self._content, self._releasing = None, ()
        self._disk.votes = None  # they may not have reached the disk


class Host:
    """A director or a witness."""

    def __init__(self, name: str, *, timeline: Timeline, clock: HostClock) -> None:
        self.name, self.clock, self._timeline = name, clock, timeline
        self.chance = random.Random(f"{name} {clock.now_s}")
        self.disk = Disk()
        self.leases = Leases(self.disk)
        self.wall_step_s = 0.0
        self.off: set[object] = set()
        self.paused: set[object] = set()
        self.suspended: set[object] = set()
        self.membership_down: set[object] = set()
        self.membership_paused: set[object] = set()
        self.vip_down: set[object] = set()
        self.vip_paused: set[object] = set()
        self.others_paused: set[object] = set()
        self.starts_fail = False
        self.stops_hang = False
        self.fuse: tuple[str, Callable[[], None]] | None = None
        self.addresses: dict[str, float] = {}
        self.marks: frozenset[str] = frozenset()
        self.membership: MembershipProcess | None = None
        self.vip: VipProcess | None = None
        self.granted: dict[str, list[int]] = {}
        self.datagrams: deque[tuple[bytes, str, str]] = deque()
        self._inbox: deque[tuple[float, Callable[[MembershipProcess], None]]] = deque()

    # --- what is so ------------------------------------------------------------------------------

    @property
    def on(self) -> bool:
        """Whether it has power."""
        return not self.off

    @property
    def runs(self) -> bool:
        """Whether its kernel runs, so that it answers and hears."""
        return not (self.off or self.paused or self.suspended)

    @property
    def membership_runs(self) -> bool:
        """Whether the code of membership can run now."""
        return self.membership is not None and self.runs and not self.membership_paused

    @property
    def vip_runs(self) -> bool:
        """Whether the code of vip can run now."""
        return self.vip is not None and self.runs and not self.vip_paused

    @property
    def others_run(self) -> bool:
        """Whether any other service of this host can show that it lives."""
        return self.runs and not self.others_paused

    @property
    def wall_ms(self) -> int:
        """The wall clock; it may be wrong, and may be set."""
        return round((WALL_S + self._timeline.now_s + self.wall_step_s) * 1000)

    def has_address(self, group: str) -> bool:
        """Whether this host answers for the address of a group."""
        until_s = self.addresses.get(group)
        return until_s is not None and self.runs and self.clock.now_s < until_s

    # --- the kernel ------------------------------------------------------------------------------

    def put_address(self, group: str, *, lifetime_s: float) -> None:
        """Add or refresh an address; the kernel ends it a little late."""
        until_s = self.clock.now_s + lifetime_s + KERNEL_LATE_S * self.chance.random()
        self.addresses[group] = until_s

    def remove_address(self, group: str) -> None:
        """Remove an address."""
        self.addresses.pop(group, None)

    @property
    def present(self) -> tuple[str, ...]:
        """Groups whose address is in the kernel."""
        return tuple(g for g, until_s in self.addresses.items() if self.clock.now_s < until_s)

    def lose_power(self) -> None:
        """Everything that is not on the disk is gone."""
        self.membership = self.vip = None
        self.addresses.clear()
        self.datagrams.clear()
        self._inbox.clear()
        self.leases.clear()
        self.marks = frozenset()
        self.fuse = None

    # --- what reaches its processes --------------------------------------------------------------

    def datagram_arrives(self, datagram: bytes, link: str, source: str) -> None:
        """Put a datagram into the socket, if there is one, and wake its reader."""
        if self.membership is None or not self.runs:
            return
        if len(self.datagrams) < SOCKET_DATAGRAMS_MAX:
            self.datagrams.append((datagram, link, source))
        if not self.membership_paused:
            self.membership.wake()

    def bus_changed(self) -> None:
        """Let membership see that the connection of our services came or went."""
        if self.membership is not None and self.membership_runs:
            self.membership.wake()

    def membership_hears_vip(self, state: VipState) -> None:
        """Let a snapshot of the own vip arrive."""
        self._post(lambda process: process.vip_reported(state))

    def membership_sees(self, peer: str) -> None:
        """Let a sign of life of a peer arrive over the bus."""
        self._post(lambda process: process.bus_evidence(peer))

    def _post(self, deliver: Callable[[MembershipProcess], None]) -> None:
        process = self.membership
        if process is None or not self.runs:
            return
        if not self.membership_paused:
            process.receive(deliver)
        elif len(self._inbox) < INBOX_MESSAGES_MAX:
            self._inbox.append((self._timeline.now_s, deliver))

    def vip_hears(self, deliver: Callable[[], None]) -> None:
        """News of membership arrive at vip."""
        if self.vip_runs:
            deliver()

    def take_inbox(self) -> list[Callable[[MembershipProcess], None]]:
        """Return what waited on the bus and is still good."""
        oldest_s = self._timeline.now_s - BUS_VALID_S
        waiting = [deliver for sent_s, deliver in self._inbox if sent_s >= oldest_s]
        self._inbox.clear()
        return waiting

    def forget_process(self) -> None:
        """Close the sockets of a dead membership."""
        self.membership = None
        self.datagrams.clear()
        self._inbox.clear()

    def step(self, name: str) -> None:
        """Mark a step of membership; a fault may end it right here.

        Raises:
            DiedError: it has.

        """
        if self.fuse is not None and self.fuse[0] == name:
            blow, self.fuse = self.fuse[1], None
            blow()
            raise DiedError(f"{self.name} dies before {name}")
