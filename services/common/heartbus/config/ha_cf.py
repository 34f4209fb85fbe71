"""Reads ha.cf: what Heartbeat knew about nodes, links and times.

Sans-I/O. The grammar is the table ``DIRECTIVES``: a directive more is a row more. Directives that
Heartbeat knows and this version does not act on are in ``UNUSED``, so that they are reported.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from heartbus.config.report import Place, Report, Setting, closest, shown, word
from heartbus.config.values import (
    BadValueError,
    absolute_path,
    bad,
    heartbeat_boolean,
    heartbeat_time,
    host,
    integer,
    interface,
    ipv6_host,
    multicast4,
    multicast6,
    node_name,
    peer,
    peer6,
    ping_name,
    port_number,
    unusable_text,
)
from heartbus.model import Failback, PingNode, SupervisedClient

BAUD_RATES: Final = (9600, 19200, 38400, 57600, 115200, 230400, 460800)
BAUD_DEFAULT: Final = 19200
UDPPORT_DEFAULT: Final = 694
TTL_DEFAULT: Final = 1
TTL_MAX: Final = 255
HOPFUDGE_DEFAULT: Final = 1
HOPFUDGE_MAX: Final = 255
RTPRIO_MIN: Final = 1
RTPRIO_MAX: Final = 99
"""sched_get_priority_max(2) for SCHED_RR on Linux."""
PLACEHOLDER_CLIENT: Final = ("userid", "cmd")
"""What the classic how-to prints in the place of a user and a command."""


class LinkKind(enum.Enum):
    """The media that are read; each list of ``HaCf.links`` entries has one."""

    BCAST = "bcast"
    UCAST = "ucast"
    MCAST = "mcast"
    SERIAL = "serial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One medium. Port and speed are those of the whole file, see ``HaCf.udpport``.

    Multicast has a ``port`` of its own; ``peer`` is its group. ``ipv6``: look up no IPv4 address.
    """

    kind: LinkKind
    device: str
    peer: str = ""
    ipv6: bool = False
    port: int = 0
    ttl: int = 0
    loop: bool = False


@dataclass(slots=True, kw_only=True)
class HaCf:
    """The content of ha.cf; None where a directive was not given. Times in seconds.

    ``broken`` names the directives whose value was refused, so that no rule is tested on them.
    """

    file: str
    nodes: list[Setting[str]] = field(default_factory=list)
    keepalive_s: Setting[float] | None = None
    warntime_s: Setting[float] | None = None
    deadtime_s: Setting[float] | None = None
    initdead_s: Setting[float] | None = None
    auto_failback: Setting[Failback] | None = None
    nice_failback: Setting[bool] | None = None
    links: list[Setting[Link]] = field(default_factory=list)
    baud: Setting[int] | None = None
    udpport: Setting[int] | None = None
    hopfudge: Setting[int] | None = None
    ping_nodes: list[Setting[PingNode]] = field(default_factory=list)
    deadping_s: Setting[float] | None = None
    watchdog: Setting[str] | None = None
    clients: list[Setting[SupervisedClient]] = field(default_factory=list)
    realtime: Setting[bool] | None = None
    rtprio: Setting[int] | None = None
    broken: set[str] = field(default_factory=set)


class Shape(enum.Enum):
    """How the values of a directive are written (inventory of Heartbeat: section 2.1)."""

    LAST = enum.auto()
    """Words, blanks or commas between them, each applied in turn: the last one counts."""
    EACH = enum.auto()
    """Words; each adds one value."""
    LINE = enum.auto()
    """The rest of the line is one value, which is added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One row of the grammar: ``value`` reads a word (or the line), ``sets`` is a field of HaCf.

    ``note`` is said when the directive is loaded and this version does not act on it yet.
    """

    name: str
    value: Callable[[str], object]
    sets: str
    shape: Shape = Shape.LAST
    note: str | None = None


def _auto_failback(text: str) -> Failback:
    if text.lower() == "legacy":
        return Failback.ON
    try:
        return Failback.ON if heartbeat_boolean(text) else Failback.OFF
    except BadValueError:
        raise bad(text, "on, off or legacy") from None


def _nice_failback(text: str) -> bool:
    # Heartbeat 1.0: exactly "on", anything else is off; here anything else must be a boolean.
    return heartbeat_boolean(text)


def _baud(text: str) -> int:
    if text in map(str, BAUD_RATES):
        return int(text)
    raise bad(text, f"one of {', '.join(map(str, BAUD_RATES))}")


def _bcast(text: str) -> Link:
    return Link(kind=LinkKind.BCAST, device=interface(text))


def _serial(text: str) -> Link:
    return Link(kind=LinkKind.SERIAL, device=absolute_path(text))


def _ucast(text: str) -> Link:
    words = text.split()
    if len(words) != 2:
        raise bad(text, "an interface and a peer, such as eth0 192.168.7.2")
    return Link(kind=LinkKind.UCAST, device=interface(words[0]), peer=peer(words[1]))


