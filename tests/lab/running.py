"""The classic cluster with heartbus running on both directors, for demo and tests alike."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from heartbus.config import load
from tests.lab.classic import VIP, ClassicCluster, full_name
from tests.lab.observe import Observer

START_MAX_S: Final = 180.0
ACTIVE: Final = "linuxha1"
STANDBY: Final = "linuxha2"


@contextlib.contextmanager
def running(
    cluster: ClassicCluster, config: Path, *, timers: str | None = "lan"
) -> Iterator[dict[str, Observer]]:
    """Start both directors, wait until linuxha1 serves, and stop them at the end.

    Yields an observer on each.
    """
    with started(cluster, config, timers=timers) as observers:
        wait_until_serving(cluster, observers, config)
        yield observers


@contextlib.contextmanager
def started(
    cluster: ClassicCluster, config: Path, *, timers: str | None = "lan"
) -> Iterator[dict[str, Observer]]:
    """Start both directors with an observer on each, without waiting; stop them at the end.

    What an earlier crash cut or killed is put right first.
    """
    for director in cluster.directors.values():
        for link in director.host.links:
            link.heal()
    for server in cluster.sorry.values():
        if server.stopped:  # it went down with its director
            server.start()
    cluster.start_directors(config, timers=timers)
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.stop_directors)
        yield {
            name: stack.enter_context(Observer(director.host))
            for name, director in cluster.directors.items()
        }


def come_back(
    cluster: ClassicCluster, observer: Observer, config: Path, *, timers: str | None
) -> None:
    """Start linuxha1 again after it died; return when it could take over.

    ``observer``: on the other director. A host that starts again has lost what it held: its
    addresses and, with /run, the leases, one of which may still stand so soon after the crash.
    """
    director = cluster.directors[ACTIVE]
    director.host.run(["ip", "addr", "flush", "dev", "eth0", "to", VIP])
    shutil.rmtree(director.runtime_dir, ignore_errors=True)
    for link in director.host.links:
        link.heal()
    if ACTIVE in cluster.sorry and cluster.sorry[ACTIVE].stopped:
        cluster.sorry[ACTIVE].start()
    began = director.log.stat().st_size
    process = director.start(config, timers=timers)
    node, weights = full_name(ACTIVE), _weights_wanted(config)

    def stands_by() -> bool:
        assert process.returncode is None, process.output()[began:]
        holders = cluster.vip_holders()
        assert holders == [STANDBY], f"{holders} hold the VIP:\n{process.output()[began:]}"
        state = observer.membership(full_name(STANDBY))
        heard = {d.name: d.ready for d in state.directors} if state is not None else {}
        ready = "director.ready" in process.output()[began:] and heard.get(node, False)
        return ready and observer.weights(node) == weights

    observer.wait_for(stands_by, f"{ACTIVE} stands by", timeout_s=START_MAX_S)


def _weights_wanted(config: Path) -> dict[str, int]:
    services = load(str(config)).cluster.virtual_services
    return {str(real.endpoint): real.weight for s in services for real in s.real_servers}


def wait_until_serving(
    cluster: ClassicCluster, observers: dict[str, Observer], config: Path
) -> None:
    """Wait until linuxha1 holds the VIP and both tables have every real server at full weight.

    Raises:
        AssertionError: not in time, or a director ended; the message shows why.

    """
    observer, weights = observers[ACTIVE], _weights_wanted(config)

    def serves() -> bool:
        for director in cluster.directors.values():
            assert director.running is not None
            assert director.running.returncode is None, director.running.output()
        return (
            observer.vip_holders() == [full_name(ACTIVE)]
            and observer.view.is_complete()
            and all(observer.weights(full_name(name)) == weights for name in observers)
        )

    try:
        observer.wait_for(
            serves, f"{ACTIVE} holds the VIP and both tables are complete", timeout_s=START_MAX_S
        )
    except AssertionError as error:
        tables = {name: observer.weights(full_name(name)) for name in observers}
        raise AssertionError(
            f"{error}\nholders: {observer.vip_holders()}, all heard: "
            f"{observer.view.is_complete()}, tables: {tables}, wanted: {weights}"
        ) from error
