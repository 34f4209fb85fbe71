"""Run one program: bounded in time and output, with no one left behind.

A program runs in a session of its own. When its time is over, or the call is cancelled, its whole
process group is told to end and then killed. A daemon that a program started on purpose lives on:
after a call that ended by itself nothing is killed, and nobody waits for a daemon that keeps the
program's output open. The output goes to a memory file of fixed size, so that such a daemon neither
blocks, nor fills memory, nor dies of a closed pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

OUTPUT_BYTES_MAX: Final = 256 * 1024
KILL_GRACE_S: Final = 0.5
REAP_S: Final = 1.0  # a killed process that does not end sits in the kernel: go on without it
_OURS_ALONE: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ChildError(Exception):
    """The program cannot be started; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnd:
    """How a program ended. ``code`` None: its time was over, and it was ended."""

    code: int | None
    output: str


async def run_child(
    argv: Sequence[str], *, environment: Mapping[str, str], timeout_s: float, text: str = ""
) -> ChildEnd:
    """Run a program, with ``text`` as its input; return after at most about ``timeout_s``.

    Cancelling it ends the program's process group first.

    Raises:
        ChildError: it cannot be started.

    """
    with _output_file() as output:
        try:
            process = _start(argv, output, environment, text)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ChildError(f"{argv[0]}: {why}") from error
        try:
            async with asyncio.timeout(timeout_s):
                code = await _end_of(process)
        except TimeoutError:
            await _end_group(process)
            return ChildEnd(code=None, output=_read(output))
        except asyncio.CancelledError:
            await _end_group(process)
            raise
        return ChildEnd(code=code, output=_read(output))


def _start(
    argv: Sequence[str], output: int, environment: Mapping[str, str], text: str
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own.

    Not with asyncio, whose event loop forks: that copies the memory map of a process that has
    preloaded all of heartbus. This is vfork(2).
    """
    with contextlib.ExitStack() as stack:
        stdin = subprocess.DEVNULL
        if text:  # a file, not a pipe: it neither blocks us nor breaks when nobody reads
            stdin = os.memfd_create("heartbus-input", os.MFD_CLOEXEC)
            stack.callback(os.close, stdin)
            os.write(stdin, text.encode("utf-8", "surrogateescape"))
            os.lseek(stdin, 0, os.SEEK_SET)
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env={**_environment(), **environment},
        )


async def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to end, then kill what is left of it, also if we are cancelled."""
    try:
        _signal_group(process.pid, signal.SIGTERM)
        await _ended(process, timeout_s=KILL_GRACE_S)
    finally:
        # The leader may have ended at once and left others of its group: this is for them too.
        _signal_group(process.pid, signal.SIGKILL)
    await _ended(process, timeout_s=REAP_S)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


async def _ended(process: subprocess.Popen[bytes], *, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await _end_of(process)


async def _end_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for a child without a thread; return its exit code. Cancelling it leaves it running."""
    code = process.poll()
    if code is not None:
        return code
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(process.pid)
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()


@contextlib.contextmanager
def _output_file() -> Iterator[int]:
    """Give a file in memory that cannot grow: writing beyond its end fails, and harms no one."""
    descriptor = os.memfd_create("heartbus-child", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, OUTPUT_BYTES_MAX)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> str:
    written = os.lseek(descriptor, 0, os.SEEK_CUR)  # the program shares our position in the file
    return os.pread(descriptor, written, 0).decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    """Ours, without what the service manager meant for us, in the language of the status words."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS_ALONE}
    return {"PATH": _PATH, **kept, "LC_ALL": "C"}
