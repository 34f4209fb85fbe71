"""Every key of the TOML form in one table: value, unit, default, old name and meaning.

Sans-I/O. ``docs/configuration.md``, the JSON Schema and ``heartbus config explain`` are made from
it; a test compares it with the keys that the reader asks for. A key more is a row more, here or in
``keys_services.py``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final

from heartbus.config.ha_cf import BAUD_RATES, HOPFUDGE_MAX, RTPRIO_MAX, TTL_MAX
from heartbus.guards import FENCE_TIMEOUT_S, FenceAction
from heartbus.model import TIMER_PROFILES, AuthMethod, Failback, Takeover


class Form(enum.Enum):
    """What a value looks like in the file."""

    TEXT = "text"
    TIME = "time"
    INTEGER = "whole number"
    BOOLEAN = "true or false"
    TEXTS = "list of texts"
    WORDS = "text, or list of texts"
    TABLE = "table"
    TABLES = "tables"
    RESOURCES = "list of texts and tables"
    OPTIONS = "table of any names"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One row. ``path``: dotted, without the numbers of elements.

    ``default`` is said in words; None: the key must be written. ``value`` is the default as the
    reader has it, where it is one value; ``low`` and ``high`` bound whole numbers; ``words`` are
    all that is allowed. ``old``: what the old programs call it.
    """

    path: str
    form: Form
    text: str
    default: str | None = ""
    words: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    zero: bool = False
    old: str = ""

    @property
    def name(self) -> str:
        """Its last part."""
        return self.path.rpartition(".")[2]

    @property
    def table(self) -> str:
        """The table that it stands in; empty for the top of the file."""
        return self.path.rpartition(".")[0]


def _key(path: str, form: Form, text: str, **more: Any) -> Key:
    return Key(path=path, form=form, text=text, **more)


_TEXT, _TIME, _INTEGER, _BOOLEAN = Form.TEXT, Form.TIME, Form.INTEGER, Form.BOOLEAN
_M: Final = "membership"
_L: Final = "membership.links"
_A: Final = "membership.authentication"

