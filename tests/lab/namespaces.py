"""Linux namespaces without a helper program: make them, do something inside, remove them.

Whatever runs "inside" runs in a short-lived thread that has entered the namespaces: setns(2) and
unshare(2) act on one thread, and a program started by that thread inherits them. So starting a
program in a host costs one fork and one exec, which matters in the lab kernel (40 to 100 ms each).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

NAMED: Final = Path("/run/netns")
KILL_MAX_S: Final = 5.0

# linux/sched.h and linux/mount.h
CLONE_FS: Final = 0x00000200
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWNET: Final = 0x40000000
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """Network, mount and host name of one lab host; held by open file descriptors.

    The network namespace also has a name, as ``ip netns`` shows it: people can look inside, and
    what a killed run left can be found again.
    """

    name: str
    net: int
    mount: int
    uts: int

    def call(self, function: Callable[[], T]) -> T:
        """Return ``function()``, called inside."""

        def entered() -> T:
            _check(_libc.unshare(CLONE_FS), "unshare(CLONE_FS)")  # setns(2): needed for mounts
            for descriptor, kind in (
                (self.net, CLONE_NEWNET),
                (self.uts, CLONE_NEWUTS),
                (self.mount, CLONE_NEWNS),
            ):
                _check(_libc.setns(descriptor, kind), f"setns into {self.name}")
            return function()

        return _in_thread(entered)

    def pids(self) -> list[int]:
        """Return every process inside, by its number outside."""
        return _pids_in(os.fstat(self.net).st_ino)

    def remove(self) -> None:
        """Kill everything inside and let go of the namespaces."""
        _kill_all(os.fstat(self.net).st_ino)
        for descriptor in (self.net, self.mount, self.uts):
            os.close(descriptor)
        _remove_name(NAMED / self.name)


def create(name: str, *, hostname: str, binds: dict[Path, Path]) -> Namespaces:
    """Make a network namespace with loopback, a mount namespace and a host name; no serial line.

    ``binds``: file outside -> path where the inside sees it instead.
    """

    def build() -> Namespaces:
        pinned = NAMED / name
        NAMED.mkdir(mode=0o755, parents=True, exist_ok=True)
        _check(_libc.unshare(CLONE_FS | CLONE_NEWNET | CLONE_NEWUTS), "unshare")
        pinned.touch(mode=0o444, exist_ok=False)
        _mount("/proc/thread-self/ns/net", str(pinned), None, MS_BIND)
        _check(_libc.unshare(CLONE_NEWNS), "unshare(CLONE_NEWNS)")
        _mount(None, "/", None, MS_REC | MS_PRIVATE)
        _mount("sysfs", "/sys", "sysfs", 0)  # /sys/class/net shows those of its namespace
        for device in Path("/dev").glob("watchdog*"):
            # Directors of the lab are killed: they must not arm what resets the machine.
            _mount(os.devnull, str(device), None, MS_BIND)
        for source, target in binds.items():
            _mount(str(source), str(target), None, MS_BIND)
        for line in Path("/dev").glob("ttyS*"):  # directors would talk to this machine's console
            _mount("/dev/null", str(line), None, MS_BIND)
        socket.sethostname(hostname)
        opened = [
            os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            for kind in ("net", "mnt", "uts")
        ]
        return Namespaces(name=name, net=opened[0], mount=opened[1], uts=opened[2])

    try:
        return _in_thread(build)
    except BaseException:
        _remove_name(NAMED / name)
        raise


def names() -> list[str]:
    """Return the names of all network namespaces that have one."""
    return sorted(path.name for path in NAMED.iterdir()) if NAMED.exists() else []


def remove_left_over(name: str) -> None:
    """Remove a named network namespace whose owner is gone, with everything that runs in it."""
    path = NAMED / name
    with contextlib.suppress(FileNotFoundError):
        # Only a mounted name identifies a namespace; a bare file's number belongs to the file.
        if os.path.ismount(path) or path.stat().st_dev != NAMED.stat().st_dev:
            _kill_all(path.stat().st_ino)
    _remove_name(path)


def started_ticks(pid: int) -> int | None:
    """Return when a process started (clock ticks since boot, proc(5) field 22), None if gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(re.sub(r"^.*\) ", "", stat, flags=re.DOTALL).split()[19])


def _pids_in(inode: int) -> list[int]:
    wanted = f"net:[{inode}]"
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):  # gone, or a zombie
                if os.readlink(f"/proc/{entry}/ns/net") == wanted:
                    found.append(int(entry))
    return found


def _kill_all(inode: int) -> None:
    deadline_s = time.monotonic() + KILL_MAX_S
    while pids := _pids_in(inode):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"processes {pids} in a lab host do not die from SIGKILL")
        time.sleep(0.005)


def _remove_name(path: Path) -> None:
    with contextlib.suppress(OSError):
        _check(_libc.umount2(os.fsencode(path), MNT_DETACH), f"umount {path}")
    path.unlink(missing_ok=True)


def _mount(source: str | None, target: str, fstype: str | None, flags: int) -> None:
    def encoded(text: str | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    result = _libc.mount(
        encoded(source), encoded(target), encoded(fstype), ctypes.c_ulong(flags), None
    )
    _check(result, f"mount {source or ''} on {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        hint = "; the lab needs root: make test and make demo provide it" if number == 1 else ""
        raise OSError(number, f"{what}: {os.strerror(number)}{hint}")


def _in_thread(function: Callable[[], T]) -> T:
    """Return ``function()``, called in a thread of its own, or raise what it raised."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body, name="lab-host")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


@contextlib.contextmanager
def removed_on_error(made: Namespaces) -> Iterator[None]:
    """Remove half-configured namespaces if the block fails."""
    try:
        yield
    except BaseException:
        made.remove()
        raise
