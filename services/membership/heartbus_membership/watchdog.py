"""The watchdog device (Linux watchdog API, linux/watchdog.h): open, feed, disarm.

Once open it counts down and resets the host when nobody writes to it in time. Closing it without
the magic character leaves it counting: that is what a crash of membership does, on purpose.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
from typing import Final, Protocol

WDIOC_GETSUPPORT: Final = 0x80285700
WDIOC_SETTIMEOUT: Final = 0xC0045706
WDIOC_GETTIMEOUT: Final = 0x80045707
_INFO_BYTES: Final = 40  # struct watchdog_info
_INT: Final = struct.Struct("i")

DISARM: Final = b"V"
FEED: Final = b"\0"


class WatchdogError(Exception):
    """The device cannot be used; the text says what was tried and the system's reason."""


class Watchdog(Protocol):
    """A device that resets the host unless it is fed."""

    def open(self, timeout_s: int) -> int:
        """Arm it; return the timeout that it really counts, in seconds."""
        ...

    def feed(self) -> None:
        """Start its count anew."""
        ...

    def close(self, *, disarm: bool) -> None:
        """Close it; without ``disarm`` it goes on counting."""
        ...


class WatchdogDevice:
    """A device file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def open(self, timeout_s: int) -> int:
        """Arm it; return the timeout that it really counts, in seconds.

        Raises:
            WatchdogError: absent, busy, no watchdog, or not permitted.

        """
        self.close(disarm=False)
        try:
            # Not every device may be opened to see what it is: a tape would rewind.
            if not stat.S_ISCHR(os.stat(self._path).st_mode):
                raise WatchdogError(f"{self._path} is no device")
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise WatchdogError(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.ioctl(descriptor, WDIOC_GETSUPPORT, bytes(_INFO_BYTES))
        except OSError as error:
            os.close(descriptor)
            raise WatchdogError(f"{self._path} is no watchdog: {error.strerror}") from error
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # it may count a time of its own: that is asked next
            fcntl.ioctl(descriptor, WDIOC_SETTIMEOUT, _INT.pack(timeout_s))
        try:
            (counted_s,) = _INT.unpack(fcntl.ioctl(descriptor, WDIOC_GETTIMEOUT, _INT.pack(0)))
        except OSError as error:
            self.close(disarm=True)
            raise WatchdogError(
                f"{self._path} does not say how long it counts: {error.strerror}"
            ) from error
        self.feed()
        return int(counted_s)

    def feed(self) -> None:
        """Start its count anew.

        Raises:
            WatchdogError: the device is gone.

        """
        assert self._descriptor is not None
        try:
            os.write(self._descriptor, FEED)
        except OSError as error:
            self.close(disarm=False)
            raise WatchdogError(f"cannot write to {self._path}: {error.strerror}") from error

    def close(self, *, disarm: bool) -> None:
        """Close it; without ``disarm`` it goes on counting. Does nothing if it is not open.

        A driver loaded with ``nowayout`` goes on counting in any case.
        """
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        with contextlib.suppress(OSError):  # the device was pulled out: it counts no more
            if disarm:
                os.write(descriptor, DISARM)
        with contextlib.suppress(OSError):
            os.close(descriptor)
