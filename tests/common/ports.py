"""Ports of loopback for servers that a test starts a moment later."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST: Final = 10_000
_CHANCE: Final = random.SystemRandom()
"""Not that of the module: hypothesis seeds it, so that two callers would draw the same ports."""
_given: Final[set[int]] = set()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, neither by TCP nor by UDP.

    They lie below those that the kernel gives to clients: until the server listens, no connection
    of another test can be given one. None is returned twice, as its server may be slow to start.
    """
    highest = int(RANGE.read_text().split()[0]) - 1
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            port = _CHANCE.randint(LOWEST, highest)
            if port in _given:
                continue
            with suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                datagram = held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                datagram.bind(("127.0.0.1", port))
                found.append(port)
                _given.add(port)
    return found


def free_port() -> int:
    """Return one of them."""
    return free_ports(1)[0]