def _ucast6(text: str) -> Link:
    words = text.split()
    if len(words) != 2:
        raise bad(text, "an interface and a peer, such as eth0 fe80::2")
    address = peer6(words[1])
    return Link(
        kind=LinkKind.UCAST, device=interface(words[0]), peer=address, ipv6=":" not in address
    )


def _mcast(text: str) -> Link:
    return _group(text, multicast4, "eth0 239.0.0.1 694 1 0")


def _mcast6(text: str) -> Link:
    return _group(text, multicast6, "eth0 ff02::4:1 694 1 0")


def _group(text: str, address: Callable[[str], str], example: str) -> Link:
    words = text.split()
    if len(words) != 5:
        raise bad(text, f"an interface, a group, a port, a ttl and loop, such as {example}")
    return Link(
        kind=LinkKind.MCAST,
        device=interface(words[0]),
        peer=address(words[1]),
        port=port_number(words[2]),
        ttl=integer(words[3], 0, TTL_MAX),
        loop=bool(integer(words[4], 0, 1)),
    )


def _ping(text: str) -> PingNode:
    return PingNode(name=host(text), members=(host(text),))


def _ping6(text: str) -> PingNode:
    return PingNode(name=ipv6_host(text), members=(ipv6_host(text),), ipv6=True)


def _ping_group(text: str) -> PingNode:
    words = [word for word in re.split(r"[\s,]+", text) if word]
    if len(words) < 2:
        raise bad(text, "a name and at least one host, such as routers 192.168.7.1 192.168.7.2")
    return PingNode(name=ping_name(words[0]), members=tuple(map(host, words[1:])))


def _client(text: str) -> SupervisedClient:
    words = text.split(None, 1)
    if len(words) != 2:
        raise bad(text, "a user and a command with its whole path")
    user, command = words
    if (user, command) != PLACEHOLDER_CLIENT:
        absolute_path(command)
    return SupervisedClient(user=user, command=command)


DIRECTIVES: Final[dict[str, Directive]] = {
    row.name: row
    for row in (
        Directive(name="node", value=node_name, sets="nodes", shape=Shape.EACH),
        Directive(name="keepalive", value=heartbeat_time, sets="keepalive_s"),
        Directive(name="warntime", value=heartbeat_time, sets="warntime_s"),
        Directive(name="deadtime", value=heartbeat_time, sets="deadtime_s"),
        Directive(name="initdead", value=heartbeat_time, sets="initdead_s"),
        Directive(name="auto_failback", value=_auto_failback, sets="auto_failback"),
        Directive(name="nice_failback", value=_nice_failback, sets="nice_failback"),
        Directive(name="bcast", value=_bcast, sets="links", shape=Shape.EACH),
        Directive(name="udp", value=_bcast, sets="links", shape=Shape.EACH),
        Directive(name="ucast", value=_ucast, sets="links", shape=Shape.LINE),
        Directive(name="ucast6", value=_ucast6, sets="links", shape=Shape.LINE),
        Directive(name="mcast", value=_mcast, sets="links", shape=Shape.LINE),
        Directive(name="mcast6", value=_mcast6, sets="links", shape=Shape.LINE),
        Directive(name="serial", value=_serial, sets="links", shape=Shape.EACH),
        Directive(name="baud", value=_baud, sets="baud"),
        Directive(name="udpport", value=port_number, sets="udpport"),
        Directive(
            name="hopfudge",
            value=lambda text: integer(text, 0, HOPFUDGE_MAX),
            sets="hopfudge",
        ),
        Directive(name="ping", value=_ping, sets="ping_nodes", shape=Shape.EACH),
        Directive(name="ping6", value=_ping6, sets="ping_nodes", shape=Shape.EACH),
        Directive(name="ping_group", value=_ping_group, sets="ping_nodes", shape=Shape.LINE),
        Directive(name="deadping", value=heartbeat_time, sets="deadping_s"),
        Directive(name="watchdog", value=absolute_path, sets="watchdog"),
        Directive(name="respawn", value=_client, sets="clients", shape=Shape.LINE),
        Directive(name="realtime", value=heartbeat_boolean, sets="realtime"),
        Directive(
            name="rtprio",
            value=lambda text: integer(text, RTPRIO_MIN, RTPRIO_MAX),
            sets="rtprio",
        ),
    )
}

NO_CRM: Final = (
    "resources are those of haresources, which Heartbeat leaves alone with any value but off: its"
    " pacemaker has them then"
)
NO_STONITH: Final = (
    "plugins of cluster-glue are not used, so a dead director is NOT fenced; write"
    " [[membership.fences]] with a fence agent in heartbus.toml instead"
)

