"""``heartbus realserver``: make a machine a real server behind gate or ipip, and see why it is not.

Runs on the real server. ``realserver`` knows what is needed, ``realserver_machine`` does it.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from heartbus.cli.options import json_option
from heartbus.config import ConfigError
from heartbus.model import Cluster, ForwardingMethod, TransportProtocol
from heartbus.realserver import (
    HAVE_IT,
    AddressChange,
    Change,
    LinkUp,
    Machine,
    Problem,
    ServedAddress,
    SysctlChange,
    problems,
    unserved,
)
from heartbus.realserver_machine import RealServerError, change, look, put_back
from heartbus.runner import DEFAULT_CONFIG, EXIT_CONFIG, EXIT_MACHINE, fail, load_cluster

RECORD: Final = Path("heartbus/realserver.json")
UNIT: Final = "heartbus-realserver.service"
UNIT_DIRECTORY: Final = Path("/etc/systemd/system")
SYSTEMD_RUNS: Final = Path("/run/systemd/system")
EXIT_PROBLEMS: Final = 1

F = TypeVar("F", bound=Callable[..., Any])

_EXIT_CODES: Final = """
    Exit code: 0 all is as it must be, 1 something is not, 2 the command line or the configuration
    is wrong, 3 this machine cannot be changed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What this machine is to serve; ``ports``: TCP, of each address, where they are known."""

    served: tuple[ServedAddress, ...]
    ports: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def words(self) -> list[str]:
        """Return it as options."""
        return [f"--{one.method}={one.address}" for one in self.served]


def _ip_address(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> list[str]:
    result = []
    for value in values:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            raise click.BadParameter(
                f"{value!r} is no IP address; allowed is one address, without a prefix length"
            ) from None
        if address.is_unspecified or address.is_multicast or address.is_loopback:
            raise click.BadParameter(f"{value} cannot be the address of a virtual service")
        result.append(str(address))
    return result


def _asked_options(function: F) -> F:
    for option in (
        json_option,
        click.option(
            "--runtime-dir",
            type=click.Path(path_type=Path),
            default=Path("/run"),
            show_default=True,
            help="Where setup writes down what it changed.",
        ),
        click.option(
            "--config",
            envvar="HEARTBUS_CONFIG",
            metavar="PATH",
            help="Take the addresses from the services there that name an address of this machine;"
            f" {DEFAULT_CONFIG} if no address is given.",
        ),
        click.option(
            "--ipip",
            multiple=True,
            callback=_ip_address,
            metavar="ADDRESS",
            help="An address that a director forwards in a tunnel. May be repeated.",
        ),
        click.option(
            "--gate",
            multiple=True,
            callback=_ip_address,
            metavar="ADDRESS",
            help="An address that a director forwards by direct routing. May be repeated.",
        ),
    ):
        function = option(function)
    return function


@click.group()
def realserver() -> None:
    """Prepare this machine to be a real server behind a director.

    With gate and ipip a packet keeps the address of the virtual service: the real server must have
    that address itself and must not answer ARP for it. With masq there is nothing to set up here,
    but the answers must go back through the director: make it the default gateway.
    """


@realserver.command(epilog="Example: heartbus realserver setup --gate 192.0.2.100 --persistent")
@_asked_options
@click.option("--dry-run", is_flag=True, help="Print what would be done, as commands.")
@click.option("--persistent", is_flag=True, help=f"Also after a boot: writes and enables {UNIT}.")
@click.option(
    "--unit-dir",
    type=click.Path(path_type=Path),
    default=UNIT_DIRECTORY,
    show_default=True,
    help="Where --persistent writes it.",
)
def setup(
    gate: list[str],
    ipip: list[str],
    config: str | None,
    runtime_dir: Path,
    as_json: bool,
    dry_run: bool,
    persistent: bool,
    unit_dir: Path,
) -> None:
    """Add the served addresses, after making sure that nobody is answered for them by ARP."""
    asked = _asked("setup", gate, ipip, config)
    wanted = [p.mended_by for p in problems(asked.served, look()) if p.mended_by is not None]
    if dry_run:
        lines = [_as_command(one) for one in wanted]
        click.echo(json.dumps(lines, indent=2) if as_json else "\n".join(lines) or "nothing to do")
        return
    try:
        change(wanted, runtime_dir / RECORD)
        if persistent:
            _write_unit(asked, unit_dir)
    except RealServerError as error:
        sys.exit(fail("heartbus realserver setup", error, EXIT_MACHINE))
    _tell(asked, look(), as_json=as_json, done=[_as_command(one) for one in wanted])


@realserver.command(epilog="Example: heartbus realserver check --gate 192.0.2.100")
@_asked_options
def check(
    gate: list[str], ipip: list[str], config: str | None, runtime_dir: Path, as_json: bool
) -> None:
    """Say what keeps this machine from serving; changes nothing."""
    del runtime_dir
    asked = _asked("check", gate, ipip, config)
    _tell(asked, look(), as_json=as_json, done=[])


@realserver.command(epilog="Example: heartbus realserver remove")
@click.option(
    "--runtime-dir",
    type=click.Path(path_type=Path),
    default=Path("/run"),
    show_default=True,
    help="Where setup wrote down what it changed.",
)
@click.option(
    "--unit-dir",
    type=click.Path(path_type=Path),
    default=UNIT_DIRECTORY,
    show_default=True,
    help=f"Where {UNIT} is removed, if it is there.",
)
@click.option("--keep-unit", is_flag=True, help=f"Leave {UNIT}: it calls this when it stops.")
@json_option
def remove(runtime_dir: Path, unit_dir: Path, keep_unit: bool, as_json: bool) -> None:
    """Take away what setup brought, and nothing else.

    Disable the server on the directors first: heartbus disable, or heartbus drain --wait.
    """
    try:
        undone = put_back(runtime_dir / RECORD)
        unit = unit_dir / UNIT
        if not keep_unit and unit.exists():
            _systemctl(unit_dir, "disable", UNIT)
            unit.unlink()
            _systemctl(unit_dir, "daemon-reload")
            undone.append(f"removed {unit}")
    except (RealServerError, OSError) as error:
        sys.exit(fail("heartbus realserver remove", error, EXIT_MACHINE))
    if as_json:
        click.echo(json.dumps(undone, indent=2))
    else:
        click.echo("\n".join(undone) or "nothing was set up here")


for _command in (setup, check, remove):
    _command.help = (_command.help or "") + _EXIT_CODES


# --- what is asked -------------------------------------------------------------------------------


def _asked(command: str, gate: list[str], ipip: list[str], config: str | None) -> Asked:
    twice = sorted(set(gate) & set(ipip))
    if twice:
        raise click.UsageError(
            f"{twice[0]} is given with --gate and with --ipip: it is one of both"
        )
    served = [ServedAddress(address=a, method=ForwardingMethod.GATE) for a in gate]
    served += [ServedAddress(address=a, method=ForwardingMethod.IPIP) for a in ipip]
    if served:
        return Asked(served=tuple(dict.fromkeys(served)))
    if config is None and not Path(DEFAULT_CONFIG).exists():
        raise click.UsageError(
            "which addresses are to be served? Say --gate ADDRESS or --ipip ADDRESS, or --config"
            " with the configuration of the directors"
        )
    try:
        cluster = load_cluster(config or DEFAULT_CONFIG, timers=None)
    except ConfigError as error:
        sys.exit(fail(f"heartbus realserver {command}", error, EXIT_CONFIG))
    ours = {address for x in look().interfaces for address, _ in x.addresses}
    asked = of_configuration(cluster, ours)
    if not asked.served:
        raise click.UsageError(
            f"{cluster.source}: no virtual service has a real server of this machine"
            f" ({', '.join(sorted(ours))}) behind gate or ipip"
        )
    return asked


def of_configuration(cluster: Cluster, ours: set[str]) -> Asked:
    """Return what a machine with these addresses serves by a configuration of directors."""
    served: dict[ServedAddress, None] = {}
    ports: dict[str, tuple[int, ...]] = {}
    mine = {ipaddress.ip_address(address) for address in ours}
    for service in cluster.virtual_services:
        for server in service.real_servers:
            at_home = ipaddress.ip_address(server.endpoint.address) in mine
            if service.fwmark or not at_home or server.forwarding not in HAVE_IT:
                continue
            address = service.endpoint.address
            served[ServedAddress(address=address, method=server.forwarding)] = None
            if service.protocol is TransportProtocol.TCP and service.endpoint.port:
                ports[address] = (*ports.get(address, ()), service.endpoint.port)
    return Asked(served=tuple(served), ports=ports)


# --- what is told --------------------------------------------------------------------------------


def _tell(asked: Asked, seen: Machine, *, as_json: bool, done: list[str]) -> None:
    left = (*problems(asked.served, seen), *unserved(asked.ports, seen))
    if as_json:
        click.echo(json.dumps({"done": done, "problems": msgspec.to_builtins(left)}, indent=2))
    else:
        for line in done:
            click.echo(f"done: {line}")
        for problem in left:
            click.echo(_text(problem))
        if not left:
            addresses = ", ".join(f"{x.address} ({x.method}, {x.device})" for x in asked.served)
            click.echo(f"this machine serves {addresses}")
    sys.exit(EXIT_PROBLEMS if left else 0)


def _text(problem: Problem) -> str:
    text = f"{problem.about}: {problem.what}"
    if problem.mended_by is not None:
        text += (
            f"\n    mend it with heartbus realserver setup, or: {_as_command(problem.mended_by)}"
        )
    return text


def _as_command(wanted: Change) -> str:
    match wanted:
        case SysctlChange(name=name, value=value):
            return f"sysctl -w net.ipv4.conf.{name}={value}"
        case LinkUp(interface=interface, module=module):
            return f"modprobe {module} && ip link set {interface} up"
        case AddressChange(interface=interface, address=address, prefix=prefix):
            nodad = " nodad" if ":" in address else ""
            return f"ip addr add {address}/{prefix} dev {interface}{nodad}"


# --- after a boot --------------------------------------------------------------------------------


def unit_text(program: str, asked: Asked) -> str:
    """Return the systemd unit that sets a machine up before its network comes up."""
    return (
        "[Unit]\n"
        "Description=addresses of virtual services that this machine serves\n"
        "Documentation=man:heartbus-realserver(1)\n"
        "DefaultDependencies=no\n"
        "After=local-fs.target systemd-modules-load.service systemd-sysctl.service\n"
        "# Nobody may be answered by ARP for them in the moment in which the network comes up.\n"
        "Before=network-pre.target shutdown.target\n"
        "Wants=network-pre.target\n"
        "Conflicts=shutdown.target\n\n"
        "[Service]\n"
        "Type=oneshot\n"
        "RemainAfterExit=yes\n"
        f"ExecStart={program} realserver setup {' '.join(asked.words())}\n"
        f"ExecStop={program} realserver remove --keep-unit\n\n"
        "[Install]\n"
        "WantedBy=sysinit.target\n"
    )


def _write_unit(asked: Asked, directory: Path) -> None:
    program = shutil.which(sys.argv[0]) or os.path.abspath(sys.argv[0])
    unit = directory / UNIT
    try:
        unit.write_text(unit_text(program, asked))
    except OSError as error:
        raise RealServerError(f"cannot write {unit}: {error.strerror}; run as root") from error
    _systemctl(directory, "daemon-reload")
    _systemctl(directory, "enable", UNIT)


def _systemctl(directory: Path, *words: str) -> None:
    """Tell systemd, where it runs and reads this directory."""
    if directory != UNIT_DIRECTORY or not SYSTEMD_RUNS.is_dir():
        return
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RealServerError(f"systemctl {' '.join(words)} failed: {done.stderr.strip()}")
