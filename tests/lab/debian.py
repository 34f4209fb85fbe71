"""A Debian of this machine's release in a directory, to try what a Debian user gets.

Made once by debootstrap from the mirror that this machine uses, kept under build/lab and copied for
whoever changes it. ``python -m tests.lab.debian`` makes it, so that no test has to wait for it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.lab.kernel import BUILD, CHECKOUT

PACKAGES: Final = ("init-system-helpers", "iproute2", "kmod", "python3", "systemd", "systemd-sysv")
RUN_MAX_S: Final = 120.0
MAKE_MAX_S: Final = 500.0


class Debian:
    """A Debian whose root is a directory; commands run in it by chroot."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in it, with an environment that has nothing of ours.

        /proc is there; nothing of the machine is visible in it but itself.
        """
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--mount-proc=" + str(self.root / "proc"),
             "chroot", str(self.root), *argv],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=RUN_MAX_S,
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"{argv}:\n{done.stdout}"
        return done

    def said(self, *argv: str) -> str:
        """Return what a command prints."""
        return self.run(*argv).stdout

    def copy(self, to: Path) -> Debian:
        """Return a copy of it, which may be changed."""
        run_here(["cp", "-a", "--reflink=auto", str(self.root), str(to)])
        return Debian(to)


def base() -> Debian:
    """Return the one that nobody changes; makes it where there is none."""
    facts = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().split("\n")
        if "=" in line
    )
    release = facts["VERSION_CODENAME"].strip('"')
    digest = hashlib.sha256(" ".join((release, *PACKAGES)).encode()).hexdigest()[:12]
    root = BUILD / f"debian-{release}-{digest}"
    if not root.exists():
        being_made = root.with_suffix(f".{os.getpid()}")
        sources = run_here(
            ["apt-get", "indextargets", "--format", "$(SITE)|$(RELEASE)", "Created-By: Packages"]
        )
        site = next(line.split("|")[0] for line in sources.split() if line.endswith(f"|{release}"))
        BUILD.mkdir(parents=True, exist_ok=True)
        try:
            run_here(
                ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}",
                 release, str(being_made), site],
            )  # fmt: skip
            being_made.rename(root)
        finally:
            shutil.rmtree(being_made, ignore_errors=True)
    return Debian(root)


def run_here(argv: Sequence[str], *, timeout_s: float = MAKE_MAX_S) -> str:
    """Return what a command of this machine prints; it runs in the checkout."""
    done = subprocess.run(
        argv,
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert done.returncode == 0, f"{argv}:\n{done.stdout}"
    return done.stdout


if __name__ == "__main__":
    print(base().root)
    sys.exit(0)
