"""Tell neighbours on an interface where an address is, from the interface's own hardware address.

The socket receives nothing: it is bound to no protocol.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Final

from heartbus_vip import sysctls
from heartbus_vip.frames import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV6,
    MAC_BYTES,
    ArpForm,
    gratuitous_arp,
    neighbour_advertisement,
)

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
        """Send one frame; return False on an interface that has no Ethernet, such as a tunnel.

        An address of IPv6 is told by a neighbour advertisement, which has one ``form`` only. The
        hardware address is asked for each time: a bond changes its own when it fails over.

        Raises:
            AnnounceError: the interface is gone or down.

        """
        try:
            request = _INTERFACE_REQUEST.pack(interface.encode(), 0, b"")
            answer = fcntl.ioctl(self._socket.fileno(), _SIOCGIFHWADDR, request)
            _name, kind, octets = _INTERFACE_REQUEST.unpack(answer)
            if kind != _ARPHRD_ETHER:
                return False
            mac = octets[:MAC_BYTES]
            if ":" in address:
                router = sysctls.forwards_ipv6(interface)
                frame = neighbour_advertisement(address=address, mac=mac, router=router)
                self._socket.sendto(frame, (interface, ETHERTYPE_IPV6))
            else:
                frame = gratuitous_arp(address=address, mac=mac, form=form)
                self._socket.sendto(frame, (interface, ETHERTYPE_ARP))
        except OSError as error:
            raise AnnounceError(
                f"cannot announce {address} on {interface}: {error.strerror}"
            ) from error
        return True
