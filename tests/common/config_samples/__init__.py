"""Configuration directories for tests: the classic samples, with files put over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from heartbus.config import ConfigError, Diagnostic, Loaded, load

EXAMPLES = Path(__file__).parents[3] / "examples"
CLASSIC = EXAMPLES / "classic"
AS_PRINTED = CLASSIC / "as-printed"

Files = dict[str, str | bytes | Path]
"""File names below the directory, with their text or the sample to copy."""

QUIET_HA_CF = "bcast eth1\nauto_failback off\nnode linuxha1 linuxha2\n"
QUIET_AUTHKEYS = "auth 1\n1 sha256 secret\n"
QUIET_HARESOURCES = "linuxha1 192.168.7.110/24\n"
QUIET: Files = {
    "ha.cf": QUIET_HA_CF + "realtime off\n",
    "authkeys": QUIET_AUTHKEYS,
    "haresources": QUIET_HARESOURCES,
}
"""A configuration in the old form about which there is nothing to say."""


def directory(tmp_path: Path, files: Mapping[str, str | bytes | Path]) -> Path:
    """Write these files below a new directory and return it; authkeys only for its owner."""
    place = tmp_path / "ha.d"
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            content = content.read_bytes()
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o600)
    return place


def classic_files() -> Files:
    """Return the files of examples/classic that a director reads."""
    names = ("ha.cf", "haresources", "authkeys", "www.cf", "mail.cf")
    return {name: CLASSIC / name for name in names}


def loaded(place: Path) -> Loaded:
    """Load it, with nothing in the /etc of the machine."""
    return load(str(place), root=str(place.parent / "no-such-root"))


def said(diagnostics: Iterable[Diagnostic], place: Path) -> list[str]:
    """Return each remark as ``level FILE:LINE: directive: message``, paths below ``place``."""
    return [f"{d.level} {d}".replace(f"{place}/", "") for d in diagnostics]


def remarks(tmp_path: Path, files: Mapping[str, str | bytes | Path]) -> list[str]:
    """Return what is said about these files, loaded or refused."""
    place = directory(tmp_path, files)
    try:
        return said(loaded(place).diagnostics, place)
    except ConfigError as error:
        return said(error.diagnostics, place)
