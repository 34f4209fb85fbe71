"""The grammar of ldirectord files as a table: directive, where it may stand, value, what it sets.

Sans-I/O. A directive more is a row of ``DIRECTIVES`` more, and one of ``UNUSED`` less.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from heartbus.config.ipvsadm_rules import scheduler
from heartbus.config.native_policy import shell_command
from heartbus.config.report import Place, Setting, closest, shown
from heartbus.config.values import (
    BadValueError,
    Odd,
    absolute_path,
    bad,
    client_netmask,
    count,
    forwarding,
    integer,
    is_url,
    port_number,
    port_or_service,
    seconds_as_written,
    server_address,
    virtual_host,
    whole_seconds,
    yes_no,
)
from heartbus.model import (
    CheckService,
    ForwardingMethod,
    HttpMethod,
    Scheduler,
    SchedulerFlag,
    TransportProtocol,
)
from heartbus.model_ipvs import FWMARK_MAX, THRESHOLD_MAX, WEIGHT_MAX

FILE_NAME_CHARS_MAX: Final = 4096
REAL_RANGE_MAX: Final = 1024
"""Servers of one ``real=A->B`` line."""

CHECKTYPES: Final = ("connect", "negotiate", "ping", "off", "on", "external", "external-perl")

SERVICES: Final = tuple(CheckService)[: tuple(CheckService).index(CheckService.NONE) + 1]
"""What ldirectord speaks; the rest is asked for in the TOML form."""


class Where(enum.Flag):
    """Where a directive may stand."""

    GLOBAL = enum.auto()
    VIRTUAL = enum.auto()
    BOTH = GLOBAL | VIRTUAL


class Quotes(enum.Enum):
    """Whether a value stands in double quotes."""

    NONE = enum.auto()
    OPTIONAL = enum.auto()
    REQUIRED = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """``fallback=HOST[:PORT] [METHOD]``; ``port`` None is the port of the virtual service."""

    address: str
    port: int | None
    forwarding: ForwardingMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """One ``real=`` line, a range written out. ``port`` None is the port of the virtual service.

    ``odd``: what ldirectord reads otherwise, with both meanings.
    """

    addresses: tuple[str, ...]
    port: int | None
    forwarding: ForwardingMethod
    weight: int
    request: str | None
    receive: str | None
    lower_threshold: int = 0
    upper_threshold: int = 0
    odd: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualAddress:
    """What ``virtual=`` or ``virtual6=`` opens: an address and port, or a firewall mark.

    ``port`` is 0 for a mark: its packets come to any port.
    """

    text: str
    address: str = ""
    port: int = 0
    fwmark: int = 0
    ipv6: bool = False


@dataclass(slots=True, kw_only=True)
class Settings:
    """Values of the global part or of one virtual section; None where not given."""

    checktimeout_s: Setting[float] | None = None
    negotiatetimeout_s: Setting[float] | None = None
    checkinterval_s: Setting[float] | None = None
    failurecount: Setting[int] | None = None
    fallback: Setting[Fallback] | None = None
    fallback6: Setting[Fallback] | None = None
    quiescent: Setting[bool] | None = None
    readdquiescent: Setting[bool] | None = None
    cleanstop: Setting[bool] | None = None
    fallbackcommand: Setting[tuple[str, ...]] | None = None
    autoreload: Setting[bool] | None = None
    callback: Setting[str] | None = None
    fork: Setting[bool] | None = None
    checktype: Setting[str] | None = None
    service: Setting[str] | None = None
    checkport: Setting[int] | None = None
    request: Setting[str] | None = None
    receive: Setting[str] | None = None
    checkcommand: Setting[str] | None = None
    checkcount: Setting[int] | None = None
    maintenancedir: Setting[str] | None = None
    login: Setting[str] | None = None
    passwd: Setting[str] | None = None
    database: Setting[str] | None = None
    secret: Setting[str] | None = None
    httpmethod: Setting[HttpMethod] | None = None
    virtualhost: Setting[str] | None = None
    scheduler: Setting[Scheduler] | None = None
    schedflags: Setting[tuple[SchedulerFlag, ...]] | None = None
    ops: Setting[bool] | None = None
    protocol: Setting[TransportProtocol] | None = None
    persistent_s: Setting[int] | None = None
    netmask: Setting[int] | None = None
    executes: list[Setting[str]] = field(default_factory=list)
    reals: list[Setting[Real]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Section:
    """One virtual service as written; ``address`` None when its first line was refused."""

    place: Place
    address: VirtualAddress | None
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One row. ``value`` reads the text; ``sets`` is a field of Settings (a list is added to).

    ``trailing_text``: ldirectord takes the first word and ignores what follows.
    ``whole``: blanks are part of a value without quotes. ``secret``: the value is never shown.
    ``note`` is said when the directive is loaded and this version does not act on it yet.
    """

    name: str
    where: Where
    value: Callable[[str], object]
    sets: str
    quotes: Quotes = Quotes.NONE
    trailing_text: bool = False
    whole: bool = False
    secret: bool = False
    note: str | None = None


