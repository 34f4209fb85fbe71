"""Serial heartbeat links: frames out and in over lines of 8 data bits, no parity, one stop bit.

A null-modem cable of three wires is enough: neither hardware nor software flow control is used. A
line is slow, so of each director only the newest heartbeat waits for it, and little of it in the
kernel. A device that is absent, taken or gone is tried again every second.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from heartbus.model import SerialLink
from heartbus_membership import serial_frames
from heartbus_membership.ip_sockets import words
from heartbus_membership.links import Received
from heartbus_membership.serial_frames import Deframer, Frame
from heartbus_membership.snapshot import LinkCondition

SPEEDS: Final = {
    9600: termios.B9600,
    19200: termios.B19200,
    38400: termios.B38400,
    57600: termios.B57600,
    115200: termios.B115200,
    230400: termios.B230400,
    460800: termios.B460800,
}
READ_BYTES: Final = 4096
READS_MAX: Final = 16
"""In one turn; the kernel calls again while there is more."""
QUEUED_BYTES_MAX: Final = 256
"""In the kernel: a quarter of a second at 9600 baud. What waits here instead can be replaced."""
BITS_PER_BYTE: Final = 10
RETRY_MIN_S: Final = 0.01
RETRY_FULL_S: Final = 0.25
"""While the kernel takes nothing more at all."""
FINISH_MAX_S: Final = 0.5
"""At the end, for the heartbeats that say that we leave."""
REMEMBERED_S: Final = 10.0
NOISE_FRAMES_MIN: Final = 8
"""So many broken frames without a good one between are the wrong speed or no heartbeats."""

_OURS: Final = ""
_BEHIND: Final = "line-behind"
_NOISE: Final = "line-noise"
_INT: Final = struct.Struct("=i")
_WHAT_TO_DO: Final = {
    errno.EACCES: "; put our user into the group of the device, usually dialout",
    errno.EBUSY: "; another program uses it",
    errno.ENOTTY: "; it is no serial device",
}


class _Line:
    """One serial line. ``waiting``: the newest frame of each director that is not written yet."""

    def __init__(self, link: SerialLink) -> None:
        self.name = link.name
        self.lost: Counter[str] = Counter()
        self._device = link.device
        self._baud = link.baud
        self._readable: Callable[[], None] = lambda: None
        self._fd: int | None = None
        self._problem: str | None = None
        self._deframer = Deframer()
        self._noise_frames = 0
        self._behind_s = float("-inf")
        self._waiting: dict[str, bytes] = {}
        self._rest = b""
        self._retry: asyncio.TimerHandle | None = None

    # --- the device ------------------------------------------------------------------------------

    def open(self, readable: Callable[[], None]) -> None:
        """Open the device if it is closed; a failure is the problem of this line."""
        self._readable = readable
        if self._fd is not None:
            return
        try:
            self._fd = _open_device(self._device, self._baud)
        except OSError as error:
            hint = _WHAT_TO_DO.get(error.errno or 0, "")
            self._problem = f"{self._device}: {words(error)}{hint}"
            return
        self._problem = None
        self._deframer = Deframer()
        self._noise_frames = 0
        self._rest = b""
        asyncio.get_running_loop().add_reader(self._fd, readable)

    def close(self, problem: str) -> None:
        """Close the device because of a problem; what waits is forgotten."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._waiting.clear()
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            _close_device(self._fd)
        self._fd = None
        self._problem = problem

    @property
    def condition(self) -> LinkCondition:
        """Whether the line can be sent on, and what is wrong with it."""
        problem = self._problem
        if problem is None and self._noise_frames >= NOISE_FRAMES_MIN:
            problem = f"only noise arrives; is the other end set to {self._baud} baud?"
        elif problem is None and time.monotonic() - self._behind_s < REMEMBERED_S:
            problem = "the line is behind: heartbeats are dropped"
        return LinkCondition(name=self.name, usable=self._fd is not None, problem=problem)

    # --- out -------------------------------------------------------------------------------------

    def send(self, origin: str, frame: Frame) -> None:
        """Write a frame, or let it wait in the place of an older one of the same director."""
        if self._fd is None:
            return
        if origin in self._waiting:
            self.lost[_BEHIND] += 1
            if origin == _OURS:
                self._behind_s = time.monotonic()
        self._waiting[origin] = serial_frames.encode(frame)
        self._flush()

    def _flush(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        try:
            retry_s = self._write()
        except OSError as error:
            self.close(f"{self._device}: {words(error)}")
            return
        if retry_s is not None:
            self._retry = asyncio.get_running_loop().call_later(retry_s, self._flush)

    def _write(self) -> float | None:
        """Write what the line has room for; return when to go on, None: all is written."""
        assert self._fd is not None
        while self._rest or self._waiting:
            queued = _queued_bytes(self._fd)
            if queued > QUEUED_BYTES_MAX:
                drained_s = (queued - QUEUED_BYTES_MAX) * BITS_PER_BYTE / self._baud
                return max(drained_s, RETRY_MIN_S)
            if not self._rest:
                self._rest = self._waiting.pop(next(iter(self._waiting)))
            try:
                written = os.write(self._fd, self._rest)
            except (BlockingIOError, InterruptedError):
                return RETRY_FULL_S
            self._rest = self._rest[written:]
        return None

    def is_finished(self) -> bool:
        """Write on; whether nothing is left to be sent, in the kernel neither."""
        if self._fd is None:
            return True
        self._flush()
        return self._fd is None or (
            not self._rest and not self._waiting and _queued_bytes(self._fd) == 0
        )

    # --- in --------------------------------------------------------------------------------------

    def drain(self) -> list[Received]:
        """Return the frames that have arrived whole."""
        found: list[Received] = []
        for _ in range(READS_MAX):
            if self._fd is None:
                break
            try:
                chunk = os.read(self._fd, READ_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self.close(f"{self._device}: {words(error)}")
                break
            if not chunk:
                self.close(f"{self._device}: hung up")
                break
            found += self._take(chunk)
        return found

    def _take(self, chunk: bytes) -> list[Received]:
        damaged = self._deframer.damaged
        frames = self._deframer.feed(chunk)
        damaged = self._deframer.damaged - damaged
        if damaged:
            self.lost[_NOISE] += damaged
        self._noise_frames = 0 if frames else self._noise_frames + damaged
        return [
            Received(datagram=frame.datagram, link=self.name, source=self._device, hops=frame.hops)
            for frame in frames
        ]


class SerialLinks:
    """The configured serial lines of this host; our heartbeats may pass ``hops`` lines."""

    def __init__(self, links: Sequence[SerialLink], *, hops: int) -> None:
        self._lines = [_Line(link) for link in links]
        self._hops = hops
        self._readable: Callable[[], None] = lambda: None

    def open(self, readable: Callable[[], None]) -> None:
        """Open the devices that are there; ``readable`` is called when bytes wait."""
        self._readable = readable
        for line in self._lines:
            line.open(readable)

    def send(self, datagram: bytes) -> None:
        """Send one datagram of ours on every line; never raises, never waits."""
        for line in self._lines:
            line.send(_OURS, Frame(datagram=datagram, hops=self._hops))

    def relay(self, datagram: bytes, *, origin: str, heard_on: str, hops: int) -> None:
        """Pass a datagram of the director ``origin`` on to the lines it did not come over."""
        for line in self._lines:
            if line.name != heard_on:
                line.send(origin, Frame(datagram=datagram, hops=hops))

    def drain(self) -> list[Received]:
        """Return what has arrived; never waits."""
        return [received for line in self._lines for received in line.drain()]

    async def repair(self) -> None:
        """Open again what is closed."""
        for line in self._lines:
            line.open(self._readable)

    def conditions(self) -> tuple[LinkCondition, ...]:
        """Return the condition of each line."""
        return tuple(line.condition for line in self._lines)

    def dropped(self) -> Mapping[str, int]:
        """Return how many frames were noise, and how many of ours the lines had no time for."""
        counts: Counter[str] = Counter()
        for line in self._lines:
            counts.update(line.lost)
        return counts

    def close(self) -> None:
        """Close the devices, when our last words are out or FINISH_MAX_S have passed."""
        until_s = time.monotonic() + FINISH_MAX_S
        unfinished = self._lines
        while unfinished and time.monotonic() < until_s:
            unfinished = [line for line in unfinished if not line.is_finished()]
            time.sleep(RETRY_MIN_S if unfinished else 0)
        for line in self._lines:
            line.close("closed")


def _open_device(device: str, baud: int) -> int:
    """Return a serial device, ours alone, raw and not blocking.

    Raises:
        OSError: it is absent, taken, no serial device, or cannot be so fast.

    """
    fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _take_alone(fd)
        _make_raw(fd, baud)
        termios.tcflush(fd, termios.TCIOFLUSH)
    except termios.error as error:
        os.close(fd)
        raise OSError(*error.args) from error
    except OSError:
        os.close(fd)
        raise
    return fd


def _take_alone(fd: int) -> None:
    """Keep others out: TIOCEXCL for those without privilege, flock(2) for a second heartbus."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY)) from error
    fcntl.ioctl(fd, termios.TIOCEXCL)


def _make_raw(fd: int, baud: int) -> None:
    speed = SPEEDS[baud]
    *_, special = termios.tcgetattr(fd)
    special[termios.VMIN] = 1  # with 0 an empty line could not be told from a hung-up one
    special[termios.VTIME] = 0
    flags = termios.CS8 | termios.CREAD | termios.CLOCAL
    wanted = [termios.IGNBRK, 0, flags, 0, speed, speed, special]
    termios.tcsetattr(fd, termios.TCSANOW, wanted)
    if termios.tcgetattr(fd)[4:6] != [speed, speed]:
        raise OSError(errno.EINVAL, f"it cannot send {baud} baud")


def _close_device(fd: int) -> None:
    with contextlib.suppress(OSError, termios.error):  # it may be gone already
        termios.tcflush(fd, termios.TCOFLUSH)  # or close(2) waits for a line that is stuck
    os.close(fd)


def _queued_bytes(fd: int) -> int:
    queued: int = _INT.unpack(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(_INT.size)))[0]
    return queued
