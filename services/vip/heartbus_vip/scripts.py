"""Call the programs of resources: one call, bounded in time and output, with no one left behind.

A program runs in a session of its own. When its time is over, or the call is cancelled, its whole
process group is told to end and then killed. A daemon that a script started on purpose lives on:
after a call that ended by itself nothing is killed, and nobody waits for a daemon that keeps the
script's output open. The output goes to a memory file of fixed size, so that such a daemon neither
blocks, nor fills memory, nor dies of a closed pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import xml.etree.ElementTree
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from heartbus.model import ScriptResource
from heartbus.resource_programs import NotFound, Program, ProgramKind, find_program
from heartbus_vip.resource import (
    ArgumentError,
    Command,
    ScriptEnd,
    ScriptResult,
    Verb,
    command,
)

OUTPUT_BYTES_MAX: Final = 256 * 1024
KILL_GRACE_S: Final = 0.5
REAP_S: Final = 1.0  # a killed process that does not end sits in the kernel: go on without it
META_DATA_S: Final = 10.0
PARAMETERS_MAX: Final = 200
_OURS_ALONE: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Programs:
    """Finds the program of each resource and calls it. ``root``: of units and agents."""

    def __init__(self, directories: Sequence[str], *, root: str = "/") -> None:
        self._directories, self._root = tuple(directories), root
        self._parameters: dict[str, tuple[str, ...]] = {}

    def find(self, name: str) -> Program | NotFound:
        """Return the program of this name as it is now: it may be installed at any time."""
        return find_program(name, self._directories, root=self._root)

    async def call(self, resource: ScriptResource, verb: Verb, *, timeout_s: float) -> ScriptResult:
        """Call a script, a unit or an agent; return how it ended, after about ``timeout_s``.

        Cancelling it ends the program's process group first.
        """
        program = self.find(resource.script)
        if isinstance(program, NotFound):
            return ScriptResult(end=ScriptEnd.MISSING, detail=program.tried)
        try:
            parameters = await self._parameters_of(program, resource)
            called = command(program, resource, verb, timeout_s=timeout_s, parameters=parameters)
        except ArgumentError as error:
            return ScriptResult(end=ScriptEnd.UNRUNNABLE, kind=program.kind, detail=str(error))
        return await run(called, kind=program.kind, timeout_s=timeout_s)

    async def _parameters_of(self, program: Program, resource: ScriptResource) -> tuple[str, ...]:
        """Ask an agent once what parameters it has; nothing if it does not say."""
        if program.kind is not ProgramKind.AGENT or not resource.arguments:
            return ()
        if program.path not in self._parameters:
            asked = Command(
                argv=(program.path, "meta-data"), environment={"OCF_ROOT": program.root}
            )
            result = await run(asked, kind=program.kind, timeout_s=META_DATA_S)
            self._parameters[program.path] = parameter_names(result.output)
        return self._parameters[program.path]


def parameter_names(meta_data: str) -> tuple[str, ...]:
    """Return the names of the parameters in an agent's meta-data; none if it is no XML."""
    start = meta_data.find("<resource-agent")  # some agents print a warning before it
    try:
        tree = xml.etree.ElementTree.fromstring(meta_data[max(start, 0) :])
    except xml.etree.ElementTree.ParseError:
        return ()
    names = [p.get("name", "") for p in tree.iterfind("./parameters/parameter")]
    return tuple(name for name in names[:PARAMETERS_MAX] if name)


async def run(
    called: Command, *, timeout_s: float, kind: ProgramKind = ProgramKind.SCRIPT, text: str = ""
) -> ScriptResult:
    """Run a command, with ``text`` as its input; return after at most about ``timeout_s``.

    Cancelling it ends its process group first.
    """
    argv = called.argv
    with _output_file() as output:
        try:
            process = _start(argv, output, called.environment, text)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            detail = f"{argv[0]}: {why}"
            return ScriptResult(end=ScriptEnd.UNRUNNABLE, kind=kind, detail=detail)
        try:
            async with asyncio.timeout(timeout_s):
                code = await _end_of(process)
        except TimeoutError:
            await _end_group(process)
            detail = f"{argv[0]} {argv[-1]} was ended after {timeout_s:g} s"
            return ScriptResult(
                end=ScriptEnd.TIMED_OUT, kind=kind, detail=detail, output=_read(output)
            )
        except asyncio.CancelledError:
            await _end_group(process)
            raise
        return ScriptResult(end=ScriptEnd.EXITED, kind=kind, code=code, output=_read(output))


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
    descriptor = os.memfd_create("heartbus-script", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, OUTPUT_BYTES_MAX)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> str:
    written = os.lseek(descriptor, 0, os.SEEK_CUR)  # the script shares our position in the file
    return os.pread(descriptor, written, 0).decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    """Ours, without what the service manager meant for us, in the language of the status words."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS_ALONE}
    return {"PATH": _PATH, **kept, "LC_ALL": "C"}
