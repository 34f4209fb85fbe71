"""Reads one resource in haresources form: an address, saved rules, checked services or a script.

Sans-I/O. Used by haresources and by the lists of strings in the TOML form.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from heartbus.config.report import shown
from heartbus.config.values import BadValueError, bad, interface, ipv4, prefix_len
from heartbus.model import (
    AddressResource,
    CheckedServicesResource,
    Resource,
    SavedRulesResource,
    ScriptResource,
)

ADDRESS_SCRIPTS: Final = ("IPaddr", "IPaddr2")
LDIRECTORD_FILE_DEFAULT: Final = "ldirectord.cf"
PREFIX_LEN_DEFAULT: Final = 32

Say = Callable[[str], None]
"""Takes a warning about the resource that is being read."""

_BARE_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+", re.ASCII)
_SCRIPT = re.compile(r"[^\s/\x00-\x1f]+")


def parse_resource(text: str, say: Say) -> Resource:
    """Return the resource.

    Raises:
        BadValueError: it is none; the text says why and what is allowed.

    """
    script, *arguments = text.split("::")
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
    return ScriptResource(script=script_name(script), arguments=tuple(arguments))


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
    if ":" in address:
        raise BadValueError(f"{shown(address)}: IPv6 addresses are not held by this version")
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
    broadcast: str | None = None
    rest = parts[1:]
    if rest and not rest[0][:1].isdecimal():
        nic = _nic(rest.pop(0), say)
    if rest:
        broadcast = ipv4(rest.pop(0))
    if rest:
        raise bad(text, "address/prefix, then an interface, then a broadcast address")
    return AddressResource(address=canonical, prefix_len=length, broadcast=broadcast, interface=nic)


def _nic(text: str, say: Say) -> str:
    name, colon, label = text.partition(":")
    if colon:
        say(f"the label {shown(label)} of {shown(name)} is left out; addresses need none")
    return interface(name)
