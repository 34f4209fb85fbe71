"""Null-modem cables out of pseudo-terminals: what goes into one end comes out of the other."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import Callable
from pathlib import Path


class End:
    """One end of a cable; ``device`` is a link to its terminal while it is plugged in."""

    def __init__(self, device: Path) -> None:
        self.device = device
        self.master = -1
        self.slave = -1

    def plug(self) -> None:
        """Let the device be there."""
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.device.symlink_to(os.ttyname(self.slave))

    def unplug(self) -> None:
        """Let the device be gone; whoever has it open is hung up."""
        self.device.unlink()
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1


class Cable:
    """Carries bytes between two ends; ``carry`` may change, tear or lose them on their way."""

    def __init__(self, a: Path, b: Path) -> None:
        self.a, self.b = End(a), End(b)
        self.carry: Callable[[bytes], bytes] = bytes
        self.is_cut = False

    def open(self) -> None:
        """Plug both ends in."""
        for end in (self.a, self.b):
            self.plug(end)

    def plug(self, end: End) -> None:
        """Plug one end in, and join it with the other."""
        end.plug()
        asyncio.get_running_loop().add_reader(end.master, self._carry, end)

    def unplug(self, end: End) -> None:
        """Take the device of one end away."""
        asyncio.get_running_loop().remove_reader(end.master)
        end.unplug()

    def stop_reading(self, end: End) -> None:
        """Take nothing more out of this end: the line fills up."""
        asyncio.get_running_loop().remove_reader(end.master)

    def inject(self, end: End, noise: bytes) -> int:
        """Let noise come out of one end; return how much of it the terminal took."""
        try:
            return os.write(end.master, noise)
        except BlockingIOError:
            return 0

    def _carry(self, from_end: End) -> None:
        to = self.b if from_end is self.a else self.a
        content = self.carry(os.read(from_end.master, 4096))
        if to.master >= 0 and not self.is_cut:
            self.inject(to, content)

    def close(self) -> None:
        """Unplug what is plugged in."""
        for end in (self.a, self.b):
            if end.master >= 0:
                self.unplug(end)
