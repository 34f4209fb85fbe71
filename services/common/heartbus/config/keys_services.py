"""The keys of ``[[virtual_services]]`` of the TOML form; part of the table of ``keys.py``.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.keys import CLUSTER_KEYS, Form, Key
from heartbus.config.keys_addresses import ADDRESS_KEYS
from heartbus.config.keys_checking import CHECKING_KEYS
from heartbus.config.keys_conflicts import CONFLICT_KEYS
from heartbus.config.keys_history import HISTORY_KEYS
from heartbus.config.keys_ipvs import IPVS_KEYS
from heartbus.config.keys_policy import POLICY_KEYS
from heartbus.config.keys_resources import RESOURCE_KEYS
from heartbus.config.native_checks import ATTEMPTS_MAX, PROXY_VERSIONS, RESULTS_MAX
from heartbus.model import (
    CheckService,
    CheckType,
    ForwardingMethod,
    HttpMethod,
    PersistenceEngine,
    Scheduler,
    SchedulerFlag,
    TransportProtocol,
    TunnelChecksum,
    TunnelType,
)
from heartbus.model_ipvs import FWMARK_MAX, PERSISTENCE_MAX_S, THRESHOLD_MAX, WEIGHT_MAX

_V: Final = "virtual_services"
_C: Final = "virtual_services.check"
_R: Final = "virtual_services.real_servers"
_METHODS: Final = tuple(ForwardingMethod)
_PORT: Final = (1, 65535)


def _key(
    path: str,
    form: Form,
    text: str,
    default: str | None = "",
    old: str = "",
    *,
    words: tuple[str, ...] = (),
    bounds: tuple[int, int] | None = None,
    zero: bool = False,
) -> Key:
    low, high = bounds or (None, None)
    return Key(
        path=path,
        form=form,
        text=text,
        default=default,
        old=old and f"ldirectord.cf {old}",
        words=words,
        low=low,
        high=high,
        zero=zero,
    )


_TEXT, _TIME, _INTEGER, _BOOLEAN = Form.TEXT, Form.TIME, Form.INTEGER, Form.BOOLEAN
_RESULTS: Final = (1, RESULTS_MAX)

SERVICE_KEYS: Final = (
    _key(_V, Form.TABLES, "What clients connect to.", "none", "virtual"),
    _key(
        f"{_V}.address",
        _TEXT,
        "`192.168.7.110:80`, `[2001:db8::1]:80`.",
        "fwmark",
        "virtual, virtual6",
    ),
    _key(
        f"{_V}.fwmark",
        _INTEGER,
        "Packets that a firewall rule has marked so, instead of those to an address.",
        "address",
        "virtual, virtual6",
        bounds=(1, FWMARK_MAX),
    ),
    _key(
        f"{_V}.family",
        _TEXT,
        "Of a fwmark.",
        "ipv4",
        "virtual6",
        words=("ipv4", "ipv6"),
    ),
    _key(
        f"{_V}.protocol",
        _TEXT,
        "Transport.",
        "tcp",
        "protocol",
        words=tuple(TransportProtocol),
    ),
    _key(
        f"{_V}.scheduler",
        _TEXT,
        "The kernel's algorithm that picks a real server.",
        "wrr",
        "scheduler",
        words=tuple(Scheduler),
    ),
    _key(
        f"{_V}.scheduler_flags",
        Form.TEXTS,
        f"Of schedulers sh and mh: {', '.join(SchedulerFlag)}.",
        "none",
        "schedflags",
    ),
    _key(
        f"{_V}.one_packet",
        _BOOLEAN,
        "Each UDP packet is scheduled by itself.",
        "false",
        "ops",
    ),
    _key(
        f"{_V}.quiescent",
        _BOOLEAN,
        "A failed server stays in the table with weight 0; false: it leaves.",
        "false",
        "quiescent",
    ),
    _key(
        f"{_V}.persistent",
        _INTEGER,
        "A client stays with its server for so many seconds.",
        "off",
        "persistent",
        bounds=(1, PERSISTENCE_MAX_S),
    ),
    _key(
        f"{_V}.netmask",
        _TEXT,
        "Clients within this mask, or prefix length, count as one; with persistent only.",
        "the whole address",
        "netmask",
    ),
    _key(
        f"{_V}.persistence_engine",
        _TEXT,
        "What else than the address makes a client; with persistent only.",
        "none",
        words=tuple(PersistenceEngine),
    ),
    _key(
        f"{_V}.group",
        _TEXT,
        "The resource group that holds its address.",
        "none: served on every director",
    ),
    *POLICY_KEYS,
    _key(
        f"{_V}.fallback",
        Form.TABLE,
        "Answers while no real server is up; never checked.",
        "none",
        "fallback, fallback6",
    ),
    _key(f"{_V}.fallback.address", _TEXT, "Address and port.", None, "fallback, fallback6"),
    _key(
        f"{_V}.fallback.method",
        _TEXT,
        "How it is reached.",
        "gate",
        "fallback, fallback6",
        words=_METHODS,
    ),
    _key(_R, Form.TABLES, "The servers behind it.", "none", "real, real6"),
    _key(f"{_R}.address", _TEXT, "Address and port.", None, "real, real6"),
    _key(
        f"{_R}.method",
        _TEXT,
        "gate: direct routing, masq: NAT, ipip: tunnel.",
        "gate",
        "real, real6",
        words=_METHODS,
    ),
    _key(
        f"{_R}.weight",
        _INTEGER,
        "Its share of new connections while it is up; 0 is legal.",
        "1",
        "real, real6",
        bounds=(0, WEIGHT_MAX),
    ),
    _key(
        f"{_R}.upper_threshold",
        _INTEGER,
        "With so many connections it gets no new ones; 0: no limit.",
        "0",
        "real, real6",
        bounds=(0, THRESHOLD_MAX),
    ),
    _key(
        f"{_R}.lower_threshold",
        _INTEGER,
        "Below so many connections it gets new ones again; 0: three quarters of the upper one.",
        "0",
        "real, real6",
        bounds=(0, THRESHOLD_MAX),
    ),
    _key(f"{_R}.tunnel", Form.TABLE, "How method ipip reaches it.", "plain ipip"),
    _key(f"{_R}.tunnel.type", _TEXT, "The kind of tunnel.", None, words=tuple(TunnelType)),
    _key(f"{_R}.tunnel.port", _INTEGER, "UDP port, of gue.", "0", bounds=(0, 65535)),
    _key(
        f"{_R}.tunnel.checksum",
        _TEXT,
        "Of gue and gre.",
        "none",
        words=tuple(TunnelChecksum),
    ),
    _key(
        f"{_R}.request", _TEXT, "Instead of that of the check.", "that of the check", "real, real6"
    ),
    _key(
        f"{_R}.receive", _TEXT, "Instead of that of the check.", "that of the check", "real, real6"
    ),
    _key(_C, Form.TABLE, "How its real servers are checked; see docs/checks.md."),
    _key(
        f"{_C}.type",
        _TEXT,
        "What is done.",
        "negotiate where there is a service to speak, else connect, or ping for udp",
        "checktype",
        words=tuple(CheckType),
    ),
    _key(
        f"{_C}.service",
        _TEXT,
        "What a negotiate check speaks.",
        "by the port of the virtual service",
        "service",
        words=tuple(CheckService),
    ),
    _key(
        f"{_C}.port",
        _INTEGER,
        "Where the check goes.",
        "that of the real server",
        "checkport",
        bounds=_PORT,
    ),
    _key(f"{_C}.request", _TEXT, "What is asked.", "/ (SQL: SELECT 1; others: empty)", "request"),
    _key(
        f"{_C}.receive",
        _TEXT,
        "A regular expression that is searched in the answer.",
        "any good answer passes",
        "receive",
    ),
    _key(
        f"{_C}.virtualhost",
        _TEXT,
        "Host header, and name within TLS.",
        "the address of the real server",
        "virtualhost",
    ),
    _key(
        f"{_C}.http_method",
        _TEXT,
        "Of HTTP checks.",
        "GET",
        "httpmethod",
        words=tuple(HttpMethod),
    ),
    _key(f"{_C}.login", _TEXT, "User name.", "none", "login"),
    _key(f"{_C}.password", _TEXT, "Its password; keep the file at mode 600.", "none", "passwd"),
    _key(f"{_C}.password_file", _TEXT, "A file of mode 600 that holds it.", "password"),
    _key(f"{_C}.database", _TEXT, "Of SQL checks.", "none", "database"),
    _key(f"{_C}.secret", _TEXT, "Of RADIUS checks.", "none", "secret"),
    _key(f"{_C}.secret_file", _TEXT, "A file of mode 600 that holds it.", "secret"),
    _key(f"{_C}.statuses", Form.TEXTS, '`["200-299", "401"]`: good HTTP answers.', "200-299"),
    _key(f"{_C}.digest", _TEXT, "MD5 or SHA-256 that the body must have.", "none"),
    _key(f"{_C}.pages", Form.TABLES, "More requests of the same check; all must pass.", "none"),
    _key(f"{_C}.pages.request", _TEXT, "The path.", None),
    _key(f"{_C}.pages.receive", _TEXT, "Searched in the answer.", "any good answer passes"),
    _key(f"{_C}.pages.statuses", Form.TEXTS, "Good HTTP answers.", "200-299"),
    _key(f"{_C}.pages.digest", _TEXT, "That the body must have.", "none"),
    _key(f"{_C}.weight_header", _TEXT, "A field of the answer that gives the weight.", "none"),
    _key(f"{_C}.tls", Form.TABLE, "Check within TLS.", "with https, imaps, pops, ldaps"),
    _key(f"{_C}.tls.verify", _BOOLEAN, "The certificate must be good.", "true"),
    _key(f"{_C}.tls.server_name", _TEXT, "SNI, and the name that is verified.", "virtualhost"),
    _key(f"{_C}.tls.ca_file", _TEXT, "Trusted authorities.", "those of the system"),
    _key(
        f"{_C}.proxy_protocol",
        _INTEGER,
        "Version of the PROXY header that is sent first; 0: none.",
        "0",
        bounds=(0, PROXY_VERSIONS),
    ),
    _key(
        f"{_C}.command",
        Form.WORDS,
        "Program and arguments of external checks.",
        "none",
        "checkcommand",
    ),
    _key(
        f"{_C}.addresses",
        _BOOLEAN,
        "Addresses and ports of virtual service and real server follow the arguments, as ldirectord"
        " gives them.",
        "false",
        "checktype",
    ),
    _key(
        f"{_C}.dynamic_weight",
        _BOOLEAN,
        "The exit code of the command, or the number in the file, gives the weight.",
        "false",
    ),
    _key(f"{_C}.file", _TEXT, "Of file checks: it holds a number.", "none"),
    _key(
        f"{_C}.attempts",
        _INTEGER,
        "Echo requests of one ping check.",
        "1",
        "checkcount",
        bounds=(1, ATTEMPTS_MAX),
    ),
    _key(
        f"{_C}.connects",
        _INTEGER,
        "Of combined: so many connect checks follow each negotiate check.",
        "0",
        "checktype",
        bounds=_RESULTS,
    ),
    _key(
        f"{_C}.connect_timeout",
        _TIME,
        "Bound of connect, ping and external checks.",
        "5 s",
        "checktimeout",
    ),
    _key(
        f"{_C}.negotiate_timeout",
        _TIME,
        "Bound of negotiate checks.",
        "30 s",
        "negotiatetimeout",
    ),
    _key(f"{_C}.interval", _TIME, "From check to check.", "10 s", "checkinterval"),
    _key(
        f"{_C}.through_vip",
        _BOOLEAN,
        "Asked by the address of the service through IPVS, as clients are: a real server that does"
        " not take packets for the VIP is down. TCP.",
        "false",
    ),
    _key(f"{_C}.fast_interval", _TIME, "While a verdict is about to change.", "interval"),
    _key(f"{_C}.slow_start", _TIME, "The weight grows for so long.", "0", zero=True),
    _key(
        f"{_C}.maintenance_dir",
        _TEXT,
        "A file there named after a real server takes it out.",
        "none",
        "maintenancedir",
    ),
    _key(f"{_C}.rise", _INTEGER, "Passes in a row bring a server back.", "1", bounds=_RESULTS),
    _key(
        f"{_C}.fall",
        _INTEGER,
        "Failures in a row take it out.",
        "1",
        "failurecount",
        bounds=_RESULTS,
    ),
)

KEYS: Final[tuple[Key, ...]] = (
    CLUSTER_KEYS
    + ADDRESS_KEYS
    + CONFLICT_KEYS
    + RESOURCE_KEYS
    + HISTORY_KEYS
    + IPVS_KEYS
    + CHECKING_KEYS
    + SERVICE_KEYS
)
BY_PATH: Final[dict[str, Key]] = {key.path: key for key in KEYS}
