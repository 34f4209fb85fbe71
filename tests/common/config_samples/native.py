"""The least heartbus.toml that says nothing odd, and what is said about more than that."""

from __future__ import annotations

from pathlib import Path

from heartbus.config import ConfigError, load
from heartbus.model import Cluster
from tests.common.config_samples import directory, loaded, said

BASE = """\
[[directors]]
name = "a"
[[directors]]
name = "b"
address = "10.0.0.2"
[membership]
links = [{ kind = "bcast", interface = "eth1" }]
[membership.authentication]
signing_key = 1
keys = [{ id = 1, secret = "x" }]
"""
FIRST = BASE.count("\n") + 1
"""The line of what a test adds."""

WITNESS = """\
[[witnesses]]
name = "w"
address = "10.0.0.3"
"""


def read(tmp_path: Path, text: str) -> Cluster:
    return loaded(directory(tmp_path, {"heartbus.toml": text})).cluster


def remarks(tmp_path: Path, text: str) -> list[str]:
    place = directory(tmp_path, {"heartbus.toml": text})
    try:
        return said(load(str(place / "heartbus.toml")).diagnostics, place)
    except ConfigError as error:
        return said(error.diagnostics, place)


def changed(old: str, new: str) -> str:
    """Return BASE with one part of it written otherwise."""
    assert old in BASE
    return BASE.replace(old, new)
