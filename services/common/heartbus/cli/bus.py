"""``heartbus bus``: the nats-server of one director, its users and their keys."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from heartbus.bus_keys import (
    KEYS_DIRECTORY,
    KEYS_VARIABLE,
    Key,
    KeyFileError,
    public_of,
    write_file,
)
from heartbus.cli.bus_init import init, rotate
from heartbus.cli.bus_ready import ready
from heartbus.cli.options import config_option
from heartbus.config import ConfigError
from heartbus.exits import EXIT_CONFIG, EXIT_MACHINE, fail
from heartbus.model import Cluster
from heartbus.rights_table import document
from heartbus.runner import known_node, load_cluster
from heartbus.up.bus_security import read_security, remarks
from heartbus.up.nats_config import authorization, configuration

EXIT_AMISS = 1

keys_option = click.option(
    "--bus-keys",
    type=click.Path(path_type=Path),
    default=KEYS_DIRECTORY,
    envvar=KEYS_VARIABLE,
    show_default=True,
    metavar="DIR",
    help="Where the keys of the bus on this director are.",
)
node_option = click.option(
    "--node", envvar="HEARTBUS_NODE", help="Which director; the host name if not given."
)


@click.group()
def bus() -> None:
    """Prepare the nats-server that runs beside every director."""


bus.add_command(init)
bus.add_command(rotate)
bus.add_command(ready)


@bus.command("config", epilog="Example: heartbus bus config --config /etc/ha.d > nats-server.conf")
@config_option
@node_option
@keys_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write this file, readable to its owner only, as a whole or not at all.",
)
@click.option(
    "--users", "users_only", is_flag=True, help="Only the users, to include in a file of yours."
)
def config_(
    config: str, node: str | None, bus_keys: Path, output: Path | None, *, users_only: bool
) -> None:
    """Print the nats-server configuration of one director.

    Without certificates it holds the password of the routes between directors: keep it readable to
    its user only. What is amiss is told on standard error: a key that cannot be used is left out.

    Exit code: 0, 2 the configuration cannot be used, 3 FILE cannot be written.
    """
    program = "heartbus bus config"
    cluster, name = _director(program, config, node)
    security = read_security(bus_keys, cluster)
    for remark in remarks(cluster, security, now_s=time.time()):
        click.echo(f"{program}: {remark}", err=True)
    text = (
        authorization(cluster, name, security.users)
        if users_only
        else configuration(cluster, name, security)
    )
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        write_file(output, text, mode=0o600)
    except OSError as error:
        click.echo(f"{program}: {output}: {error.strerror}", err=True)
        sys.exit(EXIT_MACHINE)


@bus.command(epilog="Example: heartbus bus check || mail -s 'heartbus bus' root </dev/null")
@config_option
@node_option
@keys_option
def check(config: str, node: str | None, bus_keys: Path) -> None:
    """Say who is let in, and what is amiss with keys and certificates.

    Exit code: 0 all is well, 1 something is amiss or expires within 30 days.
    """
    cluster, _name = _director("heartbus bus check", config, node)
    security = read_security(bus_keys, cluster)
    for user, keys in sorted(security.users.items()):
        many = f"{len(keys)} keys" if len(keys) > 1 else "1 key"
        click.echo(f"{user}: {many}, {_seed(bus_keys, user, keys)}")
    by = (
        "certificates"
        if security.route
        else "nothing"
        if security.isolated
        else "the heartbeat key"
    )
    click.echo(f"routes between directors: protected by {by}")
    amiss = [
        *remarks(cluster, security, now_s=time.time()),
        *(said for user in security.users for said in _too_open(Key(bus_keys, user).file)),
    ]
    for remark in amiss:
        click.echo(remark, err=True)
    sys.exit(EXIT_AMISS if amiss else 0)


@bus.command(epilog="Example: heartbus bus users")
def users() -> None:
    """Print what each user of the bus may say, ask and hear: the tables of docs/bus-users.md.

    Exit code: 0.
    """
    click.echo(document(), nl=False)


def _too_open(seed: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        mode = seed.stat().st_mode & 0o777
        if mode & 0o007:
            yield f"{seed}: mode {mode:o}: every user of this host may read it; chmod o= {seed}"


def _seed(directory: Path, user: str, keys: tuple[str, ...]) -> str:
    key = Key(directory, user)
    try:
        seed = key.read()
        if seed is None:
            return "its seed is elsewhere"
        in_use = public_of(seed, key.file) in keys
    except KeyFileError as error:
        return str(error)
    return "its seed is here" if in_use else f"{key.file} is none of them"


def _director(program: str, config: str, node: str | None) -> tuple[Cluster, str]:
    try:
        cluster = load_cluster(config, timers=None)
        return cluster, known_node(cluster, node or os.uname().nodename)
    except ConfigError as error:
        sys.exit(fail(program, error, EXIT_CONFIG))
