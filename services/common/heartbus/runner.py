"""The frame of a service process: options, configuration, logs, signals, readiness, clean stop.

A service is a function ``async (Context) -> None`` that returns once ``context.stopping`` is set.
Exit codes: 0 stopped as asked, 1 a defect of ours, 2 the configuration or the command line is
wrong, 3 this machine lacks something (privilege, kernel module, free port).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog
import uvloop

from heartbus import __version__, log
from heartbus.bus import NatsBus
from heartbus.bus_keys import Key, keys_directory
from heartbus.config import ConfigError, Level, Loaded, load
from heartbus.config.digest import config_digest
from heartbus.config.own_name import known_node as known_node
from heartbus.config.report import Place, Places
from heartbus.config.validate import recheck
from heartbus.events import ConfigApplied, ServiceStarted, ServiceStopped
from heartbus.exits import DEFAULT_CONFIG as DEFAULT_CONFIG
from heartbus.exits import EXIT_CONFIG as EXIT_CONFIG
from heartbus.exits import EXIT_DEFECT as EXIT_DEFECT
from heartbus.exits import EXIT_MACHINE as EXIT_MACHINE
from heartbus.exits import EXIT_OK as EXIT_OK
from heartbus.exits import fail as fail
from heartbus.model import TIMER_PROFILES, Cluster, default_lease_s
from heartbus.push.desk import PushDesk, serve_dry_run
from heartbus.reloading import Reloading
from heartbus.systemd import Notifier


class MachineError(Exception):
    """Something is missing on this machine; the message says what, and what to do."""


@dataclass(slots=True, kw_only=True)
class Context:
    """What the frame gives to a service."""

    node: str
    service: str
    cluster: Cluster
    digest: str
    bus: NatsBus
    incarnation: int
    runtime_dir: Path
    state_dir: Path
    stopping: asyncio.Event
    notifier: Notifier
    log: structlog.typing.FilteringBoundLogger
    told: bool = False
    take_up: Callable[[Cluster], None] | None = None
    """How the service goes on with a configuration of which something is new; None: not yet.

    It may raise ConfigError, with nothing changed.
    """
    config: str = ""
    """Path of the configuration, as given."""
    dry_run: Callable[[Cluster], tuple[str, ...]] | None = None
    """What the service would do with a configuration, in words; None: nothing to say.

    It may raise ConfigError.
    """
    files_changed: Callable[[tuple[str, ...]], None] | None = None
    """Told the files whose content was not as before, after they could be used."""

    def ready(self) -> None:
        """Say that the service does its work now; call it once.

        Observers hear it as soon as there is a bus, which may be later.
        """
        self.notifier.ready()
        self.log.info("service.ready", version=__version__, config=self.digest)
        if self.bus.connected:
            self._tell_observers(connected=True)
        else:
            self.bus.on_connection(lambda connected: self._tell_observers(connected=connected))

    def _tell_observers(self, *, connected: bool) -> None:
        if connected and not self.told:
            self.told = True
            self.bus.publish(ServiceStarted(version=__version__, pid=os.getpid()))
            self.bus.publish(ConfigApplied(source=self.cluster.source, digest=self.digest))


ServiceMain = Callable[[Context], Awaitable[None]]


def parser(service: str, description: str) -> argparse.ArgumentParser:
    """Return the options that every service has; each has a HEARTBUS_… variable too."""
    program = f"heartbus-{service}"
    env = os.environ.get
    result = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=f"example: {program} --config /etc/ha.d --node linuxha1.linux-ha.org",
    )
    add = result.add_argument
    add("--version", action="version", version=f"{program} {__version__}")
    add(
        "--config",
        default=env("HEARTBUS_CONFIG", DEFAULT_CONFIG),
        metavar="PATH",
        help="heartbus.toml, or a directory with ha.cf and haresources (default %(default)s)",
    )
    add(
        "--node",
        default=env("HEARTBUS_NODE", os.uname().nodename),
        help="name of this director in the configuration (default %(default)s)",
    )
    add(
        "--nats",
        default=env("HEARTBUS_NATS"),
        metavar="URL",
        help="nats-server of this host (default nats://127.0.0.1 with the configured port)",
    )
    add(
        "--timers",
        choices=sorted(TIMER_PROFILES),
        default=env("HEARTBUS_TIMERS"),
        help="use this named set of detection times instead of the configured one",
    )
    add(
        "--runtime-dir",
        type=Path,
        default=Path(env("HEARTBUS_RUNTIME_DIR", "/run/heartbus")),
        help="where the leases are; gone after a boot (default %(default)s)",
    )
    add(
        "--state-dir",
        type=Path,
        default=Path(env("HEARTBUS_STATE_DIR", "/var/lib/heartbus")),
        help="where epochs are kept across boots (default %(default)s)",
    )
    add(
        "--bus-keys",
        type=Path,
        default=keys_directory(),
        metavar="DIR",
        help="where the keys of the bus are, if it has any (default %(default)s)",
    )
    add(
        "--log-level",
        choices=log.LEVELS,
        default=env("HEARTBUS_LOG_LEVEL", "info"),
        help="what the log tells at least (default %(default)s)",
    )
    return result


def run(
    service: str, description: str, main: ServiceMain, argv: Sequence[str] | None = None
) -> int:
    """Run a service until it is told to stop; return the exit code."""
    options = parse_options(service, description, argv)
    log.configure(level=options.log_level)
    name_process(f"heartbus-{service}")
    try:
        return _run(service, main, options)
    except (ConfigError, MachineError) as error:
        Notifier().cannot_run(str(error))
        code = EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_MACHINE
        return fail(f"heartbus-{service}", error, code)


def parse_options(service: str, description: str, argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; what came from the environment is held to the same choices."""
    options_parser = parser(service, description)
    options = options_parser.parse_args(argv)
    if options.timers is not None and options.timers not in TIMER_PROFILES:
        options_parser.error(
            f"HEARTBUS_TIMERS: {options.timers!r} is not allowed; "
            f"allowed: {', '.join(sorted(TIMER_PROFILES))}"
        )
    if options.log_level not in log.LEVELS:
        options_parser.error(
            f"HEARTBUS_LOG_LEVEL: {options.log_level!r} is not allowed; "
            f"allowed: {', '.join(log.LEVELS)}"
        )
    return options


