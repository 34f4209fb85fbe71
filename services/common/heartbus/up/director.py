"""What one director consists of, put together for the supervisor."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from heartbus.autoreload import Autoreload
from heartbus.bus_keys import KEYS_DIRECTORY, write_file
from heartbus.config import ConfigError, Loaded
from heartbus.file_watch import LOOK_PERIOD_S, FileWatch
from heartbus.log import logger
from heartbus.reload import waits_for_restart, with_live_parts
from heartbus.runner import MachineError, load_config, use_loaded
from heartbus.up import nats_config, nats_server
from heartbus.up.bus_security import read_security, remarks
from heartbus.up.supervisor import Child, Supervisor, exec_body

SERVICES: Final = ("membership", "vip", "checker", "ipvs-agent")
"""Folder, command and bus name of each; their packages are loaded by name, never imported."""

RECORDER: Final = "recorder"
"""Beside them, and not needed: a director runs without its history."""

WITNESS_SERVICES: Final = ("membership",)
"""A witness votes and holds nothing."""

RELOADED: Final = ("nats-server", "membership", "vip", "checker", "ipvs-agent")
"""Those that read the configuration anew without a restart."""

STOP_ORDER: Final = ("vip", "membership", "checker", "ipvs-agent", RECORDER, "nats-server")
"""Addresses are given up first, while membership can still tell the peers."""


class Configuration:
    """What the children of one director run with, now and when they are restarted.

    ``server``: the file of the nats-server, None if that is not ours. ``bus_keys``: whom it lets
    in.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        path: str,
        timers: str | None,
        node: str,
        server: Path | None,
        bus_keys: Path = KEYS_DIRECTORY,
    ) -> None:
        self.loaded = loaded
        self._path, self._timers, self._node, self._server = path, timers, node, server
        self._bus_keys = bus_keys
        self._said: tuple[str, ...] = ()
        self._autoreload = Autoreload(loaded.files)
        self._watch = FileWatch()
        self._look_at_s = 0.0

    def write_server(self) -> None:
        """Write the configuration of the nats-server.

        Raises:
            OSError: it cannot be written.

        """
        if self._server is None:
            return
        security = read_security(self._bus_keys, self.loaded.cluster)
        said = tuple(remarks(self.loaded.cluster, security, now_s=time.time()))
        for remark in said if said != self._said else ():
            logger(service="up").warning("bus.protection", remark=remark)
        self._said = said
        text = nats_config.configuration(self.loaded.cluster, self._node, security)
        write_file(self._server, text, mode=0o600)

    def changed(self, now_s: float) -> bool:
        """Return whether files changed that are to be read anew by themselves; looks every second.

        The services do not look while a supervisor does.
        """
        if not self.loaded.cluster.reload.autoreload or now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + LOOK_PERIOD_S
        return self._autoreload.looked(self._watch.look(self._autoreload.files), now_s=now_s)

    def reload(self) -> tuple[str, ...]:
        """Read the files anew, take what is used at once; return which children are to do so too.

        What cannot be used changes nothing here, nor in them: they read for themselves, and tell
        observers.
        """
        log = logger(service="up")
        running = self.loaded.cluster
        try:
            read = load_config(self._path, timers=self._timers)
            self._autoreload.loaded(read.files)
            waiting = waits_for_restart(running, read.cluster)
            cluster = with_live_parts(running, read.cluster)
            self.loaded = replace(read, cluster=cluster)
            self.write_server()
            if cluster == running:
                log.info("reload.unchanged", restart_for=", ".join(waiting))
            else:
                log.info("reload.applied", restart_for=", ".join(waiting))
        except ConfigError as error:
            self._autoreload.refused(error.files)
            log.error("reload.rejected", problem=str(error), then="goes on as before")
        except OSError as error:
            log.error("reload.server_unwritten", problem=str(error))
        except Exception:
            # A defect of ours in what reads files must not end a director that works.
            log.exception("reload.failed", then="goes on as before")
        return RELOADED


def assemble(
    *,
    loaded: Loaded,
    config: str,
    node: str,
    timers: str | None,
    runtime_dir: Path,
    state_dir: Path,
    bus_keys: Path,
    nats: str | None,
    log_level: str,
) -> Supervisor:
    """Return the supervisor of a director, ready to run.

    Raises:
        MachineError: nats-server is missing or too old, a port is in use, a directory cannot be
            made.

    """
    cluster = loaded.cluster
    program = nats_server.find_program() if nats is None else None
    for directory in (runtime_dir, state_dir):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(
                f"cannot make the directory {directory}: {error.strerror}; run as root, "
                "or name others with --runtime-dir and --state-dir"
            ) from error
    if program is not None:
        nats_server.require_free_ports(cluster, node)
    conf = runtime_dir / "nats-server.conf"
    current = Configuration(
        loaded,
        path=config,
        timers=timers,
        node=node,
        server=conf if program is not None else None,
        bus_keys=bus_keys,
    )
    try:
        current.write_server()
    except OSError as error:
        raise MachineError(
            f"cannot write {conf}: {error.strerror}; name another directory with --runtime-dir"
        ) from error
    arguments = [
        f"--config={config}",
        f"--node={node}",
        f"--runtime-dir={runtime_dir}",
        f"--state-dir={state_dir}",
        f"--log-level={log_level}",
        f"--bus-keys={bus_keys}",
        *([f"--nats={nats}"] if nats else []),
        *([f"--timers={timers}"] if timers else []),
    ]
    is_witness = any(node == witness.name for witness in cluster.witnesses)
    services = WITNESS_SERVICES if is_witness else (*SERVICES, RECORDER)
    children = [
        *([_server(program, conf)] if program is not None else []),
        *(
            Child(
                name=service,
                body=service_body(service, arguments, current),
                needed=service != RECORDER,
            )
            for service in services
        ),
    ]
    names = {child.name for child in children}
    return Supervisor(
        children,
        stop_order=tuple(name for name in STOP_ORDER if name in names),
        reload=current.reload,
        changed=current.changed,
    )


def _server(program: Path, conf: Path) -> Child:
    body = exec_body([str(program), "-c", str(conf)])
    return Child(name="nats-server", body=body, notifies=False)


def service_body(
    service: str, arguments: list[str], configuration: Configuration
) -> Callable[[], int]:
    """Load a service now and return the body that runs it in a forked child.

    The child gets the configuration that this director started with, but for what the last
    reload took up: a service that is killed while somebody edits the file comes back with what
    the others run.

    Raises:
        MachineError: the service is not installed.

    """
    package = f"heartbus_{service.replace('-', '_')}"
    module_name = f"{'heartbus.history' if service == RECORDER else package}.__main__"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise MachineError(f"{service} is not installed: no module {error.name}") from error

    def body() -> int:
        use_loaded(configuration.loaded)
        return int(module.main(arguments))

    return body