UNUSED: Final[dict[str, str]] = {
    "apiauth": "heartbus has no such client interface",
    "autojoin": "nodes are those of the node lines",
    "cluster": "clusters are told apart by their keys",
    "compression": "heartbeats are small",
    "compression_threshold": "heartbeats are small",
    "conn_logd_time": "logs go to standard error",
    "coredumps": "set LimitCORE= in the systemd unit",
    "coreroot": "set LimitCORE= in the systemd unit",
    "crm": NO_CRM,
    "crm_daemon_dir": "resources are those of haresources",
    "crmd_spawns_pengine": "resources are those of haresources",
    "debug": "use --log-level of the services",
    "debugfile": "logs go to standard error",
    "enable_config_writes": "resources are those of haresources",
    "env": "set Environment= in the systemd unit",
    "hbaping": "ping nodes are asked over IP only",
    "failfast": "a host is not rebooted because a program beside heartbus ended;"
    " respawn starts it again",
    "hbgenmethod": "each start counts by itself",
    "log_badpack": "bad packets are always counted",
    "logfacility": "logs go to standard error",
    "logfile": "logs go to standard error",
    "max_rexmit_delay": "heartbeats are not sent again",
    "memreserve": "memory is not reserved",
    "msgfmt": "heartbus has its own wire format",
    "normalpoll": "not a choice here",
    "pacemaker": NO_CRM,
    "ppp-udp": "no such links",
    "quorum_server": "no quorum server",
    "record_config_changes": "resources are those of haresources",
    "record_pengine_inputs": "resources are those of haresources",
    "stonith": NO_STONITH,
    "stonith_host": NO_STONITH,
    "syslogmsgfmt": "logs go to standard error",
    "traditional_compression": "heartbeats are small",
    "use_apphbd": "no such daemon",
    "use_logd": "logs go to standard error",
    "uuidfrom": "nodes are known by name",
}


def parse(text: str, file: str, report: Report) -> HaCf:
    """Return the content of ha.cf; everything wrong or odd goes to the report, with its line."""
    result = HaCf(file=file)
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        place = Place(file=file, line=number)
        if (why := unusable_text(line)) is not None:
            report.error(place, f"{why}; allowed is plain UTF-8 text")
            continue
        name, *rest = line.split(None, 1)
        _directive(result, name, rest[0] if rest else "", place.of(word(name)), report)
    _late(result, report)
    return result


def _directive(result: HaCf, name: str, text: str, place: Place, report: Report) -> None:
    row = DIRECTIVES.get(name)
    if row is None:
        if name in UNUSED:
            message = f"known to Heartbeat, not used by this version: {UNUSED[name]}"
            report.warning(place, message)
        else:
            suggestion = closest(name, (*DIRECTIVES, *UNUSED))
            report.error(place, f"no directive of ha.cf{suggestion}")
        return
    values = [text] if row.shape is Shape.LINE else re.split(r"[\s,]+", text)
    values = [value for value in values if value]
    if not values:
        result.broken.add(name)
        report.error(place, "a value is missing")
    if name == "udp":
        report.warning(place, "an old name of bcast; taken as bcast")
    taken = 0
    for value in values:
        if name == "ping" and not value.strip("."):
            report.warning(place, f"{shown(value)} is no host; left out (Heartbeat refuses it)")
            continue
        try:
            parsed = row.value(value)
        except BadValueError as error:
            result.broken.add(name)
            report.error(place, str(error))
            continue
        if name == "auto_failback" and value.lower() == "legacy":
            report.note(
                place, "legacy is taken as on: the preferred director takes its groups back"
            )
        if _store(result, row, parsed, place, report):
            taken += 1
    if taken and row.note is not None:
        report.note(place, row.note)


def _store(result: HaCf, row: Directive, value: object, place: Place, report: Report) -> bool:
    """Put one value where its row says; return whether it was taken."""
    if row.name == "respawn":
        assert isinstance(value, SupervisedClient)
        if not _take_client(value, place, report):
            return False
    if row.shape is not Shape.LAST:
        getattr(result, row.sets).append(Setting(value=value, place=place))
        return True
    before: Setting[object] | None = getattr(result, row.sets)
    if before is not None:
        report.warning(place, f"also given on line {before.place.line}; this one counts")
    setattr(result, row.sets, Setting(value=value, place=place))
    return True


def _take_client(client: SupervisedClient, place: Place, report: Report) -> bool:
    if (client.user, client.command) == PLACEHOLDER_CLIENT:
        report.warning(
            place, "'userid cmd' stands for a user and a command; left out (Heartbeat refuses it)"
        )
        return False
    return True


def _late(result: HaCf, report: Report) -> None:
    """Warn of baud and udpport below the links they are meant for: Heartbeat ignores them there."""
    for setting, name, kinds in (
        (result.baud, "serial", (LinkKind.SERIAL,)),
        (result.udpport, "bcast and ucast", (LinkKind.BCAST, LinkKind.UCAST)),
    ):
        if setting is None or setting.place.line is None:
            continue
        earlier = [
            link.place.line
            for link in result.links
            if link.value.kind in kinds and (link.place.line or 0) < setting.place.line
        ]
        if earlier:
            report.warning(
                setting.place,
                f"below the {name} of line {earlier[0]}, where Heartbeat ignores it;"
                f" here {setting.value} counts for every {name}",
            )
