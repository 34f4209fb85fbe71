"""How much of a serial line the heartbeats of a configuration fill; the sizes are of docs/wire.md.

Sans-I/O. Each length is the greatest it can be while all configurations agree: while they do not,
a heartbeat has 25 bytes more, which the other half of the line has room for.
"""

from __future__ import annotations

import math
from typing import Final

from heartbus.model import Cluster, SerialLink

SHARE_MAX: Final = 0.5
"""Of the time of a line: the other half is for what is sent at once, when a claim changes."""
BITS_PER_BYTE: Final = 10
"""One start bit, eight of data, one stop bit."""
HEARTBEAT_BYTES: Final = 57
"""A heartbeat without name and groups, with the longest signature."""
GROUP_BYTES: Final = 18
"""Of each group: its claim, and the vote for it."""
PEER_BYTES: Final = 24
"""Of each other voter: its newest heartbeat that was heard."""
EXTENSION_BYTES: Final = 11
"""What is before the voters heard and the votes, and the ping nodes."""
FRAME_BYTES: Final = 8
"""Around a heartbeat on a line: two zeros, kind, hops, check sum."""
STUFFED_BYTES_MAX: Final = 254
"""One byte more for each begun run of this many."""


def frame_bytes(name: str, *, groups: int, others: int) -> int:
    """Return the bytes of one heartbeat of this director on a line, at most."""
    extension = EXTENSION_BYTES + others * PEER_BYTES
    content = FRAME_BYTES + HEARTBEAT_BYTES + len(name) + groups * GROUP_BYTES + extension
    return content + math.ceil(content / STUFFED_BYTES_MAX)


def bits_per_keepalive(cluster: Cluster) -> int:
    """Return what one direction of a line carries each keepalive, in bits on the line.

    With more than two voters and lines, each line also carries what is passed on of the others.
    """
    groups, others = len(cluster.groups), len(cluster.voters) - 1
    sizes = sorted(frame_bytes(v.name, groups=groups, others=others) for v in cluster.voters)
    lines = sum(isinstance(link, SerialLink) for link in cluster.membership.links)
    senders = max(1, len(sizes) - 1) if lines > 1 else 1
    return BITS_PER_BYTE * sum(sizes[-senders:])


def fits(bits: int, baud: int, keepalive_s: float) -> bool:
    """Whether a line has time for this every keepalive."""
    return bits <= SHARE_MAX * baud * keepalive_s
