"""The configuration of the nats-server beside a director, as text.

Sans-I/O. Shape and limits follow from measurements of NATS: one core server per director, clients
on loopback only, explicit routes to every peer, fast pings (docs/decisions/0003-the-bus.md). With
keys, each user may say and hear what ``rights`` has (docs/decisions/0033-keys-of-the-bus.md).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from heartbus import rights, subjects
from heartbus.bus_keys import RouteFiles, role_of
from heartbus.codec import PAYLOAD_BYTES_MAX
from heartbus.model import Cluster

PENDING_BYTES_MAX: Final = 2 * PAYLOAD_BYTES_MAX
"""Kept for a client that reads slowly; one that needs more is cut off."""

WRITE_DEADLINE_S: Final = 2
CONNECTIONS_MAX: Final = 64
SUBSCRIPTIONS_MAX: Final = 256
"""Of one connection; a recorder has some 25."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Who is let in. ``users``: public keys by user; none: every process of this host may speak.

    ``route``: TLS between directors; None: a password made of the heartbeat key. ``isolated``: no
    routes at all. ``problems``: what of the files could not be used.
    """

    users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    route: RouteFiles | None = None
    isolated: bool = False
    problems: tuple[str, ...] = ()


OPEN: Final = Security()


def configuration(cluster: Cluster, node: str, security: Security = OPEN) -> str:
    """Return the text of nats-server.conf for this director."""
    return (
        f"server_name: {_quote(subjects.node_token(node))}\n"
        "host: 127.0.0.1\n"
        f"port: {cluster.bus.client_port}\n"
        f"max_payload: {PAYLOAD_BYTES_MAX}\n"
        f"max_connections: {CONNECTIONS_MAX}\n"
        f"max_subscriptions: {SUBSCRIPTIONS_MAX}\n"
        f"max_pending: {PENDING_BYTES_MAX}\n"
        f'write_deadline: "{WRITE_DEADLINE_S}s"\n'
        'ping_interval: "2s"\n'
        "ping_max: 2\n"
        "logtime: false\n"
        f"{authorization(cluster, node, security.users)}"
        f"{'' if security.isolated else _cluster(cluster, node, security.route)}"
    )


def _cluster(cluster: Cluster, node: str, files: RouteFiles | None) -> str:
    director = cluster.director(node)
    listen = (director.address if director else None) or "0.0.0.0"
    return (
        "cluster {\n"
        '  name: "heartbus"\n'
        f"  host: {_quote(listen)}\n"
        f"  port: {cluster.bus.route_port}\n"
        "  no_advertise: true\n"
        "  pool_size: -1\n"
        '  ping_interval: "1s"\n'
        "  ping_max: 2\n"
        '  write_deadline: "2s"\n'
        '  permissions { import: { deny: ["local.>"] }, export: { deny: ["local.>"] } }\n'
        f"{_routes(cluster, node, files)}"
        "}\n"
    )


def authorization(cluster: Cluster, node: str, users: Mapping[str, tuple[str, ...]]) -> str:
    """Return the block with the users, for an own nats-server too; nothing without keys.

    Not in an account of its own: directors that have keys already and those that have none yet
    hear one another.
    """
    if not users:
        return ""
    return "authorization {\n  timeout: 2\n  users: [\n" + "".join(
        f"    # {name}\n{entry}"
        for name, keys in sorted(users.items())
        for entry in _entries(cluster, node, name, keys)
    ) + "  ]\n}\n"  # fmt: skip


def _entries(cluster: Cluster, node: str, user: str, keys: Iterable[str]) -> Iterator[str]:
    role = role_of(user, witness=any(node == witness.name for witness in cluster.witnesses))
    if role is None:
        return
    may_say = json.dumps(rights.publishes(role, node=node, user=user))
    may_hear = json.dumps(rights.subscribes(role, node=node, user=user))
    for key in keys:
        yield (
            f"    {{ nkey: {key}, permissions: {{\n"
            f"      publish: {{ allow: {may_say} }},\n"
            f"      subscribe: {{ allow: {may_hear} }} }} }}\n"
        )


def _routes(cluster: Cluster, node: str, files: RouteFiles | None) -> str:
    """Return how peers are reached and known: by certificate, or else by a common password."""
    user = _route_user(cluster) if files is None else None
    credentials = f"{user[0]}:{user[1]}@" if user else ""
    urls = [
        f"nats-route://{credentials}{_host(peer.route_host)}:{cluster.bus.route_port}"
        for peer in cluster.directors
        if peer.name != node  # a witness may have no nats-server; one that has it dials us
    ]
    known = ""
    if user:
        name, password = map(_quote, user)
        known = f"  authorization {{ user: {name}, password: {password}, timeout: 2 }}\n"
    if files is not None:
        known = (
            "  tls {\n"
            f"    cert_file: {_quote(str(files.certificate))}\n"
            f"    key_file: {_quote(str(files.key))}\n"
            f"    ca_file: {_quote(str(files.ca))}\n"
            "    verify: true\n"
            "    timeout: 2\n"
            "  }\n"
        )
    return f"{known}  routes: {json.dumps(urls)}\n"


def _route_user(cluster: Cluster) -> tuple[str, str] | None:
    """User and password of routes: derived from the heartbeat key, so one secret serves both.

    None with crc, which has no secret.
    """
    authentication = cluster.membership.authentication
    key = authentication.key(authentication.signing_key)
    if key is None or not key.secret:
        return None
    return "heartbus", hmac.new(key.secret, b"heartbus nats route", hashlib.sha256).hexdigest()


def _quote(text: str) -> str:
    return json.dumps(text)


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
