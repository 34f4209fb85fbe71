"""What operators want of real servers, whatever the checks say: commands, events, snapshots.

Sans-I/O. ``heartbus.events`` names these too; import them from there. ``server`` is an address
(each of its ports) or ``address:port``; ``service`` is a virtual service, "" for all that have it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar, Final

OVERRIDES_MAX: Final = 1000
"""What a director remembers, enabled ones included."""


class OverrideAction(enum.StrEnum):
    """What was asked for.

    ``drain``: no new connections, the established ones go on. ``disable``: no entry, established
    connections end. ``maintenance``: as if its check failed, whatever the check says. ``weight``:
    this weight while it is up. ``enable``: what the configuration says; it is remembered so that a
    director that was away learns it.
    """

    DRAIN = "drain"
    DISABLE = "disable"
    MAINTENANCE = "maintenance"
    WEIGHT = "weight"
    ENABLE = "enable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One wish. The greatest ``(revision, node)`` of all that match a real server counts.

    ``revision`` grows with each command that any director hears of, so no clocks are compared.
    ``weight`` counts with action weight. ``deadline_s``: so long after the command a draining
    server leaves the table with what is left on it; 0: never. ``left_s``: of this when it was told;
    each director counts on from there for itself, because clocks differ and are set.
    """

    server: str
    action: OverrideAction
    revision: int
    node: str
    service: str = ""
    weight: int = 0
    deadline_s: float = 0.0
    left_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Give real servers no new connections, and say when the last one is gone.

    ``deadline_s``: after this the rest is cut; 0: never.
    """

    kind: ClassVar[str] = "command.drain"
    server: str
    service: str = ""
    deadline_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disable:
    """Take real servers out of the table now."""

    kind: ClassVar[str] = "command.disable"
    server: str
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintain:
    """Treat real servers as if their checks failed: somebody works on them."""

    kind: ClassVar[str] = "command.maintenance"
    server: str
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enable:
    """Treat real servers as the configuration says again."""

    kind: ClassVar[str] = "command.enable"
    server: str
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWeight:
    """Give real servers another weight than the configuration says."""

    kind: ClassVar[str] = "command.weight"
    server: str
    weight: int
    service: str = ""


OverrideCommand = Drain | Disable | Maintain | Enable | SetWeight


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServerDraining:
    """A real server is given no new connections by the sending director, as an operator wants."""

    kind: ClassVar[str] = "realserver.draining"
    virtual_service: str
    real_server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServerDrained:
    """Nothing is left on a draining real server at the sending director.

    ``cut``: connections, flows and persistence templates that were left when its deadline came.
    """

    kind: ClassVar[str] = "realserver.drained"
    virtual_service: str
    real_server: str
    cut: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServerOverridden:
    """An operator gave real servers a weight, put them out of service or in again."""

    kind: ClassVar[str] = "realserver.overridden"
    server: str
    service: str
    action: OverrideAction
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsOverrides:
    """All overrides that the sending director knows; on change, and on a period."""

    kind: ClassVar[str] = "ipvs.overrides"
    overrides: tuple[Override, ...]
