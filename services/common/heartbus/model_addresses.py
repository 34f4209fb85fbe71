"""The vocabulary of virtual IPs: one address, and how the network is told where it is.

Sans-I/O. Part of ``heartbus.model``, which is where to import it from.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

BURST_MAX: Final = 1000
"""Frames of one burst; what keepalived allows beyond that helps nobody."""

LABEL_CHARS_MAX: Final = 15
"""IFNAMSIZ - 1 of linux/if.h: a label is shown where older programs expect an interface."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressResource:
    """A virtual IP; haresources ``IPaddr::address/prefix/interface/broadcast`` and ``IPv6addr``.

    ``interface`` None: chosen by the route to the address. ``broadcast`` None: the highest
    address of the network. ``label``: the name of an alias (``eth0:1``), as ifconfig shows it.
    Both are of IPv4 only. ``source``: own connections may begin from this address of IPv6; without
    it they begin from another one where there is one, because a VIP may go at any time.
    """

    address: str
    prefix_len: int
    broadcast: str | None = None
    interface: str | None = None
    label: str | None = None
    source: bool = False

    @property
    def name(self) -> str:
        """``192.168.7.110/24``."""
        return f"{self.address}/{self.prefix_len}"

    @property
    def ipv6(self) -> bool:
        """Whether it is an address of IPv6."""
        return ":" in self.address


class AnnounceForm(enum.StrEnum):
    """In which form gratuitous ARP is sent; some devices listen to one of them only."""

    BOTH = "both"
    REQUEST = "request"
    REPLY = "reply"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceSettings:
    """How neighbours are told where an address is: by gratuitous ARP, or unsolicited NA for IPv6.

    ``burst`` frames are sent ``spacing_s`` apart (of IPv6: ``spacing_ipv6_s``, None: the same) when
    the address comes, and once more ``again_s`` after the first of them (0: not). While the address
    is held, ``refresh_burst`` frames follow every ``refresh_s`` (0: none). A frame waits until
    ``pacing_s`` (of IPv6: ``pacing_ipv6_s``, None: the same) have passed since the last one of its
    family on the same interface, of whichever address. keepalived: ``vrrp_garp_master_repeat``,
    ``vrrp_garp_interval`` and ``vrrp_gna_interval`` (pacing), ``vrrp_garp_master_delay``,
    ``vrrp_garp_master_refresh_repeat``, ``vrrp_garp_master_refresh``.
    """

    burst: int = 5
    spacing_s: float = 0.2
    spacing_ipv6_s: float | None = None
    pacing_s: float = 0.0
    pacing_ipv6_s: float | None = None
    again_s: float = 5.0
    refresh_s: float = 60.0
    refresh_burst: int = 1
    form: AnnounceForm = AnnounceForm.BOTH
