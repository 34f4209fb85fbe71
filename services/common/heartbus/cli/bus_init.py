"""``heartbus bus init`` and ``heartbus bus rotate``: keys and certificates of the bus."""

from __future__ import annotations

import grp
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from heartbus import bus_rotation
from heartbus.bus_keys import (
    KEYS_DIRECTORY,
    KEYS_VARIABLE,
    ROUTE,
    KeyFileError,
    user_directories,
    user_name,
    write_file,
)
from heartbus.cli.options import config_option
from heartbus.config import ConfigError
from heartbus.exits import EXIT_CONFIG, EXIT_MACHINE, fail
from heartbus.model import Cluster, Director
from heartbus.rights import SERVICES
from heartbus.runner import known_node, load_cluster

GROUP: Final = "heartbus"
"""Of the services under systemd; vip runs as root."""

ROOT_ONLY: Final = ("vip", "operator")
PROGRAM: Final = "heartbus bus init"
FOR: Final = "for"
CA: Final = "ca"

_keys_option = click.option(
    "--bus-keys",
    type=click.Path(path_type=Path),
    default=KEYS_DIRECTORY,
    envvar=KEYS_VARIABLE,
    show_default=True,
    metavar="DIR",
    help="Where they are written.",
)


@click.command(epilog="Example: heartbus bus init --ca --user observer-grafana")
@config_option
@click.option("--node", envvar="HEARTBUS_NODE", help="Which director; the host name if not given.")
@_keys_option
@click.option("--user", "more", multiple=True, metavar="NAME", help="One more: observer-NAME, …")
@click.option("--ca", "with_ca", is_flag=True, help="Make a CA, and a certificate per director.")
@click.option("--renew", is_flag=True, help="With --ca: certificates anew, by the same CA.")
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=1825,
    show_default=True,
    help="How long certificates are good for.",
)
def init(
    config: str,
    node: str | None,
    bus_keys: Path,
    more: tuple[str, ...],
    *,
    with_ca: bool,
    renew: bool,
    days: int,
) -> None:
    """Make the keys of the bus of this director, and, with --ca, certificates for all directors.

    Each director has keys of its own: run it on each. The CA is made on one; what the others need
    of it is written beside it, to be copied there. What is there already stays as it is.

    Exit code: 0, 2 the configuration cannot be used, 3 a key cannot be written.
    """
    try:
        cluster = load_cluster(config, timers=None)
        name = known_node(cluster, node or os.uname().nodename)
        witness = any(name == w.name for w in cluster.witnesses)
        services = ("membership",) if witness else SERVICES
        users = (*services, "operator", "observer", *map(user_name, more))
        made = [user for user in users if _make_user(bus_keys, user)]
        click.echo(f"{bus_keys}: {'new keys for ' + ', '.join(made) if made else 'no new keys'}")
        if with_ca:
            _make_certificates(bus_keys, cluster, name, renew=renew, days=days)
    except ConfigError as error:
        sys.exit(fail(PROGRAM, error, EXIT_CONFIG))
    except KeyFileError as error:
        sys.exit(fail(PROGRAM, error, EXIT_MACHINE))
    except OSError as error:
        click.echo(f"{PROGRAM}: {error.filename}: {error.strerror}", err=True)
        sys.exit(EXIT_MACHINE)
    click.echo("the nats-server lets them in after: systemctl reload heartbus-bus")
    click.echo("(or SIGHUP to heartbus up); services use them by themselves")


def _make_user(directory: Path, user: str) -> bool:
    group = None if user.partition("-")[0] in ROOT_ONLY else _group()
    return bus_rotation.make(
        directory,
        user,
        mode=0o400 if group is None else 0o440,
        owner=(0, group or 0) if os.geteuid() == 0 else None,
    )


