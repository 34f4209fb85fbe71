"""What a port of a Linux bridge lets pass, set over rtnetlink in one message.

A setting is one assignment in the kernel. Taking the port off the bridge, or rules of a packet
filter, would wait for the whole machine (RCU), some seconds in the lab kernel.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Final

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_bridge.h
NLMSG_HEADER: Final = struct.Struct("=IHHII")
NLM_F_REQUEST: Final = 1
NLM_F_ACK: Final = 4
RTM_SETLINK: Final = 19
IFLA_PROTINFO: Final = 12
NLA_F_NESTED: Final = 0x8000

STATE: Final = 1  # the IFLA_BRPORT_ attributes
LEARNING: Final = 8
UNICAST_FLOOD: Final = 9
FLUSH: Final = 24
MCAST_FLOOD: Final = 27
BCAST_FLOOD: Final = 30
LOCKED: Final = 39
DISABLED: Final = 0  # values of STATE
FORWARDING: Final = 3

Settings = Mapping[int, int | None]
"""Attribute -> one byte; None: an attribute that is an order by itself."""


def one_way(*, hears: bool, is_heard: bool) -> Settings:
    """Return settings by which a port passes packets only from its host, or only to it.

    A locked port (Linux 5.18) passes on only what comes from a MAC address that the bridge has
    learned there, and it learns none. A port without flooding gets only what is sent to such an
    address.
    """
    whole = hears and is_heard
    return {
        LEARNING: whole,
        LOCKED: not is_heard,
        UNICAST_FLOOD: hears,
        MCAST_FLOOD: hears,
        BCAST_FLOOD: hears,
        **({} if whole else {FLUSH: None}),
    }


def order(ports: Sequence[str], settings: Settings) -> None:
    """Set some ports of the bridges of this network namespace, all at the same moment.

    Raises:
        OSError: the kernel refuses, or there is no such port.

    """
    orders = b"".join(_message(socket.if_nametoindex(port), settings) for port in ports)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        route.send(orders)
        for _ in ports:
            answer = route.recv(4096)
            error = struct.unpack_from("=i", answer, NLMSG_HEADER.size)[0]
            if error:
                raise OSError(-error, f"bridge port: {os.strerror(-error)}")


def _message(index: int, settings: Settings) -> bytes:
    """Return RTM_SETLINK with IFLA_PROTINFO { IFLA_BRPORT_… }."""
    inner = b"".join(
        struct.pack("=HH", 4, name) if value is None else struct.pack("=HHB3x", 5, name, value)
        for name, value in settings.items()
    )
    nested = struct.pack("=HH", 4 + len(inner), IFLA_PROTINFO | NLA_F_NESTED) + inner
    body = struct.pack("=BxHiII", socket.AF_BRIDGE, 0, index, 0, 0) + nested
    flags = NLM_F_REQUEST | NLM_F_ACK
    return NLMSG_HEADER.pack(NLMSG_HEADER.size + len(body), RTM_SETLINK, flags, index, 0) + body
