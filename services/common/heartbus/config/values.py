"""The value types of the configuration files: text in, value out, or a BadValueError that explains.

Sans-I/O. Shared by the parsers of all files; each function names where its rule comes from.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from heartbus.config.report import shown
from heartbus.model import ForwardingMethod

T = TypeVar("T")

TIME_MAX_S: Final = 365 * 86400.0
COUNT_MAX: Final = 1_000_000
INTERFACE_CHARS_MAX: Final = 15
"""IFNAMSIZ - 1 of linux/if.h."""
HOST_NAME_CHARS_MAX: Final = 253

UNIT_S: Final = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "usec": 1e-6}

SERVICE_PORTS: Final[dict[str, int]] = {
    # The names of /etc/services that name a port in ldirectord files. Written here so that each
    # director reads the same port from the same file.
    "ftp": 21,
    "ssh": 22,
    "telnet": 23,
    "smtp": 25,
    "domain": 53,
    "http": 80,
    "www": 80,
    "pop3": 110,
    "nntp": 119,
    "ntp": 123,
    "imap2": 143,
    "imap": 143,
    "ldap": 389,
    "https": 443,
    "submission": 587,
    "ldaps": 636,
    "imaps": 993,
    "pop3s": 995,
    "radius": 1812,
    "mysql": 3306,
    "sip": 5060,
    "postgresql": 5432,
    "http-alt": 8080,
}

_TIME = re.compile(r"(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})([a-z]{0,4})", re.ASCII)
_WITH_UNIT = re.compile(r"(\d{1,9}) ?(s|ms)", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII | re.IGNORECASE)
_VIRTUAL_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,253}")
_DIGITS = re.compile(r"\d+", re.ASCII)
_IPV4_SHAPE = re.compile(r"[\d.]+", re.ASCII)
_INTERFACE = re.compile(r"[^\s/:\x00-\x1f]+")


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PLAIN_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_UNICAST = re.compile(rf"(?:22[0-3]|2[01][0-9]|1[0-9][0-9]|[1-9][0-9]?)(?:\.{_OCTET}){{3}}")


class BadValueError(ValueError):
    """A value that is not allowed; the text says what is wrong and what is allowed."""


def bad(value: str, allowed: str) -> BadValueError:
    """Return the error for a value of the wrong kind."""
    return BadValueError(f"{shown(value)} is not allowed; allowed is {allowed}")


def unusable_text(line: str) -> str | None:
    """Return why a line cannot be configuration text, or None."""
    if line.isprintable():
        return None
    try:
        line.encode()
    except UnicodeEncodeError:
        return "not UTF-8 text"
    if any(ord(char) < 32 and char != "\t" for char in line) or "\x7f" in line:
        return "control characters in the line"
    return None


def usable(text: str) -> str:
    """Return a text that escapes may have put control characters in, if it has none."""
    if (why := unusable_text(text)) is not None:
        raise BadValueError(f"{shown(text)}: {why.removesuffix(' in the line')}; none are allowed")
    return text


def heartbeat_time(text: str) -> float:
    """Return seconds; Heartbeat: seconds with fractions, or ``ms``, ``us``, ``usec``."""
    match = _TIME.fullmatch(text)
    if match is None or match[2] not in ("", "ms", "us", "usec"):
        raise bad(text, "a time in seconds (2 or 0.5) or in milliseconds (500ms)")
    return positive_time(float(match[1]) * UNIT_S[match[2]], text)


def duration(text: str) -> float:
    """Return seconds from the TOML form: ``75ms``, ``2s`` or ``2``."""
    match = _TIME.fullmatch(text)
    if match is None or match[2] not in ("", "s", "ms"):
        raise bad(text, 'a number of seconds or text such as "75ms" or "2s"')
    return float(match[1]) * UNIT_S[match[2]]


def positive_time(seconds: float, text: str) -> float:
    """Return it if it is a sensible time above zero."""
    if not 0 < seconds <= TIME_MAX_S:
        raise bad(text, f"a time above 0 and up to {TIME_MAX_S:.0f} s")
    return seconds


def heartbeat_boolean(text: str) -> bool:
    """Return the truth of Heartbeat's words, in any case."""
    lowered = text.lower()
    if lowered in ("true", "on", "yes", "y", "1"):
        return True
    if lowered in ("false", "off", "no", "n", "0"):
        return False
    raise bad(text, "on or off (also true, yes, y, 1 and false, no, n, 0)")


