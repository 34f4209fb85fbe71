"""The built wheel, installed where no checkout is on the path: every command starts from it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "heartbus",
    "heartbus_checker",
    "heartbus_ipvs_agent",
    "heartbus_membership",
    "heartbus_simulator",
    "heartbus_vip",
)
COMMANDS = (
    "heartbus",
    "heartbus-checker",
    "heartbus-ipvs-agent",
    "heartbus-membership",
    "heartbus-vip",
)

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(300)]


def run(words: Sequence[str | Path]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("empty")
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel])
    site = Path(
        run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    )
    # The libraries come from the development environment; a path file does not bring its editable
    # install along, so heartbus itself can come from the wheel only.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return directory


def test_the_wheel_holds_every_package_with_its_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == set(PACKAGES)


def test_heartbus_is_imported_from_the_wheel(environment: Path) -> None:
    python = environment / "bin" / "python"
    for package in PACKAGES:
        found = run([python, "-c", f"import {package}; print({package}.__file__)"]).strip()
        assert Path(found).is_relative_to(environment)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_starts_and_shows_an_example(environment: Path, command: str) -> None:
    assert "xample: heartbus" in run([environment / "bin" / command, "--help"])