def _make_certificates(
    directory: Path, cluster: Cluster, own: str, *, renew: bool, days: int
) -> None:
    from heartbus.bus_certificates import Pair, make_ca

    home = directory / CA
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (home / "key.pem").exists():
        if (directory / ROUTE / "ca.pem").exists():
            raise KeyFileError(
                f"{directory / ROUTE} is of a CA that is not here: run it on the director that has"
                f" {home / 'key.pem'}, or remove {directory / ROUTE} to begin anew"
            )
        new = make_ca(now_s=time.time())
        write_file(home / "certificate.pem", new.certificate, mode=0o644)
        write_file(home / "key.pem", new.key, mode=0o400)
        click.echo(f"{home}: a new CA; keep its key apart from the directors if you can")
    ca = Pair(
        certificate=(home / "certificate.pem").read_text(), key=(home / "key.pem").read_text()
    )
    for director in cluster.voters:
        place = directory if director.name == own else directory / FOR / director.name
        if _make_certificate(place / ROUTE, ca, director, renew=renew, days=days):
            click.echo(f"{place / ROUTE}: a new certificate of {director.name}")
            if director.name != own:
                click.echo(f"    copy it: scp -rp {place / ROUTE} {director.name}:{directory}/")


def _make_certificate(
    place: Path, ca: object, director: Director, *, renew: bool, days: int
) -> bool:
    from heartbus.bus_certificates import Pair, make_certificate

    assert isinstance(ca, Pair)
    if (place / "certificate.pem").exists() and not renew:
        return False
    made = make_certificate(ca, director, now_s=time.time(), days=days)
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    group = _group()
    owner = (0, group or 0) if os.geteuid() == 0 else None
    write_file(place / "ca.pem", ca.certificate, mode=0o644)
    write_file(place / "key.pem", made.key, mode=0o400 if group is None else 0o440, owner=owner)
    write_file(place / "certificate.pem", made.certificate, mode=0o644)
    return True


def _group() -> int | None:
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


# --- changing keys -------------------------------------------------------------------------------

_STEPS: Final[dict[str, tuple[Callable[[Path, str], bool], str]]] = {
    "begin": (
        bus_rotation.begin,
        "then: systemctl reload heartbus-bus (or SIGHUP to heartbus up), and heartbus bus rotate"
        " switch",
    ),
    "switch": (
        bus_rotation.switch,
        "services take the new key within two seconds; then: heartbus bus rotate end",
    ),
    "end": (
        bus_rotation.end,
        "then: systemctl reload heartbus-bus (or SIGHUP to heartbus up); old keys are void",
    ),
}


@click.command(epilog="Example: heartbus bus rotate begin")
@click.argument("step", type=click.Choice(tuple(_STEPS)))
@click.argument("users", nargs=-1, metavar="[USER]...")
@_keys_option
def rotate(step: str, users: tuple[str, ...], bus_keys: Path) -> None:
    """Replace the keys of this director, or of some users, without a gap.

    begin: make the next keys, which the nats-server accepts beside the old ones after a reload.
    switch: let the clients use them. end: accept them only, after one more reload.

    Exit code: 0, 3 a key cannot be read or written.
    """
    program = f"heartbus bus rotate {step}"
    carry_out, then = _STEPS[step]
    try:
        known = user_directories(bus_keys)
        unknown = [user for user in users if user not in known]
        if unknown or not known:
            raise KeyFileError(
                f"{bus_keys} has no keys of {', '.join(unknown) or 'anybody'};"
                f" known: {', '.join(known) or 'none: heartbus bus init makes them'}"
            )
        done = [user for user in users or known if carry_out(bus_keys, user)]
    except KeyFileError as error:
        sys.exit(fail(program, error, EXIT_MACHINE))
    except OSError as error:
        click.echo(f"{program}: {error.filename}: {error.strerror}", err=True)
        sys.exit(EXIT_MACHINE)
    click.echo(f"{step}: {', '.join(done) or 'nothing to do'}")
    click.echo(then)
