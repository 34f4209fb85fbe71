"""External checks: a program each, killed with all its children at the deadline.

ldirectord ``external`` and ``external-perl``, keepalived MISC_CHECK. The program leads a process
group of its own; what leaves the group is found by a mark in its environment. The program has no
standard input, and says what it likes: the end of it is kept for the reason. external-perl is the
same program under perl, never within this process: a script that hangs, forks or exits harms
nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Final

from . import Finished, ProbeResult, duration, excerpt

OUTPUT_BYTES_MAX: Final = 4096
READS_PER_TURN: Final = 4
ENVIRONMENT_BYTES_MAX: Final = 256 * 1024
MARK: Final = "HEARTBUS_CHECK_RUN"
"""In the environment of a command and of everything it starts."""
WEIGHT_STATUS_MIN: Final = 2
"""keepalived misc_dynamic: exit status 2 to 255 passes, with the status minus 2 as weight."""


class CommandProbe:
    """Runs ``words``; ``dynamic_weight``: the exit status may be a weight."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        dynamic_weight: bool,
        environment: Mapping[str, str],
        shown: str | None = None,
    ) -> None:
        self._words = tuple(words)
        self._dynamic_weight = dynamic_weight
        self._environment = {**os.environ, **environment}
        self._shown = shown or self._words[0]

    def begin(self, finished: Finished) -> CommandAttempt:
        """Start the program."""
        return CommandAttempt(
            self._words, self._shown, self._dynamic_weight, self._environment, finished
        )


_numbers = itertools.count()


def perl() -> str:
    """Return the perl that runs external-perl checks."""
    return shutil.which("perl") or "/usr/bin/perl"


class CommandAttempt:
    """One run. Ends are seen through a pidfd, output through a pipe."""

    def __init__(
        self,
        words: tuple[str, ...],
        shown: str,
        dynamic_weight: bool,
        environment: Mapping[str, str],
        finished: Finished,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._label = f"command {shown}"
        self._dynamic_weight = dynamic_weight
        self._finished: Finished | None = finished
        self._started_s = time.monotonic()
        self._output = b""
        self._mark = f"{MARK}={os.getpid()}-{next(_numbers)}"
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._pipe = -1
        try:
            self._start(words, environment)
        except OSError as error:
            self._stop()
            # A program that is not there is news of this director, not of the real server.
            self._loop.call_soon(
                self._conclude, False, f"cannot be started: {error.strerror or error}", False
            )

    def _start(self, words: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self._pipe, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.set_blocking(theirs, True)
            self._child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env={**environment, MARK: self._mark.partition("=")[2]},
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self._pidfd = os.pidfd_open(self._child.pid)
        self._loop.add_reader(self._pipe, self._read)
        self._loop.add_reader(self._pidfd, self._ended)

    def expire(self, within_s: float) -> ProbeResult:
        """Kill the program and everything it started."""
        self._finished = None
        self._read()
        self._stop()
        _kill_strays(self._mark)
        said = f"; it said {excerpt(self._output)}" if self._output else ""
        reason = f"{self._label}: still running after {duration(within_s)}, killed{said}"
        return ProbeResult(passed=False, reason=reason, took_s=time.monotonic() - self._started_s)

    def _read(self) -> None:
        if self._pipe < 0:
            return
        for _ in range(READS_PER_TURN):
            try:
                chunk = os.read(self._pipe, OUTPUT_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            if not chunk:
                self._loop.remove_reader(self._pipe)
                os.close(self._pipe)
                self._pipe = -1
                return
            self._output = (self._output + chunk)[-OUTPUT_BYTES_MAX:]

    def _ended(self) -> None:
        assert self._child is not None
        self._read()
        self._kill()
        status = self._child.wait()
        self._stop()
        weight = None
        if status < 0:
            passed, words = False, f"ended by {signal.Signals(-status).name}"
        elif self._dynamic_weight and status >= WEIGHT_STATUS_MIN:
            weight = status - WEIGHT_STATUS_MIN
            passed, words = True, f"exit status {status}, weight {weight}"
        else:
            passed, words = status == 0, f"exit status {status}"
        said = f": {excerpt(self._output.strip())}" if self._output.strip() else ""
        self._conclude(passed, f"{words}{said}", True, weight)

    def _conclude(
        self, passed: bool, words: str, conclusive: bool, weight: int | None = None
    ) -> None:
        finished, self._finished = self._finished, None
        took_s = time.monotonic() - self._started_s
        if finished is not None:
            finished(
                ProbeResult(
                    passed=passed,
                    reason=f"{self._label}: {words} after {duration(took_s)}",
                    took_s=took_s,
                    conclusive=conclusive,
                    weight=weight,
                )
            )

    def _stop(self) -> None:
        """Kill the group, reap the program, close everything."""
        if self._child is not None:
            self._kill()
            self._child.wait()
        for descriptor in (self._pipe, self._pidfd):
            if descriptor >= 0:
                self._loop.remove_reader(descriptor)
                os.close(descriptor)
        self._pipe = self._pidfd = -1
        self._child = None

    def _kill(self) -> None:
        """Kill the group; what the program started may live on there after its own end."""
        assert self._child is not None
        if self._child.returncode is None:  # until it is reaped its number is nobody else's
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)


def _kill_strays(mark: str) -> None:
    """Kill what has left the group of its program, but still has the mark in its environment."""
    wanted = mark.encode()
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            with open(f"/proc/{entry.name}/environ", "rb") as file:
                marked = wanted in file.read(ENVIRONMENT_BYTES_MAX).split(b"\0")
            if marked:
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue  # gone, or not ours to see
