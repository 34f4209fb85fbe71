"""Configuration files of the field, valid and broken, each with what heartbus makes of it.

Written for the project after what is known of the old programs; nothing here is copied. Beside
every file stands ``NAME.expected``: each remark as ``level FILE:LINE: directive: message``, then
what was understood, in the words of the TOML form (nothing, if the file is refused).

    python -m tests.corpus     writes all of them anew: read the difference before you commit it
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli_w

from heartbus.config import ConfigError, Loaded, keepalived
from heartbus.config.document import document
from heartbus.config.report import Place, Places, Report
from heartbus.model import Cluster
from tests.common.config_samples import QUIET, Files, directory, loaded, said

HERE: Final = Path(__file__).parent
EXPECTED: Final = ".expected"
KINDS: Final = ("ldirectord", "ha.cf", "haresources", "authkeys", "toml", "keepalived")
INCLUDED: Final = ".inc"
"""What a keepalived.conf of the corpus includes; no sample of its own."""

_PARTS: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "ldirectord": lambda d: {"virtual_services": d.get("virtual_services", [])},
    "ha.cf": lambda d: {
        "directors": d["directors"],
        "membership": {k: v for k, v in d["membership"].items() if k != "authentication"},
    },
    "haresources": lambda d: {"groups": d.get("groups", [])},
    "authkeys": lambda d: d["membership"]["authentication"],
    "toml": lambda d: d,
    "keepalived": lambda d: {
        **{k: d[k] for k in ("groups", "vip", "virtual_services") if k in d},
        "membership": {k: v for k, v in d["membership"].items() if k != "authentication"},
    },
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One file of the corpus."""

    kind: str
    path: Path

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.path.stem}"

    @property
    def expected(self) -> Path:
        return self.path.with_name(self.path.name + EXPECTED)

    def place(self, tmp_path: Path) -> Path:
        """Write it where it can be loaded: beside files about which there is nothing to say."""
        content = self.path.read_bytes()
        if self.kind == "toml":
            return directory(tmp_path, {"heartbus.toml": content})
        if self.kind == "keepalived":
            included = {path.name: path for path in self.path.parent.glob(f"*{INCLUDED}")}
            return directory(tmp_path, {"keepalived.conf": content, **included})
        files: Files = dict(QUIET)
        if self.kind == "ldirectord":
            files["haresources"] = "linuxha1 192.168.7.110/24 ldirectord::sample.cf\n"
            files["sample.cf"] = content
        else:
            files[self.kind] = content
        return directory(tmp_path, files)

    def load(self, tmp_path: Path) -> tuple[Loaded | None, list[str]]:
        """Return what was loaded, None if it is refused, and what was said."""
        place = self.place(tmp_path)
        if self.kind == "keepalived":
            return _imported(place)
        try:
            result = loaded(place)
        except ConfigError as error:
            return None, said(error.diagnostics, place)
        return result, said(result.diagnostics, place)

    def outcome(self, tmp_path: Path) -> str:
        """Return what belongs in the expected file."""
        result, lines = self.load(tmp_path)
        text = "".join(f"{line}\n" for line in lines).replace(f"{tmp_path}/", "")
        if result is None:
            return text
        part = _PARTS[self.kind](document(_portable(result.cluster, tmp_path), whole=False))
        return text + ("\n" if text else "") + tomli_w.dumps(part)


def _imported(place: Path) -> tuple[Loaded | None, list[str]]:
    report, file = Report(), str(place / "keepalived.conf")
    cluster = keepalived.load(file, directors=["lvs1", "lvs2"], secret=b"s", report=report)
    lines = said(report.diagnostics(), place)
    if cluster is None or report.errors:
        return None, lines
    places = Places(whole=Place(file=file))
    return Loaded(cluster=cluster, diagnostics=report.diagnostics(), places=places), lines


def samples() -> Iterator[Sample]:
    """Yield the whole corpus in order."""
    for kind in KINDS:
        for path in sorted((HERE / kind).iterdir()):
            if path.suffix not in (EXPECTED, INCLUDED):
                yield Sample(kind, path)


def _portable(cluster: Cluster, tmp_path: Path) -> Cluster:
    path = tuple(entry for entry in cluster.resource_path if not entry.startswith(str(tmp_path)))
    return dataclasses.replace(cluster, resource_path=path)
