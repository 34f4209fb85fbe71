"""The vocabulary of address conflicts: what follows when another machine answers for a virtual IP.

Sans-I/O. Part of ``heartbus.model``, which is where to import it from.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class OnConflict(enum.StrEnum):
    """What a director does when a machine that is no director answers for one of its addresses.

    ``defend``: keep the address, tell of it, and announce it once more, at most every ten seconds.
    ``yield``: tell of it and let go of the group, which no director takes while the other machine
    answers. ``ignore``: neither look nor ask.
    """

    DEFEND = "defend"
    YIELD = "yield"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictSettings:
    """How the network is watched for a second holder of an address.

    Every director asks for each address every ``interval_s`` (0: never, it listens only): who has
    one and is silent answers to that.
    """

    policy: OnConflict = OnConflict.DEFEND
    interval_s: float = 30.0
