"""Load a configuration, whichever form it has."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from heartbus.config import classic, native, source
from heartbus.config.diagnostics import ConfigError, Diagnostic
from heartbus.config.report import Place, Places, Report
from heartbus.model import Cluster

NATIVE_FILE = "heartbus.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A usable configuration, everything there is to say about its files, and where what stands.

    ``files``: what was read or looked for, with a digest of what it held; empty: nothing was there.
    ``included``: what the main file of the TOML form includes. ``secrets``: where these have a
    secret themselves, not the name of a file with one.
    """

    cluster: Cluster
    diagnostics: tuple[Diagnostic, ...]
    places: Places
    files: Mapping[str, str] = field(default_factory=dict)
    included: tuple[str, ...] = ()
    secrets: tuple[Place, ...] = ()


def load(path: str, *, root: str = "/") -> Loaded:
    """Return the configuration at ``path``: a TOML file or a directory in the old form.

    A directory is in the old form if it (or its ``conf/``) has ha.cf; else its heartbus.toml is
    read. Saved IPVS rules and resource scripts of the system are looked for below ``root``.

    Raises:
        ConfigError: it cannot be used; the error carries every diagnostic.

    """
    report = Report()
    with _nothing_collected():
        cluster = _read(path, root, report)
    report.refuse_errors()
    assert cluster is not None
    places = report.places or Places(whole=Place(file=path))
    return Loaded(
        cluster=cluster,
        diagnostics=report.diagnostics(),
        places=places,
        files=report.files,
        included=tuple(report.included),
        secrets=tuple(report.secrets),
    )


def _read(path: str, root: str, report: Report) -> Cluster | None:
    if not _is_directory(path):
        return native.load(path, root=root, report=report)
    if classic.is_classic(path):
        return classic.load(path, root=root, report=report)
    file = os.path.join(path, NATIVE_FILE)
    if source.is_file(file):
        return native.load(file, root=root, report=report)
    report.files.update((name, "") for name in (file, *map(_ha_cf, classic.directories(path))))
    report.error(
        Place(file=path),
        f"no configuration here; allowed is a directory with {classic.HA_CF} (also in"
        f" {classic.CONF}/) or {NATIVE_FILE}, or a TOML file",
    )
    return None


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """Look for no garbage meanwhile: a third of the time, and hardly any would be found."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def native_file(path: str) -> str | None:
    """Return the TOML file that a configuration at ``path`` is read from; None: the old form."""
    if not _is_directory(path):
        return path
    file = os.path.join(path, NATIVE_FILE)
    return None if classic.is_classic(path) or not source.is_file(file) else file


def _ha_cf(directory: str) -> str:
    return os.path.join(directory, classic.HA_CF)


def _is_directory(path: str) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:
        return False


__all__ = ["ConfigError", "Loaded", "load"]
