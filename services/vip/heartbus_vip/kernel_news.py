"""Hears from the kernel when an address goes, or when an interface changes (rtnetlink groups)."""

from __future__ import annotations

import errno
import socket
from typing import Final

from heartbus_vip import rtnetlink
from heartbus_vip.rtnetlink import News, RtnetlinkError

_GROUPS: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_SO_RCVBUFFORCE: Final = 33
_BUFFER_BYTES: Final = 1024 * 1024
"""Some thousand messages: an interface with hundreds of addresses may go at once."""
_DATAGRAM_BYTES_MAX: Final = 65536
DATAGRAMS_AT_ONCE_MAX: Final = 256
"""The rest is read in the next turn: refreshes of addresses come between."""


class KernelNews:
    """A socket of this network namespace; ``fileno`` becomes readable when there is news."""

    def __init__(self) -> None:
        """Open it; what happened before is not told.

        Raises:
            OSError: no such socket here.

        """
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except PermissionError:  # in a user namespace; then the queue overflows sooner, and is told
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind((0, _GROUPS))
        self._socket.setblocking(False)

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def fileno(self) -> int:
        """Return what becomes readable."""
        return self._socket.fileno()

    def read(self) -> list[News] | None:
        """Return what was told since the last call; None: more than could be kept. Never waits."""
        told: list[News] = []
        for _ in range(DATAGRAMS_AT_ONCE_MAX):
            try:
                told.extend(rtnetlink.news(self._socket.recv(_DATAGRAM_BYTES_MAX)))
            except BlockingIOError:
                break
            except RtnetlinkError:
                return None
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return None
        return told
