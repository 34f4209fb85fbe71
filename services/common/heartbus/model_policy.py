"""When a virtual service counts as served, what it does until then, and who is told.

Sans-I/O. ``heartbus.model`` names all of this too; import it from there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

QUORUM_MAX: Final = 2**31 - 1
COMMAND_WORDS_MAX: Final = 64


class StartPolicy(enum.StrEnum):
    """What a real server gets before its first check is through.

    ``keep``: what the kernel's table has for it goes on, and one that is not there gets no traffic,
    so that a restart of ours moves nothing. ``down``: no traffic, whatever the table says
    (keepalived ``alpha``). ``up``: traffic, where the table did not have the service yet
    (keepalived without ``alpha``).
    """

    KEEP = "keep"
    DOWN = "down"
    UP = "up"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePolicy:
    """What a virtual service does when too little of it is up, at start and at stop.

    It is lost when the weight of its real servers that are up falls below ``quorum`` -
    ``hysteresis``, or to 0, and gained at ``quorum`` + ``hysteresis`` (keepalived); in between it
    stays as it was. While it is lost the sorry server, if there is one, gets all new connections.
    ``fallback_command`` is run with start when it is lost and with stop when it is gained, and with
    the address and protocol of the service (ldirectord); ``quorum_up`` and ``quorum_down`` are run
    as they are written. ``cleanstop``: a stop of the agent takes the service out of the table.
    """

    quorum: int = 1
    hysteresis: int = 0
    start: StartPolicy = StartPolicy.KEEP
    cleanstop: bool = False
    fallback_command: tuple[str, ...] = ()
    quorum_up: tuple[str, ...] = ()
    quorum_down: tuple[str, ...] = ()

    @property
    def is_watched(self) -> bool:
        """Whether anything depends on when the service is lost and gained."""
        commands = self.fallback_command or self.quorum_up or self.quorum_down
        return bool(commands) or (self.quorum, self.hysteresis) != (1, 0)


DEFAULT_POLICY: Final = ServicePolicy()
