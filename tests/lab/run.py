"""``python -m tests.lab.run -- COMMAND``: run a command in a kernel that has IPVS."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.lab import kernel


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.run",
        description="Run a command as root in a kernel with IPVS: this one if it has it, "
        "else User-Mode Linux.",
    )
    parser.add_argument("--force-uml", action="store_true", help="use User-Mode Linux in any case")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="stop it after this")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = parser.parse_args(argv)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("say which COMMAND to run")
    try:
        return kernel.run(command, force_uml=options.force_uml, time_limit_s=options.time_limit)
    except kernel.LabKernelError as error:
        print(f"lab kernel: {error}", file=sys.stderr)
        return kernel.EXIT_MACHINE


if __name__ == "__main__":
    sys.exit(main())
