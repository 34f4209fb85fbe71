"""Options that several commands share."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from heartbus.exits import DEFAULT_CONFIG

if TYPE_CHECKING:  # commands that only read files need not load the bus
    from heartbus.bus import NatsBus

DEFAULT_NATS: Final = "nats://127.0.0.1:4222"
UNREACHABLE_AFTER_S: Final = 1.5

config_option = click.option(
    "--config",
    default=DEFAULT_CONFIG,
    envvar="HEARTBUS_CONFIG",
    show_default=True,
    metavar="PATH",
    help="heartbus.toml, or a directory with ha.cf and haresources.",
)


def valid_url(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Return the address of a nats-server as given; click tells what is wrong with it."""
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        usable = parts.scheme == "nats" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise click.BadParameter(f"{value!r} is not allowed; allowed is nats://HOST:PORT")
    return value


nats_option = click.option(
    "--nats",
    callback=valid_url,
    default=DEFAULT_NATS,
    envvar="HEARTBUS_NATS",
    show_default=True,
    metavar="URL",
    help="A director's nats-server; it listens on loopback, so run this on the director.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def tell_if_unreachable(bus: NatsBus, program: str, url: str) -> asyncio.TimerHandle:
    """Say on stderr, in a moment, that the bus is not there yet and that we go on trying."""

    def tell() -> None:
        if not bus.connected:
            click.echo(
                f"{program}: {bus.refusal or f'no nats-server at {url} yet: is the director up?'}"
                " Trying on …",
                err=True,
            )

    return asyncio.get_running_loop().call_later(UNREACHABLE_AFTER_S, tell)


def observer_name() -> str:
    """Return a bus name of our own, so that two observers on one host are told apart.

    It names the user, as far as the environment tells, for the record of who commanded what; it
    proves nothing.
    """
    user = os.environ.get("SUDO_USER", "")
    with contextlib.suppress(OSError, KeyError):
        user = user or getpass.getuser()
    word = re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-")[:12]
    return f"observer-{word}-{os.getpid()}" if word else f"observer-{os.getpid()}"
