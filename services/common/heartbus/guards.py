"""The vocabulary of what stands beside membership: fence commands, programs, real time.

Sans-I/O. Part of ``heartbus.model``, which is where to import it from.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import Final

FENCE_TIMEOUT_S: Final = 20.0
"""Default time for one call; fence-agents' own ``power_timeout`` is 20 s too."""

_SECRET: Final = re.compile(r"passw|passphrase|secret|token|community|api_?key")
_ABOUT_A_SECRET: Final = ("_script", "_path", "_timeout")


class FenceAction(enum.StrEnum):
    """What a fence command is asked to do; ``action`` of fence-agents.

    After either of them nothing of what the director held is left on it.
    """

    OFF = "off"
    REBOOT = "reboot"


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceOption:
    """One ``name=value`` line for a fence command."""

    name: str
    value: str = field(repr=False)

    @property
    def secret(self) -> bool:
        """Whether the value is never shown, logged or published."""
        return is_secret_option(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """A command that turns a director off: it reads ``options`` on its input and ends with 0.

    ``director`` is the one that is turned off. ``timeout_s``: after this the command is killed,
    which counts as a failure.
    """

    director: str
    command: str
    action: FenceAction = FenceAction.OFF
    timeout_s: float = FENCE_TIMEOUT_S
    options: tuple[FenceOption, ...] = ()


def is_secret_option(name: str) -> bool:
    """Return whether an option of a fence agent holds a secret, by its name.

    ``passwd``, ``password``, ``snmp_priv_passwd``, ``token``, ``secret_key``, ``community``, … of
    fence-agents; not ``password_script``, which names a program.
    """
    return bool(_SECRET.search(name)) and not name.endswith(_ABOUT_A_SECRET)


BUILT_IN_CLIENTS: Final = ("ccm", "ipfail")
"""Programs of Heartbeat whose work membership does itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedClient:
    """A program that membership runs beside itself, as this user; ha.cf ``respawn``.

    ``command``: the program with its whole path and its arguments, as a shell reads them.
    """

    user: str
    command: str

    @property
    def program(self) -> str:
        """The path of the program alone."""
        return self.command.split(None, 1)[0]

    @property
    def built_in(self) -> bool:
        """Whether it is not started, because heartbus does its work."""
        return self.program.rpartition("/")[2] in BUILT_IN_CLIENTS


RTPRIO_DEFAULT: Final = 1
"""Any real-time priority runs before all ordinary processes; a low one leaves the kernel's own
threads (50) and real-time programs of others before us."""
