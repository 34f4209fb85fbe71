"""``heartbus metrics``: the IPVS tables of all directors in the text format of Prometheus.

An observer like any other: it runs where it is wanted, and nothing that directors do waits for it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from heartbus import log, subjects
from heartbus.bus import BusUnreachableError, Inbox, bus_of_people
from heartbus.cli.options import nats_option, observer_name, tell_if_unreachable
from heartbus.cli.status import collect
from heartbus.events import IpvsState
from heartbus.metrics import TableCollector, Tables
from heartbus.observer import ClusterView
from heartbus.runner import EXIT_MACHINE

STALE_S: Final = 15.0
"""A director that is silent for so long has no metrics any more."""
REFRESH_S: Final = 1.0


@click.command(epilog="Example: heartbus metrics --listen 127.0.0.1:9106")
@nats_option
@click.option("--listen", metavar="ADDRESS:PORT", help="Answer HTTP requests, until Ctrl-C.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a file for the textfile collector of node_exporter, again and again.",
)
@click.option(
    "--every", default=15.0, type=click.FloatRange(min=1), metavar="SECONDS", help="With --output."
)
@click.option("--services-only", is_flag=True, help="Leave real servers out.")
def metrics(
    nats: str, *, listen: str | None, output: Path | None, every: float, services_only: bool
) -> None:
    """Print, serve or write connections, packets and bytes of services and real servers.

    Exit code: 0; 3 the bus cannot be reached, the port is taken or the file cannot be written.
    """
    log.configure(level="error")
    newest = _Newest()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(TableCollector(newest.tables, real_servers=not services_only))
    try:
        if listen is None and output is None:
            view = asyncio.run(collect(nats))
            newest.take(view, now_s=time.monotonic())
            click.echo(generate_latest(registry).decode(), nl=False)
            return
        with _serving(listen, registry):
            asyncio.run(_follow(nats, newest, registry, output=output, every_s=every))
    except BusUnreachableError as error:
        raise _fail(str(error)) from error
    except OSError as error:
        raise _fail(f"{error.filename or listen}: {error.strerror or error}") from error
    except KeyboardInterrupt:
        return


class _Newest:
    """The newest tables; made by the loop that hears, read by the threads that answer."""

    def __init__(self) -> None:
        self._tables: Tables = ()

    def take(self, view: ClusterView, *, now_s: float) -> None:
        self._tables = tuple(
            (node, state)
            for node in view.nodes()
            if (state := view.state(node, IpvsState)) is not None
            and (view.age_s(node, IpvsState, now_s=now_s) or 0.0) <= STALE_S
        )

    def tables(self) -> Tables:
        return self._tables


@contextmanager
def _serving(listen: str | None, registry: CollectorRegistry) -> Iterator[None]:
    if listen is None:
        yield
        return
    address, _colon, port = listen.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{listen!r}; allowed is ADDRESS:PORT", param_hint="--listen")
    server, thread = start_http_server(int(port), address.strip("[]"), registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def _follow(
    url: str, newest: _Newest, registry: CollectorRegistry, *, output: Path | None, every_s: float
) -> None:
    inbox, view = Inbox(), ClusterView()
    bus = bus_of_people(url, observer_name())
    bus.subscribe((subjects.states_of_service("ipvs-agent"),), inbox)
    tell_if_unreachable(bus, "heartbus metrics", url)
    run = asyncio.create_task(bus.run())
    write_s = time.monotonic() + every_s
    try:
        while True:
            await asyncio.sleep(REFRESH_S)
            now_s = time.monotonic()
            while (message := inbox.get_nowait()) is not None:
                view.see(message, now_s=now_s)
            newest.take(view, now_s=now_s)
            if output is not None and now_s >= write_s:
                write_s = now_s + every_s
                await asyncio.to_thread(_write, output, registry)
    finally:
        run.cancel()
        await asyncio.wait({run})


def _write(output: Path, registry: CollectorRegistry) -> None:
    """Replace the file at once: who reads it never sees half of it."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    temporary.write_bytes(generate_latest(registry))
    temporary.replace(output)


def _fail(problem: str) -> SystemExit:
    click.echo(f"heartbus metrics: {problem}", err=True)
    return SystemExit(EXIT_MACHINE)
