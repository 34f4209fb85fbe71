"""Send gratuitous ARP frames on an interface, from its own hardware address.

The socket receives nothing: it is bound to no protocol.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Final

from heartbus_vip.frames import ETHERTYPE_ARP, MAC_BYTES, ArpForm, gratuitous_arp

_SIOCGIFHWADDR: Final = 0x8927
_ARPHRD_ETHER: Final = 1
_INTERFACE_REQUEST = struct.Struct("16sH6s16x")  # ifreq: name, sockaddr family, hardware address


class AnnounceError(Exception):
    """A frame could not be sent; the message says which, where, and why."""


class Announcer:
    """One raw socket for all interfaces of this network namespace."""

    def __init__(self) -> None:
        """Open the socket.

        Raises:
            PermissionError: CAP_NET_RAW is missing.

        """
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def announce(self, *, address: str, interface: str, form: ArpForm) -> bool:
        """Send one frame; return False on an interface that has no ARP, such as a tunnel.

        The hardware address is asked for each time: a bond changes its own when it fails over.

        Raises:
            AnnounceError: the interface is gone or down.

        """
        try:
            request = _INTERFACE_REQUEST.pack(interface.encode(), 0, b"")
            answer = fcntl.ioctl(self._socket.fileno(), _SIOCGIFHWADDR, request)
            _name, kind, mac = _INTERFACE_REQUEST.unpack(answer)
            if kind != _ARPHRD_ETHER:
                return False
            frame = gratuitous_arp(address=address, mac=mac[:MAC_BYTES], form=form)
            self._socket.sendto(frame, (interface, ETHERTYPE_ARP))
        except OSError as error:
            raise AnnounceError(
                f"cannot announce {address} on {interface}: {error.strerror}"
            ) from error
        return True
