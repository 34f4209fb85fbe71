"""One package, and one Debian that has it, for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.lab import debian
from tests.lab.debian import Debian, run_here
from tests.lab.kernel import CHECKOUT

UNITS: Final = (
    "heartbus.target",
    "heartbus-bus",
    "heartbus-membership",
    "heartbus-vip",
    "heartbus-checker",
    "heartbus-ipvs-agent",
    "heartbus-recorder",
)


@pytest.fixture(scope="session")
def package() -> Path:
    """Build the package."""
    run_here(["env", "HEARTBUS_DEB_ZIP=none", str(CHECKOUT / "deploy" / "debian" / "build.sh")])
    [built] = (CHECKOUT / "build" / "deb").glob("*.deb")
    return built


@pytest.fixture(scope="session")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """A Debian that has it, all units enabled as its own text says; do not change it."""
    root = tmp_path_factory.mktemp("installed") / "root"
    made = debian.base().copy(root)
    shutil.copy(package, root / "root" / "heartbus.deb")
    made.run("dpkg", "--install", "/root/heartbus.deb")
    made.run("systemctl", "enable", *UNITS)
    yield made
    shutil.rmtree(root)