def yes_no(text: str) -> bool:
    """Return the truth of ldirectord's two words."""
    if text in ("yes", "no"):
        return text == "yes"
    raise bad(text, "yes or no")


def whole_seconds(text: str) -> int:
    """Return seconds; ldirectord counts whole seconds and reads the first digits it finds."""
    return _whole(text, "whole seconds without a unit, such as 3", " seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd(Generic[T]):
    """A value that the old program reads otherwise; ``warning`` says both meanings."""

    value: T
    warning: str


def seconds_as_written(text: str) -> float | Odd[float]:
    """Return seconds; with a unit they are what is written, not what ldirectord takes them for."""
    match = _WITH_UNIT.fullmatch(text)
    if match is None:
        return float(whole_seconds(text))
    seconds = positive_time(float(match[1]) * UNIT_S[match[2]], text)
    return Odd(
        value=seconds,
        warning=f"{shown(text)} is taken as {seconds:g} s, as it is written; ldirectord takes the"
        f" digits alone: {match[1]} s",
    )


def count(text: str) -> int:
    """Return a count above zero."""
    return _whole(text, "a whole number above 0, such as 3", "")


def _whole(text: str, allowed: str, unit: str) -> int:
    if (
        (match := _DIGITS.fullmatch(text))
        and len(text) <= len(str(COUNT_MAX))
        and 0 < int(text) <= COUNT_MAX
    ):
        return int(text)
    message = str(bad(text, allowed))
    if match is None and (found := _DIGITS.search(text)) is not None:
        message += f" (ldirectord would have taken {shown(found[0])[1:-1]}{unit})"
    raise BadValueError(message)


def integer(text: str, low: int, high: int) -> int:
    """Return a whole number within these bounds, both included."""
    if _DIGITS.fullmatch(text) and len(text) <= 12 and low <= int(text) <= high:
        return int(text)
    raise bad(text, f"a whole number from {low} to {high}")


def port_number(text: str) -> int:
    """Return a port from 1 to 65535."""
    return integer(text, 1, 65535)


def port_or_service(text: str) -> int:
    """Return a port given as a number or a name of /etc/services."""
    if _DIGITS.fullmatch(text):
        return port_number(text)
    try:
        return SERVICE_PORTS[text]
    except KeyError:
        names = ", ".join(sorted(SERVICE_PORTS))
        raise bad(text, f"a port from 1 to 65535 or one of {names}") from None


def is_plain_ipv4(text: str) -> bool:
    """Whether it is a unicast IPv4 address in canonical text: nearly all of them are."""
    return _UNICAST.fullmatch(text) is not None


def ipv4(text: str) -> str:
    """Return an IPv4 address in canonical text."""
    if _PLAIN_IPV4.fullmatch(text):
        return text
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise bad(text, "an IPv4 address such as 192.168.7.110") from None


def ip(text: str) -> str:
    """Return an IP address in canonical text."""
    if _PLAIN_IPV4.fullmatch(text):
        return text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise bad(text, "an IP address such as 192.168.7.110") from None


def server_address(text: str) -> str:
    """Return an address of an ldirectord file, IPv6 in brackets; names were replaced before."""
    try:
        if text.startswith("[") and text.endswith("]"):
            return str(ipaddress.IPv6Address(text[1:-1]))
        return ipv4(text)
    except ValueError:
        if text.startswith("["):
            raise bad(text, "an IPv6 address in brackets, such as [2001:db8::1]") from None
        if is_host_name(text) and not text.replace(".", "").isdigit():
            raise BadValueError(
                f"{shown(text)}: no such name in /etc/hosts, and no name server is asked, so that"
                " all directors read the same; allowed is a name there, or an address"
            ) from None
        raise


def endpoint(text: str) -> tuple[str, int]:
    """Return address and port of ``192.168.7.110:80`` or ``[2001:db8::1]:80``; 0 is any port."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise bad(text, "an address with a port, such as 192.168.7.110:80")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise bad(text, "an IPv6 address in brackets, such as [2001:db8::1]:80")
    return ip(host), 0 if port == "0" else port_or_service(port)


def endpoint_or_address(text: str) -> tuple[str, int]:
    """Return address and port of an endpoint; port 0 if it is an address alone."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return ip(bare), 0
    except BadValueError:
        return endpoint(text)


def client_netmask(text: str) -> int:
    """Return the prefix length of a dotted quad, or of a number (IPv6: 1 to 128)."""
    return integer(text, 1, 128) if _DIGITS.fullmatch(text) else netmask(text)


def prefix_len(text: str) -> int:
    """Return the prefix length of an IPv4 mask given as a number or as a dotted quad."""
    if _DIGITS.fullmatch(text):
        return integer(text, 1, 32)
    return netmask(text)


def netmask(text: str) -> int:
    """Return the prefix length of a dotted quad."""
    try:
        mask = int(ipaddress.IPv4Address(text))
    except ValueError:
        mask = 0
    length = mask.bit_count()
    if mask == 0 or mask != (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF:
        raise bad(text, "a netmask such as 255.255.255.0")
    return length


def forwarding(text: str) -> ForwardingMethod:
    """Return the forwarding method, spelled as in ldirectord."""
    try:
        return ForwardingMethod(text)
    except ValueError:
        raise bad(text, "gate, masq or ipip") from None


def is_host_name(text: str) -> bool:
    """Return whether this is a host name (RFC 1123, section 2.1)."""
    return len(text) <= HOST_NAME_CHARS_MAX and all(
        _LABEL.fullmatch(label) for label in text.split(".")
    )


def host(text: str) -> str:
    """Return a host name or an IP address."""
    if is_host_name(text):
        return text
    try:
        return ip(text)
    except BadValueError:
        raise bad(text, "a host name or an IP address") from None


def ipv6_host(text: str) -> str:
    """Return a host name or an IPv6 address."""
    value = host(text)
    if ":" in value or not value.replace(".", "").isdigit():
        return value
    raise bad(text, "a host name or an IPv6 address")


def ping_name(text: str) -> str:
    """Return the name of a group of ping nodes: any word that fits in a message."""
    if 0 < len(text) <= HOST_NAME_CHARS_MAX and text.isprintable() and " " not in text:
        return text
    raise bad(text, f"a name without blanks, at most {HOST_NAME_CHARS_MAX} characters")


def peer(text: str) -> str:
    """Return the host name or address of one peer, without a scope: its interface is the scope."""
    if "%" in text:
        raise bad(text, "an address without %scope: the interface of the link is the scope")
    found = host(text)
    if _is_multicast(found):
        raise bad(text, "the address of one peer (mcast and mcast6 take a group)")
    return found


def _is_multicast(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_multicast
    except ValueError:
        return False


def peer6(text: str) -> str:
    """Return the host name or IPv6 address of one peer."""
    found = peer(text)
    if _IPV4_SHAPE.fullmatch(found):
        raise bad(text, "a host name or an IPv6 address such as fe80::2")
    return found


def multicast4(text: str) -> str:
    """Return an IPv4 multicast group in canonical text (RFC 5771)."""
    return _group(text, ipaddress.IPv4Address, "an IPv4 multicast group such as 239.0.0.1")


def multicast6(text: str) -> str:
    """Return an IPv6 multicast group in canonical text (RFC 4291, section 2.7)."""
    return _group(text, ipaddress.IPv6Address, "an IPv6 multicast group such as ff02::4:1")


def multicast(text: str) -> str:
    """Return a multicast group of IPv4 or IPv6 in canonical text."""
    return multicast6(text) if ":" in text else multicast4(text)


def _group(
    text: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address], allowed: str
) -> str:
    try:
        address = kind(text)
    except ValueError:
        raise bad(text, allowed) from None
    if not address.is_multicast or "%" in text:
        raise bad(text, allowed)
    return str(address)


def virtual_host(text: str) -> str:
    """Return a value for the Host header."""
    if _VIRTUAL_HOST.fullmatch(text):
        return text
    raise bad(text, "a host name")


def is_url(request: str) -> bool:
    """Return whether ldirectord takes this request as a URL with a host; a query may have one."""
    return "://" in request.split("?")[0]


def node_name(text: str) -> str:
    """Return a node name in lower case, as Heartbeat compares it with ``uname -n``."""
    if not is_host_name(text):
        raise bad(text, "a host name: letters, digits, - and dots")
    return text.lower()


def interface(text: str) -> str:
    """Return the name of a network interface."""
    if len(text) <= INTERFACE_CHARS_MAX and _INTERFACE.fullmatch(text):
        return text
    raise bad(text, f"the name of a network interface, at most {INTERFACE_CHARS_MAX} characters")


def absolute_path(text: str) -> str:
    """Return a path that starts at the root."""
    if text.startswith("/") and len(text) <= 4096:
        return text
    raise bad(text, "a path that starts with /")
