"""heartbus-vip: hold the virtual IPs that membership grants to this director."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from heartbus.runner import run
from heartbus_vip.service import vip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service; return its exit code."""
    return run("vip", "Hold the virtual IPs that membership grants to this director.", vip, argv)


if __name__ == "__main__":
    sys.exit(main())
