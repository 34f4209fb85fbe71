"""Finds the program behind a resource: built in, a script, a systemd unit, or an OCF agent.

Looked for in this order, so that what an administrator put beside Heartbeat goes on to count. A
name can say which kind it means: ``lsb:nginx``, ``systemd:nginx``, ``ocf:heartbeat:nginx``.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

BUILT_IN: Final = frozenset(
    {"Delay", "IPsrcaddr", "LVSSyncDaemonSwap", "MailTo", "SendArp", "Xinetd"}
)
"""What Heartbeat shipped as scripts and ``vip`` does itself; addresses are no scripts at all."""

UNIT_DIRECTORIES: Final = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
SYSTEMD_RUNS: Final = "/run/systemd/system"
"""There while systemd is the init of this machine: sd_booted(3)."""

OCF_ROOT: Final = "/usr/lib/ocf"
OCF_PROVIDER: Final = "heartbeat"
"""Asked first where a name says no provider."""


class ProgramKind(enum.StrEnum):
    """How a program is called, and what its exit codes mean."""

    BUILT_IN = "built-in"
    SCRIPT = "script"
    UNIT = "unit"
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """``path``: of a script or an agent, the full name of a unit, the plain name of a built-in.

    ``root`` and ``provider`` are those of an OCF agent.
    """

    kind: ProgramKind
    path: str
    provider: str = ""
    root: str = OCF_ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """No program; ``tried`` says in words where it was looked for and what was there."""

    tried: str


def find_program(
    name: str, directories: Sequence[str], *, root: str = "/", ocf_root: str | None = None
) -> Program | NotFound:
    """Return the program that starts and stops a resource of this name.

    ``directories`` hold scripts; systemd units are looked for below ``root``, agents below
    ``ocf_root`` (default: the environment's OCF_ROOT, else /usr/lib/ocf).
    """
    agents = ocf_root or os.environ.get("OCF_ROOT") or below(root, OCF_ROOT)
    kind, colon, rest = name.partition(":")
    tried: list[str] = []
    if not colon and name in BUILT_IN:
        return Program(kind=ProgramKind.BUILT_IN, path=name)
    found: Program | None = None
    if colon and kind == "lsb":
        found = _script(rest, directories, tried)
    elif colon and kind == "systemd":
        found = _unit(rest, root, tried)
    elif colon and kind == "ocf":
        found = _agent(rest, agents, tried)
    elif not colon:
        found = (
            _script(name, directories, tried)
            or _unit(name, root, tried)
            or _agent(name, agents, tried)
        )
    else:
        tried.append(f"{kind}: is no kind of resource; allowed are lsb:, systemd: and ocf:")
    return found or NotFound(tried=", ".join(tried))


def below(root: str, path: str) -> str:
    """Return a path of the system below another root."""
    return path if root == "/" else os.path.join(root, path.lstrip("/"))


def _script(name: str, directories: Sequence[str], tried: list[str]) -> Program | None:
    candidates = [name] if name.startswith("/") else [os.path.join(d, name) for d in directories]
    return _first_executable(candidates, ProgramKind.SCRIPT, tried)


def _unit(name: str, root: str, tried: list[str]) -> Program | None:
    unit = (
        name if name.endswith((".service", ".socket", ".target", ".mount")) else f"{name}.service"
    )
    if not os.path.isdir(below(root, SYSTEMD_RUNS)):
        tried.append(f"systemd unit {unit} (systemd does not run here)")
        return None
    if not any(_is_file(os.path.join(below(root, d), unit)) for d in UNIT_DIRECTORIES):
        tried.append(f"systemd unit {unit} (no such unit)")
        return None
    return Program(kind=ProgramKind.UNIT, path=unit)


def _agent(name: str, ocf_root: str, tried: list[str]) -> Program | None:
    provider, colon, agent = name.rpartition(":")
    providers = [provider] if colon else list(_providers(ocf_root))
    for each in providers:
        path = os.path.join(ocf_root, "resource.d", each, agent)
        found = _first_executable([path], ProgramKind.AGENT, tried)
        if found is not None:
            return Program(kind=found.kind, path=path, provider=each, root=ocf_root)
    if not providers:
        tried.append(f"{ocf_root}/resource.d (no OCF agents here)")
    return None


def _providers(ocf_root: str) -> Iterator[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(f"{ocf_root}/resource.d"))
    except OSError:
        return
    if OCF_PROVIDER in names:
        yield OCF_PROVIDER
    yield from (name for name in names if name != OCF_PROVIDER and not name.startswith("."))


def _first_executable(
    candidates: Sequence[str], kind: ProgramKind, tried: list[str]
) -> Program | None:
    for path in candidates:
        if not _is_file(path):
            tried.append(f"{path} (no such file)")
        elif not os.access(path, os.X_OK):
            tried.append(f"{path} (not executable)")
        else:
            return Program(kind=kind, path=path)
    return None


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # a NUL in the name
        return False
