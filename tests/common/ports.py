"""Ports of loopback for servers that a test starts a moment later."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST: Final = 10_000


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, neither by TCP nor by UDP.

    They lie below those that the kernel gives to clients: until the server listens, no connection
    of another test can be given one.
    """
    highest = int(RANGE.read_text().split()[0]) - 1
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            port = random.randint(LOWEST, highest)
            with suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                datagram = held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                datagram.bind(("127.0.0.1", port))
                found.append(port)
    return found


def free_port() -> int:
    """Return one of them."""
    return free_ports(1)[0]