def _checktype(text: str) -> str:
    if text in CHECKTYPES:
        return text
    if text.isdecimal():
        integer(text, 0, 1_000_000)
        return text
    allowed = f"one of {', '.join(CHECKTYPES)} or a number{closest(text, CHECKTYPES)}"
    raise bad(text, allowed)


def _service(text: str) -> str:
    if text in SERVICES:
        return text
    raise bad(text, f"one of {', '.join(sorted(SERVICES))}{closest(text, SERVICES)}")


def _protocol(text: str) -> TransportProtocol:
    if text in ("tcp", "udp", "fwm"):
        return TransportProtocol(text)
    raise bad(text, "tcp or udp, or fwm for a firewall mark")


def _schedflags(text: str) -> tuple[SchedulerFlag, ...]:
    try:
        return tuple(SchedulerFlag(word) for word in text.split(","))
    except ValueError:
        raise bad(text, f"one or more of {', '.join(SchedulerFlag)}") from None


def _httpmethod(text: str) -> HttpMethod:
    try:
        return HttpMethod(text.upper())
    except ValueError:
        raise bad(text, "GET or HEAD") from None


def _request(text: str) -> str:
    return text if text.startswith("/") or is_url(text) else f"/{text}"


def _file_name(text: str) -> str:
    if text and not text.isspace() and len(text) <= FILE_NAME_CHARS_MAX:
        return text.strip('"')
    raise bad(text, "the name of an ldirectord file")


def _callback(text: str) -> str | Odd[str]:
    if not text or text.isspace() or len(text) > FILE_NAME_CHARS_MAX:
        raise bad(text, 'the path of a program: "/usr/local/bin/sync"')
    if text.startswith("/"):
        return text
    return Odd(value=f"/{text}", warning=f"taken as /{text}: ldirectord runs in /")


def _fallback(text: str) -> Fallback:
    words = text.split()
    if not words:
        raise bad(text, "a server, such as 127.0.0.1:80 gate")
    address, port = _server(words[0])
    if len(words) > 2:
        raise bad(text, "a server and gate, masq or ipip")
    method = forwarding(words[1]) if len(words) == 2 else ForwardingMethod.GATE
    return Fallback(address=address, port=port, forwarding=method)


