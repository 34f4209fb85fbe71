"""The firewall marks by which checks reach one real server through IPVS.

Sans-I/O. A check that goes by the VIP (``through_vip``) must land on one chosen real server. For
each the agent keeps a virtual service of its own, named by a mark, with this server alone; the
checker sets the mark on its packets. Both work out the same mark from names, so that they need not
talk, and a server that comes or goes changes that of no other, but where two share a slot.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from zlib import crc32

from heartbus.model import RealServerName, VirtualService, VirtualServiceName

PROBE_MARK_FIRST: Final = 0x68620000
"""``hb`` and sixteen bits."""
PROBE_MARKS: Final = 0x10000

ACCEPT_LOCAL_NOTE: Final = "accept_local"
"""In the runtime directory while the agent has set net.ipv4.conf.all.accept_local for such checks;
a new file each time, so that the checker can tell whether there was a moment without."""

Server = tuple[VirtualServiceName, RealServerName]


def probe_marks(services: Iterable[VirtualService]) -> dict[Server, int]:
    """Return the mark of each real server that is checked through the VIP.

    Raises:
        ValueError: more than PROBE_MARKS are.

    """
    servers = sorted(
        {(s.name, real.name) for s in services if s.check.through_vip for real in s.real_servers}
    )
    if len(servers) > PROBE_MARKS:
        raise ValueError(
            f"{len(servers)} real servers are checked through_vip; allowed is {PROBE_MARKS}"
        )
    taken: dict[int, Server] = {}
    for server in servers:
        slot = crc32("\n".join(server).encode()) % PROBE_MARKS
        while slot in taken:
            slot = (slot + 1) % PROBE_MARKS
        taken[slot] = server
    return {server: PROBE_MARK_FIRST + slot for slot, server in taken.items()}


def is_probe_mark(mark: int) -> bool:
    """Return whether a firewall mark is one of ours."""
    return PROBE_MARK_FIRST <= mark < PROBE_MARK_FIRST + PROBE_MARKS
