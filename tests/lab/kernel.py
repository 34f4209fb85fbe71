"""A kernel with IPVS for one command: this one, or User-Mode Linux where this one has none.

User-Mode Linux is a Linux kernel that runs as an ordinary process, no root needed. Its root file
system is the host's (hostfs), so the virtual environment and the checkout are there as they are.
What the two sides tell each other lies in one directory under build/lab/:

    keep        directories that must stay visible in the guest, one a line     we write
    command     shell script that the guest runs                                we write
    exit-code   its exit code                                                   the guest writes
    kernel.log  messages of the kernel                                          the kernel writes
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
BUILD: Final = CHECKOUT / "build" / "lab"
INIT: Final = Path(__file__).resolve().with_name("init.sh")

EXIT_MACHINE: Final = 3
EXIT_TIME_LIMIT: Final = 124
EXIT_SIGNAL_BASE: Final = 128

GUEST_MEMORY_MAX: Final = 2 << 30
GUEST_MEMORY_MIN: Final = 512 << 20
SIGNAL_LOOK_S: Final = 0.2
STOP_MAX_S: Final = 10.0
COPY_BYTES: Final = 1 << 16
LOG_TAIL_LINES: Final = 15
PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h

PASSED_VARIABLES: Final = frozenset(
    {"PATH", "TERM", "COLORTERM", "NO_COLOR", "LANG", "LC_ALL", "COLUMNS", "LINES", "CI", "HOME"}
)
PASSED_PREFIXES: Final = ("HEARTBUS_", "PYTHON", "PYTEST_", "HYPOTHESIS_")


class LabKernelError(Exception):
    """The lab kernel cannot run; the message says why and what to do."""


def host_has_ipvs() -> bool:
    """Return whether this kernel has IPVS, loaded or as a module."""
    if Path("/proc/net/ip_vs").exists():
        return True
    modprobe = shutil.which("modprobe", path=_path_with_sbin())
    if modprobe is None:
        return False
    asked = subprocess.run([modprobe, "-n", "-q", "ip_vs"], check=False, capture_output=True)
    return asked.returncode == 0


def run(
    command: Sequence[str], *, force_uml: bool = False, time_limit_s: float | None = None
) -> int:
    """Run a command where IPVS is and return its exit code.

    124 says that the time limit was reached, 128 + N that signal N stopped it.

    Raises:
        LabKernelError: there is no kernel with IPVS here.

    """
    if force_uml or not host_has_ipvs():
        return run_in_uml(command, time_limit_s=time_limit_s)
    prefix: list[str] = []
    if os.geteuid() == 0:
        modprobe = shutil.which("modprobe", path=_path_with_sbin())
        if modprobe is not None and not Path("/proc/net/ip_vs").exists():
            subprocess.run([modprobe, "ip_vs"], check=False)
    else:
        prefix = _sudo()
    return _run_here([*prefix, *command], time_limit_s=time_limit_s, own_session=not prefix)


def run_in_uml(command: Sequence[str], *, time_limit_s: float | None = None) -> int:
    """Boot User-Mode Linux, run a command in it, and return the command's exit code.

    Raises:
        LabKernelError: User-Mode Linux is not installed or did not start.

    """
    linux = shutil.which("linux.uml")
    if linux is None:
        raise LabKernelError(
            "this kernel has no ip_vs and linux.uml (User-Mode Linux) is not installed: "
            "run make setup"
        )
    BUILD.mkdir(parents=True, exist_ok=True)
    _remove_stale_runs()
    run_dir = Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=BUILD))
    try:
        return _boot(linux, run_dir, command, time_limit_s=time_limit_s)
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


def _boot(linux: str, run_dir: Path, command: Sequence[str], *, time_limit_s: float | None) -> int:
    # What /tmp, /run or /dev would hide when the guest mounts its own there.
    kept = sorted({str(CHECKOUT), os.getcwd(), sys.prefix})
    hidden = tuple(f"{top}/" for top in ("/tmp", "/run", "/dev"))
    keep = [path for path in kept if path.startswith(hidden)]
    (run_dir / "keep").write_text("".join(f"{path}\n" for path in keep))
    (run_dir / "command").write_text(guest_script(command, os.environ, Path.cwd()))
    _adopt_orphans()
    environment = {"PATH": _path_with_sbin(), "HOME": str(run_dir)}
    memory_dir = _memory_dir()
    if memory_dir is not None:
        environment["TMPDIR"] = memory_dir
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    # Two consoles cannot share one input: the kernel registers each file descriptor once.
    nothing = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
    with (run_dir / "kernel.log").open("wb") as kernel_log:
        guest = subprocess.Popen(
            [
                # Should we be killed ourselves, the guest ends too (util-linux is always there).
                *("setpriv", "--pdeathsig", "KILL", "--", linux),
                f"mem={_guest_memory_bytes() >> 20}M",
                "rootfstype=hostfs",
                "rootflags=/",
                "rw",
                "quiet",
                "random.trust_cpu=on",
                f'init="{INIT}"',
                f'LAB_RUN="{run_dir}"',
                "con=null",
                "con0=fd:0,fd:1",
                f"con1=fd:{nothing[0]},fd:{out_write}",
                f"con2=fd:{nothing[1]},fd:{err_write}",
                "ssl=null",
            ],
            stdin=subprocess.DEVNULL,
            stdout=kernel_log,
            stderr=kernel_log,
            env=environment,
            pass_fds=(out_write, err_write, *nothing),
            start_new_session=True,
        )
    for descriptor in (out_write, err_write, *nothing):
        os.close(descriptor)
    deadline_s = None if time_limit_s is None else time.monotonic() + time_limit_s
    with _signals_noted() as noted:
        try:
            _copy_output({out_read: 1, err_read: 2}, guest, noted, deadline_s)
            ended = guest.poll() is not None
        finally:
            _kill_session(guest)
            os.close(out_read)
            os.close(err_read)
    if noted:
        return EXIT_SIGNAL_BASE + noted[0]
    if not ended:
        _say_time_limit(time_limit_s)
        return EXIT_TIME_LIMIT
    return _exit_code(run_dir)


def guest_script(command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> str:
    """Return the shell script that runs a command in the guest as it would run here.

    Standard output is a terminal in the guest exactly if it is one here.
    """
    lines = [
        f"export {name}={shlex.quote(value)}"
        for name, value in sorted(environment.items())
        if name in PASSED_VARIABLES or name.startswith(PASSED_PREFIXES)
    ]
    lines.append('export PATH="$PATH:/usr/sbin:/sbin"')
    lines.append("export HEARTBUS_LAB_KERNEL=1")
    lines.append(f"cd {shlex.quote(str(cwd))} || exit 1")
    if os.isatty(1):
        size = shutil.get_terminal_size()
        lines.append(f"stty -F /dev/tty1 cols {size.columns} rows {size.lines}")
        lines.append(f"export COLUMNS={size.columns} LINES={size.lines}")
        lines.append(f"exec {shlex.join(command)}")
    else:
        lines += [
            f"{{ {{ {shlex.join(command)}; echo $? >&4; }} 2>&3 | cat >&5; }} 3>&2 5>&1"
            " 4>/run/lab/exit-code",
            "exit $(cat /run/lab/exit-code)",
        ]
    return "".join(f"{line}\n" for line in lines)


def _run_here(command: Sequence[str], *, time_limit_s: float | None, own_session: bool) -> int:
    """Run a command in this kernel; as in the guest, nothing of its session outlives it.

    Under sudo it stays in our session: sudo may have to ask at the terminal, and takes Ctrl-C
    from there.
    """
    deadline_s = None if time_limit_s is None else time.monotonic() + time_limit_s
    _adopt_orphans()
    child = subprocess.Popen(command, start_new_session=own_session)

    def send(number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if own_session:
                os.killpg(child.pid, number)
            else:
                os.kill(child.pid, number)

    with _signals_noted() as noted:
        try:
            while child.poll() is None and not noted:
                if deadline_s is not None and time.monotonic() >= deadline_s:
                    _say_time_limit(time_limit_s)
                    return EXIT_TIME_LIMIT
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(SIGNAL_LOOK_S)
            if noted:
                send(noted[0])
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(STOP_MAX_S)
                return EXIT_SIGNAL_BASE + noted[0]
            code = child.returncode
            return code if code >= 0 else EXIT_SIGNAL_BASE - code
        finally:
            if own_session:
                _kill_session(child)
            elif child.poll() is None:
                send(signal.SIGTERM)
                child.wait()


def _say_time_limit(time_limit_s: float | None) -> None:
    print(f"lab kernel: stopped at the time limit of {time_limit_s:g} s", file=sys.stderr)


def _sudo() -> list[str]:
    if shutil.which("sudo") is None:
        raise LabKernelError(
            "this kernel has ip_vs, but using it needs root and sudo is not installed: "
            "run this as root, or use the lab kernel with --force-uml"
        )
    names = [n for n in os.environ if n in PASSED_VARIABLES or n.startswith(PASSED_PREFIXES)]
    print("sudo: network namespaces and IPVS of this kernel need root", file=sys.stderr)
    return ["sudo", f"--preserve-env={','.join(sorted(names))}", "--"]


def _copy_output(
    streams: Mapping[int, int],
    guest: subprocess.Popen[bytes],
    noted: list[int],
    deadline_s: float | None,
) -> None:
    """Copy what the guest prints until it ends, a signal arrives or the time is up."""
    with selectors.DefaultSelector() as selector:
        for source in streams:
            selector.register(source, selectors.EVENT_READ)
        pidfd = os.pidfd_open(guest.pid)
        try:
            selector.register(pidfd, selectors.EVENT_READ)
            while not noted:
                wait_s = None if deadline_s is None else deadline_s - time.monotonic()
                if wait_s is not None and wait_s <= 0:
                    return
                ready = [key.fd for key, _ in selector.select(_slice(wait_s))]
                for source in ready:
                    if source in streams and not _copy_once(source, streams[source]):
                        selector.unregister(source)
                if ready == [pidfd]:  # it has ended and there is nothing left to read
                    guest.wait()
                    return
        finally:
            os.close(pidfd)


def _slice(wait_s: float | None) -> float:
    # A signal interrupts select only if it arrives during it; look again soon.
    return SIGNAL_LOOK_S if wait_s is None else min(wait_s, SIGNAL_LOOK_S)


def _copy_once(source: int, target: int) -> bool:
    chunk = os.read(source, COPY_BYTES)
    while chunk:
        written = os.write(target, chunk)
        chunk = chunk[written:]
        if not chunk:
            return True
    return False


@contextlib.contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Note SIGINT, SIGTERM and SIGHUP instead of dying from them, so that the guest is ended."""
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)

    before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield noted
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _kill_session(guest: subprocess.Popen[bytes]) -> None:
    """Kill a session: the kernel of the guest and the host processes in which it runs others.

    All are in the process group that the first of them leads; we adopt them when it is gone.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(guest.pid, signal.SIGKILL)
    guest.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-guest.pid, 0)


def _remove_stale_runs() -> None:
    """Remove what runners that were killed have left: directories, and helpers of the guest.

    The helpers hold the guest's memory; they are known by the HOME that only we give them.
    """
    for stale in BUILD.glob("run-*-*"):
        if Path("/proc", stale.name.split("-")[1]).exists():
            continue
        home = f"HOME={stale}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_uml = (entry / "comm").read_text() == "linux.uml\n"
                if is_uml and home in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)
        shutil.rmtree(stale, ignore_errors=True)


def _adopt_orphans() -> None:
    """Become the parent of orphaned descendants, to wait for them (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _exit_code(run_dir: Path) -> int:
    try:
        return int((run_dir / "exit-code").read_text())
    except (FileNotFoundError, ValueError):
        log = (run_dir / "kernel.log").read_text(errors="replace").splitlines()
        tail = "\n".join(f"    {line}" for line in log[-LOG_TAIL_LINES:])
        raise LabKernelError(
            f"the lab kernel ended before its command did; its last messages:\n{tail}"
        ) from None


def _memory_dir() -> str | None:
    """Return where the guest's memory may lie, or None for its own choice.

    A file there is mapped executable, so a file system mounted noexec will not do.
    """
    shared = "/dev/shm"
    with contextlib.suppress(OSError):
        flags = os.statvfs(shared).f_flag
        if os.access(shared, os.W_OK) and not flags & os.ST_NOEXEC:
            return shared
    return None


def _guest_memory_bytes() -> int:
    """Return half of this machine's memory, within limits; unused pages cost nothing."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    total = int(found[1]) * 1024 if found else GUEST_MEMORY_MAX
    return max(GUEST_MEMORY_MIN, min(GUEST_MEMORY_MAX, total // 2))


def _path_with_sbin() -> str:
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