def _server(text: str) -> tuple[str, int | None]:
    """Return address and port of HOST[:PORT]."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        colon, port = rest[:1], rest[1:]
        if colon not in ("", ":"):
            raise bad(text, "an IPv6 address in brackets, and a port, such as [2001:db8::1]:80")
        return server_address(host + bracket), port_or_service(port) if colon else None
    host, colon, port = text.partition(":")
    return server_address(host), port_or_service(port) if colon else None


_REAL_PAIR = re.compile(r'"([^"]*)"\s*,?\s*"([^"]*)"')
_TWO_COLONS = re.compile(r"([0-9.]+(?:->[0-9.]+)?)::(\w+)", re.ASCII)
_THRESHOLD = re.compile(r"[lu]:\d{1,9}", re.ASCII)


def _real(text: str) -> Real:
    head, quote, quoted = text.partition('"')
    request = receive = None
    thresholds = {"l": 0, "u": 0}
    if quote:
        match = _REAL_PAIR.match(quote + quoted)
        if match is None:
            raise bad(text, 'both "request" and "receive" after the weight, or none')
        request, receive = _request(match[1]), match[2]
        quoted = (quote + quoted)[match.end() :]
    words = [*head.split(), *quoted.split()]
    if len(words) < 2:
        raise bad(text, "a server and gate, masq or ipip, such as 192.168.7.11:80 gate")
    odd: tuple[str, ...] = ()
    if two := _TWO_COLONS.fullmatch(words[0]):
        words[0] = f"{two[1]}:{two[2]}"
        odd = (
            f"two colons: taken as {words[0]}, as it is meant; ldirectord takes {two[2]} for the"
            " host, a server of another address",
        )
    addresses, port = _servers(words.pop(0))
    method = forwarding(words.pop(0))
    weight = integer(words.pop(0), 0, WEIGHT_MAX) if words and words[0].isdecimal() else 1
    for rest in words:
        if _THRESHOLD.fullmatch(rest) is None:
            raise bad(rest, 'a weight, "request" "receive", l:NUMBER or u:NUMBER')
        thresholds[rest[0]] = integer(rest[2:], 0, THRESHOLD_MAX)
    return Real(
        addresses=addresses,
        port=port,
        forwarding=method,
        weight=weight,
        request=request,
        receive=receive,
        lower_threshold=thresholds["l"],
        upper_threshold=thresholds["u"],
        odd=odd,
    )


def _servers(text: str) -> tuple[tuple[str, ...], int | None]:
    """Return the addresses of HOST[:PORT] or HOST->HOST2[:PORT], and the port."""
    first, arrow, rest = text.partition("->")
    if not arrow:
        address, port = _server(text)
        return (address,), port
    if "[" in text:
        raise bad(text, "a range of IPv4 addresses; each IPv6 server has a line of its own")
    last, port = _server(rest)
    low, high = int(ipaddress.IPv4Address(server_address(first))), int(ipaddress.IPv4Address(last))
    if not low <= high < low + REAL_RANGE_MAX:
        raise bad(text, f"a range upwards of at most {REAL_RANGE_MAX} servers")
    return tuple(str(ipaddress.IPv4Address(n)) for n in range(low, high + 1)), port


def virtual_address(text: str) -> VirtualAddress:
    """Return what a ``virtual=`` line opens."""
    if text.isdecimal():
        return VirtualAddress(text=text, fwmark=integer(text, 1, FWMARK_MAX))
    if text.startswith("["):
        raise bad(text, "an IPv4 address with a port; IPv6 services are opened by virtual6=")
    host, colon, port = text.partition(":")
    if not colon:
        message = str(bad(text, "an address with a port, such as 192.168.7.110:80"))
        if digits := re.match(r"[0-9]+", text):
            message += f" (ldirectord would serve firewall mark {digits[0][:12]})"
        raise BadValueError(message)
    return VirtualAddress(text=text, address=server_address(host), port=port_or_service(port))


def virtual6_address(text: str) -> VirtualAddress:
    """Return what a ``virtual6=`` line opens."""
    if text.isdecimal():
        return VirtualAddress(text=text, fwmark=integer(text, 1, FWMARK_MAX), ipv6=True)
    allowed = "an IPv6 address in brackets with a port, such as [2001:db8::1]:80, or a mark"
    if not text.startswith("["):
        raise bad(text, allowed)
    address, port = _server(text)
    if port is None:
        raise bad(text, allowed)
    return VirtualAddress(text=text, address=address, port=port, ipv6=True)


OPENING: Final[dict[str, Callable[[str], VirtualAddress]]] = {
    "virtual": virtual_address,
    "virtual6": virtual6_address,
}

DIRECTIVES: Final[dict[str, Directive]] = {
    row.name: row
    for row in (
        Directive(
            name="checktimeout", where=Where.BOTH, value=seconds_as_written, sets="checktimeout_s"
        ),
        Directive(
            name="negotiatetimeout",
            where=Where.BOTH,
            value=seconds_as_written,
            sets="negotiatetimeout_s",
        ),
        Directive(
            name="checkinterval", where=Where.BOTH, value=seconds_as_written, sets="checkinterval_s"
        ),
        Directive(name="failurecount", where=Where.BOTH, value=count, sets="failurecount"),
        Directive(name="fallback", where=Where.BOTH, value=_fallback, sets="fallback"),
        Directive(name="fallback6", where=Where.BOTH, value=_fallback, sets="fallback6"),
        Directive(
            name="fallbackcommand",
            where=Where.BOTH,
            value=shell_command,
            sets="fallbackcommand",
            quotes=Quotes.OPTIONAL,
            whole=True,
        ),
        Directive(name="quiescent", where=Where.BOTH, value=yes_no, sets="quiescent"),
        Directive(name="autoreload", where=Where.GLOBAL, value=yes_no, sets="autoreload"),
        Directive(
            name="readdquiescent",
            where=Where.GLOBAL,
            value=yes_no,
            sets="readdquiescent",
            note="with either value a server is added with weight 0, or not at all, before its"
            " first check passed (that is yes)",
        ),
        Directive(name="cleanstop", where=Where.BOTH, value=yes_no, sets="cleanstop"),
        Directive(
            name="callback",
            where=Where.GLOBAL,
            value=_callback,
            sets="callback",
            quotes=Quotes.OPTIONAL,
            whole=True,
        ),
        Directive(
            name="fork",
            where=Where.GLOBAL,
            value=yes_no,
            sets="fork",
            note="every check runs by itself here, with either value",
        ),
        Directive(name="execute", where=Where.GLOBAL, value=_file_name, sets="executes"),
        Directive(name="real", where=Where.VIRTUAL, value=_real, sets="reals"),
        Directive(name="real6", where=Where.VIRTUAL, value=_real, sets="reals"),
        Directive(name="ops", where=Where.VIRTUAL, value=yes_no, sets="ops"),
        Directive(name="schedflags", where=Where.VIRTUAL, value=_schedflags, sets="schedflags"),
        Directive(
            name="checktype",
            where=Where.VIRTUAL,
            value=_checktype,
            sets="checktype",
            trailing_text=True,
        ),
        Directive(
            name="service",
            where=Where.VIRTUAL,
            value=_service,
            sets="service",
            trailing_text=True,
        ),
        Directive(name="checkport", where=Where.VIRTUAL, value=port_number, sets="checkport"),
        Directive(
            name="request",
            where=Where.VIRTUAL,
            value=_request,
            sets="request",
            quotes=Quotes.REQUIRED,
        ),
        Directive(
            name="receive", where=Where.VIRTUAL, value=str, sets="receive", quotes=Quotes.REQUIRED
        ),
        Directive(
            name="checkcommand",
            where=Where.VIRTUAL,
            value=str,
            sets="checkcommand",
            quotes=Quotes.OPTIONAL,
            whole=True,
        ),
        Directive(
            name="maintenancedir",
            where=Where.GLOBAL,
            value=absolute_path,
            sets="maintenancedir",
            quotes=Quotes.OPTIONAL,
            whole=True,
            note="files named ADDRESS:PORT or ADDRESS are looked for, not those named after hosts",
        ),
        Directive(name="checkcount", where=Where.BOTH, value=count, sets="checkcount"),
        *(
            Directive(
                name=name,
                where=Where.VIRTUAL,
                value=str,
                sets=name,
                quotes=Quotes.REQUIRED,
                secret=name in ("passwd", "secret"),
            )
            for name in ("login", "passwd", "database", "secret")
        ),
        Directive(name="httpmethod", where=Where.VIRTUAL, value=_httpmethod, sets="httpmethod"),
        Directive(
            name="virtualhost",
            where=Where.VIRTUAL,
            value=virtual_host,
            sets="virtualhost",
            quotes=Quotes.OPTIONAL,
        ),
        Directive(
            name="scheduler",
            where=Where.VIRTUAL,
            value=scheduler,
            sets="scheduler",
            trailing_text=True,
        ),
        Directive(
            name="protocol",
            where=Where.VIRTUAL,
            value=_protocol,
            sets="protocol",
            trailing_text=True,
        ),
        Directive(name="persistent", where=Where.VIRTUAL, value=whole_seconds, sets="persistent_s"),
        Directive(name="netmask", where=Where.VIRTUAL, value=client_netmask, sets="netmask"),
    )
}

UNUSED: Final[dict[str, tuple[Where, str]]] = {
    "comment": (Where.VIRTUAL, "only used in mails"),
    "connecttimeout": (Where.BOTH, "nor by ldirectord of 2003; checktimeout is what counts"),
    "emailalert": (Where.BOTH, "no mails yet"),
    "emailalertfreq": (Where.BOTH, "no mails yet"),
    "emailalertfrom": (Where.GLOBAL, "no mails yet"),
    "emailalertstatus": (Where.BOTH, "no mails yet"),
    "load": (Where.VIRTUAL, "nor by ldirectord"),
    "logfile": (Where.GLOBAL, "logs go to standard error"),
    "monitorfile": (Where.VIRTUAL, "subscribe to realserver.> instead"),
    "servicename": (Where.VIRTUAL, "only used in mails"),
    "sitename": (Where.VIRTUAL, "nor by ldirectord since 2003"),
    "smtp": (Where.BOTH, "no mails yet"),
    "supervised": (Where.GLOBAL, "services always stay in the foreground"),
}

REPLACED: Final[dict[str, str]] = {
    "timeout": "ldirectord refuses it today; allowed are checktimeout and negotiatetimeout",
}


def quoted_value(text: str, quotes: Quotes) -> str:
    """Return a value without its quotes.

    Raises:
        BadValueError: quotes are needed and missing, or do not end.

    """
    if quotes is Quotes.NONE:
        return text
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    if quotes is Quotes.OPTIONAL and '"' not in text:
        return text
    raise BadValueError(f'{shown(text)} is not allowed; allowed is text in double quotes: "text"')
