"""The Debian package in a system that has nothing else: installed, configured, removed, purged."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(600)]

PROJECT: Final = Path(__file__).parents[2]
NEEDED: Final = "python3,iproute2,init-system-helpers,systemd-standalone-sysusers"
COMMANDS: Final = (
    "heartbus",
    "heartbus-checker",
    "heartbus-ipvs-agent",
    "heartbus-membership",
    "heartbus-recorder",
    "heartbus-vip",
)


class Debian:
    """A Debian of the release that this machine runs, in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in it, with an environment that has nothing of ours."""
        done = subprocess.run(
            ["chroot", str(self.root), *argv],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0 or not check, f"{argv}:\n{done.stdout}"
        return done

    def said(self, *argv: str) -> str:
        return self.run(*argv).stdout

    def files(self) -> set[str]:
        """Return all that is called after us."""
        found = self.said("find", "/", "-xdev", "-iname", "*heartbus*", "-not", "-path", "/proc/*")
        return set(found.split())


def _run(argv: list[str], **environment: str) -> str:
    done = subprocess.run(
        argv,
        cwd=PROJECT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, f"{argv}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """From the mirror that this machine uses; its release, as the package is for one Python."""
    root = tmp_path_factory.mktemp("debian")
    facts = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().split("\n")
        if "=" in line
    )
    mirror = _run(
        ["apt-get", "indextargets", "--format", "$(SITE)|$(RELEASE)", "Created-By: Packages"]
    )
    release = facts["VERSION_CODENAME"].strip('"')
    site = next(line.split("|")[0] for line in mirror.split() if line.endswith(f"|{release}"))
    _run(["debootstrap", "--variant=minbase", f"--include={NEEDED}", release, str(root), site])
    with contextlib.ExitStack() as stack:
        subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
        stack.callback(subprocess.run, ["umount", str(root / "proc")], check=True)
        yield Debian(root)
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def package(debian: Debian) -> str:
    """Return where the package lies in that system."""
    _run([str(PROJECT / "deploy" / "debian" / "build.sh")])
    [built] = (PROJECT / "build" / "deb").glob("*.deb")
    shutil.copy(built, debian.root / "root" / built.name)
    (debian.root / "root" / built.name).rename(debian.root / "root" / "package.deb")
    return "/root/package.deb"


def test_it_installs_configures_removes_and_purges(debian: Debian, package: str) -> None:
    assert debian.files() == set()
    debian.run("dpkg", "--install", package)
    assert "heartbus" in debian.said("id", "heartbus")
    for command in COMMANDS:
        assert "example" in debian.said(command, "--help").lower()
    assert debian.said("heartbus", "--version").startswith("heartbus, version ")
    assert "nats-server" in debian.said("/usr/lib/heartbus/nats-server", "--version")
    assert debian.said("stat", "-c", "%U:%G %a", "/etc/heartbus") == "root:heartbus 750\n"

    example, config = "/usr/share/doc/heartbus/examples", "/etc/heartbus/heartbus.toml"
    debian.run("install", "-m", "640", f"{example}/heartbus.toml", config)
    refused = debian.run("heartbus", "config", "check", config, check=False)
    assert refused.returncode == 2
    assert "chmod" in refused.stdout
    debian.run("chmod", "600", config)
    debian.run("chown", "heartbus", config)
    assert debian.run("heartbus", "config", "check", config).returncode == 0
    written = "HEARTBUS_NODE=linuxha1.linux-ha.org\n"
    (debian.root / "etc/default/heartbus").write_text(written)

    debian.run("dpkg", "--install", package)  # as an upgrade
    assert (debian.root / "etc/default/heartbus").read_text() == written
    assert debian.run("dpkg", "--verify", "heartbus").stdout.split() == [
        *("??5??????", "c", "/etc/default/heartbus"),
    ]
    (debian.root / "var/lib/heartbus").mkdir(exist_ok=True)

    debian.run("dpkg", "--remove", "heartbus")
    assert not (debian.root / "usr/bin/heartbus").exists()
    assert not (debian.root / "usr/lib/heartbus").exists()
    assert (debian.root / "etc/default/heartbus").read_text() == written
    assert (debian.root / "etc/heartbus/heartbus.toml").exists()
    assert (debian.root / "var/lib/heartbus").exists()

    debian.run("dpkg", "--purge", "heartbus")
    assert not (debian.root / "var/lib/heartbus").exists()
    # What the administrator wrote is theirs.
    assert debian.files() == {"/etc/heartbus", config}


def test_nothing_of_it_depends_on_where_it_was_built(package: str, debian: Debian) -> None:
    debian.run("dpkg", "--unpack", package)
    found = debian.run(
        "grep",
        "-rlIF",
        str(PROJECT),
        "/usr/lib/heartbus",
        "/usr/bin",
        "/usr/share/doc",
        check=False,
    )
    debian.run("dpkg", "--purge", "heartbus")
    assert found.stdout == ""
