"""``heartbus up``: a director whole, for a trial, a container or the lab."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from heartbus import log
from heartbus.bus_keys import KEYS_DIRECTORY, KEYS_VARIABLE
from heartbus.cli.options import config_option, valid_url
from heartbus.config import ConfigError
from heartbus.model import TIMER_PROFILES
from heartbus.runner import (
    EXIT_CONFIG,
    EXIT_MACHINE,
    MachineError,
    fail,
    known_node,
    load_config,
    name_process,
)


@click.command(epilog="Example: heartbus up --config /etc/ha.d --node linuxha1.linux-ha.org")
@config_option
@click.option(
    "--node",
    envvar="HEARTBUS_NODE",
    help="Name of this director in the configuration; the host name if not given.",
)
@click.option(
    "--timers",
    type=click.Choice(sorted(TIMER_PROFILES)),
    envvar="HEARTBUS_TIMERS",
    help="Use this named set of detection times instead of the configured one.",
)
@click.option(
    "--runtime-dir",
    type=click.Path(path_type=Path),
    default=Path("/run/heartbus"),
    envvar="HEARTBUS_RUNTIME_DIR",
    show_default=True,
    help="Leases and sockets; may be gone after a boot.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/heartbus"),
    envvar="HEARTBUS_STATE_DIR",
    show_default=True,
    help="Epochs; kept across boots.",
)
@click.option(
    "--bus-keys",
    type=click.Path(path_type=Path),
    default=KEYS_DIRECTORY,
    envvar=KEYS_VARIABLE,
    show_default=True,
    help="Keys of the bus, as `heartbus bus init` makes them; without any it is open to this host.",
)
@click.option(
    "--nats",
    callback=valid_url,
    envvar="HEARTBUS_NATS",
    metavar="URL",
    help="Use this nats-server of yours, and start none.",
)
@click.option(
    "--log-level",
    type=click.Choice(log.LEVELS),
    default="info",
    show_default=True,
    help="What the log tells at least.",
)
def up(
    config: str,
    node: str | None,
    timers: str | None,
    runtime_dir: Path,
    state_dir: Path,
    bus_keys: Path,
    nats: str | None,
    log_level: str,
) -> None:
    """Run nats-server and every service of one director until SIGTERM or Ctrl-C.

    Each is a process of its own and is restarted when it dies. On a clean stop the VIPs are
    given up first. SIGHUP, or `heartbus reload`, takes up changed keys and virtual services; the
    rest waits for a restart. Exit code: 0 stopped as asked, 2 the configuration is wrong, 3 this
    machine lacks something (the message says what to do).
    """
    import os

    from heartbus.up.director import assemble

    log.configure(level=log_level)
    name_process("heartbus-up")
    try:
        loaded = load_config(config, timers=timers)
        supervisor = assemble(
            loaded=loaded,
            config=config,
            node=known_node(loaded.cluster, node or os.uname().nodename),
            timers=timers,
            runtime_dir=runtime_dir,
            state_dir=state_dir,
            bus_keys=bus_keys,
            nats=nats,
            log_level=log_level,
        )
    except ConfigError as error:
        sys.exit(fail("heartbus up", error, EXIT_CONFIG))
    except MachineError as error:
        sys.exit(fail("heartbus up", error, EXIT_MACHINE))
    sys.exit(supervisor.run())
