"""Debian packages that the lab runs beside heartbus, unpacked and not installed."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.kernel import CHECKOUT

SETUP: Final = CHECKOUT / "tests" / "lab" / "setup-peers.sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A file of a package, and where the libraries are that came with it."""

    path: Path
    library_path: str


def keepalived() -> Unpacked:
    """Return the program; fetched now if it is not there.

    Raises:
        subprocess.CalledProcessError: it cannot be fetched; the script has said why.

    """
    return _unpacked("keepalived", "/usr/sbin/keepalived", "heartbus is measured beside it")


def ldirectord() -> Unpacked:
    """Return the program, in Perl; fetched now if it is not there. Its modules: ``perl_path``.

    Raises:
        subprocess.CalledProcessError: it cannot be fetched; the script has said why.

    """
    return _unpacked("ldirectord", "/usr/sbin/ldirectord", "heartbus is measured beside it")


def perl_path(program: Unpacked) -> str:
    """Return the PERL5LIB of a Perl program that was unpacked: its own modules."""
    root = program.path.parents[2]
    places = [root / "usr/share/perl5", *sorted(root.glob("usr/lib/*/perl5/5.*"))]
    return ":".join(str(place) for place in places if place.is_dir())


def libfaketime() -> Unpacked:
    """Return the library that gives a program a wall clock of its own; fetched if not there.

    Raises:
        subprocess.CalledProcessError: it cannot be fetched; the script has said why.

    """
    library = f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketime.so.1"
    return _unpacked("libfaketime", library, "a test steps the wall clock of two directors")


def _unpacked(package: str, file: str, why: str) -> Unpacked:
    done = subprocess.run(
        [SETUP, package, file, why], stdout=subprocess.PIPE, text=True, check=True
    )
    return Unpacked(
        path=CHECKOUT / "build" / "lab" / package / file.lstrip("/"),
        library_path=done.stdout.strip(),
    )


class WallClock:
    """CLOCK_REALTIME of some programs, to be stepped while they run; the rest is the machine's.

    Linux has no namespace for it, so a library stands between (not for static programs such as
    nats-server). Monotonic clocks and the times of files are left alone.
    """

    def __init__(self, directory: Path) -> None:
        self._offset = directory / "wall-clock"
        self._library = libfaketime()
        self.step(0)

    def step(self, seconds: float) -> None:
        """Let the clock be so much ahead of the machine's, from now on."""
        draft = self._offset.with_name("wall-clock.new")
        draft.write_text(f"{seconds:+.0f}\n")
        draft.rename(self._offset)

    @property
    def environment(self) -> dict[str, str]:
        """Return what a program must be started with."""
        return {
            "LD_PRELOAD": str(self._library.path),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
