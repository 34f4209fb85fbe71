"""The vocabulary of fencing: which program makes sure that a dead director is dead.

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
