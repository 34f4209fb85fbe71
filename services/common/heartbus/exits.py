"""How commands and services end: exit codes, the path of the configuration, errors as text.

Apart from ``runner``, so that a command that only reads files need not load the bus.
"""

from __future__ import annotations

import sys
from typing import Final

from heartbus.config.diagnostics import ConfigError

EXIT_OK: Final = 0
EXIT_DEFECT: Final = 1
EXIT_CONFIG: Final = 2
EXIT_MACHINE: Final = 3

DEFAULT_CONFIG: Final = "/etc/heartbus/heartbus.toml"


class KeyFileError(Exception):
    """A file with a key of the bus cannot be used; the message names it and what is allowed."""


def fail(program: str, error: Exception, code: int) -> int:
    """Print an error as people and editors read it, and return the exit code.

    What is wrong in a file begins with FILE:LINE; anything else begins with the program.
    """
    located = isinstance(error, ConfigError) and error.diagnostics
    prefix = "" if located else f"{program}: "
    for line in str(error).splitlines():
        print(f"{prefix}{line}", file=sys.stderr, flush=True)  # noqa: T201
    return code
