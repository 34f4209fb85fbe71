"""The Debian package in a system that has nothing else: installed, configured, removed, purged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.lab import debian
from tests.lab.debian import Debian
from tests.lab.kernel import CHECKOUT

pytestmark = [pytest.mark.machines, pytest.mark.timeout(600)]

PACKAGE: Final = "/root/package.deb"
COMMANDS: Final = (
    "heartbus",
    "heartbus-checker",
    "heartbus-ipvs-agent",
    "heartbus-membership",
    "heartbus-recorder",
    "heartbus-vip",
)


@pytest.fixture(scope="module")
def system(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """One that has the file of the package and nothing of us beside it."""
    made = debian.base().copy(tmp_path_factory.mktemp("debian") / "root")
    shutil.copy(package, made.root / PACKAGE.lstrip("/"))
    yield made
    shutil.rmtree(made.root)


def ours(system: Debian) -> set[str]:
    """Return all that is called after us."""
    found = system.said("find", "/", "-xdev", "-iname", "*heartbus*", "-not", "-path", "/proc/*")
    return set(found.split())


def test_it_installs_configures_removes_and_purges(system: Debian) -> None:
    assert ours(system) == set()
    system.run("dpkg", "--install", PACKAGE)
    assert "heartbus" in system.said("id", "heartbus")
    for command in COMMANDS:
        assert "example" in system.said(command, "--help").lower()
    assert system.said("heartbus", "--version").startswith("heartbus, version ")
    assert "nats-server" in system.said("/usr/lib/heartbus/nats-server", "--version")
    assert system.said("stat", "-c", "%U:%G %a", "/etc/heartbus") == "root:heartbus 750\n"

    assert system.said("stat", "-c", "%U:%G %a", "/etc/heartbus/bus") == "root:heartbus 750\n"
    # As a unit starts it, from a path that no login shell has.
    found = "PATH=" + system.said(
        "sed", "-n", "s/^Environment=PATH=//p", "/lib/systemd/system/heartbus-bus.service"
    )
    system.run("env", "-i", found.strip(), "nats-server", "--version")

    example, config = "/usr/share/doc/heartbus/examples", "/etc/heartbus/heartbus.toml"
    system.run("install", "-m", "640", f"{example}/heartbus.toml", config)
    refused = system.run("heartbus", "config", "check", config, check=False)
    assert refused.returncode == 2
    assert "chmod" in refused.stdout
    system.run("chmod", "600", config)
    system.run("chown", "heartbus", config)
    assert system.run("heartbus", "config", "check", config).returncode == 0
    written = "HEARTBUS_NODE=linuxha1.linux-ha.org\n"
    (system.root / "etc/default/heartbus").write_text(written)

    system.run("dpkg", "--install", PACKAGE)  # as an upgrade
    assert (system.root / "etc/default/heartbus").read_text() == written
    assert system.run("dpkg", "--verify", "heartbus").stdout.split() == [
        *("??5??????", "c", "/etc/default/heartbus"),
    ]
    (system.root / "var/lib/heartbus").mkdir(exist_ok=True)

    system.run("dpkg", "--remove", "heartbus")
    assert not (system.root / "usr/bin/heartbus").exists()
    assert not (system.root / "usr/lib/heartbus").exists()
    assert (system.root / "etc/default/heartbus").read_text() == written
    assert (system.root / "etc/heartbus/heartbus.toml").exists()
    assert (system.root / "var/lib/heartbus").exists()

    system.run("dpkg", "--purge", "heartbus")
    assert not (system.root / "var/lib/heartbus").exists()
    # What the administrator wrote is theirs.
    assert ours(system) == {"/etc/heartbus", config}


def test_nothing_of_it_depends_on_where_it_was_built(system: Debian) -> None:
    system.run("dpkg", "--unpack", PACKAGE)
    found = system.run(
        "grep",
        "-rlIF",
        str(CHECKOUT),
        "/usr/lib/heartbus",
        "/usr/bin",
        "/usr/share/doc",
        check=False,
    )
    system.run("dpkg", "--purge", "heartbus")
    assert found.stdout == ""
