"""Reads the addresses of keepalived.conf, and how keepalived announces them.

Sans-I/O. keepalived has the times of announcements in ``global_defs`` (``vrrp_garp_…``), in a
vrrp_instance (``garp_…``) and, between frames, in a ``garp_group`` of interfaces.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from heartbus.config.keepalived_blocks import Block
from heartbus.config.keepalived_services import left_out
from heartbus.config.report import Report, shown
from heartbus.config.resources import label_of
from heartbus.config.validate_addresses import SPACING_MAX_S
from heartbus.config.values import TIME_MAX_S, BadValueError, bad, integer, interface, ip, ipv4
from heartbus.model import AddressResource, AnnounceSettings
from heartbus.model_addresses import BURST_MAX

_COUNT_MAX: Final = 0xFFFFFFFF
_FLAGS: Final = frozenset(
    {"home", "-nodad", "nodad", "mngtmpaddr", "noprefixroute", "autojoin", "no_track"}
)
"""Words of an address that have no value."""
_PREFIX_VRRP: Final = "vrrp_"


class Announcements:
    """What the file says of announcements, for all instances and for each.

    Take in ``global_defs`` and ``garp_group`` before the instances.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self.everywhere = AnnounceSettings()
        self._of_interface: dict[str, dict[str, Any]] = {}

    def global_defs(self, block: Block) -> None:
        """Take in what global_defs says of announcements; the rest has no counterpart."""
        fields: dict[str, Any] = {}
        for line in block.inner:
            name = line.name.removeprefix(_PREFIX_VRRP)
            known = line.name.startswith(_PREFIX_VRRP) and self._take(name, line, fields)
            if not known:
                left_out(line, self._report)
        self.everywhere = replace(self.everywhere, **fields)

    def garp_group(self, block: Block) -> None:
        """Take in times between frames that are those of some interfaces."""
        fields: dict[str, Any] = {}
        interfaces: list[str] = []
        for line in block.inner:
            if line.name in ("interface", "interfaces"):
                interfaces += line.values
                interfaces += [word for each in line.inner for word in each.words]
            elif not self._take(line.name, line, fields):
                left_out(line, self._report)
        for name in interfaces:
            self._of_interface.setdefault(name, {}).update(fields)

    def instance(self, lines: Iterable[Block], nic: str | None) -> AnnounceSettings | None:
        """Return the settings of an instance on an interface; None: those of all."""
        fields = dict(self._of_interface.get(nic or "", {}))
        for line in lines:
            self._take(line.name, line, fields)
        return replace(self.everywhere, **fields) if fields else None

    def _take(self, name: str, line: Block, fields: dict[str, Any]) -> bool:
        """Read one statement into ``fields``; return False if it is none of announcements."""
        if name in _LOWER_PRIORITY:
            self._report.note(
                line.place,
                "not needed: whenever somebody else held an address too, the burst is sent again",
            )
            return True
        if name not in _READERS:
            return False
        field, read = _READERS[name]
        try:
            fields[field] = read(line.words[1] if len(line.words) > 1 else "")
        except BadValueError as error:
            self._report.error(line.place, str(error))
        return True


def _seconds(most_s: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if 0 <= seconds <= most_s:
            return seconds
        raise bad(text, f"seconds from 0 to {most_s:g}, such as 5 or 0.001")

    return read


def _frames(text: str) -> int:
    """Return a number of frames; keepalived takes 0 for 1."""
    return min(BURST_MAX, max(1, integer(text, 0, _COUNT_MAX)))


_READERS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "garp_master_repeat": ("burst", _frames),
    "garp_master_delay": ("again_s", _seconds(TIME_MAX_S)),
    "garp_master_refresh": ("refresh_s", _seconds(TIME_MAX_S)),
    "garp_master_refresh_repeat": ("refresh_burst", _frames),
    "garp_interval": ("pacing_s", _seconds(SPACING_MAX_S)),
    "gna_interval": ("pacing_ipv6_s", _seconds(SPACING_MAX_S)),
}
_LOWER_PRIORITY: Final = ("garp_lower_prio_delay", "garp_lower_prio_repeat")

STATEMENTS: Final = frozenset({*_READERS, *_LOWER_PRIORITY})
"""Statements of a vrrp_instance that are read here."""


def address(line: Block, nic: str | None, report: Report) -> AddressResource | None:
    """Return one line of ``virtual_ipaddress``; ``nic``: the interface of its instance."""
    text, slash, length = line.name.partition("/")
    try:
        canonical = ip(text)
        bits = 128 if ":" in canonical else 32
        if slash and not (length.isdecimal() and 1 <= int(length[:4]) <= bits):
            raise BadValueError(f"{shown(length)} is no prefix length; allowed is 1 to {bits}")
        prefix_len = int(length) if slash else bits
        options = _options(line, report)
        broadcast = options.get("brd") or options.get("broadcast")
        return AddressResource(
            address=canonical,
            prefix_len=prefix_len,
            broadcast=_broadcast(broadcast, canonical, prefix_len),
            interface=interface(options["dev"]) if "dev" in options else nic,
            label=label_of(options["label"]) if "label" in options else None,
        )
    except BadValueError as error:
        report.error(line.place, str(error))
        return None


def _options(line: Block, report: Report) -> dict[str, str]:
    found: dict[str, str] = {}
    words = iter(line.words[1:])
    for word in words:
        if word in _FLAGS:
            continue
        value = next(words, None)
        if value is None:
            raise bad(word, "a name and its value, such as dev eth0")
        if word in ("brd", "broadcast", "dev", "label"):
            found[word] = value
        else:
            report.warning(line.place, f"{shown(f'{word} {value}')} of an address is left out")
    return found


def _broadcast(text: str | None, canonical: str, prefix_len: int) -> str | None:
    """Return the broadcast address; as in ip-address(8), ``+`` is the highest, ``-`` the lowest."""
    if text is None or text == "+":
        return None
    if text == "-":
        network = ipaddress.ip_network((canonical, prefix_len), strict=False)
        return str(network.network_address)
    return ipv4(text)
