"""The keys of ``[vip]``, ``[[groups]]`` and of what these consist of; part of ``keys.py``'s table.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from heartbus.config.keys import Form, Key
from heartbus.model import AnnounceForm
from heartbus.model_addresses import BURST_MAX

_TEXT, _TIME, _INTEGER, _BOOLEAN = Form.TEXT, Form.TIME, Form.INTEGER, Form.BOOLEAN


def _key(path: str, form: Form, text: str, **more: Any) -> Key:
    return Key(path=path, form=form, text=text, **more)


def _announce(table: str) -> Iterator[Key]:
    """Yield the keys of a table that says how addresses are announced."""
    yield _key(
        f"{table}.burst",
        _INTEGER,
        "Frames when an address comes: gratuitous ARP, for IPv6 neighbour advertisements.",
        default="5",
        low=1,
        high=BURST_MAX,
        old="keepalived vrrp_garp_master_repeat",
    )
    yield _key(
        f"{table}.spacing",
        _TIME,
        "Between two of them; 0: all at once.",
        default="200ms",
        zero=True,
    )
    yield _key(
        f"{table}.spacing_ipv6",
        _TIME,
        "Between two of them for an address of IPv6.",
        default="as spacing",
        zero=True,
    )
    yield _key(
        f"{table}.pacing",
        _TIME,
        "Between any two frames on one interface, of whichever addresses; first frames come first.",
        default="0 s",
        zero=True,
        old="keepalived vrrp_garp_interval",
    )
    yield _key(
        f"{table}.pacing_ipv6",
        _TIME,
        "The same for those of IPv6, which wait for one another only.",
        default="as pacing",
        zero=True,
        old="keepalived vrrp_gna_interval",
    )
    yield _key(
        f"{table}.again",
        _TIME,
        "A second burst begins so long after the first one; 0: none.",
        default="5 s",
        zero=True,
        old="keepalived vrrp_garp_master_delay",
    )
    yield _key(
        f"{table}.refresh",
        _TIME,
        "How often they are sent again while the address is held; 0: never.",
        default="60 s",
        zero=True,
        old="keepalived vrrp_garp_master_refresh",
    )
    yield _key(
        f"{table}.refresh_burst",
        _INTEGER,
        "So many frames each of these times.",
        default="1",
        low=1,
        high=BURST_MAX,
        old="keepalived vrrp_garp_master_refresh_repeat",
    )
    yield _key(
        f"{table}.form",
        _TEXT,
        "Form of the ARP frames: request and reply in turns, or one of them only.",
        default="both",
        words=tuple(AnnounceForm),
    )


ADDRESS_KEYS: Final = (
    _key("vip", Form.TABLE, "How addresses are held and announced."),
    _key(
        "vip.lifetime",
        _INTEGER,
        "Kernel lifetime of an address in seconds: so long it outlives a hung director.",
        default="3",
        low=1,
        high=3600,
    ),
    _key("vip.refresh", _TIME, "How often the lifetime is renewed.", default="250ms"),
    _key("vip.script_timeout", _TIME, "Bound of one call of a resource script.", default="60 s"),
    _key(
        "vip.announce",
        Form.TABLE,
        "How the network is told where addresses are; again with a new epoch, after a repair and"
        " when an interface runs again.",
    ),
    *_announce("vip.announce"),
    _key(
        "groups",
        Form.TABLES,
        "What moves together, started in order and stopped in reverse.",
        default="none",
        old="haresources",
    ),
    _key("groups.name", _TEXT, "In events and commands.", default="the text of the first resource"),
    _key(
        "groups.sync",
        _TEXT,
        "Groups of the same sync move together, as one group of that name.",
        default="none",
    ),
    _key(
        "groups.preferred",
        _TEXT,
        "The director that holds it when there is a choice.",
        default=None,
        old="haresources",
    ),
    _key(
        "groups.resources",
        Form.RESOURCES,
        "Text as in haresources (`IPaddr::192.168.7.110/24`, `ldirectord::www`, `script::argument`)"
        " or tables with the keys below.",
        default=None,
        old="haresources",
    ),
    _key(
        "groups.announce",
        Form.TABLE,
        "How the addresses of this group are announced; stands for the whole of `[vip.announce]`.",
        default="as [vip.announce]",
    ),
    *_announce("groups.announce"),
    _key(
        "groups.resources.address",
        _TEXT,
        "A virtual IP with its prefix length: `192.168.7.110/24`, `2001:db8::110/64`.",
        default="another key",
        old="haresources IPaddr, IPaddr2, IPv6addr",
    ),
    _key(
        "groups.resources.mask",
        _TEXT,
        'Instead of the prefix length in the address: `"24"` or `"255.255.255.0"`.',
        default="in the address",
        old="haresources IPaddr",
    ),
    _key(
        "groups.resources.broadcast",
        _TEXT,
        "Its broadcast address; IPv4 only.",
        default="the highest address",
        old="haresources IPaddr",
    ),
    _key(
        "groups.resources.interface",
        _TEXT,
        "Where it is added.",
        default="the interface of the route to it",
        old="haresources IPaddr, IPv6addr",
    ),
    _key(
        "groups.resources.label",
        _TEXT,
        "Name of an alias, as ifconfig shows it: `eth0:1`; IPv4 only.",
        default="none",
        old="haresources IPaddr, IPaddr2",
    ),
    _key(
        "groups.resources.source",
        _BOOLEAN,
        "Own connections may begin from this address of IPv6.",
        default="false: from another one, where there is one",
    ),
    _key(
        "groups.resources.script",
        _TEXT,
        "A resource script, called with start, stop or status after its arguments.",
        default="another key",
        old="haresources",
    ),
    _key("groups.resources.arguments", Form.TEXTS, "Of the script.", default="none"),
    _key(
        "groups.resources.services",
        _TEXT,
        "Stands for the virtual services of this group, which are written below; reads no file.",
        default="another key",
        old="haresources ldirectord",
    ),
    _key(
        "groups.resources.saved_rules",
        _TEXT,
        "Stands for saved IPVS rules, which are written below; reads no file.",
        default="another key",
        old="haresources ipvsadm",
    ),
)
