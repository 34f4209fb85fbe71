"""``heartbus-ipvs-agent``: keeps the IPVS table of the kernel as it is wanted."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from heartbus import runner
from heartbus_ipvs_agent.service import SERVICE, serve

DESCRIPTION = "Keep the kernel's IPVS table as the configuration and the checks want it."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service; return its exit code (see heartbus.runner)."""
    return runner.run(SERVICE, DESCRIPTION, serve, argv)


if __name__ == "__main__":
    sys.exit(main())
