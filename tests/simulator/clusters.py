"""Configurations that the tests of simulate play."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from heartbus.config.loader import load
from heartbus.model import Cluster

ONE: Final = "one.example"
TWO: Final = "two.example"
PAIR: Final = """\
[[directors]]
name = "one.example"
[[directors]]
name = "two.example"

[membership]
timers = "lan"
links = [{ kind = "bcast", interface = "eth0" }, { kind = "bcast", interface = "eth1" }]
[membership.authentication]
signing_key = 1
keys = [{ id = 1, secret = "of the tests of simulate" }]

[[groups]]
name = "web"
preferred = "one.example"
resources = ["IPaddr::192.0.2.100/24"]

[[virtual_services]]
address = "192.0.2.100:80"
fallback = { address = "127.0.0.1:80" }
[virtual_services.check]
type = "connect"
interval = 2
connect_timeout = 1
fall = 2
[[virtual_services.real_servers]]
address = "192.0.2.11:80"
[[virtual_services.real_servers]]
address = "192.0.2.12:80"
"""
WITNESS: Final = '[[witnesses]]\nname = "three.example"\n'


def configuration(directory: Path, text: str = PAIR) -> Path:
    """Write a configuration; return its path."""
    path = directory / "heartbus.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def cluster(directory: Path, text: str = PAIR) -> Cluster:
    """Return what a configuration means."""
    found = load(str(configuration(directory, text))).cluster
    assert found is not None
    return found
