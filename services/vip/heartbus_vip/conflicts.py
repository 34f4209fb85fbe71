"""Decides when somebody else answers for one of our addresses, and what follows.

Sans-I/O; times are monotonic seconds. One answer of another machine may be late or old news, so it
is only a reason to ask. A second one, CONFIRM_S or more after the first, makes a conflict, which
ends when that machine has not answered for END_S, asked again and again::

    nothing ──an answer──► suspected ──another one, later──► conflict ──silent for END_S──► nothing
       ▲                       │
       └──no second one in FORGET_S

Two directors may have an address at the same moment on purpose (a handover), or until the one that
lost it has heard of that. So a director is only suspected while we hold the address ourselves, and
for longer than an address that was let go of can stand; whatever was seen of it is forgotten when
we take the address or let go of it. While the hardware addresses of a director are not known yet,
any machine may be that director: then its time counts for all, and who stands by suspects nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from heartbus.events import ConflictView, HeldGroup, HoldStatus, VipConflict, VipState
from heartbus.model import AddressResource, ConflictSettings, OnConflict, ResourceGroup
from heartbus_vip.neighbours import Said

CONFIRM_S: Final = 1.0
"""A gratuitous ARP that crossed ours is not repeated so much later."""

ASK_S: Final = CONFIRM_S + 0.05
"""A suspect is asked so often, so that the second answer counts."""

FORGET_S: Final = 10.0
"""DEFEND_INTERVAL of RFC 5227 section 2.4: what is not repeated within it is no conflict. A suspect
that was asked for so long is left alone until it is heard again."""

DEFEND_S: Final = 10.0
"""The same section: an address is not defended more often."""

CONFLICT_ASK_S: Final = 5.0
END_S: Final = 3 * CONFLICT_ASK_S + 0.5
"""Three questions without an answer."""

LET_GO_MARGIN_S: Final = 1.0
LET_GO_MAX_S: Final = FORGET_S - 2 * ASK_S
"""With long lifetimes an address stands for longer, and that is worth telling."""

VERIFY_S: Final = (1.0, 2.0)
VERIFIED_S: Final = 2.5
"""After an announcement everybody is asked twice; who answers then has not heard of it, or does not
care. The first question is late enough for a director that lost the address to have let go."""

PROBES: Final = 3
PROBE_SPACING_S: Final = 0.2
PROBE_MAX_S: Final = 2 * ASK_S
"""Before taking: so many questions; with an answer it takes longer, for the second one to come."""

STATIONS_MAX: Final = 8
"""Other machines that are remembered for each address; an attacker could invent any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Ask the network who has an address."""

    address: AddressResource


@dataclass(frozen=True, slots=True, kw_only=True)
class Defend:
    """Announce an address once more."""

    address: AddressResource


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """After we announced an address, nobody else answered for it."""

    address: AddressResource


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Let go of a group: another machine has one of its addresses."""

    group: str
    address: AddressResource
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The network was asked before a group is taken; ``problem``: why it must not be."""

    group: str
    step: int
    address: AddressResource
    problem: str | None


Outcome = Ask | Defend | Alone | GiveUp | Asked | VipConflict


@dataclass(slots=True)
class _Seen:
    """What is known of another machine that answers for an address."""

    first_s: float
    last_s: float
    interface: str
    ask_s: float
    director: str
    is_conflict: bool = False


@dataclass(slots=True)
class _Address:
    """One address of a group. ``verify_s``: when it was announced, until that is verified."""

    resource: AddressResource
    group: str
    ask_s: float
    held: bool = False
    epoch: int = 0
    verify_s: float | None = None
    verified: int = 0
    defended_s: float = float("-inf")
    heard_s: float = float("-inf")
    seen: dict[str, _Seen] = field(default_factory=dict)


@dataclass(slots=True)
class _Probe:
    """Questions before a group is taken."""

    group: str
    step: int
    addresses: tuple[AddressResource, ...]
    begun_s: float
    due_s: float
    sent: int = 0


class Conflicts:
    """The addresses of all groups, as the network answers for them.

    ``peers``: the other directors. ``lifetime_s``: of addresses in the kernel. ``watching`` False:
    nobody hears or asks the network, so nothing is concluded and nothing waited for.
    """

    def __init__(
        self,
        *,
        groups: Iterable[ResourceGroup],
        peers: Collection[str],
        settings: ConflictSettings,
        lifetime_s: float,
        watching: bool,
        now_s: float,
    ) -> None:
        self._settings, self._watching = settings, watching
        self._slow_confirm_s = min(lifetime_s + LET_GO_MARGIN_S, LET_GO_MAX_S)
        self._own: frozenset[str] = frozenset()
        self._of_peer: dict[str, frozenset[str]] = dict.fromkeys(peers, frozenset())
        self._epochs: dict[tuple[str, str], int] = {}
        self._probes: dict[str, _Probe] = {}
        self._addresses: dict[str, _Address] = {}
        self.crowded = 0
        """Answers that were not looked at because too many machines gave some."""
        self.use_groups(groups, now_s=now_s)

    def use_groups(self, groups: Iterable[ResourceGroup], *, now_s: float) -> list[Outcome]:
        """Look after the addresses of these groups; return which conflicts end with others."""
        resources = [(group.name, a) for group in groups for a in group.addresses]
        before, self._addresses = self._addresses, {}
        every_s = self._settings.interval_s
        for number, (group, resource) in enumerate(resources, 1):
            known = before.pop(resource.address, None)
            if known is not None:
                known.resource, known.group = resource, group
            else:
                spread_s = every_s * number / (len(resources) + 1)
                first_s = now_s + spread_s if every_s and self._watching else float("inf")
                known = _Address(resource=resource, group=group, ask_s=first_s)
            self._addresses.setdefault(resource.address, known)
        return [
            outcome
            for address in before.values()
            for mac, seen in list(address.seen.items())
            for outcome in self._ended(address, mac, seen, "it is configured no more")
        ]

    # --- what happened ---------------------------------------------------------------------------

    def own_macs(self, macs: Iterable[str]) -> list[Outcome]:
        """Take in our own hardware addresses, those of bonded interfaces included."""
        self._own = frozenset(macs)
        outcomes: list[Outcome] = []
        for address in self._addresses.values():
            for mac in self._own & address.seen.keys():
                outcomes += self._ended(address, mac, address.seen[mac], "it is our own interface")
        return outcomes

    def is_strange(self, mac: str) -> bool:
        """Whether this is neither ours nor of a director that we know."""
        return mac not in self._own and self.director(mac) is None

    def director(self, mac: str) -> str | None:
        """Return the other director that has this hardware address, None if no known one has."""
        return next((peer for peer, macs in self._of_peer.items() if mac in macs), None)

    def peer_heard(self, peer: str, state: VipState) -> None:
        """Take in the snapshot of the vip of another director."""
        if peer not in self._of_peer:
            return
        self._of_peer[peer] = frozenset(state.macs)
        for group in state.groups:
            self._epochs[peer, group.name] = group.epoch
        for address in self._addresses.values():
            for mac in self._of_peer[peer] & address.seen.keys():
                seen = address.seen[mac]
                if seen.is_conflict:
                    seen.director = peer
                elif not seen.director:
                    del address.seen[mac]  # what counts for a machine does not for a director

    def held(self, groups: Iterable[HeldGroup], *, now_s: float) -> list[Outcome]:
        """Take in what our own vip holds now."""
        running = (HoldStatus.STARTING, HoldStatus.HELD)
        holds = {a: g.epoch for g in groups if g.status in running for a in g.addresses}
        outcomes: list[Outcome] = []
        for name, address in self._addresses.items():
            address.epoch = holds.get(name, address.epoch)
            if (name in holds) == address.held:
                continue
            address.held = name in holds
            if not address.held:
                address.verify_s = None
            for mac, seen in list(address.seen.items()):
                if seen.director:
                    outcomes += self._ended(address, mac, seen, "only one of them holds it now")
        return outcomes

    def did_not_listen(self) -> None:
        """Suspect nobody any more: what was heard meanwhile may have been said long ago."""
        for address in self._addresses.values():
            address.seen = {mac: seen for mac, seen in address.seen.items() if seen.is_conflict}

    def announced(self, resource: AddressResource, *, now_s: float) -> None:
        """Note that we told everybody that we have an address; who else says so is asked for."""
        address = self._addresses.get(resource.address)
        if address is not None and self._watching:
            address.verify_s, address.verified = now_s, 0

    def ask_first(
        self, group: str, step: int, addresses: Iterable[AddressResource], *, now_s: float
    ) -> list[Outcome]:
        """Ask for addresses before they are taken; ``Asked`` follows within PROBE_MAX_S."""
        if not self._watching:
            nobody = Asked(group=group, step=step, address=next(iter(addresses)), problem=None)
            return [nobody]
        self._probes[group] = _Probe(group, step, tuple(addresses), begun_s=now_s, due_s=now_s)
        return self.deadline_passed(now_s=now_s)

    def heard(self, said: Said, *, interface: str, now_s: float) -> list[Outcome]:
        """Take in that somebody says to have an address; ``interface``: where we heard it."""
        address = self._addresses.get(said.address)
        if address is None or said.mac in self._own:
            return []
        director = self.director(said.mac)
        if director is not None and not address.held:
            return []  # it holds the address, as far as we are concerned
        address.heard_s = now_s
        seen = address.seen.get(said.mac)
        if seen is None:
            if len(address.seen) >= STATIONS_MAX:
                self.crowded += 1
                return []
            seen = address.seen[said.mac] = _Seen(
                first_s=now_s,
                last_s=now_s,
                interface=interface,
                ask_s=now_s + ASK_S,
                director=director or "",
            )
        seen.last_s, seen.interface = now_s, interface
        outcomes = self._confirmed(address, said.mac, seen)
        if seen.is_conflict and address.held:
            outcomes += self._stand(address, said.mac, seen, now_s=now_s)
        return outcomes

    def deadline_passed(self, *, now_s: float) -> list[Outcome]:
        """Return what is due: questions, and conflicts that have ended."""
        outcomes: list[Outcome] = []
        for address in self._addresses.values():
            ask = self._is_verifying(address, outcomes, now_s=now_s)
            for mac, seen in list(address.seen.items()):
                since_s, limit_s = (
                    (seen.last_s, END_S) if seen.is_conflict else (seen.first_s, FORGET_S)
                )
                if now_s - since_s >= limit_s:
                    outcomes += self._ended(address, mac, seen, "it does not answer any more")
                elif now_s >= seen.ask_s:
                    seen.ask_s = now_s + (CONFLICT_ASK_S if seen.is_conflict else ASK_S)
                    ask = True
            if now_s >= address.ask_s:
                address.ask_s = now_s + self._settings.interval_s
                ask = True
            if ask:
                outcomes.append(Ask(address=address.resource))
        for probe in list(self._probes.values()):
            outcomes += self._probing(probe, now_s=now_s)
        return outcomes

    # --- what is so ------------------------------------------------------------------------------

    @property
    def next_deadline_s(self) -> float:
        """When ``deadline_passed`` has something to do; infinity: never."""
        due_s = float("inf")
        for address in self._addresses.values():
            due_s = min(due_s, address.ask_s, *(seen.ask_s for seen in address.seen.values()))
            if address.verify_s is not None:
                steps_s = (*VERIFY_S, VERIFIED_S)
                due_s = min(due_s, address.verify_s + steps_s[address.verified])
        return min([due_s, *(probe.due_s for probe in self._probes.values())])

    def views(self) -> tuple[ConflictView, ...]:
        """Return the conflicts that stand."""
        return tuple(
            ConflictView(
                group=address.group,
                address=name,
                mac=mac,
                interface=seen.interface,
                director=seen.director,
                held=address.held,
            )
            for name, address in self._addresses.items()
            for mac, seen in address.seen.items()
            if seen.is_conflict
        )

    def barred(self) -> Mapping[str, str]:
        """Return the groups that nobody may take here, and why."""
        if self._settings.policy is not OnConflict.YIELD:
            return {}
        return {
            address.group: _words(address.resource, mac, seen)
            for address in self._addresses.values()
            for mac, seen in address.seen.items()
            if seen.is_conflict and not seen.director
        }

    # --- below -----------------------------------------------------------------------------------

    def _confirmed(self, address: _Address, mac: str, seen: _Seen) -> list[Outcome]:
        peers_known = all(self._of_peer.values())
        confirm_s = CONFIRM_S if peers_known and not seen.director else self._slow_confirm_s
        sure = address.held or peers_known
        if seen.is_conflict or not sure or seen.last_s - seen.first_s < confirm_s:
            return []
        seen.is_conflict, seen.ask_s = True, seen.last_s + CONFLICT_ASK_S
        return [self._event(address, mac, seen)]

    def _stand(
        self, address: _Address, mac: str, seen: _Seen, *, now_s: float
    ) -> list[Defend | GiveUp]:
        """Announce over what another machine says, or yield; of two directors one announces."""
        if not seen.director and self._settings.policy is OnConflict.YIELD:
            reason = _words(address.resource, mac, seen)
            return [GiveUp(group=address.group, address=address.resource, reason=reason)]
        if seen.director:
            theirs = self._epochs.get((seen.director, address.group))
            if theirs is None or theirs >= address.epoch:
                return []
        if now_s - address.defended_s < DEFEND_S:
            return []
        address.defended_s = now_s
        return [Defend(address=address.resource)]

    def _ended(self, address: _Address, mac: str, seen: _Seen, reason: str) -> list[Outcome]:
        del address.seen[mac]
        return [self._event(address, mac, seen, ended=reason)] if seen.is_conflict else []

    def _is_verifying(self, address: _Address, outcomes: list[Outcome], *, now_s: float) -> bool:
        """Whether to ask now because of our announcement; tell when nobody else answers."""
        if address.verify_s is None:
            return False
        if address.verified < len(VERIFY_S):
            ask = now_s >= address.verify_s + VERIFY_S[address.verified]
            address.verified += ask
            return ask
        if now_s >= address.verify_s + VERIFIED_S:
            if address.held and address.heard_s < address.verify_s + VERIFY_S[0]:
                outcomes.append(Alone(address=address.resource))
            address.verify_s = None
        return False

    def _probing(self, probe: _Probe, *, now_s: float) -> list[Outcome]:
        if now_s < probe.due_s:
            return []
        if probe.sent < PROBES:
            probe.sent += 1
            probe.due_s = now_s + PROBE_SPACING_S
            return [Ask(address=address) for address in probe.addresses]
        asked = [self._addresses.get(a.address) for a in probe.addresses]
        answers = [seen for a in asked if a is not None for seen in a.seen.values()]
        ends_s = probe.begun_s + PROBE_MAX_S
        if now_s < ends_s and not all(seen.is_conflict for seen in answers):
            probe.due_s = min(now_s + PROBE_SPACING_S, ends_s)
            return []
        del self._probes[probe.group]
        problem = self.barred().get(probe.group)
        address = probe.addresses[0]
        return [Asked(group=probe.group, step=probe.step, address=address, problem=problem)]

    def _event(
        self, address: _Address, mac: str, seen: _Seen, *, ended: str | None = None
    ) -> VipConflict:
        return VipConflict(
            group=address.group,
            address=address.resource.address,
            mac=mac,
            interface=seen.interface,
            director=seen.director,
            held=address.held,
            ended=ended is not None,
            reason=ended or _words(address.resource, mac, seen),
        )


def _words(address: AddressResource, mac: str, seen: _Seen) -> str:
    who = seen.director or "a machine that is no director"
    return f"{who} answers for {address.address} too, with {mac} on {seen.interface}"
