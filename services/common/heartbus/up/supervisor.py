"""Start the processes of one director, restart what dies, stop them in order.

A plain loop over signals and one socket, without threads and without an event loop, because the
services are forked from this very process: it has imported their code already, so a killed
service is back in milliseconds instead of the half second that a new Python takes, and all of
them share the memory of what they imported. Children report READY and WATCHDOG as they do to
systemd. If this process itself is killed the kernel kills its children (PR_SET_PDEATHSIG): a
director without a supervisor is none, and its VIP leaves with its kernel lifetime.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Final, NoReturn

from heartbus.log import logger
from heartbus.restart import RestartPolicy
from heartbus.runner import EXIT_CONFIG, EXIT_DEFECT, EXIT_MACHINE, EXIT_OK, name_process
from heartbus.systemd import Notifier

STOP_PATIENCE_S: Final = 12.0
START_PATIENCE_S: Final = 60.0
WATCHDOG_S: Final = 15.0
"""A child whose event loop did not turn for this long is killed, and restarted."""

_PR_SET_PDEATHSIG: Final = 1
_SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_UCRED: Final = struct.Struct("iII")


@dataclass(slots=True, kw_only=True)
class Child:
    """One process to keep running. ``body`` runs in the forked child and returns its exit code.

    ``notifies``: it says READY and feeds the watchdog; one that does not counts as ready at once.
    ``needed``: the director cannot run where this one cannot, and is not ready before it is.
    """

    name: str
    body: Callable[[], int]
    notifies: bool = True
    needed: bool = True
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    pid: int | None = None
    ready: bool = False
    ever_ready: bool = False
    alive_s: float = 0.0
    start_at_s: float | None = 0.0
    kill_at_s: float | None = None
    reload_due: bool = False
    status: str = ""


class Supervisor:
    """Keeps ``children`` running; they start in the given order and stop in ``stop_order``."""

    def __init__(
        self,
        children: list[Child],
        *,
        stop_order: tuple[str, ...],
        watchdog_s: float = WATCHDOG_S,
        reload: Callable[[], tuple[str, ...]] | None = None,
        changed: Callable[[float], bool] | None = None,
    ) -> None:
        """``reload``: reads the configuration anew on SIGHUP; returns which children get one.

        ``changed``: says, of the monotonic time, whether to do so without a signal.
        """
        self._children = children
        self._watchdog_s = watchdog_s
        self._reload = reload
        self._changed = changed
        self._stop_order = [
            next(child for child in children if child.name == name) for name in stop_order
        ]
        self._log = logger(service="up")
        self._own_notifier = Notifier()
        self._stopping = False
        self._exit_code = EXIT_OK
        self._told_ready = False
        self._cannot_run = ""

    def run(self) -> int:
        """Run until told to stop, or until a child cannot run here; return the exit code."""
        with self._notify_socket() as notify, self._signals() as wakeup:
            os.environ["NOTIFY_SOCKET"] = "@" + notify.getsockname()[1:].decode()
            os.environ["WATCHDOG_USEC"] = str(int(self._watchdog_s * 1e6))
            gc.freeze()  # what is imported stays shared with the children
            while not (self._stopping and all(c.pid is None for c in self._children)):
                self._start_due()
                self._stop_next()
                self._kill_overdue()
                select.select([notify, wakeup], [], [], self._sleep_s())
                self._read_notifications(notify)
                self._read_signals(wakeup)
                self._reap(notify)
                if self._changed is not None and self._changed(time.monotonic()):
                    self._log.info("files.changed")
                    self._pass_reload_on()
        if self._cannot_run:  # last, where it is seen: the end of the others was told meanwhile
            print(f"heartbus up: {self._cannot_run}", file=sys.stderr, flush=True)  # noqa: T201
        return self._exit_code

    # --- starting --------------------------------------------------------------------------------

    def _start_due(self) -> None:
        for child in self._children:
            due = child.start_at_s is not None and child.start_at_s <= time.monotonic()
            if due and child.pid is None and not self._stopping:
                self._start(child)

    def _start(self, child: Child) -> None:
        now_s = time.monotonic()
        parent = os.getpid()
        # A signal to the newborn, before it has left our wake-up socket, would be read as ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            _become(child, parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        child.pid = pid
        child.start_at_s = None
        child.kill_at_s = None
        child.reload_due = False
        child.alive_s = now_s
        child.ready = not child.notifies
        child.ever_ready = child.ever_ready or child.ready
        child.policy.started(now_s=now_s)
        self._log.info("process.started", name=child.name, pid=pid)

    # --- stopping --------------------------------------------------------------------------------

    def _stop(self, code: int) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._exit_code = code
        for child in self._children:
            child.start_at_s = None
        self._own_notifier.stopping()

    def _stop_next(self) -> None:
        """Ask the next running child in the order to stop; the others wait for their turn."""
        if not self._stopping:
            return
        for child in self._stop_order:
            if child.pid is None:
                continue
            if child.kill_at_s is None:
                self._signal(child, signal.SIGTERM)
                child.kill_at_s = time.monotonic() + STOP_PATIENCE_S
            return

    def _kill_overdue(self) -> None:
        now_s = time.monotonic()
        for child in self._children:
            if child.pid is None:
                continue
            if child.kill_at_s is not None and now_s >= child.kill_at_s:
                self._log.warning("process.killed", name=child.name, reason="did not stop in time")
                self._signal(child, signal.SIGKILL)
                child.kill_at_s = now_s + STOP_PATIENCE_S
                continue
            patience_s = self._watchdog_s if child.ready else START_PATIENCE_S
            if child.notifies and now_s - child.alive_s > patience_s:
                reason = "watchdog" if child.ready else "not ready in time"
                self._log.error("process.killed", name=child.name, reason=reason)
                self._signal(child, signal.SIGKILL)
                child.alive_s = now_s

    def _signal(self, child: Child, number: signal.Signals) -> None:
        if child.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)

    # --- what happened ---------------------------------------------------------------------------

    def _reap(self, notify: socket.socket) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._read_notifications(notify)  # its last words, before its pid means nothing
            child = next((c for c in self._children if c.pid == pid), None)
            if child is not None:
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, code: int) -> None:
        child.pid = None
        child.ready = False
        if self._stopping:
            self._log.info("process.stopped", name=child.name, code=code)
            return
        if child.needed and not child.ever_ready and code in (EXIT_CONFIG, EXIT_MACHINE):
            self._log.error("process.cannot_run", name=child.name, code=code)
            self._cannot_run = f"{child.name} cannot run here: {child.status or 'see its log'}"
            self._stop(code)
            return
        delay_s = child.policy.ended(now_s=time.monotonic())
        child.start_at_s = time.monotonic() + delay_s
        self._log.warning("process.ended", name=child.name, code=code, restart_in_s=delay_s)

    def _read_notifications(self, notify: socket.socket) -> None:
        while True:
            try:
                text, ancillary, _flags, _address = notify.recvmsg(4096, socket.CMSG_SPACE(64))
            except BlockingIOError:
                return
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid = _UCRED.unpack_from(content)[0]
                    self._heard(pid, text.decode(errors="replace").splitlines())

    def _heard(self, pid: int, lines: list[str]) -> None:
        child = next((c for c in self._children if c.pid == pid), None)
        if child is None:
            return
        child.alive_s = time.monotonic()
        for line in lines:
            if line.startswith("STATUS="):
                child.status = line.removeprefix("STATUS=")
        if "READY=1" in lines and not child.ready:
            child.ready = child.ever_ready = True
            self._reload_if_due(child)
            self._log.info("process.ready", name=child.name, pid=pid)
            needed_ready = all(c.ready for c in self._children if c.needed)
            if needed_ready and not self._told_ready:
                self._told_ready = True
                self._log.info("director.ready")
                self._own_notifier.ready()

    def _read_signals(self, wakeup: socket.socket) -> None:
        try:
            numbers = wakeup.recv(4096)
        except BlockingIOError:
            return
        for number in numbers:
            if number in (signal.SIGTERM, signal.SIGINT):
                if self._stopping:
                    self._log.warning("director.killed", reason="told to stop twice")
                    for child in self._children:
                        self._signal(child, signal.SIGKILL)
                self._log.info("director.stopping", signal=signal.Signals(number).name)
                self._stop(EXIT_OK)
            elif number == signal.SIGHUP:
                self._pass_reload_on()

    def _pass_reload_on(self) -> None:
        told = self._reload() if self._reload is not None else ()
        for child in self._children:
            child.reload_due = child.name in told
            self._reload_if_due(child)

    def _reload_if_due(self, child: Child) -> None:
        """Send SIGHUP to a child that is ready: it would end one that has no handler for it yet."""
        if child.reload_due and child.ready:
            child.reload_due = False
            self._signal(child, signal.SIGHUP)

    def _sleep_s(self) -> float:
        now_s = time.monotonic()
        due = [t - now_s for c in self._children for t in (c.start_at_s, c.kill_at_s) if t]
        return max(0.0, min([1.0, *due]))

    # --- what it stands on -----------------------------------------------------------------------

    @contextlib.contextmanager
    def _notify_socket(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind("")  # the kernel gives it an abstract name of its own, unix(7)
            notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            notify.setblocking(False)
            yield notify

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        old_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        old = {number: signal.signal(number, _take_note) for number in _SIGNALS}
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in old.items():
                signal.signal(number, handler)
            reader.close()
            writer.close()


def exec_body(argv: list[str]) -> Callable[[], int]:
    """Return a child body that becomes another program."""

    def body() -> int:
        os.execv(argv[0], argv)

    return body


def _take_note(_number: int, _frame: FrameType | None) -> None:
    """Do nothing here: the wake-up socket carries the signal into the loop."""


def _become(child: Child, parent: int) -> NoReturn:
    """Be the child: own process group, so that Ctrl-C reaches us in order, and die with parent."""
    code = EXIT_DEFECT
    try:
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel knew our wish
            os._exit(EXIT_DEFECT)
        name_process(child.name)
        code = child.body()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else EXIT_DEFECT
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
