"""``heartbus-checker``: says which real servers are up."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from heartbus.runner import run

from .running import check_real_servers

DESCRIPTION = "Check every real server and publish one verdict each."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checker; return its exit code."""
    return run("checker", DESCRIPTION, check_real_servers, argv)


if __name__ == "__main__":
    sys.exit(main())
