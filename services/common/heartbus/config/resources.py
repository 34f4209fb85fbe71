"""Reads one resource in haresources form: an address, saved rules, checked services or a script.

Sans-I/O. Used by haresources and by the lists of strings in the TOML form.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Final

from heartbus.config.report import shown
from heartbus.config.values import BadValueError, bad, integer, interface, ip, ipv4, prefix_len
from heartbus.model import (
    AddressResource,
    CheckedServicesResource,
    Resource,
    SavedRulesResource,
    ScriptResource,
)
from heartbus.model_addresses import LABEL_CHARS_MAX
from heartbus.resource_programs import BUILT_IN

ADDRESS_SCRIPTS: Final = ("IPaddr", "IPaddr2")
LDIRECTORD_FILE_DEFAULT: Final = "ldirectord.cf"
PREFIX_LEN_DEFAULT: Final = 32
PREFIX_LEN6_MAX: Final = 128

Say = Callable[[str], None]
"""Takes a warning about the resource that is being read."""

_BARE_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+", re.ASCII)
_LABEL = re.compile(r"[^\s/\x00-\x1f\x7f]+")
_DELAY = re.compile(r"([0-2]?\d{1,3}|3[0-5]\d\d|3600)(\.\d{1,3})?", re.ASCII)
_SYNCID = re.compile(r"\d{1,3}", re.ASCII)
_SERVICE = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
SYNCID_MAX: Final = 255
_SCRIPT = re.compile(r"[^\s/\x00-\x1f]+")


def parse_resource(text: str, say: Say) -> Resource:
    """Return the resource.

    Raises:
        BadValueError: it is none; the text says why and what is allowed.

    """
    if _is_bare_ipv6(text):
        return _address6(text, say)
    script, colons, rest = text.partition("::")
    if script == "IPv6addr" or (script in ADDRESS_SCRIPTS and _is_ipv6(rest.partition("/")[0])):
        return _address6(rest, say)
    arguments = rest.split("::") if colons else []
    if _BARE_ADDRESS.match(text):
        return _address(text, say)
    if script in ADDRESS_SCRIPTS:
        if len(arguments) > 1:
            say(f"arguments after {shown(arguments[0])} are left out")
        return _address(arguments[0] if arguments else "", say)
    if script == "ipvsadm":
        if arguments:
            say("arguments of ipvsadm are left out")
        return SavedRulesResource()
    if script == "ldirectord":
        if len(arguments) > 1:
            say(f"arguments after {shown(arguments[0])} are left out")
        return CheckedServicesResource(file=arguments[0] if arguments else LDIRECTORD_FILE_DEFAULT)
    resource = ScriptResource(script=script_name(script), arguments=tuple(arguments))
    if script in BUILT_IN:
        _built_in(resource)
    return resource


def script_name(text: str) -> str:
    """Return the name of a resource script: a file in one of the directories for them."""
    if not _SCRIPT.fullmatch(text) or text in (".", ".."):
        raise bad(text, "the name of a resource script, without /")
    return text


def _address(text: str, say: Say) -> AddressResource:
    """Return ``ip[/mask[/nic][/bcast]]``; a part that starts with a digit is the broadcast."""
    address, *parts = text.split("/")
    if not address:
        raise BadValueError("an address is missing; allowed is IPaddr::192.168.7.110/24")
    canonical = ipv4(address)
    if not parts:
        # Heartbeat takes mask and interface from the route when it starts. The interface is still
        # chosen so; a guessed mask could add a wrong route, a host address adds none.
        length = PREFIX_LEN_DEFAULT
        say(
            f"no prefix length after {canonical}: Heartbeat takes it from the route, here it is"
            f" /{length}, which adds no route; write {canonical}/24 to say it"
        )
        return AddressResource(address=canonical, prefix_len=length)
    length = prefix_len(parts[0])
    nic: str | None = None
    label: str | None = None
    broadcast: str | None = None
    rest = parts[1:]
    if rest and not rest[0][:1].isdecimal():
        alias = rest.pop(0)
        nic = interface(alias.partition(":")[0])
        label = label_of(alias) if ":" in alias else None
    if rest:
        broadcast = ipv4(rest.pop(0))
    if rest:
        raise bad(text, "address/prefix, then an interface, then a broadcast address")
    return AddressResource(
        address=canonical, prefix_len=length, broadcast=broadcast, interface=nic, label=label
    )


def _address6(text: str, say: Say) -> AddressResource:
    """Return ``address[/prefix[/nic]]`` of IPv6addr; ``::`` in it is part of the address."""
    address, *parts = text.split("/")
    if len(parts) > 2:
        raise bad(text, "IPv6addr::address/prefix/interface")
    if not _is_ipv6(address):
        raise bad(address, "an IPv6 address such as 2001:db8::110")
    canonical = ip(address)
    if parts:
        length = prefix_of(canonical, parts[0])
    else:
        length = PREFIX_LEN6_MAX
        say(
            f"no prefix length after {canonical}: here it is /{length}, which adds no route; write"
            f" {canonical}/64 to say it"
        )
    nic = interface(parts[1]) if len(parts) > 1 else None
    return AddressResource(address=canonical, prefix_len=length, interface=nic)


def prefix_of(address: str, text: str) -> int:
    """Return the prefix length of an address: a number, of IPv4 a dotted quad too."""
    return integer(text, 1, PREFIX_LEN6_MAX) if ":" in address else prefix_len(text)


def label_of(text: str) -> str:
    """Return the label of an address, the name of an alias: ``eth0:1``."""
    if len(text) <= LABEL_CHARS_MAX and _LABEL.fullmatch(text) and not text.endswith(":"):
        return text
    raise bad(text, f"a label such as eth0:1, at most {LABEL_CHARS_MAX} characters")


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _is_bare_ipv6(text: str) -> bool:
    """Whether this is an address of IPv6 and no script: ``fe::1`` could be a script ``fe``.

    An address has a prefix length after it, or a colon that is not part of a pair.
    """
    address, slash, rest = text.partition("/")
    single = ":" in address.replace("::", "")
    return _is_ipv6(address) and (single or (bool(slash) and rest[:1].isdecimal()))


def _built_in(resource: ScriptResource) -> None:
    """Refuse arguments that what is built in could only fail with when it is started."""
    arguments = resource.arguments
    first = arguments[0] if arguments else ""
    allowed: str | None = None
    match resource.script:
        case "Delay":
            if not (0 < len(arguments) < 3 and all(_DELAY.fullmatch(a) for a in arguments)):
                allowed = "Delay::start or Delay::start::stop, each in seconds, 3600 at most"
        case "LVSSyncDaemonSwap":
            syncid = arguments[2] if len(arguments) > 2 else "0"
            known = first in ("master", "backup") and len(arguments) < 4
            if not (known and _SYNCID.fullmatch(syncid) and int(syncid) <= SYNCID_MAX):
                allowed = "LVSSyncDaemonSwap::master or ::backup, then ::interface::syncid (0-255)"
            elif len(arguments) > 1:
                interface(arguments[1])
        case "SendArp":
            address, _slash, nic = first.partition("/")
            if not nic:
                allowed = "SendArp::address/interface"
            else:
                ipv4(address)
                interface(nic.partition("/")[0])
        case "IPsrcaddr":
            ip(first.partition("/")[0])
        case "MailTo":
            if not first or first.startswith("-") or len(arguments) > 2:
                allowed = "MailTo::address or MailTo::address::subject"
        case "Xinetd":
            if not _SERVICE.fullmatch(first) or len(arguments) > 1:
                allowed = "Xinetd::service, the name of a file of /etc/xinetd.d"
    if allowed is not None:
        raise bad(resource.name, allowed)
