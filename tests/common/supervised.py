"""A supervisor with small children, as a program of its own: what test_supervisor.py drives.

Each child appends one line to LOG whenever something happens to it. A child named ``spare`` is not
needed and cannot run.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from heartbus import log
from heartbus.systemd import Notifier
from heartbus.up.supervisor import Child, Supervisor


def main() -> int:
    watchdog_s, directory, *names = sys.argv[1:]
    log.configure()
    children = [
        Child(
            name=name,
            body=body(Path(directory) / "log", name),
            needed=not name.startswith("spare"),
        )
        for name in names
    ]
    stop_order = tuple(reversed(names))
    return Supervisor(
        children,
        stop_order=stop_order,
        watchdog_s=float(watchdog_s),
        reload=lambda: ("one", "slow"),
    ).run()


def body(path: Path, name: str) -> Callable[[], int]:
    def note(word: str) -> None:
        with path.open("a") as file:
            file.write(f"{name} {word} {os.getpid()}\n")

    def stop(_number: int, _frame: FrameType | None) -> None:
        note("stopped")
        sys.exit(0)

    def run() -> int:
        note("started")
        if name == "broken-config":
            return 2
        if name in ("broken-machine", "spare"):
            Notifier().cannot_run("no flux capacitor:\nbuy one")
            return 3
        if name != "stubborn":
            signal.signal(signal.SIGTERM, stop)
        while name == "slow" and not path.with_name("go").exists():
            time.sleep(0.01)  # asks for a file; whoever makes it bounds the wait
        signal.signal(signal.SIGHUP, lambda _number, _frame: note("reloaded"))
        notifier = Notifier()
        notifier.ready()
        note("ready")
        while True:
            notifier.alive()
            time.sleep(0.05)

    return run


if __name__ == "__main__":
    sys.exit(main())
