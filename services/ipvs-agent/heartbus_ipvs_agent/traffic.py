"""The kernel's counters and rates of one entry (IPVS_STATS_ATTR_… of linux/ip_vs.h).

Sans-I/O. Read when they are told and not with each dump: most of them never are. Every kernel since
4.1 has them in 64 bits, older ones in 32, which wrap.
"""

from __future__ import annotations

import struct
from typing import Final

from heartbus.events import Traffic
from heartbus_ipvs_agent import nlmsg

FIELDS: Final = 10
"""Connections, packets and bytes in and out, then the rates of the same."""

_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")


def decode(counters: bytes) -> Traffic | None:
    """Return what the kernel's bytes say; None if they say nothing that is known.

    Counters are for people and graphs: what cannot be read must not stop the agent.
    """
    values = [0] * (FIELDS + 1)
    try:
        for kind, payload in nlmsg.attributes(counters):
            if 1 <= kind <= FIELDS:
                number = _U64 if len(payload) == _U64.size else _U32
                values[kind] = number.unpack(payload)[0]
    except (nlmsg.WireError, struct.error):
        return None
    if not counters:
        return None
    return Traffic(
        connections=values[1],
        packets_in=values[2],
        packets_out=values[3],
        bytes_in=values[4],
        bytes_out=values[5],
        connections_per_s=values[6],
        packets_in_per_s=values[7],
        packets_out_per_s=values[8],
        bytes_in_per_s=values[9],
        bytes_out_per_s=values[10],
    )
