"""Since which Linux the IPVS can do what, and which Linux runs.

Sans-I/O. An older kernel skips what it does not know of a request and obeys the rest: a real server
of the other family would become an entry with another address, a tunnel of gre one of ipip. So what
it does not know must not be asked of it.
"""

from __future__ import annotations

import re
from typing import Final

Version = tuple[int, int]

MIXED_FAMILIES_SINCE: Final[Version] = (3, 18)
TUNNEL_TYPES_SINCE: Final[Version] = (5, 3)

_RELEASE: Final = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)


def version(release: str) -> Version | None:
    """Return the version in what ``uname -r`` says; None if it says none."""
    found = _RELEASE.match(release)
    return (int(found[1]), int(found[2])) if found is not None else None


def since_words(since: Version) -> str:
    """Return a version for people."""
    return f"Linux {since[0]}.{since[1]}"
