"""A configuration in the old form around one ldirectord file, ``l.cf``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from heartbus.model import VirtualService
from tests.common.config_samples import QUIET, directory, loaded

GROUP = "192.168.7.110/24"


def with_file(text: str) -> dict[str, Any]:
    return {**QUIET, "haresources": f"linuxha1 {GROUP} ldirectord::l.cf\n", "l.cf": text}


def service(tmp_path: Path, text: str) -> VirtualService:
    place = directory(tmp_path, with_file(text))
    (only,) = loaded(place).cluster.virtual_services
    return only


def section(*lines: str, port: str = "80", before: str = "") -> str:
    body = "".join(f"\t{line}\n" for line in lines)
    return f"{before}virtual=192.168.7.110:{port}\n{body}"
