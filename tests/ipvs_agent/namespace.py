"""A network namespace, and with it an IPVS table, that exists for one block of code."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

CLONE_NEWNET: Final = 0x40000000


@contextmanager
def fresh_network_namespace() -> Iterator[None]:
    """Run the body in a new network namespace; this thread and what it starts are in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot make a network namespace")
        # Until lo was up once the kernel takes no address for a unicast one.
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        back = libc.setns(home, CLONE_NEWNET)
        os.close(home)
        if back != 0:
            raise OSError(ctypes.get_errno(), "cannot return to our network namespace")
