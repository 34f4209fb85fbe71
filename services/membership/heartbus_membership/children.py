"""Start, await and end the children of membership, without a thread and without forking ourselves.

Each child leads a session and process group of its own; ``child.py`` runs in it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REFUSAL_BYTES_MAX: Final = 2000
KILL_WAIT_S: Final = 0.05
REAP_S: Final = 1.0
"""A killed process that does not end sits in the kernel: go on without it."""

_FIRST: Final = str(Path(__file__).with_name("child.py"))

Stream = int | IO[bytes] | None


class Child:
    """One child, started. ``start`` makes it; it must be awaited or killed in the end."""

    def __init__(self, process: subprocess.Popen[bytes], report: int) -> None:
        self._process = process
        self._report = report

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        program: str,
        environment: Mapping[str, str],
        user: str = "",
        keep_capabilities: bool,
        stdin: Stream = subprocess.DEVNULL,
        output: Stream = None,
    ) -> Child:
        """Start a command with nothing of our environment; ``output`` None: that of membership.

        ``program``: the file that must be executable, be it the command or what its shell runs.

        Raises:
            OSError: no process can be made.

        """
        report, theirs = os.pipe()
        try:
            first = [sys.executable, "-I", "-S", _FIRST, str(os.getpid()), str(theirs), user]
            process = subprocess.Popen(
                [*first, "0" if keep_capabilities else "1", program, *command],
                stdin=stdin,
                stdout=output,
                stderr=output,
                env={"PATH": PATH, "LC_ALL": "C", **environment},
                pass_fds=(theirs,),
                start_new_session=True,
            )
        except OSError:
            os.close(report)
            raise
        finally:
            os.close(theirs)
        os.set_blocking(report, False)
        return cls(process, report)

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group."""
        return self._process.pid

    async def end(self) -> int:
        """Wait for its end; return exit status, or minus the signal. Cancelling leaves it alone."""
        code = self._process.poll()
        if code is not None:
            return code
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(self._process.pid)
        ended = asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return self._process.wait()

    async def ended_within(self, wait_s: float) -> bool:
        """Return whether it ended in this time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self.end()
                return True
        return False

    def refusal(self) -> str | None:
        """Return why the program was never started, None if it was; once, after its end."""
        with contextlib.suppress(OSError):
            words = os.read(self._report, REFUSAL_BYTES_MAX).decode("utf-8", "replace")
            return words or None
        return None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the whole group; to nobody if it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """Kill the group at once and reap the child, which takes no time worth awaiting."""
        self.send(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_WAIT_S)
        self.close()

    def close(self) -> None:
        """Give its descriptors back."""
        if self._report >= 0:
            os.close(self._report)
            self._report = -1