CLUSTER_KEYS: Final = (
    _key(
        "include",
        Form.WORDS,
        "More files, `conf.d/*.toml` say, in the order of their names. Tables are joined, arrays of"
        " tables (`[[virtual_services]]`) continued; a value may stand in one file only.",
        default="none",
    ),
    _key("directors", Form.TABLES, "The load balancers.", default=None, old="ha.cf node"),
    _key(
        "directors.name",
        _TEXT,
        "As `uname -n` says it; a unique short name will do on the command line.",
        default=None,
        old="ha.cf node",
    ),
    _key(
        "directors.address",
        _TEXT,
        "Where the others reach its nats-server: an address or a host name.",
        default="the name, looked up by the system",
    ),
    _key(
        "witnesses", Form.TABLES, "A third vote: membership alone, holds nothing.", default="none"
    ),
    _key("witnesses.name", _TEXT, "As `uname -n` says it.", default=None),
    _key(
        "witnesses.address",
        _TEXT,
        "Where the others reach its nats-server.",
        default="the name, looked up by the system",
    ),
    _key("cluster", Form.TABLE, "What belongs to no other part."),
    _key(
        "cluster.resource_path",
        Form.TEXTS,
        "Directories that are searched for resource scripts, in order.",
        default='["/etc/ha.d/resource.d", "/etc/init.d", "/etc/rc.d/init.d"]',
    ),
    _key(
        "cluster.autoreload",
        _BOOLEAN,
        "Take changed files up without being told, once they are still for a second.",
        default="false",
        old="ldirectord.cf autoreload",
    ),
    _key(
        "cluster.callback",
        _TEXT,
        "Program that vip runs, with the names of changed files, after they were taken up.",
        default="none",
        old="ldirectord.cf callback",
    ),
    _key(_M, Form.TABLE, "Who is alive, and who may hold what.", default=None),
    _key(
        f"{_M}.timers",
        _TEXT,
        "A profile of the four times below; each of them may be written over it. "
        + "; ".join(
            f"`{name}`: {t.keepalive_s:g}, {t.warntime_s:g}, {t.deadtime_s:g}, {t.initdead_s:g} s"
            for name, t in TIMER_PROFILES.items()
        )
        + ".",
        default="lan",
        words=tuple(TIMER_PROFILES),
    ),
    _key(
        f"{_M}.keepalive",
        _TIME,
        "Between two heartbeats.",
        default="of the profile (ha.cf: 1 s)",
        old="ha.cf keepalive",
    ),
    _key(
        f"{_M}.warntime",
        _TIME,
        "After so much silence on all links a director is late.",
        default="of the profile (ha.cf: deadtime / 2)",
        old="ha.cf warntime",
    ),
    _key(
        f"{_M}.deadtime",
        _TIME,
        "After so much silence on all links a director is dead; above 2 x keepalive.",
        default="of the profile (ha.cf: 30 s)",
        old="ha.cf deadtime",
    ),
    _key(
        f"{_M}.initdead",
        _TIME,
        "Counts instead of deadtime for a director that was never heard since our start.",
        default="of the profile (ha.cf: deadtime, at least 10 to 12 s)",
        old="ha.cf initdead",
    ),
    _key(
        f"{_M}.failback",
        _TEXT,
        "`on`: the preferred director takes its groups back.",
        default="off",
        words=tuple(Failback),
        old="ha.cf auto_failback, nice_failback",
    ),
    _key(
        f"{_M}.takeover",
        _TEXT,
        "`strict`: wait until an address of a dead director is gone for sure.",
        default="fast",
        words=tuple(Takeover),
    ),
    _key(
        f"{_M}.lease",
        _TIME,
        "How long a grant stands without renewal.",
        default="5 s; with three or more voters 2 s or 5 x keepalive",
    ),
    _key(
        f"{_M}.restart_grace",
        _TIME,
        "How long a takeover waits when only the membership process of a peer is silent.",
        default="5 s",
        zero=True,
    ),
    _key(
        f"{_M}.ping_nodes",
        Form.TEXTS,
        "Hosts outside of the cluster that are asked by ICMP echo; who reaches fewer yields.",
        default="none",
        old="ha.cf ping",
    ),
    _key(
        f"{_M}.ping_groups",
        Form.TABLES,
        "Each counts as one ping node, up while any member answers.",
        default="none",
        old="ha.cf ping_group, ping6",
    ),
    _key(f"{_M}.ping_groups.name", _TEXT, "In events.", default=None, old="ha.cf ping_group"),
    _key(f"{_M}.ping_groups.members", Form.TEXTS, "Hosts or addresses.", default=None),
    _key(f"{_M}.ping_groups.ipv6", _BOOLEAN, "Names are asked over IPv6 only.", default="false"),
    _key(
        f"{_M}.deadping",
        _TIME,
        "A ping node is down after so much silence; above 2 x keepalive.",
        default="deadtime, at least three questions",
        old="ha.cf deadping",
    ),
    _key(
        f"{_M}.watchdog",
        _TEXT,
        "A device that resets this host when membership hangs.",
        default="none",
        old="ha.cf watchdog",
    ),
    _key(
        f"{_M}.realtime",
        _BOOLEAN,
        "SCHED_RR at rtprio, memory locked; needs privilege.",
        default="false",
        old="ha.cf realtime",
    ),
    _key(
        f"{_M}.rtprio",
        _INTEGER,
        "Priority with realtime.",
        default="1",
        low=1,
        high=RTPRIO_MAX,
        old="ha.cf rtprio",
    ),
    _key(
        f"{_M}.hopfudge",
        _INTEGER,
        "In a ring of serial lines a heartbeat passes at most directors + hopfudge lines.",
        default="1",
        low=0,
        high=HOPFUDGE_MAX,
        old="ha.cf hopfudge",
    ),
    _key(
        _L, Form.TABLES, "Over what heartbeats travel; several are better than one.", default=None
    ),
    _key(
        f"{_L}.kind",
        _TEXT,
        "What kind of link.",
        default=None,
        words=("bcast", "ucast", "ucast6", "mcast", "mcast6", "serial"),
        old="ha.cf bcast, udp, ucast, ucast6, mcast, mcast6, serial",
    ),
    _key(f"{_L}.interface", _TEXT, "Of all kinds but serial.", default=None, old="ha.cf bcast"),
    _key(
        f"{_L}.port",
        _INTEGER,
        "UDP port, of all kinds but serial.",
        default="694",
        low=1,
        high=65535,
        old="ha.cf udpport",
    ),
    _key(
        f"{_L}.peer",
        _TEXT,
        "Of ucast: a host name or an address; ucast6 looks names up as IPv6 only.",
        default=None,
        old="ha.cf ucast",
    ),
    _key(
        f"{_L}.group", _TEXT, "Of mcast: `239.0.0.1`, `ff02::4:1`.", default=None, old="ha.cf mcast"
    ),
    _key(
        f"{_L}.ttl",
        _INTEGER,
        "Of mcast: how many routers a heartbeat may pass, plus 1.",
        default="1",
        low=0,
        high=TTL_MAX,
        old="ha.cf mcast",
    ),
    _key(
        f"{_L}.loop", _BOOLEAN, "Of mcast: we hear ourselves.", default="false", old="ha.cf mcast"
    ),
    _key(f"{_L}.device", _TEXT, "Of serial: `/dev/ttyS0`.", default=None, old="ha.cf serial"),
    _key(
        f"{_L}.baud",
        _INTEGER,
        f"Of serial: {', '.join(map(str, BAUD_RATES))}.",
        default="19200",
        low=BAUD_RATES[0],
        high=BAUD_RATES[-1],
        old="ha.cf baud",
    ),
    _key(_A, Form.TABLE, "How heartbeats are signed.", default=None, old="authkeys"),
    _key(
        f"{_A}.signing_key",
        _INTEGER,
        "The id of the key that signs what we send.",
        default=None,
        low=0,
        high=15,
        old="authkeys auth",
    ),
    _key(
        f"{_A}.keys", Form.TABLES, "Each is accepted on what we hear.", default=None, old="authkeys"
    ),
    _key(f"{_A}.keys.id", _INTEGER, "Its number.", default=None, low=0, high=15, old="authkeys"),
    _key(
        f"{_A}.keys.method",
        _TEXT,
        "The first three are those of Heartbeat, for keys that are there already.",
        default="sha256",
        words=tuple(AuthMethod),
        old="authkeys",
    ),
    _key(
        f"{_A}.keys.secret",
        _TEXT,
        "The secret; the file must have mode 600 then. crc has none.",
        default="secret_file",
        old="authkeys",
    ),
    _key(
        f"{_A}.keys.secret_file",
        _TEXT,
        "A file of mode 600 with the secret, beside this one.",
        default="secret",
    ),
    _key(
        f"{_M}.fences",
        Form.TABLES,
        "How a dead director is turned off; several are tried in order.",
        default="none",
        old="ha.cf stonith, stonith_host",
    ),
    _key(f"{_M}.fences.director", _TEXT, "The one that is turned off.", default=None),
    _key(f"{_M}.fences.command", _TEXT, "A fence agent, with its whole path.", default=None),
    _key(
        f"{_M}.fences.action",
        _TEXT,
        "What it is asked to do.",
        default="off",
        words=tuple(FenceAction),
    ),
    _key(
        f"{_M}.fences.timeout",
        _TIME,
        "After this it is killed and counts as failed.",
        default=f"{FENCE_TIMEOUT_S:g} s",
    ),
    _key(
        f"{_M}.fences.options",
        Form.OPTIONS,
        "Those of the agent; `password_file` gives it `password` from a file of mode 600.",
        default="none",
    ),
    _key(
        f"{_M}.clients",
        Form.TABLES,
        "Programs that run beside membership, started again unless they end with 100.",
        default="none",
        old="ha.cf respawn",
    ),
    _key(f"{_M}.clients.user", _TEXT, "As whom it runs.", default=None, old="ha.cf respawn"),
    _key(
        f"{_M}.clients.command",
        _TEXT,
        "Program with its whole path, and arguments.",
        default=None,
        old="ha.cf respawn",
    ),
    _key("bus", Form.TABLE, "The nats-server beside every director."),
    _key(
        "bus.client_port",
        _INTEGER,
        "For services, on loopback only.",
        default="4222",
        low=1,
        high=65535,
    ),
    _key("bus.route_port", _INTEGER, "Between directors.", default="6222", low=1, high=65535),
)
