"""Decides which targets are ours to probe, where each is probed by some directors and not by all.

Sans-I/O. Each target is probed by the ``probers`` checkers that rank highest for it by rendezvous
hashing among those heard lately, so one that dies moves its own targets only, spread over all that
are left. A target is taken at once, and let go only when all that should have it have decided, and
not while it is down here: whoever doubts us needs somebody who looks too. One that nobody decides
about is ours as well: the files of two directors may differ. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from heartbus.events import Health, Verdict

from .peers import FRESH_S, Key
from .targets import Listener, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A target as all directors know it.

    ``identity`` ranks the checkers. ``keys``: whose verdict it is. ``grace_s``: so long a checker
    may take to decide.
    """

    identity: str
    keys: tuple[Key, ...]
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """Numbers of targets that are ours from now on, and that are not any more."""

    taken: tuple[int, ...] = ()
    let_go: tuple[int, ...] = ()


def shared(target: Target, listeners: Sequence[Listener]) -> Shared:
    """Return what says who probes a target: where it is asked, not how."""
    patience = max(max(listener.rise, listener.fall) for listener in listeners)
    return Shared(
        identity=f"{target.endpoint} {target.check.type} {target.check.service}",
        keys=tuple((li.virtual_service, li.real_server) for li in listeners),
        grace_s=FRESH_S + (patience + 1) * target.interval_s + target.timeout_s,
    )


def probers_of(identity: str, members: Sequence[str], probers: int) -> tuple[str, ...]:
    """Return the checkers that probe a target: min(probers, all) of the members."""

    def rank(member: str) -> tuple[bytes, str]:
        return blake2b(f"{member}\n{identity}".encode(), digest_size=8).digest(), member

    return tuple(sorted(members, key=rank, reverse=True)[:probers])


class Shares:
    """The targets that are ours; all of them at first: nobody else is known."""

    def __init__(self, targets: Sequence[Shared], *, node: str, probers: int) -> None:
        if probers < 1:
            raise ValueError(f"probers {probers} must be at least 1")
        self._targets = tuple(targets)
        self._node = node
        self._probers = probers
        self._members: tuple[str, ...] = (node,)
        self._chosen: list[tuple[str, ...]] = [(node,)] * len(self._targets)
        self._orphan_s: dict[int, float] = {}
        self._ours = set(range(len(self._targets)))

    @property
    def ours(self) -> frozenset[int]:
        """Numbers of the targets that we probe."""
        return frozenset(self._ours)

    def chosen(self, number: int) -> tuple[str, ...]:
        """Return who should probe a target, first by rank."""
        return self._chosen[number]

    def settled(
        self,
        peers: Mapping[str, Mapping[Key, Verdict]],
        own: Callable[[Key], Health],
        *,
        now_s: float,
    ) -> Moves:
        """Return what changes hands, with what ``peers`` say now; call it on a period."""
        members = tuple(sorted({self._node, *peers}))
        if members != self._members:
            self._members = members
            self._chosen = [probers_of(t.identity, members, self._probers) for t in self._targets]
            self._orphan_s.clear()
        taken: list[int] = []
        let_go: list[int] = []
        for number, chosen in enumerate(self._chosen):
            target = self._targets[number]
            if self._node in chosen:
                wanted = True
            elif number in self._ours:
                decided = all(_decides(peers[peer], target.keys) for peer in chosen)
                wanted = not decided or any(own(key) is Health.DOWN for key in target.keys)
            else:
                wanted = self._orphaned(number, peers, now_s)
            if wanted and number not in self._ours:
                taken.append(number)
            elif not wanted and number in self._ours:
                let_go.append(number)
        self._ours.update(taken)
        self._ours.difference_update(let_go)
        return Moves(taken=tuple(taken), let_go=tuple(let_go))

    def _orphaned(
        self, number: int, peers: Mapping[str, Mapping[Key, Verdict]], now_s: float
    ) -> bool:
        target = self._targets[number]
        if any(_decides(peers[peer], target.keys) for peer in self._chosen[number]):
            self._orphan_s.pop(number, None)
            return False
        return now_s - self._orphan_s.setdefault(number, now_s) >= target.grace_s


def _decides(verdicts: Mapping[Key, Verdict], keys: tuple[Key, ...]) -> bool:
    """Return whether a checker has decided about all servers of a target."""
    return all(key in verdicts and verdicts[key].health is not Health.UNKNOWN for key in keys)
