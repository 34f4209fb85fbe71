"""``heartbus bus ready``: wait until the nats-server of this host answers; its unit calls it."""

from __future__ import annotations

import socket
import sys
import time
from typing import Final

import click

from heartbus.cli.options import config_option
from heartbus.config import ConfigError
from heartbus.runner import EXIT_CONFIG, EXIT_MACHINE, fail, load_cluster

GREETING: Final = b"INFO "
"""The first that a nats-server says, before anybody has shown who they are."""

LOOK_S: Final = 0.05


class NoAnswerError(Exception):
    """Nothing that speaks as a nats-server does; the message says where."""


@click.command("ready", epilog="Example: heartbus bus ready --timeout 10")
@config_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.0, max=600.0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for it.",
)
def ready(config: str, timeout_s: float) -> None:
    """Return once the nats-server of this host answers.

    Exit code: 0 it does, 2 the configuration is wrong, 3 it does not in time.
    """
    try:
        port = load_cluster(config, timers=None).bus.client_port
    except ConfigError as error:
        sys.exit(fail("heartbus bus ready", error, EXIT_CONFIG))
    ends_s = time.monotonic() + timeout_s
    while not answers(port):
        if time.monotonic() >= ends_s:
            problem = NoAnswerError(
                f"no nats-server answers on 127.0.0.1 port {port} within {timeout_s:g} s;"
                " its own log says why"
            )
            sys.exit(fail("heartbus bus ready", problem, EXIT_MACHINE))
        time.sleep(LOOK_S)


def answers(port: int) -> bool:
    """Return whether a nats-server greets who connects to this port of loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.settimeout(1.0)
            return connection.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
    except OSError:
        return False
