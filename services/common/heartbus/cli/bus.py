"""``heartbus bus config``: the nats-server configuration of one director."""

from __future__ import annotations

import os
import sys

import click

from heartbus.cli.options import config_option
from heartbus.config import ConfigError
from heartbus.runner import EXIT_CONFIG, fail, known_node, load_cluster
from heartbus.up.nats_server import configuration


@click.group()
def bus() -> None:
    """Prepare the nats-server that runs beside every director."""


@bus.command("config", epilog="Example: heartbus bus config --config /etc/ha.d > nats-server.conf")
@config_option
@click.option("--node", envvar="HEARTBUS_NODE", help="Which director; the host name if not given.")
def config_(config: str, node: str | None) -> None:
    """Print the nats-server configuration of one director.

    It holds the password of the routes between directors: keep it readable to its user only.
    """
    try:
        cluster = load_cluster(config, timers=None)
        click.echo(configuration(cluster, known_node(cluster, node or os.uname().nodename)))
    except ConfigError as error:
        sys.exit(fail("heartbus bus config", error, EXIT_CONFIG))