def name_process(name: str) -> None:
    """Make ps and pgrep show this name (15 characters, prctl(2) PR_SET_NAME)."""
    Path("/proc/self/comm").write_text(name[:15])


_given: list[Loaded] = []


def use_loaded(loaded: Loaded) -> None:
    """Let the service that this process is about to run use a configuration already loaded.

    Its parent is then the supervisor, who watches the files and is told of commands to reload.
    """
    _given[:] = [loaded]


def load_config(config: str, *, timers: str | None) -> Loaded:
    """Return the configuration with a timer profile applied, and without what was said about it.

    Raises:
        ConfigError: the files cannot be used; it says where and why.

    """
    # Where everything was written is of no use to a service, and as large as the rest.
    loaded = replace(load(config), diagnostics=(), places=Places(whole=Place(file=config)))
    if timers is None:
        return loaded
    cluster = loaded.cluster
    membership = replace(cluster.membership, timers=TIMER_PROFILES[timers])
    voters = len(cluster.voters)
    if membership.lease_s == default_lease_s(cluster.membership.timers, voters=voters):
        lease_s = default_lease_s(membership.timers, voters=voters)
        membership = replace(membership, lease_s=lease_s)
    profiled = replace(cluster, membership=membership)
    remarks = recheck(profiled)
    if any(remark.level is Level.ERROR for remark in remarks):
        raise ConfigError(remarks, files=loaded.files)
    return replace(loaded, cluster=profiled)


def load_cluster(config: str, *, timers: str | None) -> Cluster:
    """Return what ``load_config`` made of the files.

    Raises:
        ConfigError: the files cannot be used; it says where and why.

    """
    return load_config(config, timers=timers).cluster


def _run(service: str, main: ServiceMain, options: argparse.Namespace) -> int:
    loaded = _given[0] if _given else load_config(options.config, timers=options.timers)
    cluster = loaded.cluster
    node = known_node(cluster, options.node)
    is_witness = any(node == witness.name for witness in cluster.witnesses)
    if service != "membership" and is_witness:
        raise MachineError(f"{node} is a witness: only heartbus-membership runs there")
    for directory in (options.runtime_dir, options.state_dir):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(
                f"cannot make the directory {directory}: {error.strerror}; "
                "run as a user who may, or name another with --runtime-dir and --state-dir"
            ) from error
    incarnation = time.time_ns() // 1_000_000
    url = options.nats or f"nats://127.0.0.1:{cluster.bus.client_port}"
    line = log.logger(node=node, service=service)

    async def whole_life() -> None:
        context = Context(
            node=node,
            service=service,
            cluster=cluster,
            digest=config_digest(cluster),
            bus=NatsBus(
                url=url,
                node=node,
                service=service,
                incarnation=incarnation,
                key=Key(options.bus_keys, service),
            ),
            incarnation=incarnation,
            runtime_dir=options.runtime_dir,
            state_dir=options.state_dir,
            stopping=asyncio.Event(),
            notifier=Notifier(),
            log=line,
            config=options.config,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, context.stopping.set)
        reloading = Reloading(
            context,
            load=partial(load_config, options.config, timers=options.timers),
            files=loaded.files,
            supervised=bool(_given),
        )
        loop.add_signal_handler(signal.SIGHUP, reloading.hang_up)
        beside = [loop.create_task(reloading.run())]
        load_file = partial(load_config, timers=options.timers)
        serve_dry_run(context, load_file)
        writer = "membership" if is_witness else "vip"
        if service == writer:
            desk = PushDesk(context, load=load_file, reload=reloading.asked)
            beside.append(loop.create_task(desk.run()))
        try:
            await _run_with_bus(context, main)
        finally:
            for task in beside:
                task.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop_runner:
        try:
            loop_runner.run(whole_life())
        except BaseExceptionGroup as group:
            # Not except*: before Python 3.11.4 it wraps what is raised in it into a new group, and
            # nobody would see an exit code or the line that says what to do.
            ours, others = group.split((ConfigError, MachineError))
            if ours is None or others is not None:
                raise
            raise _first(ours) from group
    return EXIT_OK


async def _run_with_bus(context: Context, main: ServiceMain) -> None:
    async with asyncio.TaskGroup() as tasks:
        bus_task = tasks.create_task(context.bus.run())
        watchdog_task = tasks.create_task(_feed_watchdog(context.notifier))
        reason = "a defect: see its log"
        try:
            await main(context)
            reason = "asked to stop"
        except (ConfigError, MachineError) as error:
            reason = str(error)
            raise
        except BaseExceptionGroup as group:
            ours = group.subgroup((ConfigError, MachineError))
            if ours is not None:
                reason = str(_first(ours))
            raise
        finally:
            context.notifier.stopping()
            context.bus.publish(ServiceStopped(reason=reason))
            await context.bus.flush(timeout_s=0.5)
            bus_task.cancel()
            watchdog_task.cancel()


async def _feed_watchdog(notifier: Notifier) -> None:
    period_s = notifier.watchdog_period_s
    while period_s is not None:
        notifier.alive()
        await asyncio.sleep(period_s)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
