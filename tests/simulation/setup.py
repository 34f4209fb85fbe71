"""What kind of cluster a scenario plays; a frozen value with a text form."""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from heartbus.model import (
    EXPIRY_TAIL_S,
    AddressResource,
    Resource,
    ResourceGroup,
    ScriptResource,
    Timers,
    VipSettings,
)
from heartbus_membership.claims import GroupRule
from heartbus_simulator.cluster import Cluster
from heartbus_simulator.plan import Pace

DIRECTORS: Final = "abc"
WITNESSES: Final = "wx"
GROUPS: Final = ("vip", "web", "mail")
SCRIPTED: Final = "web"
"""Of this group a script is a part."""

SCRIPT_TIMEOUT_S: Final = 2.0


class Mode(enum.StrEnum):
    """The rule by which a group may be taken, and among how many."""

    PAIR_FAST = "pair-fast"
    PAIR_STRICT = "pair-strict"
    MAJORITY = "majority"


MODES_PLAYED: Final = (
    Mode.PAIR_FAST,
    Mode.PAIR_FAST,
    Mode.PAIR_STRICT,
    Mode.MAJORITY,
    Mode.MAJORITY,
)
"""The modes that seeds draw from, each as often as it stands here."""


def _timers(keepalive_s: float, warntime_s: float, deadtime_s: float, initdead_s: float) -> Timers:
    return Timers(
        keepalive_s=keepalive_s,
        warntime_s=warntime_s,
        deadtime_s=deadtime_s,
        initdead_s=initdead_s,
    )


PACES: Final[Mapping[str, Pace]] = {
    "lan": Pace(timers=_timers(0.1, 0.2, 0.4, 2.0), lease_s=2.0, grace_s=2.0, lifetime_s=1),
    "usual": Pace(timers=_timers(0.25, 0.5, 1.0, 3.0), lease_s=3.0, grace_s=3.0, lifetime_s=2),
    "edge": Pace(timers=_timers(0.2, 0.4, 0.8, 3.0), lease_s=2.4, grace_s=2.0, lifetime_s=2),
    "classic": Pace(timers=_timers(0.4, 2.0, 6.0, 6.0), lease_s=3.0, grace_s=3.0, lifetime_s=3),
}
"""``lan`` and ``classic`` keep the ratios of these named profiles; ``edge`` has the longest lease
that a configuration may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One cluster. ``bus`` False: there never is one."""

    mode: Mode = Mode.PAIR_FAST
    pace: str = "usual"
    groups: int = 1
    links: int = 1
    witnesses: int = 0
    failback: bool = False
    bus: bool = True

    @property
    def times(self) -> Pace:
        """The times of this cluster."""
        return PACES[self.pace]

    @property
    def directors(self) -> tuple[str, ...]:
        """Their names, in the order of the configuration."""
        pair = self.mode in (Mode.PAIR_FAST, Mode.PAIR_STRICT)
        return tuple(DIRECTORS[: 2 if pair or self.witnesses else 3])

    @property
    def witness_names(self) -> tuple[str, ...]:
        """Voters that are no directors."""
        return tuple(WITNESSES[: self.witnesses])

    @property
    def link_names(self) -> tuple[str, ...]:
        """The heartbeat links, the same on all hosts."""
        return tuple(f"eth{number}" for number in range(self.links))

    @property
    def vip(self) -> VipSettings:
        """How addresses are held."""
        return VipSettings(
            lifetime_s=self.times.lifetime_s, refresh_s=0.25, script_timeout_s=SCRIPT_TIMEOUT_S
        )

    @property
    def resource_groups(self) -> tuple[ResourceGroup, ...]:
        """The groups: the second one has a script, the third prefers the second director."""
        return tuple(
            ResourceGroup(
                name=name,
                preferred=self.directors[number // 2],
                resources=_resources(name, number),
            )
            for number, name in enumerate(GROUPS[: self.groups])
        )

    @property
    def group_names(self) -> tuple[str, ...]:
        """All names that heartbeats may speak of; more than there are groups here."""
        return GROUPS

    @property
    def rules(self) -> list[GroupRule]:
        """The groups as ownership sees them: each of their scripts may time out once."""
        return [
            GroupRule(
                name=group.name,
                preferred=group.preferred,
                stop_s=SCRIPT_TIMEOUT_S * (len(group.resources) - len(group.addresses)),
                may_overlap=len(group.resources) == len(group.addresses),
            )
            for group in self.resource_groups
        ]

    @property
    def tail_s(self) -> float:
        """How long an address may outlive its lease where takeover is strict."""
        return EXPIRY_TAIL_S if self.mode is Mode.PAIR_STRICT else 0.0

    @property
    def takeover_options(self) -> dict[str, Any]:
        """What ``Ownership`` is told of the mode, beyond what the fast pair needs."""
        return {"witnesses": self.witness_names, "tail_s": self.tail_s}

    def __str__(self) -> str:
        words = [self.mode, self.pace, f"groups={self.groups}", f"links={self.links}"]
        words += [f"witnesses={self.witnesses}"] if self.witnesses else []
        words += ["failback"] if self.failback else []
        words += [] if self.bus else ["no-bus"]
        return " ".join(words)


def _resources(name: str, number: int) -> tuple[Resource, ...]:
    address = AddressResource(address=f"192.0.2.{number + 1}", prefix_len=24)
    return (address, ScriptResource(script="daemon")) if name == SCRIPTED else (address,)


def parse_setup(text: str) -> Setup:
    """Return the setup that a text form names."""
    mode, pace, *rest = text.split()
    numbers = dict(word.split("=") for word in rest if "=" in word)
    return Setup(
        mode=Mode(mode),
        pace=pace,
        groups=int(numbers["groups"]),
        links=int(numbers["links"]),
        witnesses=int(numbers.get("witnesses", 0)),
        failback="failback" in rest,
        bus="no-bus" not in rest,
    )


def setup_of(cluster: Cluster) -> Setup:
    """Return what a cluster of these tests plays."""
    assert isinstance(cluster.setup, Setup)
    return cluster.setup


def draw_setup(chance: random.Random) -> Setup:
    """Return what a seed plays."""
    mode = chance.choice(MODES_PLAYED)
    return Setup(
        mode=mode,
        pace=chance.choice(("lan", "usual", "usual", "edge", "classic")),
        groups=chance.choice((1, 1, 1, 2, 3)),
        links=chance.choice((1, 1, 2)),
        witnesses=chance.choice((0, 1, 2)) if mode is Mode.MAJORITY else 0,
        failback=chance.random() < 0.5,
        bus=chance.random() < 0.85,
    )
