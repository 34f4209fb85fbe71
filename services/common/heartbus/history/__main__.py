"""``heartbus-recorder``: keeps the history of all directors on this one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from heartbus.history.recorder import SERVICE, keep_history
from heartbus.runner import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the recorder until told to stop; return the exit code."""
    return run(
        SERVICE,
        "Keeps the history of all directors on this one: for heartbus history and heartbus why.",
        keep_history,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
